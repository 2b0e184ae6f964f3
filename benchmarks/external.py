"""Candidates: explanations by other libraries, called as their own documentation shows.

The task is the same as ours: the label, and words that speak for it. A library that must be told the label gets it from
a plain forward pass, which counts.
"""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from typing import Any

import torch

from .candidates import Answer, Explain, candidate
from .workload import Batch, Workload


def _forward_of(workload: Workload) -> Any:
    """Ids and mask -> logits, as captum wants it."""
    return lambda ids, mask: workload.model(input_ids=ids, attention_mask=mask).logits


def _predict(workload: Workload, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        return workload.model(**batch.inputs).logits


# captum, on today's transformers ------------------------------------------------------------------------------------


@candidate("captum gradient × activation", "external", environment="current", modules=("captum",))
def _captum_gradient(workload: Workload) -> Explain:
    from captum.attr import LayerGradientXActivation

    return _captum_layer(workload, LayerGradientXActivation(_forward_of(workload), workload.model.bert.embeddings), {})


@candidate("captum integrated gradients (50 steps)", "external", environment="current", modules=("captum",))
def _captum_integrated_gradients(workload: Workload) -> Explain:
    from captum.attr import LayerIntegratedGradients

    method = LayerIntegratedGradients(_forward_of(workload), workload.model.bert.embeddings)
    return _captum_layer(workload, method, {"baselines": workload.tokenizer.pad_token_id})


@candidate("captum occlusion", "external", environment="current", modules=("captum",))
def _captum_occlusion(workload: Workload) -> Explain:
    from captum.attr import Occlusion

    method = Occlusion(_forward_of(workload))
    return _captum_masking(workload, method, {"sliding_window_shapes": (1,)})


@candidate("captum KernelSHAP (25 samples)", "external", environment="current", modules=("captum", "sklearn"))
def _captum_kernel_shap(workload: Workload) -> Explain:
    from captum.attr import KernelShap

    return _captum_masking(workload, KernelShap(_forward_of(workload)), {})


def _captum_layer(workload: Workload, method: Any, arguments: dict[str, Any]) -> Explain:
    def explain(batch: Batch) -> Answer:
        logits = _predict(workload, batch)
        ids, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
        scores = method.attribute(ids, target=logits.argmax(dim=-1), additional_forward_args=(mask,), **arguments)
        return Answer(logits, scores.sum(dim=-1).detach())

    return explain


def _captum_masking(workload: Workload, method: Any, arguments: dict[str, Any]) -> Explain:
    @torch.no_grad()
    def explain(batch: Batch) -> Answer:
        logits = _predict(workload, batch)
        ids, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
        scores = method.attribute(
            ids,
            baselines=workload.tokenizer.mask_token_id,
            target=logits.argmax(dim=-1),
            additional_forward_args=(mask,),
            **arguments,
        )
        return Answer(logits, scores)

    return explain


# shap and transformers-interpret, on today's transformers -----------------------------------------------------------


@candidate("shap (text, 500 evaluations)", "external", environment="current", modules=("shap",))
def _shap(workload: Workload) -> Explain:
    import shap

    @torch.no_grad()
    def classify(texts: Any) -> Any:
        inputs = workload.tokenizer([str(text) for text in texts], padding=True, return_tensors="pt")
        return workload.model(**inputs).logits.softmax(dim=-1).numpy()

    explainer = shap.Explainer(classify, shap.maskers.Text(workload.tokenizer), silent=True)
    return lambda batch: Answer(None, explainer(batch.texts).values)


@candidate("transformers-interpret", "external", environment="current", modules=("transformers_interpret",))
def _transformers_interpret(workload: Workload) -> Explain:
    from transformers_interpret import SequenceClassificationExplainer

    explainer = SequenceClassificationExplainer(workload.model, workload.tokenizer)
    return lambda batch: Answer(None, [[score for _, score in explainer(text)] for text in batch.texts])


# interpreto ---------------------------------------------------------------------------------------------------------


@candidate("interpreto gradient × input", "external", environment="interpreto", modules=("interpreto",))
def _interpreto_saliency(workload: Workload) -> Explain:
    return _interpreto(workload, "Saliency")


@candidate("interpreto integrated gradients (10 steps)", "external", environment="interpreto", modules=("interpreto",))
def _interpreto_integrated_gradients(workload: Workload) -> Explain:
    return _interpreto(workload, "IntegratedGradients")


@candidate("interpreto occlusion", "external", environment="interpreto", modules=("interpreto",))
def _interpreto_occlusion(workload: Workload) -> Explain:
    return _interpreto(workload, "Occlusion")


def _interpreto(workload: Workload, method: str) -> Explain:
    import interpreto

    explainer = getattr(interpreto, method)(workload.model, workload.tokenizer)
    return lambda batch: Answer(None, [output.attributions.detach() for output in explainer.explain(batch.texts)])


# ferret -------------------------------------------------------------------------------------------------------------


@candidate("ferret gradient × input", "external", environment="ferret", modules=("ferret",))
def _ferret_gradient(workload: Workload) -> Explain:
    return _ferret(workload, "GradientExplainer")


@candidate("ferret integrated gradients (50 steps)", "external", environment="ferret", modules=("ferret",))
def _ferret_integrated_gradients(workload: Workload) -> Explain:
    return _ferret(workload, "IntegratedGradientExplainer")


@candidate("ferret LIME", "external", environment="ferret", modules=("ferret",))
def _ferret_lime(workload: Workload) -> Explain:
    return _ferret(workload, "LIMEExplainer")


@candidate("ferret partition SHAP", "external", environment="ferret", modules=("ferret",))
def _ferret_shap(workload: Workload) -> Explain:
    return _ferret(workload, "SHAPExplainer")


def _ferret(workload: Workload, method: str) -> Explain:
    import ferret

    explainer = getattr(ferret, method)(workload.model, workload.tokenizer)

    def explain(batch: Batch) -> Answer:
        logits = _predict(workload, batch)
        labels = logits.argmax(dim=-1).tolist()
        return Answer(logits, [explainer(text, target=label).scores for text, label in zip(batch.texts, labels)])

    return explain


# LXT, on the transformers that it was written for -------------------------------------------------------------------


@candidate("LXT AttnLRP", "external", environment="lxt", modules=("lxt",))
def _lxt(workload: Workload) -> Explain:
    if importlib.util.find_spec("torchvision") is None:
        # LXT imports torchvision's vision transformer, of which its BERT uses nothing. Transformers looks at __spec__.
        names = ("torchvision", "torchvision.models", "torchvision.models.vision_transformer")
        package, models, vision = (importlib.util.module_from_spec(ModuleSpec(name, None)) for name in names)
        vision.nn, models.vision_transformer, package.models = torch.nn, vision, models
        sys.modules |= dict(zip(names, (package, models, vision)))
    from lxt.efficient import monkey_patch
    from transformers.models.bert import modeling_bert

    # LXT replaces classes of torch and transformers for the whole process: here they are in force only while its own
    # model is built and called, so that the unit is measured without them.
    classes = (torch.nn.LayerNorm, torch.nn.Dropout)
    originals, original_module = [cls.forward for cls in classes], dict(vars(modeling_bert))
    monkey_patch(modeling_bert)
    replacements = [cls.forward for cls in classes]
    model = type(workload.model).from_pretrained(workload.folder).eval().requires_grad_(False)
    vars(modeling_bert).update(original_module)

    def put(forwards: list[Any]) -> None:
        for cls, forward in zip(classes, forwards):
            cls.forward = forward

    def explain(batch: Batch) -> Answer:
        put(replacements)
        try:
            embeddings = model.get_input_embeddings()(batch.inputs["input_ids"]).requires_grad_()
            logits = model(inputs_embeds=embeddings, attention_mask=batch.inputs["attention_mask"]).logits
            logits.amax(dim=-1).sum().backward()
            return Answer(logits.detach(), (embeddings.grad * embeddings.detach()).sum(dim=-1))
        finally:
            put(originals)

    put(originals)
    return explain
