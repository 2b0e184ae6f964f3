"""Supervised contrastive loss: texts of one label near each other, others apart."""

import torch
from torch.nn import functional as F

from .half_precision import at_least_float32


_LEFT_OUT = -100


def supervised_contrastive_loss(features: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """Khosla et al. 2020, Supervised Contrastive Learning, eq. 2, over one batch.

    Args:
        features: text vectors, (batch, width); normalised here.
        labels: (batch,) integers; −100 leaves a text out, as in torch's cross-entropy.
        temperature: > 0.

    Returns:
        A scalar: the mean over texts that have another text of their label in the batch; 0 if none has.
    """
    features = F.normalize(at_least_float32(features), dim=-1)
    itself = torch.eye(len(features), dtype=torch.bool, device=features.device)
    left_out = labels == _LEFT_OUT
    unseen = itself | left_out
    with torch.autocast(features.device.type, enabled=False):  # which would narrow the product again
        similarity = (features @ features.T / temperature).masked_fill(unseen, -torch.inf)
    log_probability = similarity.log_softmax(dim=-1).masked_fill(unseen, 0.0)
    same_label = (labels.unsqueeze(0) == labels.unsqueeze(1)) & ~unseen & ~left_out.unsqueeze(1)
    positives = same_label.sum(dim=-1)
    # Sums and one guarded division, not a boolean selection: shapes stay static for compilers and TPUs.
    per_text = -(log_probability * same_label).sum(dim=-1) / positives.clamp(min=1)
    return per_text.sum() / (positives > 0).sum().clamp(min=1)
