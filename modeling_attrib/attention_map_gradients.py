"""Attribution from attention matrices and their gradients, ∂y/∂A."""

from collections.abc import Callable
from typing import Any

import torch

from .activation_capture import start_of_graph
from .attention_records import AttentionRecorder, ExplicitAttention
from .attribution_methods import AttributionRequest, ExplainableClassifier, Inputs, attribution_method
from .backbone_parts import find_parts
from .half_precision import GradientScale, at_least_float32, sum_type
from .propagation_rules import PropagationRules


Step = Callable[[Any, torch.Tensor, torch.Tensor], Any]


def fold_attention_gradients(
    classifier: ExplainableClassifier,
    inputs: Inputs,
    request: AttributionRequest,
    weights: torch.Tensor,
    step: Step,
    start: Any,
) -> tuple[torch.Tensor, list[Any]]:
    """For each target, fold `step` over the layers' attention and its gradient, from the last layer to the first.

    Attention is written out, whatever the kernel: tokens × tokens of every layer and head are in memory, as they are
    with eager attention. Their gradients are not kept: each goes to `step` when the backward pass comes by.

    Args:
        weights: how much the head reads of each token, (batch, tokens).
        step: from the state so far, A and ∂y/∂A (batch, heads, tokens, tokens) to the next state.
        start: the first state.

    Returns:
        logits (batch, labels), and the last state of each target.

    Raises:
        ValueError: if the attention of some layer is out of sight.
    """
    parts = find_parts(classifier.backbone)
    given, graph_starts = start_of_graph(classifier, inputs)
    weights_are_constants = PropagationRules(parts, classifier.num_layers)  # no layer keeps its input for them
    with graph_starts, weights_are_constants, AttentionRecorder() as recorder, ExplicitAttention():
        logits = classifier.classify(inputs | given, weights)
    attentions = [record.probabilities for record in recorder.layers(classifier, inputs)]
    objective = request.objective(logits)
    scale = GradientScale(objective, weights)
    totals = scale.enlarge(objective).sum(dim=0)

    def restored(state: Any, attention: torch.Tensor, gradient: torch.Tensor) -> Any:
        return step(state, attention, scale.restore(gradient, trailing=3))

    states = [
        _fold(total, attentions, restored, start, retain_graph=number < len(totals))
        for number, total in enumerate(totals, start=1)
    ]
    return logits.detach(), states


def _fold(total: torch.Tensor, attentions: list[torch.Tensor], step: Step, state: Any, retain_graph: bool) -> Any:
    def visit(attention: torch.Tensor) -> Callable[[torch.Tensor], None]:
        def take(gradient: torch.Tensor) -> None:
            nonlocal state
            state = step(state, attention.detach(), gradient)

        return take

    # A layer's gradient is complete only when the layers behind it are done: the last layer comes first.
    handles = [attention.register_hook(visit(attention)) for attention in attentions]
    try:
        torch.autograd.grad(total, attentions[0], retain_graph=retain_graph)
    finally:
        for handle in handles:
            handle.remove()
    return state


@attribution_method(
    "grad_sam",
    paper="Barkan et al. 2021, Grad-SAM: Explaining Transformers via Gradient Self-Attention Maps",
    cost=2,
    signed=False,
    needs_attention=True,
)
def grad_sam(
    classifier: ExplainableClassifier, inputs: Inputs, request: AttributionRequest
) -> tuple[torch.Tensor, torch.Tensor]:
    """Σ_l Σ_h Σ_j A_ij · ReLU(∂y/∂A_ij): what token i reads where reading more would speak for the target.

    Sums where the paper takes means over layers, heads and tokens: a factor that all tokens of a text share.
    """

    def add(scores: torch.Tensor, attention: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        return scores + (attention * gradient.relu()).sum(dim=(1, 3), dtype=sum_type(attention))

    weights = classifier.token_weights(inputs)
    start = torch.zeros_like(at_least_float32(weights))
    logits, scores = fold_attention_gradients(classifier, inputs, request, weights, add, start)
    return logits, torch.stack(scores, dim=1)


@attribution_method(
    "gae",
    paper="Chefer et al. 2021, Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder "
    "Transformers, eq. 5 and 6",
    cost=2,
    signed=False,
    needs_attention=True,
)
def gae(
    classifier: ExplainableClassifier, inputs: Inputs, request: AttributionRequest
) -> tuple[torch.Tensor, torch.Tensor]:
    """R ← R + mean_h((∂y/∂A ⊙ A)⁺)·R from R = I, read in the rows of the tokens that the head reads.

    R's identity stays in: with [CLS] pooling, [CLS] itself gets 1 beside what it reads.
    """

    # Rows r of (I + Ā_L)···(I + Ā_1), without the matrix: r ← r + r·Ā, from the last layer to the first.
    def relate(rows: torch.Tensor, attention: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        relevance = (gradient * attention).relu().mean(dim=1, dtype=sum_type(attention)).to(rows.dtype)
        return rows + (rows.unsqueeze(1) @ relevance).squeeze(1)

    weights = classifier.token_weights(inputs)
    start = at_least_float32(weights)  # bfloat16 has nothing between 1/n and 1/n + 1/n²
    logits, scores = fold_attention_gradients(classifier, inputs, request, weights, relate, start)
    return logits, torch.stack(scores, dim=1)
