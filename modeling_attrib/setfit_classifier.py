"""SetFit's classifiers: a sentence encoder, a pooled and perhaps normalised vector, and a linear head."""

from typing import Any

import torch


def is_setfit(model: Any) -> bool:
    """Whether this is setfit's model, recognised by its two parts."""
    return hasattr(model, "model_body") and hasattr(model, "model_head")


def setfit_encoder(model: Any) -> tuple[Any, str, bool]:
    """The encoder of transformers, how its states are pooled, and whether the text vector is scaled to length 1.

    Raises:
        ValueError: for parts between encoder and head that this project's head does not have.
    """
    encoder, *others = model.model_body.children()
    pooling, normalised = None, bool(getattr(model, "normalize_embeddings", False))
    for part in others:
        name = type(part).__name__
        if name == "Pooling":
            pooling = _pooling(part)
        elif name == "Normalize":
            normalised = True
        else:
            raise ValueError(f"SetFit with {name} between encoder and head is not supported.")
    inner = getattr(encoder, "auto_model", None) or getattr(encoder, "model", None)
    if inner is None or pooling is None:
        raise ValueError("SetFit: no encoder of transformers with mean or [CLS] pooling was found in its body.")
    return inner, pooling, normalised


def _pooling(part: Any) -> str:
    mode = part.get_pooling_mode_str() if hasattr(part, "get_pooling_mode_str") else str(part.pooling_mode)
    if mode not in ("mean", "cls"):
        raise ValueError(f"SetFit with {mode} pooling is not supported: mean and cls are.")
    return str(mode)


def setfit_head(model: Any) -> tuple[torch.Tensor, torch.Tensor, list[str], str]:
    """Weight (labels, width) and bias (labels,) of its head, label names, and the problem type.

    A head of one row that tells two labels apart becomes two rows, of which the first is 0: the same probabilities.

    Raises:
        ValueError: for a head that is not linear, or not trained.
    """
    head: Any = model.model_head
    several = model.multi_target_strategy is not None
    if hasattr(head, "linear"):  # setfit's own, in torch
        scale = float(getattr(head, "temperature", 1.0)) + float(getattr(head, "eps", 0.0))
        weight, bias = head.linear.weight.detach() / scale, _bias_of(head.linear) / scale
        classes: Any = range(len(weight) if several or len(weight) > 1 else 2)
    else:  # scikit-learn's
        parts = list(getattr(head, "estimators_", None) or [head])
        if not all(hasattr(part, "coef_") for part in parts):
            raise ValueError(f"SetFit's head {type(head).__name__} is not linear, or not trained: it is not supported.")
        weight = torch.cat([torch.as_tensor(part.coef_) for part in parts])
        bias = torch.cat([torch.as_tensor(part.intercept_).reshape(-1) for part in parts])
        classes = range(len(weight)) if several else head.classes_
    if len(weight) == 1 and not several:
        weight, bias = torch.cat([torch.zeros_like(weight), weight]), torch.cat([torch.zeros_like(bias), bias])
    names = [str(name) for name in getattr(model, "labels", None) or classes]
    if len(names) != len(weight):
        raise ValueError(f"SetFit's head has {len(weight)} rows and names {len(names)} labels: {', '.join(names)}.")
    return weight, bias, names, "multi_label_classification" if several else "single_label_classification"


def _bias_of(linear: torch.nn.Linear) -> torch.Tensor:
    return torch.zeros(linear.out_features) if linear.bias is None else linear.bias.detach()
