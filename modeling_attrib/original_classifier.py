"""Classifiers that exist already: which are taken, from where, and which tokens their heads read."""

import copy
import importlib
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
from transformers.utils import ModelOutput, find_adapter_config_file

from .attribution_methods import ExplainableClassifier, Inputs
from .backbone_parts import find_parts
from .configuration_attrib import AttribConfig
from .pooling import pooling_weights
from .sample_inputs import sample_inputs
from .untouched import Untouched


def fresh_classifier(config: PretrainedConfig) -> PreTrainedModel:
    """The classifier that a configuration describes, with fresh weights, to be loaded into."""
    return AutoModelForSequenceClassification.from_config(config)


def load_classifier(
    name: str, attn_implementation: str | None, dtype: torch.dtype, labels: dict[str, Any]
) -> PreTrainedModel:
    """A finished classifier of a Hub id or folder, adapters merged into it.

    Args:
        labels: `num_labels` or `id2label`, for an adapter, which does not say what its head's labels are.

    Raises:
        ValueError: for weights without a trained head, and for an adapter without the package peft.
    """
    options = labels | ({} if attn_implementation is None else {"attn_implementation": attn_implementation})
    if find_adapter_config_file(name) is not None:
        return _load_adapter(name, dtype, options)
    model, loading = AutoModelForSequenceClassification.from_pretrained(
        name, dtype=dtype, output_loading_info=True, **options
    )
    missing = sorted(loading["missing_keys"])
    if missing:
        raise ValueError(
            f"{name} has no trained classification head: {missing[0]} is not among its weights. To train one on this "
            "encoder, use from_backbone."
        )
    return model


def _load_adapter(name: str, dtype: torch.dtype, options: dict[str, Any]) -> PreTrainedModel:
    try:
        peft = importlib.import_module("peft")  # optional: only who brings an adapter needs it
    except ImportError:
        raise ValueError(f"{name} is an adapter, which peft merges into its model: pip install peft") from None
    try:
        adapted = peft.AutoPeftModelForSequenceClassification.from_pretrained(name, dtype=dtype, **options)
    except KeyError as missing:
        raise ValueError(
            f"the adapter {name} brings no trained classification head ({missing.args[0]}). If its model has one, load "
            "both with peft, and give that model object."
        ) from None
    return adapted.merge_and_unload()


def stock_classifier(model: Any) -> PreTrainedModel:
    """The classifier of transformers' own in a model object: itself, one with an adapter, or a CrossEncoder's.

    An adapter is merged into a copy, so that the model given stays what it is.

    Raises:
        ValueError: with the reason, and the door that takes it if there is one, for anything else.
    """
    name = type(model).__name__
    if hasattr(model, "merge_and_unload"):  # peft's
        return stock_classifier(copy.deepcopy(model).merge_and_unload())
    if name == "CrossEncoder" and isinstance(getattr(model, "model", None), PreTrainedModel):
        return stock_classifier(model.model)  # sentence-transformers'
    if not isinstance(model, PreTrainedModel):
        raise ValueError(
            f"{name} is no classifier of transformers: give a model that AutoModelForSequenceClassification loads, its "
            "folder or its Hub id."
        )
    if model.config.model_type == AttribConfig.model_type:
        raise ValueError("this model explains itself already: use it as it is.")
    if getattr(model, "_hf_peft_config_loaded", False):
        raise ValueError(f"{name} has an adapter beside its weights: give the adapter's folder, or peft's own model.")
    own: Any = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING.get(type(model.config), None)
    if type(model) is not own:
        instead = "" if own is None else f" (its configuration's is {own.__name__})"
        raise ValueError(f"{name} is no sequence classifier that transformers builds from a configuration{instead}.")
    if model.config.is_encoder_decoder:
        raise ValueError(
            f"{name} is an encoder-decoder: its decoder reads the text too, so that words would have two scores. Train "
            "a head on its encoder with from_backbone, where transformers offers that by itself (T5)."
        )
    return model


def head_weights(original: PreTrainedModel, inputs: Inputs, reading: str, dtype: torch.dtype) -> torch.Tensor:
    """How much the original's head reads of each token: (batch, tokens), rows sum to 1.

    As transformers' heads find it, which is not as this project's own does: the first token is the first place, padded
    or not, and the last is the last whose id is not padding, masked or not; of given embeddings, the last place.

    Args:
        reading: "cls", "last" or "mean"; see `tokens_read`.
    """
    mask = inputs["attention_mask"]
    if reading == "mean":
        return pooling_weights(mask, "mean", dtype)
    places = torch.arange(mask.shape[1], device=mask.device)
    chosen: torch.Tensor | int = 0
    if reading == "last" and "input_ids" in inputs:
        text = inputs["input_ids"] != original.config.get_text_config().pad_token_id
        chosen = (places * text).argmax(dim=-1, keepdim=True)
    elif reading == "last":
        chosen = mask.shape[1] - 1
    return (places == chosen).expand(mask.shape).to(dtype)


def tokens_read(classifier: ExplainableClassifier) -> str:
    """Which tokens the original's head reads: "cls", the first, "last", or "mean", all alike.

    Found by the gradient of the logits at what leaves the last layer, and for all alike at what leaves the encoder; of
    padded texts, and of padding inside a text, it must be the tokens that `head_weights` says.

    Raises:
        ValueError: for a head that reads tokens in another way, or whose encoder lays out tokens in a way of its own.
    """
    original = classifier.original
    assert original is not None, "a linear head reads what its pooling says"
    name = type(original).__name__
    texts = sample_inputs(classifier, 4, 8)
    layer = find_parts(classifier.backbone).layers[-1]
    with Untouched(classifier):
        one = {key: value[:1] for key, value in texts.items()}  # without padding to find, some heads take no more
        gradient = _gradient_behind(classifier, layer, one)
        if gradient is None or gradient.shape[:2] != one["attention_mask"].shape:
            raise ValueError(
                f"{name}: what leaves its last layer is not laid out as (batch, tokens, width), so that attributions "
                "would land on the wrong tokens; this classifier is not supported."
            )
        reading = _reading(original, gradient)
        part = classifier.backbone if reading == "mean" else layer
        for inputs in (texts, _with_padding(texts, original)):
            _check_reading(original, _gradient_behind(classifier, part, inputs), inputs, reading)
    return reading


def _reading(original: PreTrainedModel, gradient: torch.Tensor) -> str:
    """What the gradient of plain texts, (batch, tokens, width), shows to be read."""
    name, tokens = type(original).__name__, gradient.shape[1]
    if not bool(gradient.isfinite().all()):
        raise ValueError(f"{name}: the logits of ordinary words, or their gradients, are not finite numbers.")
    read = (gradient.abs().amax(dim=(0, 2)) > 0).nonzero().flatten().tolist()
    if not read:
        raise ValueError(f"{name}: its logits depend on no token of a text: was its head trained?")
    if read == [0]:
        return "cls"
    if read != [tokens - 1]:
        return "mean"
    config = original.config.get_text_config()
    if config.pad_token_id is None or not 0 <= config.pad_token_id < config.vocab_size:
        raise ValueError(
            f"{name} finds a text's last token by its configuration's padding, and that names no token "
            f"({config.pad_token_id}): set model.config.pad_token_id to the tokenizer's padding, or to its end of text "
            "where it has none."
        )
    return "last"


def _with_padding(inputs: Inputs, original: PreTrainedModel) -> Inputs:
    """The same four texts: whole, padded on the right, on the left, and with padding's token inside and at the end."""
    ids, mask = inputs["input_ids"].clone(), inputs["attention_mask"].clone()
    third = max(1, ids.shape[1] // 3)
    mask[1, -third:] = mask[2, :third] = 0
    padding = ids.new_tensor(original.config.get_text_config().pad_token_id or 0)
    ids[mask == 0] = ids[3, -third:] = ids[3, 1:2] = padding
    return inputs | {"input_ids": ids, "attention_mask": mask}


def _check_reading(original: PreTrainedModel, gradient: torch.Tensor | None, inputs: Inputs, reading: str) -> None:
    weights = head_weights(original, inputs, reading, torch.float32)
    if gradient is not None and gradient.shape[:2] == weights.shape:
        if reading != "mean":
            if not bool(gradient[weights == 0].any()):  # perhaps none at all: XLM writes 0 where padding is
                return
        else:
            whole = gradient.float().sum(dim=1, keepdim=True)
            if bool(((gradient - weights.unsqueeze(-1) * whole).abs() <= 1e-3 * whole.abs().max()).all()):
                return
    name = type(original).__name__
    raise ValueError(
        f"{name}: its head reads neither a text's first token, nor the last that is no padding, nor the "
        "mean of all, so that it is not known which tokens it reads; this classifier is not supported."
    )


def _gradient_behind(classifier: ExplainableClassifier, part: torch.nn.Module, inputs: Inputs) -> torch.Tensor | None:
    """Gradient of the logits, each with a weight of its own, at the first tensor that a part gives; None without one.

    Of all texts together, since no text reads another.
    """
    states: list[torch.Tensor] = []

    def cut(module: torch.nn.Module, arguments: Any, output: Any) -> Any:
        given = output if isinstance(output, torch.Tensor) else output[0]
        if not isinstance(given, torch.Tensor):
            return output
        state = given.detach().requires_grad_()
        if isinstance(output, ModelOutput):
            output[next(iter(output))] = state
        elif type(output) in (tuple, list):
            output = type(output)((state, *output[1:]))
        elif isinstance(output, torch.Tensor):
            output = state
        else:  # Reformer's layers, which give two streams
            return output
        states.append(state)
        return output

    handle = part.register_forward_hook(cut)
    try:
        with torch.enable_grad():
            logits = classifier.classify(inputs)
            if not states or not logits.requires_grad:
                return None
            weights = torch.arange(1, logits.shape[1] + 1, device=logits.device).sqrt()  # a softmax's sum is constant
            return torch.autograd.grad((logits * weights).sum(), states[-1], allow_unused=True)[0]
    finally:
        handle.remove()
