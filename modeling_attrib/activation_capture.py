"""Scoped observation points on a backbone: the tensors that attributions are read at."""

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from .attribution_methods import ExplainableClassifier, Inputs
from .backbone_parts import word_embeddings


def check_states(classifier: ExplainableClassifier, states: list[torch.Tensor], inputs: Inputs) -> None:
    """Raise ValueError unless captured states are there and laid out as (batch, tokens, width)."""
    batch, tokens = inputs["attention_mask"].shape
    name = type(classifier.backbone).__name__
    if not states:
        raise ValueError(f"{name}: the part that token states are read at never ran.")
    fits = states[0].dim() == 3 and tuple(states[0].shape[:2]) == (batch, tokens)
    # As many texts as tokens: (tokens, batch) would look the same. A graph is recorded with unlike sizes.
    if fits and get_proxy_mode() is None and batch == tokens and not classifier.lays_out_texts_first():
        fits = False
    if not fits:
        raise ValueError(
            f"{name}: its token states have shape {tuple(states[0].shape)}, which is not (batch, tokens, width) of "
            f"these {batch} texts of {tokens} tokens: it moves the axes, or pads or pools its tokens (Longformer "
            "pads to its attention window), so that attributions would land on the wrong tokens."
        )


def check_layers(classifier: ExplainableClassifier, states: list[torch.Tensor], inputs: Inputs) -> None:
    """Raise ValueError unless the states that entered the layers are laid out so, one of each attention product."""
    check_states(classifier, states, inputs)
    if len(states) != classifier.num_layers:
        raise ValueError(
            f"{type(classifier.backbone).__name__}: states enter {len(states)} layers, and its configuration speaks of "
            f"{classifier.num_layers}, so that attention and states of a layer cannot be told to belong together."
        )


def check_tensor(module: nn.Module, value: object) -> None:
    """Raise ValueError, naming the module, if what it takes or gives is not one tensor of states."""
    if not isinstance(value, torch.Tensor):
        raise ValueError(
            f"{type(module).__name__} takes or gives a {type(value).__name__} where one tensor of token states is "
            "expected: attributions cannot be read there, so this backbone is not supported."
        )


class ActivationCapture:
    """Context manager that collects, in order of execution, what enters (or leaves) the given modules.

    With `leaf=True` the first tensor is replaced by a detached copy that requires gradient, so that the graph starts
    there and parameters before it cost nothing; a first tensor that needs no gradient (frozen weights) is replaced in
    any case. Only calls from the thread that entered the context are seen, so that two threads may explain with one
    model; the hooks are gone when the context ends.

    Args:
        modules: modules to capture.
        side: `"input"` (the first positional argument) or `"output"`.
        leaf: cut the graph at the capture.
        replacement: what passes on in the place of every tensor captured.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
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

    def __enter__(self) -> "ActivationCapture":
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
        return (self._collect(module, args[0]), *args[1:])

    def _on_output(self, module: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor | None:
        if threading.get_ident() != self._thread:
            return None
        return self._collect(module, output)

    def _collect(self, module: nn.Module, value: torch.Tensor) -> torch.Tensor:
        check_tensor(module, value)
        if self._replacement is not None:
            if value.shape != self._replacement.shape:
                raise ValueError(
                    f"{type(module).__name__} gives states of shape {tuple(value.shape)}, not "
                    f"{tuple(self._replacement.shape)} (batch, tokens, width): this backbone lays out, or pads, its "
                    "tokens in a way of its own."
                )
            value = self._replacement.clone()  # the backbone may add to it in place
        # Only where the graph starts: a shared layer comes by again. Behind frozen weights there is no graph yet.
        if (self._leaf or not value.requires_grad) and not self.values:
            leaf = value.detach().requires_grad_()
            self.values.append(leaf)
            return leaf.clone()  # the backbone may write to it in place (CTRL scales its embeddings)
        self.values.append(value)
        return value


def start_of_graph(classifier: ExplainableClassifier, inputs: Inputs) -> tuple[Inputs, ActivationCapture]:
    """What to enter, and to pass on, for a graph that starts at the words' own embeddings, frozen weights or not.

    Started further on, at the input of the first layer, it would miss what goes around that input (XLM).

    Returns:
        embeddings that were given in the place of ids, if any, as leaves that require gradient; and the capture that
        sees the embeddings of ids.
    """
    given = {name: value.detach().requires_grad_() for name, value in inputs.items() if name == "inputs_embeds"}
    return given, ActivationCapture(word_embeddings(classifier.backbone), side="output")
