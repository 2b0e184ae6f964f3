"""Attribution by one backward pass: gradient methods and conservative propagation (the LRP family)."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, TypedDict

import torch
from torch import nn

from .activation_capture import ActivationCapture, check_states, start_of_graph
from .attribution_methods import AttributionRequest, ExplainableClassifier, Inputs, attribution_method
from .backbone_parts import BackboneParts, find_parts
from .half_precision import GradientScale
from .propagation_rules import PropagationRules


_ALI = "Ali et al. 2022, XAI for Transformers: Better Explanations through Conservative Propagation"


def embedding_place(parts: BackboneParts, at_sum: bool) -> tuple[nn.Module, str]:
    """Where relevance is read, as a module and its side: at the summed embeddings, or behind the embeddings' norm.

    A norm whose standard deviation follows its input is blind to the input's scale, so gradient × input is zero
    before it: ordinary gradients are read behind the norm. With the standard deviation frozen the norm is linear,
    and the sum before it is where relevance is conserved.
    """
    if parts.embedding_norm is None:
        return parts.layers[0], "input"
    return parts.embedding_norm, "input" if at_sum else "output"


class Pass(NamedTuple):
    """A forward pass under rules.

    Attributes:
        logits: (batch, labels).
        states: (batch, tokens, width) each, to read relevance at: the embeddings, where their graph starts, and for two
            relevance_layers what enters the second layer, if there is one.
        words: the words' own embeddings, which that start cuts off, so that no gradient should reach them.
        weights: how much the head reads of each token, (batch, tokens).
        takes_batched_gradients: whether the graph takes several gradients at once.
    """

    logits: torch.Tensor
    states: list[torch.Tensor]
    words: list[torch.Tensor]
    weights: torch.Tensor
    takes_batched_gradients: bool


def run_under_rules(
    classifier: ExplainableClassifier,
    inputs: Inputs,
    attention: str | None = None,
    norm_std: str | None = None,
    activation: str | None = None,
    parameters: str | None = "frozen",
    relevance_layers: int = 1,
    inside: AbstractContextManager | None = None,
) -> Pass:
    """The classifier's forward pass under rules (see `PropagationRules`).

    Args:
        relevance_layers: 2 keeps what enters the second layer too.
        inside: a context to compute in, entered last.

    Raises:
        ValueError: naming the part, if a rule does not meet what it is for.
    """
    parts = find_parts(classifier.backbone, classifier.original)
    weights = classifier.token_weights(inputs)
    head_weights = weights if attention and classifier.reads_one_token() else None
    mode = PropagationRules(
        parts, classifier.num_layers, attention, norm_std, activation, parameters, head_weights=head_weights
    )
    given, words = start_of_graph(classifier, inputs)
    further = ActivationCapture(list(parts.layers[:2]) if relevance_layers == 2 else [])
    place, side = embedding_place(parts, at_sum=norm_std is not None)
    with words, ActivationCapture([place], side, leaf=True) as capture, further, mode, inside or nullcontext():
        logits = classifier.classify(inputs | given, weights)
    mode.check()
    check_states(classifier, capture.values, inputs)
    states = [capture.values[0], *further.values[1:2]]
    if len(states) < min(relevance_layers, classifier.num_layers):
        raise ValueError(
            f"{type(classifier.backbone).__name__}: what enters the second layer is out of sight, and this method "
            "reads relevance there too. Use 'lrp' or 'attn_lrp', which read it at the embeddings alone."
        )
    return Pass(logits, states, [*words.values[:1], *given.values()], weights, mode.takes_batched_gradients)


def refuse_detour(classifier: ExplainableClassifier, gradients: Sequence[torch.Tensor | None]) -> None:
    """Raise ValueError if words have gradients of their own beside those of the states that relevance is read at."""
    if any(gradient is not None for gradient in gradients):
        raise ValueError(
            f"{type(classifier.backbone).__name__}: words reach the logits by another way than through the first "
            "layer's input, so that attributions would miss a part of them; this backbone is not supported."
        )


def propagate(
    classifier: ExplainableClassifier,
    inputs: Inputs,
    request: AttributionRequest,
    attention: str | None = None,
    norm_std: str | None = None,
    activation: str | None = None,
    relevance_layers: int = 1,
    norm_of_gradient: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient × input at the embeddings, under propagation rules (see `PropagationRules`).

    Args:
        relevance_layers: 2 reads relevance also where it enters the second layer, and takes the mean.

    Returns:
        logits (batch, labels) and attributions (batch, targets, tokens), from one graph.
    """
    logits, states, words, weights, batched = run_under_rules(
        classifier,
        inputs,
        norm_std=norm_std,
        attention=attention,
        activation=activation,
        relevance_layers=relevance_layers,
    )
    objective = request.objective(logits)
    scale = GradientScale(objective, weights)
    several = batched and objective.shape[1] > 1
    together = max(1, _TOKENS_GOING_BACK // states[0][..., 0].numel()) if several else 1
    chunks = scale.enlarge(objective).sum(dim=0).split(together)
    scores = []
    for number, totals in enumerate(chunks, start=1):
        gradients = [scale.restore(g) for g in _gradients(totals, states, words, number < len(chunks), classifier)]
        if norm_of_gradient:
            scores.append(gradients[0].norm(dim=-1))
        else:
            read = [(gradient * state).sum(dim=-1) for gradient, state in zip(gradients, states)]
            scores.append(torch.stack(read).mean(dim=0))
    return logits.detach(), torch.cat(scores).transpose(0, 1).detach()


# Labels go back together while their gradients are small: matrix products of this many rows gain nothing by more, and
# larger gradients no longer find room in memory that is already at hand.
_TOKENS_GOING_BACK = 1024


def _gradients(
    totals: torch.Tensor,
    states: Sequence[torch.Tensor],
    words: Sequence[torch.Tensor],
    retain_graph: bool,
    classifier: ExplainableClassifier,
) -> tuple[torch.Tensor, ...]:
    """Gradient of each of `totals`, (targets,), with respect to each state, (...): (targets, ...)."""
    sources = [*states, *words]

    def go_back(weights: torch.Tensor) -> tuple[torch.Tensor, ...]:
        gradients = torch.autograd.grad(totals, sources, weights, retain_graph, allow_unused=True)
        refuse_detour(classifier, gradients[len(states) :])
        return gradients[: len(states)]

    each = torch.eye(len(totals), dtype=totals.dtype, device=totals.device)
    if len(totals) == 1:
        return tuple(gradient.unsqueeze(0) for gradient in go_back(each[0]))
    return torch.vmap(go_back)(each)


class Rules(TypedDict):
    """A propagation rule for each kind of part, as `PropagationRules` names them."""

    attention: str
    norm_std: str
    activation: str


LRP: Rules = {"attention": "frozen", "norm_std": "frozen", "activation": "secant"}


@attribution_method(
    "lrp",
    paper=f"{_ALI}, with activation secants",
    cost=2,
    signed=True,
    conservative=True,
    needs_every_rule=True,
    needs_words_apart=True,
)
def lrp(
    classifier: ExplainableClassifier, inputs: Inputs, request: AttributionRequest
) -> tuple[torch.Tensor, torch.Tensor]:
    """AH and LN rules plus activation secants: every part is linear once frozen, so relevance is conserved."""
    return propagate(classifier, inputs, request, **LRP)


@attribution_method("lrp_ah", paper=f"{_ALI}, AH rule", cost=2, signed=True, needs_words_apart=True)
def lrp_ah(
    classifier: ExplainableClassifier, inputs: Inputs, request: AttributionRequest
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention probabilities frozen."""
    return propagate(classifier, inputs, request, attention="frozen")


@attribution_method("lrp_ah_ln", paper=f"{_ALI}, AH and LN rules", cost=2, signed=True, needs_words_apart=True)
def lrp_ah_ln(
    classifier: ExplainableClassifier, inputs: Inputs, request: AttributionRequest
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention probabilities and LayerNorm's standard deviation frozen."""
    return propagate(classifier, inputs, request, attention="frozen", norm_std="frozen")


@attribution_method(
    "attn_lrp",
    paper="Achtibat et al. 2024, AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for Transformers",
    cost=2,
    signed=True,
    needs_every_rule=True,
    needs_words_apart=True,
)
def attn_lrp(
    classifier: ExplainableClassifier, inputs: Inputs, request: AttributionRequest
) -> tuple[torch.Tensor, torch.Tensor]:
    """Relevance also through the attention probabilities, shared evenly at each bilinear product."""
    return propagate(classifier, inputs, request, attention="split", norm_std="frozen", activation="secant")


@attribution_method(
    "damped_lrp",
    paper="this project: Ali et al. 2022 with activation secants; AttnLRP's even split at A·V, of which the values' "
    "half alone is followed; relevance read at the embeddings and behind the first layer",
    cost=2,
    signed=True,
    needs_every_rule=True,
    needs_words_apart=True,
)
def damped_lrp(
    classifier: ExplainableClassifier, inputs: Inputs, request: AttributionRequest
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `lrp`, but half of what reaches an attention product goes on to the values: nearer to each token's own path.

    What is not followed is missing from the sum. In exchange the first tokens of the ranking decide more than those of
    `lrp` and of `attn_lrp` on most models that were measured (benchmarks/faithfulness.md, which names the others).
    """
    return propagate(
        classifier, inputs, request, attention="damped", norm_std="frozen", activation="secant", relevance_layers=2
    )


@attribution_method(
    "gradient_x_input",
    paper="Shrikumar et al. 2017, Learning Important Features Through Propagating Activation Differences",
    cost=2,
    signed=True,
    needs_words_apart=True,
)
def gradient_x_input(
    classifier: ExplainableClassifier, inputs: Inputs, request: AttributionRequest
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient × input at the embedding layer's output."""
    return propagate(classifier, inputs, request)


@attribution_method(
    "saliency",
    paper="Simonyan et al. 2014, Deep Inside Convolutional Networks",
    cost=2,
    signed=False,
    needs_words_apart=True,
)
def saliency(
    classifier: ExplainableClassifier, inputs: Inputs, request: AttributionRequest
) -> tuple[torch.Tensor, torch.Tensor]:
    """Euclidean norm of the gradient at the embedding layer's output."""
    return propagate(classifier, inputs, request, norm_of_gradient=True)
