"""Attribution by attention weights alone: baselines that ask no gradient."""

import torch

from .attention_records import AttentionRecord, AttentionRecorder
from .attribution_methods import AttributionRequest, ExplainableClassifier, Inputs, attribution_method
from .half_precision import at_least_float32


@torch.no_grad()
def _read_attention(
    classifier: ExplainableClassifier, inputs: Inputs, request: AttributionRequest
) -> tuple[torch.Tensor, list[AttentionRecord], torch.Tensor, int]:
    """Logits, the layers' attention, the tokens that the head reads (batch, tokens, 1), and the number of targets."""
    weights = classifier.token_weights(inputs)
    with AttentionRecorder() as recorder:
        logits = classifier.classify(inputs, weights)
    targets = request.resolve(logits).shape[1]
    return logits, recorder.layers(classifier, inputs), at_least_float32(weights).unsqueeze(-1), targets


@attribution_method(
    "attention_last", paper="baseline: attention of the last layer", cost=1, signed=False, needs_attention=True
)
def attention_last(
    classifier: ExplainableClassifier, inputs: Inputs, request: AttributionRequest
) -> tuple[torch.Tensor, torch.Tensor]:
    """Head mean of the last layer's attention, from the tokens that the head reads (the [CLS] row for CLS pooling)."""
    logits, records, head_weights, targets = _read_attention(classifier, inputs, request)
    with torch.no_grad():
        scores = records[-1].attend_transposed(head_weights).squeeze(-1) / records[-1].heads
    return logits, scores.unsqueeze(1).repeat(1, targets, 1)


@attribution_method(
    "rollout",
    paper="Abnar and Zuidema 2020, Quantifying Attention Flow in Transformers",
    cost=1,
    signed=False,
    needs_attention=True,
)
def rollout(
    classifier: ExplainableClassifier, inputs: Inputs, request: AttributionRequest
) -> tuple[torch.Tensor, torch.Tensor]:
    """Product over layers of ½A + ½I, from the tokens that the head reads down to the input."""
    logits, records, head_weights, targets = _read_attention(classifier, inputs, request)
    with torch.no_grad():
        for record in reversed(records):
            head_weights = 0.5 * record.attend_transposed(head_weights) / record.heads + 0.5 * head_weights
    return logits, head_weights.squeeze(-1).unsqueeze(1).repeat(1, targets, 1)
