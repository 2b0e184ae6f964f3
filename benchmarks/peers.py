"""Contestants: explanations by other libraries, called as their own documentation shows.

The task is the same as ours: the label, and words that speak for it. A library that must be told the label gets it from
a plain forward pass, which counts.
"""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from typing import Any

import torch

from .contestants import Answer, Explain, contestant
from .subjects import Batch, Subject


def _forward_of(subject: Subject) -> Any:
    """Ids and mask -> logits, as captum wants it."""
    return lambda ids, mask: subject.model(input_ids=ids, attention_mask=mask).logits


def _predict(subject: Subject, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        return subject.model(**batch.inputs).logits


# captum, on today's transformers ------------------------------------------------------------------------------------


@contestant("captum gradient × activation", "peer", environment="current", modules=("captum",))
def _captum_gradient(subject: Subject) -> Explain:
    from captum.attr import LayerGradientXActivation

    return _captum_layer(subject, LayerGradientXActivation(_forward_of(subject), subject.model.bert.embeddings), {})


@contestant("captum integrated gradients (50 steps)", "peer", environment="current", modules=("captum",))
def _captum_integrated_gradients(subject: Subject) -> Explain:
    from captum.attr import LayerIntegratedGradients

    method = LayerIntegratedGradients(_forward_of(subject), subject.model.bert.embeddings)
    return _captum_layer(subject, method, {"baselines": subject.tokenizer.pad_token_id})


@contestant("captum occlusion", "peer", environment="current", modules=("captum",))
def _captum_occlusion(subject: Subject) -> Explain:
    from captum.attr import Occlusion

    method = Occlusion(_forward_of(subject))
    return _captum_masking(subject, method, {"sliding_window_shapes": (1,)})


@contestant("captum KernelSHAP (25 samples)", "peer", environment="current", modules=("captum", "sklearn"))
def _captum_kernel_shap(subject: Subject) -> Explain:
    from captum.attr import KernelShap

    return _captum_masking(subject, KernelShap(_forward_of(subject)), {})


def _captum_layer(subject: Subject, method: Any, arguments: dict[str, Any]) -> Explain:
    def explain(batch: Batch) -> Answer:
        logits = _predict(subject, batch)
        ids, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
        scores = method.attribute(ids, target=logits.argmax(dim=-1), additional_forward_args=(mask,), **arguments)
        return Answer(logits, scores.sum(dim=-1).detach())

    return explain


def _captum_masking(subject: Subject, method: Any, arguments: dict[str, Any]) -> Explain:
    @torch.no_grad()
    def explain(batch: Batch) -> Answer:
        logits = _predict(subject, batch)
        ids, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
        scores = method.attribute(
            ids,
            baselines=subject.tokenizer.mask_token_id,
            target=logits.argmax(dim=-1),
            additional_forward_args=(mask,),
            **arguments,
        )
        return Answer(logits, scores)

    return explain


# shap and transformers-interpret, on today's transformers -----------------------------------------------------------


@contestant("shap (text, 500 evaluations)", "peer", environment="current", modules=("shap",))
def _shap(subject: Subject) -> Explain:
    import shap

    @torch.no_grad()
    def classify(texts: Any) -> Any:
        inputs = subject.tokenizer([str(text) for text in texts], padding=True, return_tensors="pt")
        return subject.model(**inputs).logits.softmax(dim=-1).numpy()

    explainer = shap.Explainer(classify, shap.maskers.Text(subject.tokenizer), silent=True)
    return lambda batch: Answer(None, explainer(batch.texts).values)


@contestant("transformers-interpret", "peer", environment="current", modules=("transformers_interpret",))
def _transformers_interpret(subject: Subject) -> Explain:
    from transformers_interpret import SequenceClassificationExplainer

    explainer = SequenceClassificationExplainer(subject.model, subject.tokenizer)
    return lambda batch: Answer(None, [[score for _, score in explainer(text)] for text in batch.texts])


# interpreto ---------------------------------------------------------------------------------------------------------


@contestant("interpreto gradient × input", "peer", environment="interpreto", modules=("interpreto",))
def _interpreto_saliency(subject: Subject) -> Explain:
    return _interpreto(subject, "Saliency")


@contestant("interpreto integrated gradients (10 steps)", "peer", environment="interpreto", modules=("interpreto",))
def _interpreto_integrated_gradients(subject: Subject) -> Explain:
    return _interpreto(subject, "IntegratedGradients")


@contestant("interpreto occlusion", "peer", environment="interpreto", modules=("interpreto",))
def _interpreto_occlusion(subject: Subject) -> Explain:
    return _interpreto(subject, "Occlusion")


def _interpreto(subject: Subject, method: str) -> Explain:
    import interpreto

    explainer = getattr(interpreto, method)(subject.model, subject.tokenizer)
    return lambda batch: Answer(None, [output.attributions.detach() for output in explainer.explain(batch.texts)])


# ferret -------------------------------------------------------------------------------------------------------------


@contestant("ferret gradient × input", "peer", environment="ferret", modules=("ferret",))
def _ferret_gradient(subject: Subject) -> Explain:
    return _ferret(subject, "GradientExplainer")


@contestant("ferret integrated gradients (50 steps)", "peer", environment="ferret", modules=("ferret",))
def _ferret_integrated_gradients(subject: Subject) -> Explain:
    return _ferret(subject, "IntegratedGradientExplainer")


@contestant("ferret LIME", "peer", environment="ferret", modules=("ferret",))
def _ferret_lime(subject: Subject) -> Explain:
    return _ferret(subject, "LIMEExplainer")


@contestant("ferret partition SHAP", "peer", environment="ferret", modules=("ferret",))
def _ferret_shap(subject: Subject) -> Explain:
    return _ferret(subject, "SHAPExplainer")


def _ferret(subject: Subject, method: str) -> Explain:
    import ferret

    explainer = getattr(ferret, method)(subject.model, subject.tokenizer)

    def explain(batch: Batch) -> Answer:
        logits = _predict(subject, batch)
        labels = logits.argmax(dim=-1).tolist()
        return Answer(logits, [explainer(text, target=label).scores for text, label in zip(batch.texts, labels)])

    return explain


# LXT, on the transformers that it was written for -------------------------------------------------------------------


@contestant("LXT AttnLRP", "peer", environment="lxt", modules=("lxt",))
def _lxt(subject: Subject) -> Explain:
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
    model = type(subject.model).from_pretrained(subject.folder).eval().requires_grad_(False)
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
