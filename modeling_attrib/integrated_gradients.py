"""Integrated gradients: the mean gradient on the way from a baseline that says nothing to the text itself."""

from dataclasses import dataclass
from typing import cast

import torch
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from .activation_capture import ActivationCapture, check_states, check_tensor
from .attribution_methods import AttributionRequest, ExplainableClassifier, Inputs, attribution_method
from .backbone_parts import find_parts, word_embeddings
from .half_precision import GradientScale, at_least_float32
from .propagation_rules import PropagationRules


_STEPS = 20
_TOKENS_AT_ONCE = 2048  # of all steps that run as one batch: bounds the memory, whatever the caller's batch is
_SPECIAL_TOKENS = ("cls_token_id", "sep_token_id", "bos_token_id", "eos_token_id")


def gauss_legendre(steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes and weights, (steps,) float64 each, of the Gauss-Legendre rule on [0, 1], exact to degree 2·steps − 1.

    Golub and Welsch 1969: nodes are the eigenvalues of the Legendre polynomials' recurrence matrix, weights the
    squared first components of its eigenvectors.
    """
    degree = torch.arange(1, steps, dtype=torch.float64)
    beside = degree / (4 * degree**2 - 1).sqrt()
    values, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    return (values + 1) / 2, vectors[0] ** 2


@attribution_method(
    "integrated_gradients",
    paper="Sundararajan et al. 2017, Axiomatic Attribution for Deep Networks, eq. 1",
    cost=1 + 2 * _STEPS,
    signed=True,
)
def integrated_gradients(
    classifier: ExplainableClassifier,
    inputs: Inputs,
    request: AttributionRequest,
    steps: int = _STEPS,
    baseline: str | int = "pad",
    special_ids: list[int] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(x − x') · ∫₀¹ ∂y/∂x(x' + a·(x − x')) da at the word embeddings, by the Gauss-Legendre rule.

    Scores sum to y(x) − y(x') up to the error of the rule, so what no token accounts for is y(x'), the baseline's
    logit. y is the label that the text itself is explained for, also where another one would win on the way; how much
    the head reads of each token, its position and its type stay what they are for the text.

    Args:
        steps: points on the way; each costs a forward and a backward pass.
        baseline: what x' has in the place of each token: the embedding of `"pad"` or `"mask"`, if the configuration
            names that token, or of a token id (`tokenizer.mask_token_id`), or `"zero"`.
        special_ids: ids of tokens that x' keeps, which then score exactly 0. By default [CLS], [SEP], <s> and </s> as
            far as the backbone's configuration names them (BERT's own names none; `train.py` adds them); `[]` keeps
            none. Where embeddings are given in the place of ids, none is kept.

    Raises:
        ValueError: for impossible steps or an impossible baseline, or a padding or mask token that has no name.
    """
    if get_proxy_mode() is not None:
        raise ValueError("integrated_gradients cannot be recorded as a graph: it would have to hold every step.")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps={steps!r}: use a whole number, 1 or more.")
    with torch.no_grad():
        weights = classifier.token_weights(inputs)
        logits = classifier.classify(inputs, weights)
        text = _embed(classifier, inputs)
        start = at_least_float32(_baseline(classifier, inputs, text, baseline, special_ids))
        way = text - start
    # On the host: which portion this is reaches the device as data, so that one that compiles graphs compiles one.
    targets, contrast = request.resolve(logits).cpu(), request.resolve_contrast(logits)
    contrast = None if contrast is None else contrast.cpu()
    batch, tokens = way.shape[:2]
    inputs = {name: value.expand(batch, *value.shape[1:]) for name, value in inputs.items()}
    path = _Path(classifier, inputs, weights, text.dtype, start, way)
    scores = torch.zeros(batch, targets.shape[1], tokens, dtype=start.dtype)
    nodes, node_weights = gauss_legendre(steps)
    for texts in torch.arange(batch).split(max(1, _TOKENS_AT_ONCE // tokens)):
        together = max(1, _TOKENS_AT_ONCE // (len(texts) * tokens))
        for some, some_weights in zip(nodes.split(together), node_weights.split(together)):
            scores[texts] += path.integrate(texts, some, some_weights, targets, contrast).cpu()
    return logits, scores.to(logits.device)


@dataclass(frozen=True)
class _Path:
    """The straight way from the baseline to each text, in word embeddings (batch, tokens, width).

    Attributes:
        inputs: the texts' other inputs, (batch, ...).
        weights: how much the head reads of each token, (batch, tokens).
        dtype: the model's.
        start, way: x' and x − x'.
    """

    classifier: ExplainableClassifier
    inputs: Inputs
    weights: torch.Tensor
    dtype: torch.dtype
    start: torch.Tensor
    way: torch.Tensor

    def integrate(
        self,
        texts: torch.Tensor,
        nodes: torch.Tensor,
        node_weights: torch.Tensor,
        targets: torch.Tensor,
        contrast: torch.Tensor | None,
    ) -> torch.Tensor:
        """Σ_a w_a · (x − x') · ∂y/∂x(x' + a·(x − x')) of some texts and nodes a: (texts, targets, tokens)."""
        there, rows = texts.to(self.start.device), texts.repeat(len(nodes))
        points = self.start[there] + nodes.to(self.start).view(-1, 1, 1, 1) * self.way[there]
        points = points.flatten(0, 1).to(self.dtype).requires_grad_()  # (nodes · texts, tokens, width)
        rows_there = rows.to(self.start.device)
        here = {name: value[rows_there] for name, value in self.inputs.items()}
        weights = self.weights[rows_there]
        found = _classify_embeddings(self.classifier, here, points, weights)
        columns = []
        for column in range(targets.shape[1]):
            fixed = AttributionRequest(targets[rows, column], None if contrast is None else contrast[rows, 0])
            objective = fixed.objective(found)
            scale = GradientScale(objective, weights)
            total = scale.enlarge(objective).sum()
            (gradient,) = torch.autograd.grad(total, points, retain_graph=column + 1 < targets.shape[1])
            products = (scale.restore(gradient) * self.way[rows_there]).sum(dim=-1)
            products = products.unflatten(0, (len(nodes), len(texts)))
            columns.append(torch.einsum("s,sbt->bt", node_weights.to(self.start), products))
        return torch.stack(columns, dim=1)


def _embed(classifier: ExplainableClassifier, inputs: Inputs) -> torch.Tensor:
    """Word embeddings, (batch, tokens, width)."""
    if "inputs_embeds" in inputs:
        return inputs["inputs_embeds"]
    table = classifier.backbone.get_input_embeddings()
    words = table(inputs["input_ids"])
    check_tensor(table, words)
    return words


def _baseline(
    classifier: ExplainableClassifier,
    inputs: Inputs,
    text: torch.Tensor,
    baseline: str | int,
    special_ids: list[int] | None,
) -> torch.Tensor:
    """x', shaped like the text's embeddings, which it keeps at special tokens and padding."""
    moves = inputs["attention_mask"].bool()
    if "input_ids" in inputs:
        special = _special_ids(classifier) if special_ids is None else special_ids
        kept = torch.tensor(special, dtype=torch.long, device=text.device)
        moves = moves & ~(inputs["input_ids"].unsqueeze(-1) == kept).any(dim=-1)
    if baseline == "zero":
        return text.masked_fill(moves.unsqueeze(-1), 0.0)
    embeddings = classifier.backbone.get_input_embeddings()
    token = _baseline_id(classifier, baseline, cast(torch.Tensor, embeddings.weight).shape[0])
    return torch.where(moves.unsqueeze(-1), embeddings(torch.tensor([token], device=text.device)), text)


def _baseline_id(classifier: ExplainableClassifier, baseline: str | int, vocabulary: int) -> int:
    if baseline in ("pad", "mask"):
        named = _named_ids(classifier, f"{baseline}_token_id")
        if not named:
            raise ValueError(
                f"baseline={baseline!r}: the configuration names no such token; use baseline='zero', or a token id "
                f"(tokenizer.{baseline}_token_id)."
            )
        return named[0]
    if isinstance(baseline, bool) or not isinstance(baseline, int) or not 0 <= baseline < vocabulary:
        raise ValueError(f"baseline={baseline!r}: use 'pad', 'mask', 'zero' or a token id from 0 to {vocabulary - 1}.")
    return baseline


def _special_ids(classifier: ExplainableClassifier) -> list[int]:
    return [token for name in _SPECIAL_TOKENS for token in _named_ids(classifier, name)]


def _named_ids(classifier: ExplainableClassifier, name: str) -> list[int]:
    """The ids that the configuration has under this name: none, one, or several (decoders end in several ways)."""
    value = getattr(classifier.config.get_text_config(), name, None)
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _classify_embeddings(
    classifier: ExplainableClassifier, inputs: Inputs, embeddings: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Logits (batch, labels) of texts whose word embeddings are these; ids still say which positions they have."""
    rules = PropagationRules(find_parts(classifier.backbone), classifier.num_layers)  # weights need no gradients
    if "inputs_embeds" in inputs:
        with rules:
            return classifier.classify(inputs | {"inputs_embeds": embeddings}, weights)
    words = word_embeddings(classifier.backbone)
    with ActivationCapture(words, side="output", replacement=embeddings) as capture, rules:
        logits = classifier.classify(inputs, weights)
    check_states(classifier, capture.values, inputs)
    return logits
