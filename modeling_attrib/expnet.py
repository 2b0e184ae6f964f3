"""ExpNet: a small trained head that gives each token a score from its attention pattern, in the same forward pass."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.nn import functional as F

from .attention_records import SOFTMAX, AttentionRecorder, record_attention
from .attribution_methods import AttributionRequest, Classifier, Inputs, attribution_method
from .contrastive import at_least_float32


_ENTRIES_AT_ONCE = 1 << 18  # of A, over texts and heads: what stays in a core's cache is read again at little cost
_SMALLEST = 1e-3  # of even attention: below it a head is taken not to look; keeps the logarithm finite


class AttentionPatterns(AttentionRecorder):
    """Context manager that reads off every attention product in this thread what ExpNet reads, and keeps no A.

    Fused attention is written out, a few texts at a time: A is there for the output and for the head at once, which is
    cheaper than the kernel with A beside it. One layer's records are (batch, tokens, heads, 4): for token i of n real
    ones and each head A[f, i], A[i, f], mean over real queries q of A[q, i], and A[i, i], where f is the first real
    token ([CLS]); all times n, so that even attention is 1 whatever the length.

    Args:
        mask: (batch, tokens), 1 at real tokens.
    """

    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__()
        self._real = mask.bool()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            return self._attend(*args, **(kwargs or {}))
        output = func(*args, **(kwargs or {}))
        if func in SOFTMAX and output.dim() == 4:
            self.records.append(_read_pattern(output, self._real))
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
        if enable_gqa:  # grouped keys serve several query heads each
            groups = query.shape[1] // key.shape[1]
            key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
        outputs, patterns = [], []
        for queries, keys, values, mask, real in self._portions(query, key, value, attn_mask):
            attention = record_attention(queries, keys, values, mask, 0.0, is_causal, scale).matrix()
            patterns.append(_read_pattern(attention, real))
            outputs.append(F.dropout(attention, dropout_p) @ values)
        self.records.append(torch.cat(patterns))
        return torch.cat(outputs)

    def _portions(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
    ) -> Iterable[tuple[torch.Tensor | None, ...]]:
        """The batch, with its mask and its real tokens, in portions of a few texts."""
        if get_proxy_mode() is not None:  # a graph is being recorded, which has no number of texts to divide yet
            return [(query, key, value, mask, self._real)]
        texts = max(1, _ENTRIES_AT_ONCE // (query.shape[1] * query.shape[2] * key.shape[2]))
        whole = mask is None or mask.dim() < 4 or len(mask) == 1  # one mask for all texts
        masks = itertools.repeat(mask) if whole else mask.split(texts)
        return zip(query.split(texts), key.split(texts), value.split(texts), masks, self._real.split(texts))


@torch.no_grad()
def _read_pattern(attention: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """A, (batch, heads, tokens, tokens), and which tokens are real -> (batch, tokens, heads, 4)."""
    heads, tokens = attention.shape[1:3]
    count = real.sum(dim=1).clamp(min=1).view(-1, 1, 1, 1)
    first = real.long().argmax(dim=1).view(-1, 1, 1, 1)
    columns = (
        attention.gather(2, first.expand(-1, heads, 1, tokens)).squeeze(2),
        attention.gather(3, first.expand(-1, heads, tokens, 1)).squeeze(3),
        ((real[:, None, None].to(attention.dtype) / count) @ attention).squeeze(2),
        attention.diagonal(dim1=2, dim2=3),
    )
    return (torch.stack(columns, dim=-1) * count).transpose(1, 2)


class ExpNet(nn.Module):
    """Attention patterns of all layers, as one vector a token, to scores: F -> 256 -> 64 -> outputs, dropout 0.1.

    F is 4 · layers · heads + 1. Mihaila 2026 also gives each head the mean attention that token i gives: rows of A sum
    to 1, so that it is 1/n for every head, and one input stands for all of them.

    Args:
        heads: attention heads, over all layers.
        outputs: scores a token: one, or one for each label.
    """

    def __init__(self, heads: int, outputs: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(4 * heads + 1, 256)
        self.narrow = nn.Linear(256, 64)
        self.score = nn.Linear(64, outputs)
        self.dropout = nn.Dropout(0.1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(..., F) -> (..., outputs)."""
        hidden = self.dropout(F.relu(self.hidden(features.to(self.hidden.weight.dtype))))
        return self.score(self.dropout(F.relu(self.narrow(hidden))))


def build_expnet(config: Any) -> ExpNet | None:
    """The head that an `AttribConfig` asks for, with fresh weights."""
    if config.attribution_head == "none":
        return None
    encoder = config.get_text_config()
    outputs = config.num_labels if config.attribution_head == "labels" else 1
    return ExpNet(encoder.num_hidden_layers * encoder.num_attention_heads, outputs)


def attention_features(classifier: Classifier, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (batch, labels) and what `ExpNet` reads of each token, (batch, tokens, F), from one forward pass.

    Raises:
        ValueError: if the attention of some layer is out of sight.
    """
    mask = inputs["attention_mask"]
    with torch.no_grad():
        weights = classifier.token_weights(inputs)
        with AttentionPatterns(mask) as patterns:
            logits = classifier.classify(inputs, weights)
        layers = [at_least_float32(record) for record in patterns.layers(classifier.num_layers)]
        length = mask.bool().sum(dim=1, keepdim=True).clamp(min=1).to(layers[0].dtype)
        columns = [layer.flatten(2) for layer in layers] + [length.view(-1, 1, 1).expand(-1, mask.shape[1], 1)]
        return logits, (torch.cat(columns, dim=-1) + _SMALLEST).log()


@attribution_method(
    "expnet",
    paper="Mihaila 2026, Learning to Explain: Supervised Token Attribution from Transformer Attention Patterns",
    cost=1,
    signed=True,
    needs_attention=True,
)
def expnet(classifier: Classifier, inputs: Inputs, request: AttributionRequest) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of the classifier's trained head.

    A head with one output is blind to labels: positive scores mark what people would call a reason, for every target,
    and a contrast changes nothing. A head with one output a label scores toward the target, less the contrast.
    """
    if classifier.expnet is None:
        raise ValueError(
            "this model has no trained expnet head; train one with train.py (recipes expnet_rationales, "
            "expnet_distilled)."
        )
    logits, features = attention_features(classifier, inputs)
    with torch.no_grad():
        scores = classifier.expnet(features).transpose(1, 2).to(logits.dtype)
        if classifier.config.attribution_head == "labels":
            return logits, request.select(scores, logits)
        return logits, scores.expand(-1, request.resolve(logits).shape[1], -1)
