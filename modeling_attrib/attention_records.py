"""Attention probabilities of a forward pass, for any attention kernel, kept as factors where possible."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

from .attribution_methods import ExplainableClassifier, Inputs
from .backbone_parts import find_parts
from .half_precision import sum_type


Kept = TypeVar("Kept")
SOFTMAX = {F.softmax, torch.softmax, torch.Tensor.softmax}


def serve_query_heads(grouped: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """Grouped keys or values, (batch, groups, tokens, width), repeated for the query heads that each group serves."""
    return grouped.repeat_interleave(query.shape[1] // grouped.shape[1], dim=1)


@dataclass(frozen=True)
class AttentionRecord:
    """The attention of one layer: A, (batch, heads, tokens, tokens), or the factors that it is the softmax of.

    From the factors, A·x and Aᵀ·x are attention calls themselves, so that no tokens × tokens matrix is stored.
    """

    probabilities: torch.Tensor | None = None
    query: torch.Tensor | None = None
    key: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    is_causal: bool = False
    scale: float | None = None

    def matrix(self) -> torch.Tensor:
        """A, (batch, heads, tokens, tokens)."""
        if self.probabilities is not None:
            return self.probabilities
        query, key = self._factors()
        scale = 1.0 / math.sqrt(query.shape[-1]) if self.scale is None else self.scale
        scores = (query * scale) @ key.transpose(-1, -2)
        lowest = torch.finfo(scores.dtype).min  # not -inf: a padding row that sees nothing would become NaN
        if self.is_causal:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(later, lowest)
        if self.mask is not None:
            allowed = self.mask.dtype == torch.bool
            scores = scores.masked_fill(~self.mask, lowest) if allowed else scores + self.mask
        return scores.softmax(dim=-1)

    def attend(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over heads h and keys j of A_ij x_j: (batch, tokens, width) -> (batch, tokens, width)."""
        if self.probabilities is not None:
            return _sum_heads(self.probabilities).to(values.dtype) @ values
        return self._by_columns(values, self._attend)

    def attend_transposed(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over heads h and queries i of A_ij x_i: (batch, tokens, width) -> (batch, tokens, width)."""
        if self.probabilities is not None:
            return _sum_heads(self.probabilities).to(values.dtype).transpose(1, 2) @ values
        return self._by_columns(values, self._attend_transposed)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of A: (batch, heads, queries, keys)."""
        if self.probabilities is not None:
            return tuple(self.probabilities.shape)
        query, key = self._factors()
        return (*query.shape[:-1], key.shape[-2])

    @property
    def heads(self) -> int:
        """Number of attention heads."""
        return self.shape[1]

    def _factors(self) -> tuple[torch.Tensor, torch.Tensor]:
        assert self.query is not None, "a record has probabilities or factors"
        assert self.key is not None
        return self.query, self.key

    def _by_columns(self, values: torch.Tensor, product: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        # A value as wide as a head keeps the fused kernel; another width would fall back to the tokens × tokens one.
        query, _ = self._factors()
        width = query.shape[-1]
        padded = F.pad(values.to(query.dtype), (0, -values.shape[-1] % width))
        parts = [
            product(part.unsqueeze(1).expand(-1, self.heads, -1, -1).contiguous()).sum(dim=1, dtype=values.dtype)
            for part in padded.split(width, dim=-1)
        ]
        return torch.cat(parts, dim=-1)[..., : values.shape[-1]].to(values.dtype)

    def _attend(self, values: torch.Tensor) -> torch.Tensor:
        query, key = self._factors()
        return F.scaled_dot_product_attention(query, key, values, self.mask, is_causal=self.is_causal, scale=self.scale)

    def _attend_transposed(self, values: torch.Tensor) -> torch.Tensor:
        # Aᵀ·x is the vector-Jacobian product of the attention output with respect to the value.
        with torch.enable_grad():
            argument = torch.zeros_like(values).requires_grad_()
            output = self._attend(argument)
        return torch.autograd.grad(output, argument, values)[0]


def _sum_heads(probabilities: torch.Tensor) -> torch.Tensor:
    return probabilities.sum(dim=1, dtype=sum_type(probabilities))


class AttentionObserver(TorchFunctionMode, Generic[Kept]):
    """What the modes have in common that see every attention product in this thread: A's shape, and what they keep."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Kept] = []
        self.shapes: list[tuple[int, ...]] = []

    def layers(self, classifier: ExplainableClassifier, inputs: Inputs) -> list[Kept]:
        """The records, one per layer.

        Raises:
            ValueError: saying why, if the pass did not show one attention of all tokens to all in each layer.
        """
        batch, tokens = inputs["attention_mask"].shape
        whole = all(len(s) == 4 and (s[0], s[2], s[3]) == (batch, tokens, tokens) for s in self.shapes)
        if not whole or len(self.shapes) != classifier.num_layers:
            raise find_parts(classifier.backbone).attention_out_of_sight(len(self.shapes), classifier.num_layers)
        return self.records


class AttentionRecorder(AttentionObserver[AttentionRecord]):
    """Context manager that keeps an `AttentionRecord` of every attention product in this thread."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if func is F.scaled_dot_product_attention:
            self.keep(record_attention(*args, **(kwargs or {})))
        elif func in SOFTMAX and output.dim() == 4:
            self.keep(AttentionRecord(probabilities=output))
        return output

    def keep(self, record: AttentionRecord) -> None:
        """Take the record of one attention product."""
        self.shapes.append(record.shape)
        self.records.append(record)


class ExplicitAttention(TorchFunctionMode):
    """Context manager under which fused attention in this thread is written out as softmax(Q·Kᵀ)·V.

    For second derivatives, which the fused kernels do not have, and for graphs, whose readers do not know the kernels.
    A mode entered after this one sees the fused call, one entered before it sees the softmax.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        return _attend_explicitly(*args, **(kwargs or {}))


def is_written_out() -> bool:
    """Whether an `ExplicitAttention` is around the caller, in this thread."""
    return any(isinstance(mode, ExplicitAttention) for mode in _get_current_function_mode_stack())


def _attend_explicitly(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    record = record_attention(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)
    if enable_gqa:
        value = serve_query_heads(value, query)
    return F.dropout(record.matrix(), dropout_p) @ value


def record_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> AttentionRecord:
    """The record of a call of `scaled_dot_product_attention` with these arguments."""
    if enable_gqa:
        key = serve_query_heads(key, query)
    return AttentionRecord(query=query, key=key, mask=attn_mask, is_causal=is_causal, scale=scale)
