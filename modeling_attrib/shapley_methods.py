"""Shapley values in closed form, for coalition games that are played on attention matrices."""

import torch

from .attention_map_gradients import fold_attention_gradients
from .attention_records import AttentionRecorder
from .attribution_methods import AttributionRequest, ExplainableClassifier, Inputs, attribution_method
from .half_precision import sum_type


GAMES = ("cls", "mutual", "max_mutual")


def shapley_values(matrix: torch.Tensor, mask: torch.Tensor, head_weights: torch.Tensor, game: str) -> torch.Tensor:
    """Exact Shapley values of a game whose players are the real tokens, in O(tokens²).

    Games, with M the matrix and S a coalition:

    * `"cls"`: v(S) = Σ_{i∈S} M[CLS, i], where the [CLS] row stands for the rows that the head reads.
    * `"mutual"`: v({i}) = M_ii, and for two players or more v(S) = Σ_{i<j∈S} P_ij with P_ij = M_ij + M_ji.
    * `"max_mutual"`: the same with P_ij = max(M_ij, M_ji).

    A pair's worth is shared evenly by the two. A player's own worth counts only while it is alone: it comes first in
    one ordering of n, and what another player had alone is lost when it comes second, behind that one.

    Args:
        matrix: M, (batch, tokens, tokens).
        mask: (batch, tokens), 1 at real tokens.
        head_weights: how much the head reads of each token, (batch, tokens).
        game: one of `GAMES`.

    Returns:
        (batch, tokens), 0 at padding.
    """
    real = mask.to(matrix.dtype)
    if game == "cls":
        return (head_weights.to(matrix.dtype).unsqueeze(1) @ matrix).squeeze(1) * real
    matrix = matrix * real.unsqueeze(1) * real.unsqueeze(2)
    mirrored = matrix.transpose(1, 2)
    pairs = matrix + mirrored if game == "mutual" else torch.maximum(matrix, mirrored)
    alone = matrix.diagonal(dim1=1, dim2=2)
    players = real.sum(dim=1, keepdim=True).clamp(min=1)
    others = alone.sum(dim=1, keepdim=True) - alone
    lost = others / (players * (players - 1).clamp(min=1))
    shared = 0.5 * (pairs.sum(dim=2) - pairs.diagonal(dim1=1, dim2=2))
    return (alone / players - lost + shared) * real


@attribution_method(
    "attention_shapley",
    paper="Eggen et al., attention as the value of a coalition game (CLS, Mutual and Max-Mutual game)",
    cost=2,
    signed=False,
    needs_attention=True,
)
def attention_shapley(
    classifier: ExplainableClassifier,
    inputs: Inputs,
    request: AttributionRequest,
    game: str = "cls",
    gradient: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Shapley values of a game on M, the mean over layers and heads of A ⊙ ReLU(∂y/∂A), or of A alone.

    Special tokens are players too. Scores are not negative in the `"cls"` game; in the others they may be.

    Args:
        game: `"cls"`, `"mutual"` or `"max_mutual"`; see `shapley_values`.
        gradient: False: M is the mean of A, the same for every target, at the cost of one forward pass.

    Raises:
        ValueError: for another game, or a `gradient` that is neither True nor False.
    """
    if game not in GAMES or not isinstance(gradient, bool):
        raise ValueError(
            f"game={game!r}, gradient={gradient!r}: use game {', '.join(GAMES)} and gradient True or False."
        )
    weights = classifier.token_weights(inputs)
    if gradient:
        logits, matrices = _mean_weighted_attention(classifier, inputs, request, weights)
    else:
        logits, matrices = _mean_attention(classifier, inputs, request, weights)
    values = [shapley_values(matrix, inputs["attention_mask"], weights, game) for matrix in matrices]
    return logits, torch.stack(values, dim=1).to(sum_type(weights))


def _mean_weighted_attention(
    classifier: ExplainableClassifier, inputs: Inputs, request: AttributionRequest, weights: torch.Tensor
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    def add(total: torch.Tensor | float, attention: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        weighted = (attention * gradient.relu()).mean(dim=1, dtype=sum_type(attention))
        return total + weighted / classifier.num_layers

    return fold_attention_gradients(classifier, inputs, request, weights, add, 0.0)


@torch.no_grad()
def _mean_attention(
    classifier: ExplainableClassifier, inputs: Inputs, request: AttributionRequest, weights: torch.Tensor
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    with AttentionRecorder() as recorder:
        logits = classifier.classify(inputs, weights)
    records = recorder.layers(classifier, inputs)
    matrices = (record.matrix() for record in records)
    mean = sum(matrix.mean(dim=1, dtype=sum_type(matrix)) for matrix in matrices) / len(records)
    return logits, [mean] * request.resolve(logits).shape[1]
