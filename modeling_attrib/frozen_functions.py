"""Autograd functions whose backward pass holds something constant: the arithmetic of the propagation rules.

Every function here returns the ordinary forward value bit for bit, and backward passes made of plain tensor
operations, so that several labels can go back in one batched pass.
"""

from typing import Any

import torch
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from .attention_masks import common_to_queries
from .attention_records import is_written_out, serve_query_heads


_FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_FLASH_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
_WIDEST_RANGE = 80.0  # e^−80 and e^40 times a gradient fit float32; at 77 the error was still 1e-6, at 100 it is total


class _Rescale(torch.autograd.Function):
    """Identity forward; the gradient is multiplied by a constant factor or (frozen) slope tensor."""

    @staticmethod
    def forward(
        ctx: Any, source: torch.Tensor, value: torch.Tensor | None, slope: torch.Tensor | float
    ) -> torch.Tensor:
        if isinstance(slope, torch.Tensor):
            ctx.save_for_backward(slope)  # freed as soon as it is used, for the layer below to take its memory
        else:
            ctx.factor = slope
        return source.view_as(source) if value is None else value

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        slope = ctx.saved_tensors[0] if ctx.saved_tensors else ctx.factor
        return gradient * slope, None, None


class _FrozenStdLayerNorm(torch.autograd.Function):
    """LayerNorm whose standard deviation is a constant in the backward pass; the mean is not."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        shape: list[int],
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        eps: float,
    ) -> torch.Tensor:
        output, _, rstd = torch.native_layer_norm(hidden, shape, weight, bias, eps)
        ctx.save_for_backward(rstd, *(() if weight is None else (weight,)))
        ctx.axes = tuple(range(-len(shape), 0))
        return output

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rstd, *weight = ctx.saved_tensors
        scaled = gradient * weight[0] if weight else gradient.clone()
        bias = gradient.flatten(0, -len(ctx.axes) - 1).sum(dim=0) if ctx.needs_input_grad[3] else None
        scaled.sub_(scaled.mean(dim=ctx.axes, keepdim=True))
        return scaled.mul_(rstd), None, None, bias, None


class _FrozenAttention(torch.autograd.Function):
    """Fused attention on a CPU whose probabilities are constants in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        is_causal: bool,
        scale: float | None,
    ) -> torch.Tensor:
        additive = _additive(mask, query.dtype)
        output, log_sum = _FLASH(query, key, value, is_causal=is_causal, attn_mask=additive, scale=scale)
        ctx.save_for_backward(query, key, log_sum, *(() if mask is None else (mask,)))
        ctx.is_causal, ctx.scale = is_causal, scale
        return output

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, log_sum, *masks = ctx.saved_tensors
        mask = masks[0] if masks else None
        if ctx.is_causal:  # exchanged, "no later key" would read "no earlier query", which the kernel has no flag for
            mask = query.new_full((query.shape[2], key.shape[2]), -torch.inf).triu_(1)
        values = _TransposedAttention.apply(gradient, query, key, log_sum, mask, ctx.scale)
        return None, None, values, None, None, None


class _TransposedAttention(torch.autograd.Function):
    """Aᵀ·g in O(tokens) memory, from one forward call of the attention kernel with queries and keys exchanged.

    A_ij = e^(s_ij − l_i), where l is the logarithm of the softmax's denominator; so Σ_i A_ij g_i is
    e^(l'_j) · attention(K, Q, e^(−l) g)_j with l' the same logarithm of the exchanged call. The kernel's own backward
    pass computes three gradients, of which the rules would throw two away.
    """

    @staticmethod
    def forward(
        gradient: torch.Tensor,
        query: torch.Tensor,
        key: torch.Tensor,
        log_sum: torch.Tensor,
        mask: torch.Tensor | None,
        scale: float | None,
    ) -> torch.Tensor:
        if get_proxy_mode() is not None:  # a graph cannot look at the range of a text that is yet to come
            recorded = _of_any_range if mask is None or mask.shape[-2] == 1 else _kernel_gradient
            return recorded(gradient, query, key, log_sum, mask, scale)
        lowest, highest = log_sum.amin(dim=-1, keepdim=True), log_sum.amax(dim=-1, keepdim=True)
        if not bool((highest - lowest).max() < _WIDEST_RANGE):  # e^(−l) would leave the range of float32
            return _kernel_gradient(gradient, query, key, log_sum, mask, scale)
        centre = (lowest + highest) / 2
        weighted = (gradient * (centre - log_sum).exp().unsqueeze(-1).to(gradient.dtype)).contiguous()
        additive = _additive(mask, query.dtype)
        exchanged = None if additive is None else additive.transpose(-1, -2)
        output, log_column = _FLASH(key, query, weighted, attn_mask=exchanged, scale=scale)
        return output.mul_((log_column - centre).exp_().unsqueeze(-1).to(gradient.dtype))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], gradient: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, int]:
        """Several labels at once: each is one more text to the kernel."""
        gradient = gradient.movedim(in_dims[0], 0)
        query, key, log_sum, mask, scale = rest
        labels = len(gradient)
        query, key, log_sum = (t.repeat(labels, *[1] * (t.dim() - 1)) for t in (query, key, log_sum))
        if mask is not None and mask.dim() == 4 and len(mask) > 1:
            mask = mask.repeat(labels, 1, 1, 1)
        output = _TransposedAttention.apply(gradient.flatten(0, 1), query, key, log_sum, mask, scale)
        return output.unflatten(0, (labels, -1)), 0


def _additive(mask: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    """The mask as the kernel takes it. Made where it is used: layers that share a boolean mask keep that one alone."""
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, -torch.inf)


def _of_any_range(
    gradient: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    log_sum: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float | None,
) -> torch.Tensor:
    """Aᵀ·g by the exchanged call with −l in its mask: s_ij − l_i is never above 0, so that no range can overflow.

    Slower than −l in the gradient, since the kernel then reads a mask. That of the call itself, which is the same for
    every query, belongs to the rows of the exchanged one: it goes into their factor.
    """
    subtracted = -log_sum.clamp(min=torch.finfo(log_sum.dtype).min)  # a text without a real token sums up to nothing
    rounded = subtracted.to(query.dtype)
    rest = (subtracted - rounded).exp().unsqueeze(-1).to(gradient.dtype)  # what bfloat16 lost
    output, log_column = _FLASH(key, query, gradient * rest, attn_mask=rounded.unsqueeze(2), scale=scale)
    additive = _additive(mask, log_column.dtype)
    log_column = log_column if additive is None else log_column + additive.squeeze(2)
    return output * log_column.exp().unsqueeze(-1).to(gradient.dtype)


def _kernel_gradient(
    gradient: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    log_sum: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float | None,
) -> torch.Tensor:
    """Aᵀ·g by the kernel's own backward pass: for the values' gradient it reads neither values nor output."""
    additive = _additive(mask, query.dtype)
    return _FLASH_BACKWARD(
        gradient, query, key, gradient, gradient, log_sum, 0.0, False, attn_mask=additive, scale=scale
    )[2]


def rescale(source: torch.Tensor, slope: torch.Tensor | float, value: torch.Tensor | None = None) -> torch.Tensor:
    """`value` (by default `source` itself) whose gradient with respect to `source` is the constant `slope`."""
    return _Rescale.apply(source, value, slope)


def frozen_std_layer_norm(
    hidden: torch.Tensor, shape: list[int], weight: torch.Tensor | None, bias: torch.Tensor | None, eps: float
) -> torch.Tensor:
    """LayerNorm over the last `len(shape)` axes of `hidden`, with a constant standard deviation."""
    return _FrozenStdLayerNorm.apply(hidden, shape, weight, bias, eps)


def can_freeze_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    enable_gqa: bool = False,
) -> bool:
    """Whether `frozen_attention` takes these: plain attention of one type and size, on a CPU, with its fused kernel on.

    The kernel checks nothing itself: what torch would broadcast, convert or compute otherwise must not reach it.
    """
    if query.dim() != 4 or key.dim() != 4 or key.shape != value.shape or (mask is not None and is_causal):
        return False
    heads = query.shape[1] if enable_gqa else key.shape[1]
    groups_fit = key.shape[1] > 0 and query.shape[1] % key.shape[1] == 0
    scores = (query.shape[0], query.shape[1], query.shape[2], key.shape[2])
    return (
        not (get_proxy_mode() and is_written_out())  # a graph is being recorded whose readers do not know the kernel
        and torch.backends.cuda.flash_sdp_enabled()  # the switch of `sdpa_kernel`, on a CPU too
        and dropout_p == 0
        and groups_fit
        and (query.shape[0], query.shape[1], query.shape[3]) == (key.shape[0], heads, key.shape[3])
        and query.dtype == key.dtype == value.dtype
        and query.device == key.device == value.device
        and query.device.type == "cpu"
        and query.dtype in (torch.float32, torch.float64, torch.bfloat16)
        and (not torch.is_autocast_enabled("cpu") or query.dtype == torch.get_autocast_dtype("cpu"))
        and 0 not in (*query.shape, *key.shape)
        and all(tensor.stride(-1) == 1 for tensor in (query, key, value))
        and (mask is None or (mask.dim() in (2, 4) and mask.dtype in (torch.bool, query.dtype)))
        and (mask is None or all(have in (1, want) for have, want in zip(mask.shape[::-1], scores[::-1])))
    )


def frozen_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """`scaled_dot_product_attention` with constant probabilities: gradients flow through `value` alone.

    Args: those of torch's function, for which `can_freeze_attention` is true.
    """
    if enable_gqa:
        key, value = serve_query_heads(key, query), serve_query_heads(value, query)
    mask = None if mask is None else common_to_queries(mask.detach())
    return _FrozenAttention.apply(query.detach(), key.detach(), value, mask, is_causal, scale)
