"""Classifiers that exist already: which are taken, from where, and which tokens their heads read."""

import copy
import importlib
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
from transformers.utils import find_adapter_config_file

from .backbone_parts import find_parts
from .configuration_attrib import AttribConfig


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
    return peft.AutoPeftModelForSequenceClassification.from_pretrained(name, dtype=dtype, **options).merge_and_unload()


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


def tokens_read(model: PreTrainedModel) -> str:
    """Which tokens the head reads: "cls", the first, "last", or "mean", all alike.

    Found by the gradient of the logits at what leaves the last layer, and for all alike at what leaves the encoder.

    Raises:
        ValueError: for a head that reads tokens in another way, or whose encoder lays out tokens in a way of its own.
    """
    name = type(model).__name__
    size = model.config.get_text_config().vocab_size
    ids = torch.arange(10, 18, device=model.device).unsqueeze(0) % size
    encoder: Any = model.base_model
    gradient = _gradient_behind(model, find_parts(encoder).layers[-1], ids)
    if gradient is None or gradient.shape[:2] != ids.shape:
        raise ValueError(
            f"{name}: what leaves its last layer is not laid out as (batch, tokens, width), so that attributions would "
            "land on the wrong tokens; this classifier is not supported."
        )
    read = (gradient[0].abs().amax(dim=-1) > 0).nonzero().flatten().tolist()
    if read == [0]:
        return "cls"
    if read == [ids.shape[1] - 1]:
        if model.config.get_text_config().pad_token_id is None:
            raise ValueError(
                f"{name} finds a text's last token by its configuration's padding, and names none: set "
                "model.config.pad_token_id to the tokenizer's padding, or to its end of text where it has none."
            )
        return "last"
    gradient = _gradient_behind(model, encoder, ids)
    if gradient is not None and len(read) == ids.shape[1]:
        mean = gradient.mean(dim=1, keepdim=True)
        if bool(((gradient - mean).abs() <= 1e-3 * mean.abs().max()).all()):
            return "mean"
    raise ValueError(f"{name}: its head reads the tokens {read} of {ids.shape[1]}, each with a weight of its own.")


def _gradient_behind(model: PreTrainedModel, part: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor | None:
    """Gradient of the squared logits at the first tensor that a part gives; None if it gives none that they read."""
    states: list[torch.Tensor] = []

    def cut(module: torch.nn.Module, arguments: Any, output: Any) -> Any:
        given = output if isinstance(output, torch.Tensor) else output[0]
        if not isinstance(given, torch.Tensor):
            return output
        states.append(given.detach().requires_grad_())
        if isinstance(output, torch.Tensor):
            return states[-1]
        if isinstance(output, tuple):
            return (states[-1], *output[1:])
        output[next(iter(output))] = states[-1]  # a ModelOutput
        return output

    handle = part.register_forward_hook(cut)
    try:
        with torch.enable_grad():
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
            if not states or not logits.requires_grad:
                return None
            return torch.autograd.grad(logits.pow(2).sum(), states[-1], allow_unused=True)[0]
    finally:
        handle.remove()
