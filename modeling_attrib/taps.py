"""Scoped observation points on a backbone: the tensors that attributions are read at."""

import threading
from types import TracebackType
from typing import Any

import torch
from torch import nn


def check_states(states: list[torch.Tensor], inputs: dict[str, torch.Tensor]) -> None:
    """Raise ValueError unless tapped states are there and laid out as (batch, tokens, width)."""
    expected = tuple(inputs["attention_mask"].shape)
    if not states:
        raise ValueError("the backbone never ran the part that its token states are read at.")
    if states[0].dim() != 3 or tuple(states[0].shape[:2]) != expected:
        raise ValueError(
            f"the backbone's token states have shape {tuple(states[0].shape)}; expected (batch, tokens) = {expected} "
            "in front: attributions would land on the wrong tokens."
        )


class Taps:
    """Context manager that collects, in order of execution, what enters (or leaves) the given modules.

    With `leaf=True` the first tensor is replaced by a detached copy that requires gradient, so that the graph starts
    there and parameters before it cost nothing; a first tensor that needs no gradient (frozen weights) is replaced in
    any case. Only calls from the thread that entered the context are seen, so that two threads may explain with one
    model; the hooks are gone when the context ends.

    Args:
        modules: modules to tap.
        side: `"input"` (the first positional argument) or `"output"`.
        leaf: cut the graph at the tap.
        replacement: what passes on in the place of every tensor tapped.
    """

    def __init__(
        self,
        modules: list[nn.Module],
        side: str = "input",
        leaf: bool = False,
        replacement: torch.Tensor | None = None,
    ) -> None:
        self.values: list[torch.Tensor] = []
        self._modules = list(dict.fromkeys(modules))  # a shared layer (ALBERT) is one module, run many times
        self._side = side
        self._leaf = leaf
        self._replacement = replacement
        self._thread = 0
        self._handles: list[Any] = []

    def __enter__(self) -> "Taps":
        self._thread = threading.get_ident()
        for module in self._modules:
            if self._side == "input":
                self._handles.append(module.register_forward_pre_hook(self._on_input))
            else:
                self._handles.append(module.register_forward_hook(self._on_output))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _on_input(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if threading.get_ident() != self._thread:
            return None
        if not args:
            raise ValueError(f"{type(module).__name__} does not take its hidden states as first argument.")
        return (self._collect(args[0]), *args[1:])

    def _on_output(self, module: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor | None:
        if threading.get_ident() != self._thread:
            return None
        return self._collect(output)

    def _collect(self, value: torch.Tensor) -> torch.Tensor:
        if self._replacement is not None:
            value = self._replacement.clone()  # the backbone may add to it in place
        # Only where the graph starts: a shared layer comes by again. Behind frozen weights there is no graph yet.
        if (self._leaf or not value.requires_grad) and not self.values:
            value = value.detach().requires_grad_()
        self.values.append(value)
        return value
