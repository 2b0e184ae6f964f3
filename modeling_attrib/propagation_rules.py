"""Propagation rules: what is held constant while the target logit flows back to the tokens.

The rules act on torch *functions* (`scaled_dot_product_attention`, `layer_norm`, `gelu` ...) inside a
`TorchFunctionMode`. Such a mode belongs to one thread and one `with` block: no module, hook, class or global
is touched, other models and threads never see it, and every attention kernel that is reached through torch is
covered. Each rule keeps the forward value bit for bit and changes the backward pass only.

Rules (sources: Ali et al. 2022, "XAI for Transformers: Better Explanations through Conservative Propagation";
Achtibat et al. 2024, "AttnLRP"):

* attention "frozen" (AH rule): the attention probabilities are constants, so relevance flows through the values.
* attention "damped": frozen, and half of the relevance passes on: the half that "split" gives to the values.
* attention "split" (AttnLRP): each bilinear product shares its relevance evenly between its two factors, so the
  gradient is halved at A·V and halved again at Q·K.
* norm_std "frozen" (LN rule): the standard deviation (RMSNorm: the root mean square) is a constant.
* activation "secant": f(u) is propagated as (f(u)/u)·u with the slope f(u)/u constant, and its
  limit at 0. A gate, f(u)·v, shares its relevance evenly between its two factors.

Where the head reads one token of each text, what stands behind the last attention product is computed for that token
alone, forward and backward: about an eighth less work in a backbone of six layers. Matrix products of fewer rows may
round otherwise: there alone logits are the plain pass's to rounding, not to the bit.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from .attention_records import SOFTMAX
from .backbone_parts import BackboneParts
from .frozen_functions import can_freeze_attention, frozen_attention, frozen_std_layer_norm, rescale
from .half_precision import at_least_float32
from .stand_ins import original


# Activations whose Python code multiplies the input by a squashed copy of itself, x·s(x): freezing s is the secant.
_SQUASHED_PRODUCTS = {
    "NewGELUActivation",
    "FastGELUActivation",
    "AccurateGELUActivation",
    "QuickGELUActivation",
}
_SECANT_ACTIVATIONS = {"GELUActivation", "GELUTanh", "PytorchGELUTanh", "SiLUActivation", "LinearActivation"} | {
    cls.__name__ for cls in (nn.GELU, nn.SiLU, nn.ReLU, nn.Tanh)
}

_ATTENTION = F.scaled_dot_product_attention
_MATMUL = {torch.matmul, torch.bmm, torch.Tensor.matmul, torch.Tensor.bmm, torch.Tensor.__matmul__, torch.einsum}
_MULTIPLY = {torch.mul, torch.Tensor.mul, torch.Tensor.__mul__, torch.Tensor.__rmul__}
_DIVIDE = {torch.div, torch.Tensor.div, torch.Tensor.__truediv__}
_ADD = {torch.add, torch.Tensor.add, torch.Tensor.__add__, torch.Tensor.__radd__}
_CARRIERS = {  # these pass a mark on: the result is the same quantity in another shape or type
    F.dropout,
    torch.dropout,
    torch.Tensor.to,
    torch.Tensor.type_as,
    torch.Tensor.view,
    torch.Tensor.reshape,
    torch.Tensor.float,
}
_MARK = "_attrib_mark"


def _secant_slope(u: torch.Tensor, value: torch.Tensor, at_zero: float) -> torch.Tensor:
    """f(u)/u from the value f(u), with its limit where u is 0."""
    slope = torch.div(value, u)
    if get_proxy_mode() is not None:  # in a recorded graph nan_to_num is seven passes over memory, and this is two
        return slope.masked_fill(u == 0, at_zero)
    return slope.nan_to_num_(at_zero)


class PropagationRules(TorchFunctionMode):
    """The rules of one attribution method, active in this thread while the `with` block runs.

    Args:
        parts: the backbone's parts, to check that every rule met the parts it is for.
        attention_calls: how many attention products the forward pass must show.
        attention: `"frozen"`, `"damped"`, `"split"` or None (ordinary gradient).
        norm_std: `"frozen"` or None.
        activation: `"secant"` or None.
        parameters: `"frozen"` (none gets a gradient, so that no layer keeps its input for one) or None.
        head_weights: (batch, tokens), not 0 at the one token of each text that the head reads; None for several.
            Allowed only beside an attention rule, which counts attention products, and where no token reads another
            behind the last of them: see `mixes_tokens`.
        fill_value: what linear layers and their activations behind that product give for the other tokens.

    Attributes:
        takes_batched_gradients: whether every part met so far can send several gradients back at once; the backward
            passes of fused attention kernels cannot.

    Raises:
        ValueError: from `__init__` for an activation that has no secant rule, and from `check` when a rule did
            not meet its part; both name the part.
    """

    def __init__(
        self,
        parts: BackboneParts,
        attention_calls: int,
        attention: str | None = None,
        norm_std: str | None = None,
        activation: str | None = None,
        parameters: str | None = "frozen",
        head_weights: torch.Tensor | None = None,
        fill_value: float = 0.0,
    ) -> None:
        super().__init__()
        self.takes_batched_gradients = attention in ("frozen", "damped")
        self._parts = parts
        self._expected_attention = attention_calls
        self._attention = attention
        self._norm_std = norm_std
        self._activation = activation
        self._parameters = parameters
        self._head_weights = head_weights
        if head_weights is not None:
            texts, tokens = head_weights.shape
            self._rows = head_weights.argmax(dim=1) + torch.arange(texts, device=head_weights.device) * tokens
        self._fill_value = fill_value
        self._tells_tanhs_apart = False
        self._attention_seen = 0
        self._halved = 0
        self._activations_seen = 0
        self._root_mean_squares_seen = 0
        self._norm_weights_seen: set[int] = set()
        self._handlers: dict[Any, Callable[..., Any]] = {}
        if parameters:
            self._handlers[F.linear] = self._linear
        if attention:
            self._handlers[_ATTENTION] = self._fused_attention
            self._handlers |= dict.fromkeys(SOFTMAX, self._softmax)
            if attention in ("damped", "split"):
                self._handlers |= dict.fromkeys(_MATMUL, self._attend)
                self._handlers |= dict.fromkeys(_CARRIERS, self._carry)
        if norm_std:
            self._handlers |= {
                F.layer_norm: self._layer_norm,
                F.rms_norm: self._rms_norm,
                F.normalize: self._normalize,
                torch.rsqrt: self._inverse_root,
                torch.Tensor.rsqrt: self._inverse_root,
                torch.sqrt: self._root,
                torch.Tensor.sqrt: self._root,
            }
            self._handlers |= dict.fromkeys(_DIVIDE, self._divide)
            self._handlers[torch.Tensor.__rtruediv__] = self._divide_number
        if activation:
            self._add_activation_handlers()

    def _add_activation_handlers(self) -> None:
        kinds = {type(module).__name__ for module in self._parts.activations.values()}
        for name, module in self._parts.activations.items():
            if type(module).__name__ not in _SECANT_ACTIVATIONS | _SQUASHED_PRODUCTS:
                raise ValueError(
                    f"activation {name!r} ({type(module).__name__}) has no propagation rule; "
                    "use attribution_method='lrp_ah_ln', which needs none."
                )
        tanh = self._tanh
        if kinds & _SQUASHED_PRODUCTS:
            tanh, self._tells_tanhs_apart = self._tanh_of_either_kind, True
            self._handlers[F.linear] = self._linear  # whose outputs are told apart, parameters frozen or not
        self._handlers |= {
            F.gelu: self._gelu,
            F.silu: self._silu,
            F.relu: self._relu,
            torch.relu: self._relu,
            torch.Tensor.relu: self._relu,
            torch.tanh: tanh,
            torch.Tensor.tanh: tanh,
            torch.sigmoid: self._squash,
            torch.Tensor.sigmoid: self._squash,
        }
        self._handlers |= dict.fromkeys(_MULTIPLY, self._multiply)
        self._handlers |= dict.fromkeys(_CARRIERS | _ADD, self._carry)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        handler = self._handlers.get(func)
        if handler is None:
            return func(*args, **(kwargs or {}))
        return handler(func, *args, **(kwargs or {}))

    def _linear(
        self, func: Callable[..., Any], input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        weight, bias = self._constant(weight), None if bias is None else self._constant(bias)
        if not self._reads_rows_of(input):
            output = func(input, weight, bias)
            return _mark(output, "linear") if self._tells_tanhs_apart else output
        return _mark(self._of_read_tokens(lambda states: func(states, weight, bias), input), "read")

    def _reads_rows_of(self, input: torch.Tensor) -> bool:
        """Whether this is behind the last attention product, and (batch, tokens, width)."""
        head_weights = self._head_weights
        return (
            head_weights is not None
            and self._attention_seen >= self._expected_attention
            and input.shape[:-1] == head_weights.shape
        )

    def _of_read_tokens(self, function: Callable[[torch.Tensor], torch.Tensor], input: torch.Tensor) -> torch.Tensor:
        """`function`, which goes token by token, of the tokens that the head reads, and `fill_value` for the others."""
        assert self._head_weights is not None  # or `_reads_rows_of` had said no
        # Taking rows out and putting them back are each other's backward pass: gradients are as small as states.
        states = function(input.flatten(0, 1).index_select(0, self._rows))
        everywhere = states.new_full((self._head_weights.numel(), states.shape[-1]), self._fill_value)
        return everywhere.index_copy(0, self._rows, states).unflatten(0, self._head_weights.shape)

    def _constant(self, parameter: torch.Tensor) -> torch.Tensor:
        return parameter.detach() if self._parameters else parameter

    # Attention ------------------------------------------------------------------------------------------------

    def _fused_attention(
        self,
        func: Callable[..., Any],
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **kw: Any,
    ) -> torch.Tensor:
        self._attention_seen += 1
        # A mask that asks for a gradient (T5's position bias) would switch to another kernel, with other rounding.
        mask = None if attn_mask is None else attn_mask.detach()
        self._halved += self._attention in ("damped", "split")
        if self._attention == "split":  # half at A·V for both factors; the half that goes to A is halved again at Q·K
            query, key = rescale(query, 0.5), rescale(key, 0.5)
            return rescale(func(query, key, value, mask, dropout_p, is_causal, **kw), 0.5)
        if can_freeze_attention(query, key, value, mask, dropout_p, is_causal, kw.get("enable_gqa", False)):
            output = frozen_attention(query, key, value, mask, is_causal=is_causal, **kw)
        else:
            self.takes_batched_gradients = False
            output = func(query.detach(), key.detach(), value, mask, dropout_p, is_causal, **kw)
        return rescale(output, 0.5) if self._attention == "damped" else output

    def _softmax(self, func: Callable[..., Any], scores: torch.Tensor, *args: Any, **kw: Any) -> torch.Tensor:
        if scores.dim() != 4:  # not attention: a router of experts, say
            return func(scores, *args, **kw)
        self._attention_seen += 1
        scores = rescale(scores, 0.5) if self._attention == "split" else scores.detach()
        return _mark(func(scores, *args, **kw), "probabilities")

    def _attend(self, func: Callable[..., Any], *factors: Any, **kw: Any) -> torch.Tensor:
        """A matrix product; the first factor of einsum is its formula."""
        output = func(*factors, **kw)
        if not any(_marked(factor, "probabilities") for factor in factors):
            return output
        self._halved += 1
        if output.requires_grad:
            output.register_hook(_half)  # nobody may write to what `rescale` gives: Nystromformer adds something here
        return output

    # Norms ----------------------------------------------------------------------------------------------------

    def _layer_norm(
        self,
        func: Callable[..., Any],
        input: torch.Tensor,
        normalized_shape: list[int],
        weight: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        eps: float = 1e-5,
    ) -> torch.Tensor:
        self._norm_weights_seen.add(id(original(weight)))
        weight = None if weight is None else self._constant(weight)
        bias = None if bias is None else self._constant(bias)
        return frozen_std_layer_norm(input, list(normalized_shape), weight, bias, eps)

    def _rms_norm(
        self,
        func: Callable[..., Any],
        input: torch.Tensor,
        normalized_shape: list[int],
        weight: torch.Tensor | None = None,
        eps: float | None = None,
    ) -> torch.Tensor:
        self._norm_weights_seen.add(id(original(weight)))
        output = func(input, normalized_shape, weight, eps)
        axes = tuple(range(-len(normalized_shape), 0))
        wide = at_least_float32(input.detach())  # as torch does inside: a square leaves float16 from 256 on
        eps = torch.finfo(wide.dtype).eps if eps is None else eps
        slope = torch.rsqrt(wide.pow(2).mean(dim=axes, keepdim=True) + eps).to(output.dtype)
        return rescale(input, slope if weight is None else slope * weight.detach(), output.detach())

    def _normalize(
        self,
        func: Callable[..., Any],
        input: torch.Tensor,
        p: float = 2.0,
        dim: int = 1,
        eps: float = 1e-12,
        out: None = None,
    ) -> torch.Tensor:
        """A vector over its length, which is a constant. (Who gives `out` asks for no gradient.)"""
        states = input.detach()
        length = states.norm(p, dim, keepdim=True).clamp_min(eps)
        return rescale(input, 1 / length, func(states, p=p, dim=dim, eps=eps, out=out))

    def _inverse_root(self, func: Callable[..., Any], variance: torch.Tensor, **kw: Any) -> torch.Tensor:
        """1/√ of what a norm that is written out finds in the text."""
        self._root_mean_squares_seen += variance.requires_grad
        return func(variance.detach(), **kw)

    def _root(self, func: Callable[..., Any], input: torch.Tensor, **kw: Any) -> torch.Tensor:
        """√ of anything: of a norm's variance if something is divided by it (Muse Spark's gates are roots too)."""
        output = func(input, **kw)
        return _mark(output, "root") if input.requires_grad else output

    def _divide(self, func: Callable[..., Any], first: Any, second: Any, **kw: Any) -> torch.Tensor:
        if not _marked(second, "root"):
            return func(first, second, **kw)
        self._root_mean_squares_seen += 1
        return func(first, second.detach(), **kw)

    def _divide_number(self, func: Callable[..., Any], divisor: torch.Tensor, number: Any) -> torch.Tensor:
        """As 1 / √variance is spelled."""
        if not _marked(divisor, "root"):
            return func(divisor, number)
        self._root_mean_squares_seen += 1
        return func(divisor.detach(), number)

    # Activations ----------------------------------------------------------------------------------------------

    def _secant(self, func: Callable[..., Any], input: torch.Tensor, at_zero: float, **kw: Any) -> torch.Tensor:
        if _marked(input, "read") and self._reads_rows_of(input):
            output = self._of_read_tokens(lambda states: self._secant(func, states, at_zero, **kw), input)
            return _mark(output, "activated")
        self._activations_seen += 1
        u = input.detach()
        value = func(u, **kw)
        return _mark(rescale(input, _secant_slope(u, value, at_zero), value), "activated")

    def _gelu(self, func: Callable[..., Any], input: torch.Tensor, approximate: str = "none") -> torch.Tensor:
        return self._secant(func, input, 0.5, approximate=approximate)

    def _silu(self, func: Callable[..., Any], input: torch.Tensor, inplace: bool = False) -> torch.Tensor:
        return self._secant(func, input, 0.5)

    def _relu(self, func: Callable[..., Any], input: torch.Tensor, inplace: bool = False) -> torch.Tensor:
        return self._secant(torch.relu, input, 0.0)

    def _tanh(self, func: Callable[..., Any], input: torch.Tensor) -> torch.Tensor:
        return self._secant(func, input, 1.0)

    def _tanh_of_either_kind(self, func: Callable[..., Any], input: torch.Tensor) -> torch.Tensor:
        """An activation of its own behind a linear layer (ALBERT's pooler); else the inside of a tanh-based GELU."""
        own = _marked(input, "linear") or _marked(input, "read")
        return self._tanh(func, input) if own else self._squash(func, input)

    def _squash(self, func: Callable[..., Any], input: torch.Tensor) -> torch.Tensor:
        self._activations_seen += 1
        return _mark(func(input.detach()), "squashed")

    def _multiply(self, func: Callable[..., Any], first: Any, second: Any, **kw: Any) -> torch.Tensor:
        output = func(first, second, **kw)
        if _marked(first, "squashed") or _marked(second, "squashed"):
            return _mark(output, "activated")
        if _is_gate(first, second):
            return rescale(output, 0.5)
        return output

    # Marks ----------------------------------------------------------------------------------------------------

    def _carry(self, func: Callable[..., Any], *args: Any, **kw: Any) -> torch.Tensor:
        output = func(*args, **kw)
        marks = {getattr(arg, _MARK) for arg in args if hasattr(arg, _MARK)}
        if func in _ADD:  # only "1 + squashed" stays what it was
            marks &= {"squashed"}
        return _mark(output, marks.pop()) if marks else output

    def check(self) -> None:
        """Raise ValueError, naming the part, if a rule never met what it is for: a silent no-op is a wrong answer."""
        if self._attention and self._attention_seen != self._expected_attention:
            raise self._parts.attention_out_of_sight(self._attention_seen, self._expected_attention)
        if self._attention in ("damped", "split") and self._halved != self._expected_attention:
            raise ValueError(
                f"{self._parts.name}: the attention rule halves what reaches each product of attention and values, and "
                f"met {self._halved} of {self._expected_attention}: this attention is written in a way of its own. Use "
                "'lrp' or 'gradient_x_input', which halve nothing."
            )
        if self._norm_std:
            self._check_norms()
        if self._activation and self._activations_seen < self._nonlinear_activations():
            names = ", ".join(self._parts.activations)
            raise ValueError(
                f"activations: the rule met {self._activations_seen} of {self._nonlinear_activations()} ({names})."
            )

    def _nonlinear_activations(self) -> int:
        return sum(type(module).__name__ != "LinearActivation" for module in self._parts.activations.values())

    def _check_norms(self) -> None:
        hidden = [
            name
            for name, module in self._parts.norms.items()
            if getattr(module, "weight", None) is not None and id(module.weight) not in self._norm_weights_seen
        ]
        if len(hidden) > self._root_mean_squares_seen:
            raise ValueError(
                f"{self._parts.name}: norms: the rule never met {', '.join(hidden)}, which did not run on text or is "
                "written in a way of its own. Use 'lrp_ah' or 'gradient_x_input', which need no rule there."
            )


def _half(gradient: torch.Tensor) -> torch.Tensor:
    return gradient * 0.5


def _mark(tensor: torch.Tensor, mark: str) -> torch.Tensor:
    setattr(tensor, _MARK, mark)
    return tensor


def _marked(value: Any, mark: str) -> bool:
    return getattr(value, _MARK, None) == mark


def _is_gate(first: Any, second: Any) -> bool:
    """Whether this is a gated unit's product: an activation times another quantity that depends on the input."""
    if not (_marked(first, "activated") or _marked(second, "activated")):
        return False
    return (
        isinstance(first, torch.Tensor)
        and isinstance(second, torch.Tensor)
        and first.requires_grad
        and second.requires_grad
        and first.shape == second.shape
    )
