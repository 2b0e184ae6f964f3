"""What a model is built of, weights apart, as a value: while it is equal, what was found out about the model holds."""

import weakref
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig

from .activation_capture import ActivationCapture
from .attribution_methods import ExplainableClassifier


_hooks_of = itemgetter("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
OWN_TO_TORCH = frozenset(vars(nn.Module()))  # names of the attributes that every module has
# What no forward pass computes with: names, what a Trainer or saving writes down, and the classifier's own memory.
_NOT_COMPUTED_WITH = frozenset(
    {
        *("id2label", "label2id", "problem_type", "architectures", "auto_map", "custom_pipelines", "dtype"),
        *("name_or_path", "_name_or_path", "transformers_version", "warnings_issued", "generation_config"),
        *("_compiled", "_checks"),
    }
)
_PLAIN = frozenset({bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size})


class Structure:
    """Equal to another one if the model was, when both were taken, built of the same things; hashable.

    Things are the same if they are one object, so a replaced module is noticed though it is of the same class. What is
    compared keeps no module alive.
    """

    __slots__ = ("_kept", "_parts")

    def __init__(self, parts: tuple[Any, ...], kept: list[Any]) -> None:
        self._parts = parts
        self._kept = kept  # while these live, no other object has an identity that stands in the parts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Structure) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(self._parts)


def structure_of(model: ExplainableClassifier, tensors: bool = True) -> Structure:
    """What decides, weights apart, what `model` computes.

    Modules and their classes, `forward` (a class's, or put on an instance), hooks, training mode, the configuration,
    and all other attributes: numbers, words and collections of them by value (adapters that are off, active, merged or
    scaled, kinds of attention), tensors by what was written to them, anything else by identity. Not seen: what changes
    inside such an object, or through a tensor's `.data`.
    """
    return _Survey(model, tensors).structure()


class _Survey:
    def __init__(self, model: ExplainableClassifier, tensors: bool) -> None:
        self._tensors = tensors
        self._identities: dict[int, int] = {}
        self._inside: set[int] = set()
        self._kept: list[Any] = []
        self._parts: list[Any] = [
            *nn.modules.module._global_forward_pre_hooks,
            *nn.modules.module._global_forward_hooks,
        ]
        waiting: list[Any] = [model]
        while waiting:
            module = waiting.pop()
            if module is None:
                continue
            if id(module) not in self._identities:
                self._look_at(module)
                waiting += list(module._modules.values())
            self._parts.append(self._identity(module))

    def structure(self) -> Structure:
        return Structure(tuple(self._parts), self._kept)

    def _look_at(self, module: nn.Module) -> None:
        attributes, kind = vars(module), type(module)
        if id(kind) not in self._identities:
            self._parts.append(self._identity(kind.forward))
        for hooks in _hooks_of(attributes):
            if hooks:  # captures of an explanation that is under way, in whatever thread, change nothing
                found = [
                    hook
                    for hook in list(hooks.values())
                    if type(getattr(hook, "__self__", None)) is not ActivationCapture
                ]
                self._parts += map(self._identity_of_hook, found)
        names, values_of = _compared_attributes(tuple(attributes))
        self._parts += (self._identity(kind), names)
        self._parts += [v if type(v) in _PLAIN else self._value(v) for v in values_of(attributes)]

    def _value(self, value: Any) -> Any:
        if type(value) in _PLAIN:
            return value
        if id(value) in self._identities:
            return self._identities[id(value)]
        if isinstance(value, torch.Tensor):
            return (self._identity(value), version_of(value)) if self._tensors else None
        if id(value) in self._inside:  # it holds itself
            return "again"
        self._inside.add(id(value))
        try:
            return self._value_of_items(value)
        finally:
            self._inside.discard(id(value))

    def _value_of_items(self, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return tuple([self._value(item) for item in value])
        if isinstance(value, dict):
            return tuple([(self._value(key), self._value(item)) for key, item in list(value.items())])
        if isinstance(value, (set, frozenset)):
            return frozenset([self._value(item) for item in value])
        identity = self._identity(value)
        if isinstance(value, PretrainedConfig):
            fields = {name: item for name, item in list(vars(value).items()) if name not in _NOT_COMPUTED_WITH}
            return identity, self._value(fields)
        return identity

    def _identity_of_hook(self, hook: Callable[..., Any]) -> tuple[int, ...]:
        """Of the function, and of whose method it is: a bound method is another object each time it is asked for."""
        owner = getattr(hook, "__self__", None)
        if owner is None:
            return (self._identity(hook),)
        return self._identity(getattr(hook, "__func__", type(owner))), self._identity(owner)

    def _identity(self, thing: Any) -> int:
        """A number that stays the thing's own while it lives, and nobody's else while the structure does."""
        known = self._identities.get(id(thing))
        if known is None:
            try:
                kept = weakref.ref(thing)  # one object for as long as both the thing and this reference live
            except TypeError:
                kept = thing
            self._kept.append(kept)
            known = self._identities[id(thing)] = id(kept)
        return known


@lru_cache(maxsize=256)
def _compared_attributes(names: tuple[str, ...]) -> tuple[tuple[str, ...], Callable[[dict[str, Any]], Sequence[Any]]]:
    """Of a module's attributes, in this order, those that are compared, and what reads their values."""
    compared = tuple(name for name in names if name not in OWN_TO_TORCH and name not in _NOT_COMPUTED_WITH)
    return compared, itemgetter("training", "training", *compared)  # of one name it would give no tuple


def weights_of(model: ExplainableClassifier) -> tuple[tuple[int, int], ...]:
    """Changes when a parameter or buffer is replaced or written to, but not through `.data`."""
    tensors = (*model.parameters(), *model.buffers())
    return tuple((tensor.data_ptr(), version_of(tensor)) for tensor in tensors)


def version_of(tensor: torch.Tensor) -> int:
    """Changes when the tensor is written to, but not through `.data`; inference-mode tensors have none."""
    return 0 if tensor.is_inference() else tensor._version
