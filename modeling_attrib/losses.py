"""What a classifier is trained with: the task's loss, and a contrastive one beside it."""

import torch
from torch.nn import functional as F

from .configuration_attrib import AttribConfig
from .contrastive import supervised_contrastive_loss
from .half_precision import at_least_float32


def classification_loss(
    config: AttribConfig, features: torch.Tensor | None, logits: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Loss of the configuration's problem type (Song 2026, eq. 6, for single labels), plus the contrastive term.

    Args:
        config: where it names no problem type, what the labels make it is written there.
        features: text vectors, (batch, width), which the contrastive term alone reads.
        logits: (batch, labels).
        labels: (batch,) label indices, (batch, labels) floats for multi-label, (batch,) floats for regression.

    Returns:
        A scalar.
    """
    if config.problem_type is None:
        if config.num_labels == 1:
            config.problem_type = "regression"
        elif labels.dtype in (torch.long, torch.int):
            config.problem_type = "single_label_classification"
        else:
            config.problem_type = "multi_label_classification"
    if config.problem_type == "regression":
        return F.mse_loss(logits.squeeze(-1), labels.to(logits.dtype).view_as(logits.squeeze(-1)))
    if config.problem_type == "multi_label_classification":
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
    loss = F.cross_entropy(at_least_float32(logits), labels.long().view(-1))
    if config.contrastive_weight:
        if features is None:
            raise ValueError("an original head gives no text vectors for a contrastive loss: contrastive_weight is 0.")
        contrast = supervised_contrastive_loss(features, labels.view(-1), config.contrastive_temperature)
        loss = loss + config.contrastive_weight * contrast
    return loss
