"""Attention masks: those that say the same to every query, kept as one row; and those of a query that sees nothing."""

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from .attention_records import SOFTMAX


_NATURAL, _TRUE = "natural", "true"  # what is known of every element: not below 0; true
_MARK = "_attrib_known"
_KEEP = {torch.Tensor.__getitem__, torch.Tensor.to}
_ADD = {torch.Tensor.__add__, torch.Tensor.add, torch.add}
_NOT_LESS = {torch.Tensor.__ge__, torch.Tensor.ge, torch.ge}
_AND = {torch.Tensor.__and__, torch.Tensor.bitwise_and, torch.bitwise_and, torch.logical_and}


class QuerylessMasks(TorchFunctionMode):
    """Context manager under which "any query, and this key" stays a view of the keys' mask.

    transformers writes a mask that bars padding alone as (query ≥ 0) & (key is real), which is a tokens × tokens
    tensor. Here the first factor is known to be true, since positions count from 0, and the product is the second one,
    expanded. What is not recognised is computed as ever.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _AND and _known(args[0]) == _TRUE and _is_boolean(args[0]) and _is_boolean(args[1]):
            return _mark(args[1].expand(torch.broadcast_shapes(*(a.shape for a in args[:2]))), _known(args[1]))
        return _mark(func(*args, **(kwargs or {})), _known_of_result(func, args))


class FiniteScores(TorchFunctionMode):
    """Context manager under which the scores of masked tokens stay finite where a softmax narrows float64.

    transformers masks by the lowest number of the scores' type, and computes the softmax of many decoders in float32,
    where the lowest number of float64 is -inf: of a query that sees nothing, padding on the left, NaN is left, which
    the next layer spreads to every token. Where a softmax widens its scores (Funnel), their own type is the narrower.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in SOFTMAX and args and args[0].dim() == 4:
            types_met = (args[0].dtype, kwargs.get("dtype") or args[0].dtype)
            args = (args[0].clamp(min=max(torch.finfo(dtype).min for dtype in types_met)), *args[1:])
        return func(*args, **kwargs)


def _known_of_result(func: Callable[..., Any], args: tuple[Any, ...]) -> str | None:
    if func is torch.arange:
        return _NATURAL if len(args) == 1 else None
    if func is torch.Tensor.new_ones:
        return _TRUE
    if func in _KEEP:
        return _known(args[0])
    if func in _ADD and type(args[1]) is int and args[1] >= 0:
        return _known(args[0])
    if func in _NOT_LESS and type(args[1]) is int and args[1] <= 0 and _known(args[0]) == _NATURAL:
        return _TRUE
    return None


def _known(value: Any) -> str | None:
    known, written = getattr(value, _MARK, (None, None))
    return known if written is None or written == value._version else None  # what was written to is not known any more


def _mark(value: Any, known: str | None) -> Any:
    if known is not None:
        setattr(value, _MARK, (known, value._version))
    return value


def _is_boolean(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == torch.bool


def common_to_queries(mask: torch.Tensor) -> torch.Tensor:
    """(..., queries, keys) -> (..., 1, keys) where it is known that every query has the same row; else the mask."""
    return mask[..., :1, :] if mask.stride(-2) == 0 else mask
