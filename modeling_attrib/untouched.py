"""Running a model to find something out about it, and leaving it as it was."""

import random
from types import TracebackType
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig

from .attribution_methods import ExplainableClassifier
from .model_structure import OWN_TO_TORCH, version_of


_COPIED = 2**16  # elements: a larger buffer of whole numbers is a table, or packed weights as large as the model


class Untouched:
    """Context manager behind which a model has the modules, buffers, attributes and configurations that it had before,
    and the process its random state.

    Some models change when they run: BigBird's block-sparse attention becomes full attention for good at the first
    short text, rotary frequencies are scaled to a text's length, batch norms learn. Nothing is written where nothing
    changed: other threads may run the model meanwhile.

    A run that wrote to weights is not undone, in part or in whole: RWKV scales its weights at its first text, and notes
    that it did.

    Attributes:
        written: names of the weights that the run wrote to.
        changes: what the run had made another model of, as text: modules and words. Numbers, switches ("has run"),
            tensors and collections, which caches are made of, are put back without a word.

    Raises:
        ValueError: on leaving, if the run wrote to a buffer that is too large to be copied beforehand.
    """

    def __init__(self, model: ExplainableClassifier) -> None:
        self.written: list[str] = []
        self.changes: list[str] = []
        self._model = model

    def __enter__(self) -> "Untouched":
        modules = list(self._model.named_modules())
        configs = {id(m.config): m.config for _, m in modules if isinstance(vars(m).get("config"), PretrainedConfig)}
        things = [*modules, *(("config", config) for config in configs.values())]
        self._attributes = [(name, thing, _attributes(thing)) for name, thing in things]
        self._collections = [
            (name, key, value, value.copy())
            for name, _, attributes in self._attributes
            for key, value in attributes.items()
            if isinstance(value, (list, dict, set))
        ]
        self._buffers = [
            (name, buffer, version_of(buffer), _copy(buffer))
            for name, buffer in self._model.named_buffers()
            if not buffer.is_meta
        ]
        self._weights = [(name, weight, version_of(weight)) for name, weight in self._model.named_parameters()]
        self._device = self._model.device
        self._random = random.getstate(), random_state(self._device)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if random.getstate() != self._random[0]:
            random.setstate(self._random[0])
        set_random_state(self._random[1], self._device)
        self.written = [name for name, weight, version in self._weights if version_of(weight) != version]
        if self.written:
            return
        for name, thing, attributes in self._attributes:
            self._put_back_attributes(name, thing, attributes)
        for name, key, value, before in self._collections:
            if not _same_items(value, before):
                if key == "_modules":
                    self.changes.append(f"the modules of {name or 'the model'}")
                _refill(value, before)
        for name, buffer, version, copy in self._buffers:
            if copy is None and version_of(buffer) != version:
                raise ValueError(f"running it writes to {name}, which is too large to be put back afterwards.")
            if copy is not None and not torch.equal(buffer, copy):  # batch norms write without a new version
                with torch.no_grad():
                    buffer.copy_(copy)

    def _put_back_attributes(self, name: str, thing: Any, before: dict[str, Any]) -> None:
        now = vars(thing)
        for key, value in before.items():
            if key not in now or now[key] is not value:
                if isinstance(value, str) and now.get(key) != value:
                    self.changes.append(f"{name}.{key}".lstrip(".") + f" ({value!r} becomes {now.get(key)!r})")
                now[key] = value
        for key in _attributes(thing).keys() - before.keys():
            del now[key]


def _attributes(thing: Any) -> dict[str, Any]:
    """What an object has of its own: of a module its parts and buffers too, but not its weights and hooks."""
    if not isinstance(thing, nn.Module):
        return dict(vars(thing))
    kept = {"_modules", "_buffers"}
    return {name: value for name, value in list(vars(thing).items()) if name in kept or name not in OWN_TO_TORCH}


def _same_items(one: Any, other: Any) -> bool:
    if len(one) != len(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(one[key] is other[key] for key in one)
    return (isinstance(one, set) and one == other) or all(a is b for a, b in zip(one, other))


def _refill(collection: Any, items: Any) -> None:
    collection.clear()
    if isinstance(collection, list):
        collection.extend(items)
    else:
        collection.update(items)


def _copy(buffer: torch.Tensor) -> torch.Tensor | None:
    return buffer.clone() if buffer.is_floating_point() or buffer.numel() <= _COPIED else None


def random_state(device: torch.device) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Of torch's generators of the host and, where that is another one, of a CUDA device."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def set_random_state(state: tuple[torch.Tensor, torch.Tensor | None], device: torch.device) -> None:
    """Put `random_state` back; nothing is written where nothing was drawn."""
    if not torch.equal(torch.get_rng_state(), state[0]):
        torch.set_rng_state(state[0])
    if state[1] is not None and not torch.equal(torch.cuda.get_rng_state(device), state[1]):
        torch.cuda.set_rng_state(state[1], device)
