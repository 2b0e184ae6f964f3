"""A classifier's logits and attributions as one compiled graph, for the machine that it was compiled on."""

import threading
import warnings
from collections.abc import Callable
from typing import Any

import torch

from .attribution_methods import AttributionRequest, ExplainableClassifier, Inputs
from .backbone_parts import position_limit
from .classifier_output import ExplainedFields, explained_fields
from .model_structure import structure_of, weights_of
from .tracing import example_inputs, export_attributions, graph_inputs
from .xla_devices import is_xla


Graph = Callable[..., list[torch.Tensor]]

_PRECISE = (torch.float32, torch.float64)  # below, rounding cannot be told from a wrong graph
_TOLERANCE = 1e-4  # of the largest value: float32 kernels in another order; a wrong graph is off by far more


class CompiledAttributions:
    """Compiles on construction, and again when the classifier is no longer the one that was compiled.

    Sizes stay dynamic: one compilation serves every number of texts and tokens.

    Args:
        classifier: an `AttribForSequenceClassification` in evaluation mode.

    Raises:
        ValueError: if there is no compiler, if the graph cannot be recorded or compiled, or if it answers otherwise
            than the classifier does.
    """

    def __init__(self, classifier: ExplainableClassifier) -> None:
        if classifier.dtype not in _PRECISE:
            raise ValueError(f"attributions are compiled in float32 or float64, not in {classifier.dtype}.")
        if is_xla(classifier.device):
            raise ValueError("an XLA device compiles what it is asked for by itself.")
        self._names = graph_inputs(classifier)
        self._limit = position_limit(classifier.config, classifier.backbone)
        self._types_may_be_left_out = True
        self._lock = threading.Lock()
        self._run: Graph | None = self._compile(classifier)
        self._state = _state(classifier)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied or pickled, it is None: it belongs to the memory of one model."""
        return type(None), ()

    def takes(
        self,
        classifier: ExplainableClassifier,
        inputs: Inputs,
        request: AttributionRequest,
        method: str | None,
        options: Any,
    ) -> bool:
        """Whether the graph answers this call: the configured method, and one target per text."""
        return (
            not classifier.training
            and classifier.dtype in _PRECISE
            and not isinstance(request.target, str)
            and method in (None, classifier.config.attribution_method)
            and options in (None, classifier.config.attribution_options)
            and set(inputs) <= set(self._names)
            and (self._types_may_be_left_out or "token_type_ids" in inputs)
            and inputs["input_ids"].shape[1] <= (self._limit or inputs["input_ids"].shape[1])
            and inputs["input_ids"].device == classifier.device
            and not torch.is_autocast_enabled(classifier.device.type)
        )

    def explain(
        self, classifier: ExplainableClassifier, inputs: Inputs, request: AttributionRequest
    ) -> ExplainedFields | None:
        """The fields of the classifier's output.

        None, after one warning, if the classifier was changed into something that cannot be compiled.
        """
        with self._lock:  # of two threads that find changed weights, one compiles
            state = _state(classifier)
            if state != self._state:
                self._run, self._state = None, state  # what failed once is not tried at every call
                try:
                    self._run = self._compile(classifier)
                except ValueError as error:
                    warnings.warn(f"attributions are not compiled any more: {error}", stacklevel=2)
            run = self._run
        return None if run is None else self._answer(run, classifier, inputs, request)

    def _answer(
        self, run: Graph, classifier: ExplainableClassifier, inputs: Inputs, request: AttributionRequest
    ) -> ExplainedFields:
        ids = inputs["input_ids"]
        labels = torch.empty(len(ids), classifier.num_labels, device=ids.device)  # to check labels against, unread
        none = torch.full((len(ids), 1), -1, device=ids.device)
        target = none if request.target is None else request.resolve(labels)
        against = request.resolve_contrast(labels)
        contrast = none if against is None else against
        given = {"token_type_ids": torch.zeros_like(ids)} | inputs
        given |= {"attribution_target": target.squeeze(1), "attribution_contrast": contrast.squeeze(1)}
        logits, scores, explained = run(*(given[name].long().contiguous() for name in self._names))
        return explained_fields(logits, scores, explained, request.resolve_contrast(logits))

    def _compile(self, classifier: ExplainableClassifier) -> Graph:
        program = export_attributions(classifier, self._names)
        with torch.inference_mode(False), torch.no_grad():
            try:
                package = torch._inductor.aoti_compile_and_package(program, inductor_configs={"freezing": True})
            except Exception as error:  # a missing compiler, or whatever the compiler says
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise ValueError(f"the attributions could not be compiled: {reason}") from None
            run = torch._inductor.aoti_load_package(package)
        self._check(run, classifier)
        return run

    def _check(self, run: Graph, classifier: ExplainableClassifier) -> None:
        """Raise ValueError unless `run` answers as the classifier does, on sizes that it was not recorded with."""
        for texts, tokens in ((1, 9), (3, 14)):
            inputs = example_inputs(self._names, classifier.device, texts, min(tokens, self._limit or tokens))
            inputs = {name: value for name, value in inputs.items() if not name.startswith("attribution_")}
            self._types_may_be_left_out = _zeros_say_nothing(classifier, inputs)
            for row in range(1, texts):  # padded, each by one token more
                inputs["attention_mask"][row, -row:] = 0
            for contrast in (None, classifier.num_labels - 1):
                target = None if contrast is None else 0
                with torch.no_grad():
                    found = self._answer(run, classifier, inputs, AttributionRequest(target, contrast))
                with torch.enable_grad():  # such calls are never answered by a compiled graph
                    right = classifier(
                        **inputs, attribution_target=found["attribution_target"], attribution_contrast=contrast
                    )
                for name in ("logits", "attributions"):
                    value, expected = found[name], right[name]
                    difference, size = (value - expected).abs().max(), expected.abs().max().clamp(min=1e-6)
                    if not difference <= _TOLERANCE * size:  # NaN too
                        raise ValueError("the compiled graph answers otherwise than the model does: it is not used.")


def _zeros_say_nothing(classifier: ExplainableClassifier, inputs: Inputs) -> bool:
    """Whether token types that are all 0 are the same as none: not to GPT-2, which adds the embedding of word 0."""
    without = {name: value for name, value in inputs.items() if name != "token_type_ids"}
    with torch.no_grad():
        return torch.equal(classifier.classify(inputs), classifier.classify(without))


def _state(classifier: ExplainableClassifier) -> tuple[Any, ...]:
    """Changes with what the model is built of, and when a weight is replaced or written to (not through `.data`)."""
    return structure_of(classifier), weights_of(classifier)
