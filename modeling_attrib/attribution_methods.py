"""The registry of attribution methods: name -> what it is and the function that computes it.

A method is a function `(classifier, inputs, request, **options) -> (logits, attributions)`, with logits (batch,
labels) and attributions (batch, targets, tokens), where `request` says which logits are explained. It runs with
gradients enabled and must leave nothing behind on the classifier.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import nn
from transformers import PreTrainedModel

from .configuration_attrib import AttribConfig


Inputs = dict[str, torch.Tensor]


class ExplainableClassifier(Protocol):
    """What methods, the checks before them, and what records one as a graph may ask of the model that is explained."""

    config: AttribConfig
    backbone: PreTrainedModel
    original: PreTrainedModel | None
    backbone_arguments: frozenset[str]
    num_labels: int
    training: bool

    @property
    def expnet(self) -> nn.Module | None: ...

    @property
    def num_layers(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def encode(self, inputs: Inputs) -> torch.Tensor: ...

    def classify(self, inputs: Inputs, weights: torch.Tensor | None = None) -> torch.Tensor: ...

    def token_weights(self, inputs: Inputs) -> torch.Tensor: ...

    def reads_one_token(self) -> bool: ...

    def lays_out_texts_first(self) -> bool: ...

    def examined(self, method: "AttributionMethod") -> AbstractContextManager: ...

    # As every module has them.

    def __call__(self, **inputs: Any) -> Any: ...

    def modules(self) -> Iterator[nn.Module]: ...

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...

    def buffers(self) -> Iterator[torch.Tensor]: ...

    def named_buffers(self) -> Iterator[tuple[str, torch.Tensor]]: ...

    def state_dict(self) -> Mapping[str, torch.Tensor]: ...


@dataclass(frozen=True)
class AttributionRequest:
    """Which logit of each text is explained: y_target, or y_target − y_contrast.

    Args:
        target: None (the predicted label), a label index, a (batch,) integer tensor, or `"all"`.
        contrast: None, a label index or a (batch,) integer tensor.
    """

    target: int | str | torch.Tensor | None = None
    contrast: int | torch.Tensor | None = None

    def resolve(self, logits: torch.Tensor) -> torch.Tensor:
        """Label indices to explain: (batch, targets), with one target unless `target` is `"all"`.

        Raises:
            ValueError: for a target that is no label of these logits, or of another shape.
        """
        if isinstance(self.target, str):
            if self.target != "all":
                raise ValueError(f"attribution_target={self.target!r}: use None, a label index, a tensor or 'all'.")
            return torch.arange(logits.shape[1], device=logits.device).expand(logits.shape)
        if self.target is None:
            return logits.argmax(dim=-1, keepdim=True)
        return _label_indices(self.target, logits, "attribution_target").unsqueeze(1)

    def resolve_contrast(self, logits: torch.Tensor) -> torch.Tensor | None:
        """Label indices to explain against: (batch, 1), or None.

        Raises:
            ValueError: for a contrast that is no label of these logits, or of another shape.
        """
        if self.contrast is None:
            return None
        return _label_indices(self.contrast, logits, "attribution_contrast").unsqueeze(1)

    def objective(self, logits: torch.Tensor) -> torch.Tensor:
        """The scalar that each attribution explains: (batch, targets)."""
        return self.select(logits.unsqueeze(-1), logits).squeeze(-1)

    def select(self, values: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Of values for each label, (batch, labels, n), the targets' less the contrast's: (batch, targets, n)."""
        explained, contrast = rows_of_labels(values, self.resolve(logits)), self.resolve_contrast(logits)
        return explained if contrast is None else explained - rows_of_labels(values, contrast)


def rows_of_labels(values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(batch, labels, n) and label indices (batch, targets) -> (batch, targets, n)."""
    return values.gather(1, labels.unsqueeze(-1).expand(-1, -1, values.shape[-1]))


def _label_indices(value: int | torch.Tensor, logits: torch.Tensor, name: str) -> torch.Tensor:
    batch, labels = logits.shape
    if isinstance(value, str):
        raise ValueError(f"{name}={value!r}: use a label index or a tensor of them.")
    indices = torch.as_tensor(value)
    if indices.is_floating_point() or indices.dtype == torch.bool:
        raise ValueError(f"{name} holds label indices, not {indices.dtype}.")
    if indices.dim() == 0:
        indices = indices.expand(batch)
    if indices.shape != (batch,):
        raise ValueError(f"{name} has shape {tuple(indices.shape)}; expected one label index per text: ({batch},).")
    here = indices.cpu()  # read where that makes no device wait, and none compile a graph of its own
    if batch and not (int(here.min()) >= 0 and int(here.max()) < labels):
        raise ValueError(f"{name}={value} is not a label: this model has labels 0 to {labels - 1}.")
    return indices.to(logits.device, torch.long, copy=True)  # a copy: autograd refuses inference-mode tensors


@dataclass(frozen=True)
class AttributionMethod:
    """An entry of the registry.

    Attributes:
        cost: in units of one forward pass, with a backward pass counted as one more.
        signed: whether scores say "for" (+) and "against" (−), or importance only.
        needs_attention: whether it reads attention matrices.
        conservative: whether its scores, plus what biases hold, sum to the target logit.
        needs_every_rule: whether a part of the backbone without a propagation rule would make it wrong; where `lrp`
            conserves, every part has one.
        needs_words_apart: whether its scores are read where the layers begin, so that there each token's state must be
            its own word's.
    """

    name: str
    paper: str
    cost: float
    signed: bool
    needs_attention: bool
    conservative: bool
    needs_every_rule: bool
    needs_words_apart: bool
    function: Callable[..., tuple[torch.Tensor, torch.Tensor]]

    def check_options(self, options: dict[str, Any]) -> None:
        """Raise ValueError for an option that the method does not have."""
        accepted = list(inspect.signature(self.function).parameters)[3:]
        for option in options:
            if option not in accepted:
                raise ValueError(
                    f"attribution method {self.name!r} has no option {option!r}; "
                    + (f"it has: {', '.join(accepted)}." if accepted else "it has none.")
                )


_REGISTRY: dict[str, AttributionMethod] = {}


def attribution_method(
    name: str,
    *,
    paper: str,
    cost: float,
    signed: bool,
    needs_attention: bool = False,
    conservative: bool = False,
    needs_every_rule: bool = False,
    needs_words_apart: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator that registers a function as the attribution method `name`."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        _REGISTRY[name] = AttributionMethod(
            name, paper, cost, signed, needs_attention, conservative, needs_every_rule, needs_words_apart, function
        )
        return function

    return register


def get_attribution_method(name: str) -> AttributionMethod:
    """The method registered under `name`.

    Raises:
        ValueError: listing the methods there are.
    """
    if name not in _REGISTRY:
        raise ValueError(f"unknown attribution method {name!r}; there are: {', '.join(_REGISTRY)}.")
    return _REGISTRY[name]


def other_methods(need: str) -> str:
    """The sentence that ends a refusal: the methods but `random` without this need, a field of `AttributionMethod`."""
    names = ", ".join(m.name for m in _REGISTRY.values() if not getattr(m, need) and m.name != "random")
    return f"Choose another with attribution_method=... (in a pipeline, method=...): {names}."


def list_attribution_methods() -> list[dict[str, Any]]:
    """Every method, as a dictionary of what `AttributionMethod` says of it."""
    return [{key: value for key, value in asdict(m).items() if key != "function"} for m in _REGISTRY.values()]
