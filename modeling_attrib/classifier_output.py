"""What a classifier that explains itself returns."""

from dataclasses import dataclass
from typing import TypedDict

import torch
from transformers.utils import ModelOutput


@dataclass
class AttribSequenceClassifierOutput(ModelOutput):
    """Output of `AttribForSequenceClassification`.

    Attributes:
        loss: scalar, when labels were given.
        logits: (batch, labels).
        attributions: (batch, tokens), or (batch, labels, tokens) for `attribution_target="all"`: signed, toward the
            target; exactly 0 at padding. Special tokens keep their scores.
        attribution_target: (batch,) or (batch, labels): the label that each row explains.
        attribution_residual: same shape: target logit (minus contrast logit) − sum of the attributions: what no
            token accounts for. For conservative methods this is the share of the biases; for others it is also what
            they leave out.
        hidden_states: where asked for, as transformers' own models return them: (batch, tokens, width) of the
            embeddings and behind each layer.
        attentions: where asked for, (batch, heads, tokens, tokens) of each layer.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    attributions: torch.Tensor | None = None
    attribution_target: torch.Tensor | None = None
    attribution_residual: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class ExplainedFields(TypedDict):
    """The fields of the output of an explained pass."""

    logits: torch.Tensor
    attributions: torch.Tensor
    attribution_target: torch.Tensor
    attribution_residual: torch.Tensor


def explained_fields(
    logits: torch.Tensor, scores: torch.Tensor, target: torch.Tensor, contrast: torch.Tensor | None = None
) -> ExplainedFields:
    """The fields of the output of an explained pass; the residual is worked out here only.

    Args:
        logits: (batch, labels).
        scores: (batch, tokens), or (batch, targets, tokens).
        target: (batch,) or (batch, targets): the labels that they explain.
        contrast: (batch, 1), the label of each text that they are explained against; or None.
    """
    objective = logits.gather(1, target if target.dim() == 2 else target.unsqueeze(1))
    if contrast is not None:
        objective = objective - logits.gather(1, contrast)
    residual = (objective if target.dim() == 2 else objective.squeeze(1)) - scores.sum(dim=-1)
    return {"logits": logits, "attributions": scores, "attribution_target": target, "attribution_residual": residual}
