"""What a classifier that explains itself returns."""

from dataclasses import dataclass

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
