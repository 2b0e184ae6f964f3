"""One graph of plain tensor operations from token ids to logits and attributions, without autograd.

The backward pass that makes attributions is recorded operation by operation beside the forward pass. The graph is
dynamic in texts and tokens, can be compiled, and can be exported to runtimes that have no autograd at all.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import transformers
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from .attention_masks import QuerylessMasks
from .attribution_methods import ExplainableClassifier, get_attribution_method, rows_of_labels
from .backbone_parts import position_limit


# The third is the input attribution_target with -1 replaced; a graph's inputs and outputs cannot share a name.
OUTPUTS = ("logits", "attributions", "explained_target")
_TEXTS, _TOKENS = 3, 13  # sizes to record with: unlike each other, and neither 0 nor 1, which graphs treat as special


@dataclass(frozen=True)
class RowRequest:
    """Which logit of each text is explained, as tensors that a graph can take: (batch,) int64 each, -1 for none."""

    target: torch.Tensor
    contrast: torch.Tensor

    def resolve(self, logits: torch.Tensor) -> torch.Tensor:
        """Label indices to explain, (batch, 1); -1 stands for the predicted label."""
        return torch.where(self.target < 0, logits.argmax(dim=-1), self.target).unsqueeze(1)

    def objective(self, logits: torch.Tensor) -> torch.Tensor:
        """y_target − y_contrast, or y_target where the contrast is -1: (batch, 1)."""
        return self.select(logits.unsqueeze(-1), logits).squeeze(-1)

    def select(self, values: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Of values for each label, (batch, labels, n), the target's less the contrast's: (batch, 1, n)."""
        against = rows_of_labels(values, self.contrast.clamp(min=0).unsqueeze(1))
        explained = rows_of_labels(values, self.resolve(logits))
        return torch.where(self.contrast.view(-1, 1, 1) < 0, explained, explained - against)


def graph_inputs(classifier: ExplainableClassifier, tokenizer_names: list[str] | None = None) -> list[str]:
    """Names of a graph's inputs, in order: what the backbone reads of the tokenizer's, then target and contrast."""
    known = ("input_ids", "attention_mask", "token_type_ids")
    names = [name for name in known if name in classifier.backbone_arguments]
    if tokenizer_names is not None:
        names = [name for name in names if name in tokenizer_names]
    return [*names, "attribution_target", "attribution_contrast"]


def trace_attributions(
    classifier: ExplainableClassifier, names: list[str], attention: Callable[[], AbstractContextManager] = nullcontext
) -> torch.fx.GraphModule:
    """Record the classifier's configured attribution method as one graph.

    Args:
        classifier: in evaluation mode.
        names: the graph's inputs, from `graph_inputs`; int64, (batch, tokens), but target and contrast (batch,).
            Without an attention_mask among them, all tokens are real.
        attention: makes the mode under which attention is recorded, an `ExplicitAttention` for readers that do not
            know torch's fused kernel for CPUs. By default that is called wherever the classifier itself calls it.

    Returns:
        A module from these inputs to (logits (batch, labels), attributions (batch, tokens), attribution_target
        (batch,)). Its weights are the classifier's own tensors, not copies.

    Raises:
        ValueError: in training mode, under transformers 4, or for a method that reads values to decide what to do.
    """
    if int(transformers.__version__.partition(".")[0]) < 5:
        raise ValueError(f"a graph is recorded with transformers 5 or newer; this is {transformers.__version__}.")
    if classifier.training:
        raise ValueError("a graph is recorded in evaluation mode: call model.eval() first.")
    classifier.reads_one_token()  # found out here: what it is found out by, a recording could not read
    method = get_attribution_method(classifier.config.attribution_method)
    options = classifier.config.attribution_options

    def explain(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        inputs = dict(zip(names, tensors))
        if "attention_mask" not in inputs:
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        request = RowRequest(inputs.pop("attribution_target"), inputs.pop("attribution_contrast"))
        with torch.enable_grad(), QuerylessMasks(), attention():
            logits, scores = method.function(classifier, inputs, request, **options)
        scores = scores.squeeze(1).masked_fill(inputs["attention_mask"] == 0, 0.0)
        return logits.detach(), scores.detach(), request.resolve(logits).squeeze(1)

    with classifier.examined(method), torch.inference_mode(False):
        record = make_fx(explain, tracing_mode="symbolic", _allow_non_fake_inputs=True)
        try:
            graph = record(*example_inputs(names, classifier.device).values())
        except GuardOnDataDependentSymNode:
            raise ValueError(f"method {method.name!r} cannot be recorded as a graph for this backbone.") from None
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def export_attributions(
    classifier: ExplainableClassifier,
    names: list[str],
    limit: int | None = None,
    attention: Callable[[], AbstractContextManager] = nullcontext,
) -> torch.export.ExportedProgram:
    """The graph of `trace_attributions` as an exported program, for 1 text or more of 1 to `limit` tokens.

    Args:
        limit: by default what the backbone's position table allows.
        attention: as for `trace_attributions`.

    Raises:
        ValueError: if the classifier cannot be recorded, naming the cause.
    """
    graph = trace_attributions(classifier, names, attention)
    texts = torch.export.Dim("texts", min=1)
    tokens = torch.export.Dim("tokens", min=1, max=limit or position_limit(classifier.config, classifier.backbone))
    shapes = tuple({0: texts} if name.startswith("attribution_") else {0: texts, 1: tokens} for name in names)
    example = tuple(example_inputs(names, classifier.device).values())
    with torch.inference_mode(False), torch.no_grad():
        return torch.export.export(graph, example, dynamic_shapes=shapes, strict=False)


def example_inputs(
    names: list[str], device: torch.device | str = "cpu", texts: int = _TEXTS, tokens: int = _TOKENS
) -> dict[str, torch.Tensor]:
    """Inputs of a graph: real tokens of changing ids, the predicted label, no contrast. By default of a size that no
    model has by chance, to record with."""
    numbers = torch.arange(1, texts * tokens + 1, device=device).view(texts, tokens)
    values = {"input_ids": numbers % 11, "attention_mask": numbers.clamp(max=1), "token_type_ids": numbers * 0}
    none = torch.full((texts,), -1, dtype=torch.long, device=device)
    return {name: values[name] if name in values else none.clone() for name in names}
