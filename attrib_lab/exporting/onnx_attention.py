"""Attention in an ONNX graph as onnxruntime's own fused operator, `com.microsoft::MultiHeadAttention`.

The operator is fast, and stores no tokens × tokens matrix, for calls without a mask; and it does not say the softmax's
denominator, which the backward pass needs. Both are had by one more number in each query and key and by one reference
among the keys:

* the mask of padding is a number beside each key, which queries multiply by 1;
* the reference is a key whose score c_i is known. Its share of the softmax, p_i, is read from a value that is 1 for it
  and 0 for all others, and theirs, r_i, from one that is the other way round: the others' denominator is e^(l_i) with
  l_i = c_i + log(r_i / p_i). c_i is the mean of the scores and `_ABOVE` more: by Jensen's inequality l_i is at least
  the mean, and peaks of attention lie 10 to 90 above it, so that neither share is too small for float32.
* Aᵀ·g of the backward pass, Σ_i e^(s_ij − l_i) g_i, is the same call with queries and keys exchanged, −l_i beside each
  query, and a reference of score 0: no s_ij − l_i is above 0, and the result is the output over the reference's share.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from modeling_attrib.attention_masks import common_to_queries
from modeling_attrib.attention_records import ExplicitAttention


_BARRED = -1e9  # the score of a padding token, in a softmax of float32
_ABOVE = 60.0  # of the reference over the mean score; e^-60 is a share that float32 still tells exactly
_SMALLEST = 1e-30  # of a share that is divided by: texts without a real token


class OnnxruntimeAttention(ExplicitAttention):
    """Context manager under which attention that only its values lead back from is onnxruntime's operator.

    That is, with the probabilities frozen and no mask but padding; all other attention is written out.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.scaled_dot_product_attention and _is_frozen_and_plain(*args, **(kwargs or {})):
            return _attend_fused(*args, **(kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs)


def _is_frozen_and_plain(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> bool:
    bars_keys_alone = attn_mask is None or (
        attn_mask.dtype == torch.bool and attn_mask.shape[1] == 1 and common_to_queries(attn_mask).shape[2] == 1
    )
    return (
        bars_keys_alone
        and dropout_p == 0
        and not (is_causal or enable_gqa or query.requires_grad or key.requires_grad)
        and query.dtype == torch.float32
    )


def _attend_fused(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    texts, tokens = key.shape[0], key.shape[2]
    mask = torch.ones(texts, 1, 1, tokens, dtype=torch.bool) if attn_mask is None else common_to_queries(attn_mask)
    # From here on (batch, tokens, heads, width), as the operator and the layers around it have it in memory.
    query, key, value = (tensor.transpose(1, 2) for tensor in (query, key, value))
    real = mask.expand(texts, 1, 1, tokens).permute(0, 3, 1, 2)
    return _FusedAttention.apply(query, key, value, real, scale).transpose(1, 2)


class _FusedAttention(torch.autograd.Function):
    """query, key, value: (batch, tokens, heads, width); real: (batch, tokens, 1, 1), whether a key is no padding."""

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, real: torch.Tensor, scale: float
    ) -> torch.Tensor:
        count = real.sum(dim=1, keepdim=True).clamp(min=1)
        reference = key.masked_fill(~real, 0.0).sum(dim=1, keepdim=True) / count
        score = scale * (query * reference).sum(dim=-1, keepdim=True) + _ABOVE
        barred = torch.zeros_like(key[..., :1]).masked_fill(~real, _BARRED / scale)
        output, rest, share = _attend_with_reference(
            _beside(query, 1.0), torch.cat([key, barred], dim=-1), value, _beside(reference, _ABOVE / scale), scale
        )
        rest = rest.clamp(min=_SMALLEST)
        # Where the softmax is so peaked that float32 has lost the reference's share, the denominator is not known: NaN,
        # and no wrong score, is what the backward pass must give.
        known = share.masked_fill(share < _SMALLEST, torch.nan)
        ctx.save_for_backward(query, key, real, score + (rest / known).log())
        ctx.scale = scale
        return output / rest

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, real, log_sum = ctx.saved_tensors
        queries = torch.cat([query, -log_sum / ctx.scale], dim=-1)
        reference = torch.zeros_like(queries[:, :1])
        output, _, share = _attend_with_reference(_beside(key, 1.0), queries, gradient, reference, ctx.scale)
        return None, None, (output / share).masked_fill(~real, 0.0), None, None


def _beside(tensor: torch.Tensor, number: float) -> torch.Tensor:
    """One more column, of this number."""
    return F.pad(tensor, (0, 1), value=number)


def _attend_with_reference(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, reference: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Attention to the keys and one reference key whose value is 0: what the keys give, their share, and its share.

    Shares, (batch, queries, heads, 1), are read from two more columns of the values.
    """
    keys = torch.cat([key, reference], dim=1)
    last = _beside(torch.zeros_like(_beside(value[:, :1], 0.0)), 1.0)
    values = torch.cat([_beside(_beside(value, 1.0), 0.0), last], dim=1)
    texts, tokens, heads, width = (*query.shape[:3], values.shape[-1])
    output = torch.onnx.ops.symbolic(
        "com.microsoft::MultiHeadAttention",
        [tensor.flatten(2) for tensor in (query, keys, values)],
        {"num_heads": heads, "scale": scale},
        dtype=query.dtype,
        shape=(texts, tokens, heads * width),
        version=1,
    ).unflatten(2, (heads, width))
    return output[..., :-2], output[..., -2:-1], output[..., -1:]
