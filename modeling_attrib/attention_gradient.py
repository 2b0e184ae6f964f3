"""Attribution by attention times gradient at the layers' inputs: Song 2026, eq. 3, and AttCAT, its key orientation."""

from typing import cast

import torch

from .activation_capture import ActivationCapture, check_layers, start_of_graph
from .attention_records import AttentionRecord, AttentionRecorder
from .attribution_methods import AttributionRequest, ExplainableClassifier, Inputs, attribution_method
from .backbone_parts import find_parts
from .half_precision import GradientScale, at_least_float32


ORIENTATIONS = ("key", "query")
REDUCTIONS = ("grad_x_hidden", "norm", "vector")


def select_layers(layers: str | int | list[int], count: int) -> list[int]:
    """Indices of the layers that `"last"`, `"all"`, an index or a list of indices means, out of `count`.

    Raises:
        ValueError: for another word, an index out of range or an empty list.
    """
    if layers == "all":
        return list(range(count))
    if layers == "last":
        return [count - 1]
    indices = [layers] if isinstance(layers, int) else layers
    if not isinstance(indices, (list, tuple)) or not indices or not all(isinstance(i, int) for i in indices):
        raise ValueError(f"layers={layers!r}: use 'last', 'all' or layer indices.")
    if any(not -count <= index < count for index in indices):
        raise ValueError(f"layers={layers!r}: this backbone has layers 0 to {count - 1}.")
    return sorted({index % count for index in indices})


def combine_attention_and_gradient(
    record: AttentionRecord,
    gradient: torch.Tensor,
    hidden: torch.Tensor,
    mask: torch.Tensor,
    orientation: str = "key",
    reduction: str = "grad_x_hidden",
) -> torch.Tensor:
    """Song 2026, eq. 3, for one layer: alpha_i = sum_h sum_j A_ij · ∂y/∂h_j.

    Args:
        record: the layer's attention.
        gradient: ∂y/∂h, (batch, tokens, width), at the layer's input.
        hidden: h, (batch, tokens, width), the layer's input.
        mask: (batch, tokens), 1 at real tokens.
        orientation: `"query"` as printed (token i reads the tokens j), or `"key"` (token j is read by the
            tokens i: the sum runs over queries).
        reduction: what becomes of the vector ∂y/∂h_j: `"grad_x_hidden"` (its product with h_j, signed),
            `"norm"` (its length, unsigned), or `"vector"` (kept; the sum is then multiplied by h_i).

    Returns:
        (batch, tokens), 0 at padding.

    Raises:
        ValueError: for another orientation or reduction.
    """
    if orientation not in ORIENTATIONS or reduction not in REDUCTIONS:
        raise ValueError(
            f"orientation={orientation!r}, reduction={reduction!r}: use orientation {' or '.join(ORIENTATIONS)} and "
            f"reduction {', '.join(REDUCTIONS)}."
        )
    gradient, hidden = at_least_float32(gradient), at_least_float32(hidden)
    real = mask.to(hidden.dtype).unsqueeze(-1)
    gradient = gradient * real
    product = record.attend if orientation == "query" else record.attend_transposed
    if reduction == "vector":
        return (product(gradient) * hidden * real).sum(dim=-1)
    if reduction == "grad_x_hidden":
        scores = (gradient * hidden).sum(dim=-1, keepdim=True)
    else:
        scores = gradient.norm(dim=-1, keepdim=True)
    if orientation == "key":  # how much token j is read, times its own score
        return (product(real) * scores * real).squeeze(-1)
    return (product(scores) * real).squeeze(-1)


@attribution_method("attention_gradient", paper="Song 2026, eq. 3", cost=2, signed=True, needs_attention=True)
def attention_gradient(
    classifier: ExplainableClassifier,
    inputs: Inputs,
    request: AttributionRequest,
    orientation: str = "key",
    reduction: str = "grad_x_hidden",
    layers: str | int | list[int] = "last",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention times gradient at the layers' inputs; see `combine_attention_and_gradient` for the options."""
    weights = classifier.token_weights(inputs)
    indices = select_layers(layers, classifier.num_layers)
    stack = find_parts(classifier.backbone).layers
    given, words = start_of_graph(classifier, inputs)
    with words, AttentionRecorder() as recorder, ActivationCapture(list(stack)) as capture:
        logits = classifier.classify(inputs | given, weights)
    records = recorder.layers(classifier, inputs)
    check_layers(classifier, capture.values, inputs)
    hidden = [capture.values[index] for index in indices]
    objective = request.objective(logits)
    scale = GradientScale(objective, weights)
    totals = scale.enlarge(objective).sum(dim=0)
    scores = []
    for total in totals:
        gradients = torch.autograd.grad(total, hidden, retain_graph=True)
        scores.append(
            cast(
                torch.Tensor,
                sum(
                    combine_attention_and_gradient(
                        records[index], scale.restore(gradient), state, inputs["attention_mask"], orientation, reduction
                    )
                    for index, gradient, state in zip(indices, gradients, hidden)
                ),
            )
        )
    return logits.detach(), torch.stack(scores, dim=1).detach()


@attribution_method(
    "attcat",
    paper="Qiang et al. 2022, AttCAT: Explaining Transformers via Attentive Class Activation Tokens",
    cost=2,
    signed=True,
    needs_attention=True,
)
def attcat(
    classifier: ExplainableClassifier, inputs: Inputs, request: AttributionRequest
) -> tuple[torch.Tensor, torch.Tensor]:
    """`attention_gradient` in key orientation over all layers: how much token j is read, times ∂y/∂h_j · h_j.

    Heads and queries are summed where the paper's code takes their mean: a factor that all tokens of a text share.
    """
    return attention_gradient(classifier, inputs, request, "key", "grad_x_hidden", "all")
