"""Parameters that a pass computes with in the place of a model's own, which nobody else notices."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from .attribution_methods import ExplainableClassifier


_HALF = (torch.bfloat16, torch.float16)
_STANDS_FOR = "_attrib_stands_for"


def original(parameter: torch.Tensor | None) -> torch.Tensor | None:
    """The model's own parameter that this one stands for; if it stands for none, itself."""
    return getattr(parameter, _STANDS_FOR, parameter)


class StandIns(TorchFunctionMode):
    """Context manager under which torch functions are given stand-ins for a model's parameters, in this thread.

    Entered last, so that other modes are given them too.

    Every bias's stand-in takes a gradient, whether the bias itself does or not, and nothing comes to the bias. All
    numbers of 16 bits are computed with in float32; the widened weights are not kept for the backward pass, but made
    again from the model's own.

    Attributes:
        biases: the stand-ins of the biases that were met.
    """

    def __init__(self, model: ExplainableClassifier) -> None:
        super().__init__()
        self._biases = {id(p) for name, p in model.named_parameters() if name.endswith("bias")}
        self._stand_ins: dict[int, torch.Tensor] = {}
        self._saving = torch.autograd.graph.saved_tensors_hooks(_give_back, _widen_again)

    @property
    def biases(self) -> list[torch.Tensor]:
        return list(self._stand_ins.values())

    def __enter__(self) -> "StandIns":
        self._saving.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._saving.__exit__(*error)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        args, kwargs = tree_map(self._stand_in, (args, kwargs or {}))
        return func(*args, **kwargs)

    def _stand_in(self, value: Any) -> Any:
        if isinstance(value, torch.dtype):
            return torch.float32 if value in _HALF else value
        if id(value) in self._biases:
            if id(value) not in self._stand_ins:
                wide = value.detach().float() if value.dtype in _HALF else value.detach()
                self._stand_ins[id(value)] = wide.requires_grad_()
            return self._stand_ins[id(value)]
        if isinstance(value, torch.Tensor) and value.dtype in _HALF:
            return _widen(value) if isinstance(value, nn.Parameter) else value.float()
        return value


def _widen(parameter: torch.Tensor) -> torch.Tensor:
    wide = parameter.detach().float()
    setattr(wide, _STANDS_FOR, parameter)
    return wide


def _give_back(saved: torch.Tensor) -> Any:
    """What is kept for the backward pass in the place of `saved`: of a widened weight, the weight itself."""
    base = saved if saved._base is None else saved._base
    if not hasattr(base, _STANDS_FOR):
        return saved
    return original(base), saved.shape, saved.stride(), saved.storage_offset()


def _widen_again(kept: Any) -> torch.Tensor:
    if isinstance(kept, torch.Tensor):
        return kept
    parameter, *place = kept
    return parameter.detach().float().as_strided(*place)
