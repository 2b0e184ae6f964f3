"""Where a gradient is not whole: quantised layers, layers run outside autograd, backward passes that are estimates."""

import threading
from typing import Any

import torch
from torch import nn

from .activation_capture import ActivationCapture
from .attribution_methods import ExplainableClassifier, Inputs
from .backbone_parts import word_embeddings
from .sample_inputs import sample_inputs
from .stand_ins import StandIns


_ALLOWED = 0.2  # of the output's change: rounding to 8 bits leaves a fiftieth, a gradient that stops leaves it all
_ESTIMATED = 0.005  # of a slope: differences in float32 are off by 0.0003, YOSO's estimate by 0.01 and, trained, by 0.1


def layer_without_gradient(classifier: ExplainableClassifier) -> str | None:
    """Name, class and kind of a layer that passes no gradient, or not its own; None if there is none.

    Some backbones run layers under `torch.no_grad` (HRM its earlier cycles): a gradient would miss what they did.
    torch's own quantised layers compute outside autograd. Of others (bitsandbytes, torchao, GPTQ), which keep their
    weights as packed whole numbers or as a tensor type of their own, some pass the gradient of what they compute and
    some do not: a text is read, and the gradient of each compared with how its output changes from token to token.
    A backbone's own `autograd.Function` may give back an estimate (YOSO's): it is compared with differences.
    """
    suspects = {}
    for name, module in classifier.named_modules():
        if ".quantized." in type(module).__module__:
            return f"{name} ({type(module).__name__}, quantised)"
        if _keeps_whole_numbers(module):
            suspects[module] = name
    inputs = sample_inputs(classifier, 3, 8)
    outside, functions = _outside_and_own_functions(classifier, inputs)
    if outside:
        return outside
    if functions and _difference_from_slopes(classifier, inputs) > _ESTIMATED:
        return f"{functions[0]} (an estimated backward pass)"
    if not suspects:
        return None
    with _Watch(list(suspects)) as watch:
        classifier.classify(inputs, inputs["attention_mask"].to(classifier.dtype))
    for module, error in watch.errors.items():
        if error > _ALLOWED:
            return f"{suspects[module]} ({type(module).__name__}, quantised)"
    return None


@torch.enable_grad()
def _outside_and_own_functions(classifier: ExplainableClassifier, inputs: Inputs) -> tuple[str | None, list[str]]:
    """A layer that ran outside autograd, and functions whose backward pass the backbone's authors wrote by hand."""
    thread, outside = threading.get_ident(), []

    def look(module: nn.Module, args: tuple[Any, ...]) -> None:
        if threading.get_ident() == thread and not torch.is_grad_enabled():
            outside.append(module)

    stacks = [module for module in classifier.modules() if isinstance(module, nn.ModuleList)]
    handles = [layer.register_forward_pre_hook(look) for stack in stacks for layer in stack]
    try:
        with ActivationCapture(
            word_embeddings(classifier.backbone), side="output"
        ):  # a graph, behind frozen weights too
            states = classifier.encode(inputs)
    finally:
        for handle in handles:
            handle.remove()
    for name, module in classifier.named_modules():
        if outside and module is outside[0]:
            return f"{name} ({type(module).__name__}, run outside autograd)", []
    return None, _functions_in(states, type(classifier.backbone).__module__)


def _functions_in(states: torch.Tensor, module: str) -> list[str]:
    """Names of the functions with a backward pass of their own that a module brought into a graph."""
    found, waiting, seen = set(), [states.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        function = getattr(type(node), "_forward_cls", None)
        if function is not None and function.__module__ == module:
            found.add(function.__name__)
        waiting += [following for following, _ in node.next_functions]
    return sorted(found)


@torch.enable_grad()
def _difference_from_slopes(classifier: ExplainableClassifier, inputs: Inputs) -> float:
    """How far the gradient is from how states change when each word moves toward the one before it: 0 if not at all."""
    words = word_embeddings(classifier.backbone)
    with (
        ActivationCapture(words, side="output") as embedded,
        StandIns(classifier),
    ):  # 16 bits are too few for differences
        classifier.encode(inputs)
    start = embedded.values[0].detach()
    toward = start.roll(1, dims=1) - start  # not along itself: a norm does not see its length
    share = torch.zeros(len(start), 1, 1, dtype=start.dtype, device=start.device, requires_grad=True)

    def answer(share: torch.Tensor) -> torch.Tensor:
        with ActivationCapture(words, side="output", replacement=start + share * toward), StandIns(classifier):
            states = classifier.encode(inputs).flatten(1)
        return (states * torch.linspace(-9, 9, states.shape[1], device=states.device).cos()).sum(dim=1)

    (slopes,) = torch.autograd.grad(answer(share).sum(), share)
    differences = []
    with torch.no_grad():
        for width in (1e-2, 1e-3):  # a wide one meets jumps between experts, a narrow one the last digits
            above, below = answer(share + width), answer(share - width)
            changes = (above - below) / (2 * width)
            rounding = float(torch.finfo(torch.float32).eps * above.norm() / width)
            size = changes.norm().clamp(min=100 * rounding + torch.finfo(changes.dtype).tiny)
            differences.append(float((slopes.flatten() - changes).norm() / size))
    return min(differences)


def _keeps_whole_numbers(module: nn.Module) -> bool:
    """Whether this is a layer whose matrix is no tensor of floating point that torch itself computes with."""
    if next(module.children(), None) is not None or isinstance(module, nn.Embedding):
        return False
    tensors = [tensor for tensor in (*module._parameters.values(), *module._buffers.values()) if tensor is not None]
    return any(
        type(tensor) not in (torch.Tensor, nn.Parameter)
        or (tensor.dim() >= 2 and not tensor.is_floating_point() and tensor.dtype != torch.bool)
        for tensor in tensors
    )


class _Watch:
    """Context manager that compares, of each module that this thread runs, gradient and change of the output.

    Attributes:
        errors: for each module that was given numbers of floating point, how far r·(y₂ − y₁) is from g·(x₂ − x₁) for
            neighbouring tokens, where g is the gradient of r·y: 0 for a linear layer that passes its gradient.
    """

    def __init__(self, modules: list[nn.Module]) -> None:
        self.errors: dict[nn.Module, float] = {}
        self._modules = modules
        self._thread = threading.get_ident()

    def __enter__(self) -> "_Watch":
        self._handles = [module.register_forward_hook(self._compare) for module in self._modules]
        return self

    def __exit__(self, *error: Any) -> None:
        for handle in self._handles:
            handle.remove()

    def _compare(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        states = args[0] if args else None
        if threading.get_ident() != self._thread or not isinstance(states, torch.Tensor):
            return
        if states.is_floating_point() and isinstance(output, torch.Tensor):
            self.errors[module] = _gradient_error(module, states)


@torch.enable_grad()
def _gradient_error(module: nn.Module, states: torch.Tensor) -> float:
    states = states.detach().requires_grad_()
    output = module.forward(states)
    direction = torch.linspace(-1, 1, output.shape[-1], device=output.device, dtype=output.dtype).cos()
    answers = (output * direction).sum(dim=-1)
    try:
        (gradient,) = torch.autograd.grad(answers.sum(), states)
    except RuntimeError:  # no backward pass at all
        return float("inf")
    changes = answers.detach().flatten().float().diff()
    rows = [tensor.flatten(0, -2).float() for tensor in (gradient, states.detach())]
    expected = ((rows[0][1:] + rows[0][:-1]) / 2 * rows[1].diff(dim=0)).sum(dim=-1)
    return float((changes - expected).norm() / changes.norm().clamp(min=torch.finfo(torch.float32).tiny))
