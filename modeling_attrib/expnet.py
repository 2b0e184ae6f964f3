"""ExpNet: a small trained head that scores each token by its attention pattern or states, in the same forward pass."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.nn import functional as F

from .activation_capture import ActivationCapture, check_layers
from .attention_records import SOFTMAX, AttentionObserver, record_attention, serve_query_heads
from .attribution_methods import AttributionRequest, ExplainableClassifier, Inputs, attribution_method
from .backbone_parts import find_parts
from .half_precision import at_least_float32


_ENTRIES_AT_ONCE = 1 << 18  # of A, over texts and heads: what stays in a core's cache is read again at little cost
_SMALLEST = 1e-3  # of even attention: below it a head is taken not to look; keeps the logarithm finite


class AttentionPatterns(AttentionObserver[torch.Tensor]):
    """Context manager that reads off every attention product in this thread what ExpNet reads, and keeps no A.

    Fused attention is written out, a few heads at a time: A is there for the output and for the head at once, which is
    cheaper than the kernel with A beside it. One layer's record is (batch, heads, tokens, 4): for each head and token i
    A[f, i], A[i, f], the mean over real queries q of A[q, i], and A[i, i], where f is the first real token ([CLS]).

    Args:
        mask: (batch, tokens), 1 at real tokens.
    """

    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__()
        self._real = mask.bool()[:, None, None]
        self._first = self._real.long().argmax(dim=-1, keepdim=True)
        self.count = self._real.sum(dim=-1, keepdim=True).clamp(min=1)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            return self._attend(*args, **(kwargs or {}))
        output = func(*args, **(kwargs or {}))
        if func in SOFTMAX and output.dim() == 4:
            self.shapes.append(tuple(output.shape))
            if output.shape[-2:] == (self._real.shape[-1],) * 2:  # `layers` refuses anything else
                self.records.append(_read_pattern(output, self._first, self._real / self.count.to(output.dtype)))
        return output

    def _attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        batch, heads, tokens, _ = query.shape
        self.shapes.append((batch, heads, tokens, key.shape[2]))
        if enable_gqa:
            key, value = serve_query_heads(key, query), serve_query_heads(value, query)
        if attn_mask is not None:
            attn_mask = attn_mask.expand(batch, heads, *attn_mask.shape[-2:])

        share = self._real / self.count.to(query.dtype)

        def attend(own: tuple[slice, slice]) -> tuple[torch.Tensor, torch.Tensor]:
            mask = None if attn_mask is None else attn_mask[own]
            attention = record_attention(query[own], key[own], value[own], mask, 0.0, is_causal, scale).matrix()
            pattern = _read_pattern(attention, self._first[own[0]], share[own[0]])
            return (F.dropout(attention, dropout_p) if dropout_p else attention) @ value[own], pattern

        parts = _portions(batch, heads, tokens)
        if len(parts) == 1:
            output, pattern = attend(parts[0])
        else:
            output, pattern = torch.empty_like(value), value.new_empty(batch, heads, tokens, 4)
            for own in parts:
                output[own], pattern[own] = attend(own)
        self.records.append(pattern)
        return output


def _portions(batch: int, heads: int, tokens: int) -> list[tuple[slice, slice]]:
    """Texts and heads whose attention is written out together."""
    if get_proxy_mode() is not None:  # a graph is being recorded, which has no number of texts to divide yet
        return [(slice(None), slice(None))]
    at_once = max(1, _ENTRIES_AT_ONCE // tokens**2)
    texts, own = max(1, at_once // heads), min(heads, at_once)
    return [
        (slice(text, text + texts), slice(head, head + own))
        for text in range(0, batch, texts)
        for head in range(0, heads, own)
    ]


@torch.no_grad()
def _read_pattern(attention: torch.Tensor, first: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """A, (batch, heads, tokens, tokens), first real token and each token's share -> (batch, heads, tokens, 4)."""
    heads, tokens = attention.shape[1:3]
    columns = (
        attention.gather(2, first.expand(-1, heads, 1, tokens)).squeeze(2),
        attention.gather(3, first.expand(-1, heads, tokens, 1)).squeeze(3),
        (share @ attention).squeeze(2),
        attention.diagonal(dim1=2, dim2=3),
    )
    return torch.stack(columns, dim=-1)


class ExpNet(nn.Module):
    """What is known of each token, as one vector, to scores: F -> 256 -> 64 -> outputs, dropout 0.1.

    Args:
        inputs: F.
        outputs: scores a token: one, or one for each label.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, 256)
        self.narrow = nn.Linear(256, 64)
        self.score = nn.Linear(64, outputs)
        self.dropout = nn.Dropout(0.1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(..., F) -> (..., outputs)."""
        hidden = self.dropout(F.relu(self.hidden(features.to(next(self.parameters(), features).dtype))))
        return self.score(self.dropout(F.relu(self.narrow(hidden))))


def build_expnet(config: Any) -> ExpNet | None:
    """The head that an `AttribConfig` asks for, with fresh weights."""
    if config.attribution_head == "none":
        return None
    encoder = config.get_text_config()
    a_layer = {"attention": 4 * encoder.num_attention_heads, "states": encoder.hidden_size}
    inputs = encoder.num_hidden_layers * a_layer[config.attribution_head_reads]
    if config.attribution_head_reads == "attention":
        inputs += 1
    return ExpNet(inputs, config.num_labels if config.attribution_head == "labels" else 1)


@torch.no_grad()
def read_features(classifier: ExplainableClassifier, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (batch, labels) and what the head reads of each token, (batch, tokens, F), from one forward pass.

    Its attention pattern (Mihaila 2026): for each layer and head what `AttentionPatterns` reads, times the number of
    tokens n, so that even attention is 1 whatever the length; and n; as logarithms. Mihaila also takes the mean
    attention that a token gives: rows of A sum to 1, so that it is 1/n for every head, and one input stands for all.

    Or its states, which that paper does not read: what enters each layer. They cost less, since attention stays inside
    its kernel.

    Raises:
        ValueError: if the attention, or the input, of some layer is out of sight.
    """
    mask, weights = inputs["attention_mask"], classifier.token_weights(inputs)
    if classifier.config.attribution_head_reads == "states":
        with ActivationCapture(list(find_parts(classifier.backbone).layers)) as capture:
            logits = classifier.classify(inputs, weights)
        check_layers(classifier, capture.values, inputs)
        return logits, torch.cat([at_least_float32(state) for state in capture.values], dim=-1)
    with AttentionPatterns(mask) as patterns:
        logits = classifier.classify(inputs, weights)
    read = torch.cat([at_least_float32(record) for record in patterns.layers(classifier, inputs)], dim=1)
    count = patterns.count.squeeze(-1).to(read.dtype)
    columns = (read.transpose(1, 2).flatten(2) * count, count.expand(-1, mask.shape[1], 1))
    return logits, (torch.cat(columns, dim=-1) + _SMALLEST).log()


@attribution_method(
    "expnet",
    paper="Mihaila 2026, Learning to Explain: Supervised Token Attribution from Transformer Attention Patterns",
    cost=1,
    signed=True,
    needs_attention=True,
)
def expnet(
    classifier: ExplainableClassifier, inputs: Inputs, request: AttributionRequest
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of the classifier's trained head.

    A head with one output is blind to labels: positive scores mark what people would call a reason, for every target,
    and a contrast changes nothing. A head with one output a label scores toward the target, less the contrast.
    """
    if classifier.expnet is None:
        raise ValueError(
            "this model has no trained expnet head; train one with train.py (recipes expnet_rationales, "
            "expnet_distilled)."
        )
    logits, features = read_features(classifier, inputs)
    with torch.no_grad():
        scores = classifier.expnet(features).transpose(1, 2).to(logits.dtype)
        if classifier.config.attribution_head == "labels":
            return logits, request.select(scores, logits)
        return logits, scores.expand(-1, request.resolve(logits).shape[1], -1)
