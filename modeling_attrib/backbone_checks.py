"""What is found out about a model before it is explained, by running it on a few tokens, and remembered."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from .activation_capture import ActivationCapture
from .attribution_methods import AttributionMethod, ExplainableClassifier, other_methods
from .backbone_parts import attention_kernel, find_parts
from .conservation import unaccounted_relevance
from .gradient_flow import layer_without_gradient
from .model_structure import Structure, structure_of, weights_of
from .propagation_methods import embedding_place
from .sample_inputs import sample_inputs
from .untouched import Untouched
from .word_places import mixes_tokens, word_out_of_place


_UNACCOUNTED = 1e-3  # of the relevance; what has every rule leaves a millionth, and what lacks one some hundredths
_REMEMBERED = 16  # structures: a model's own, in training mode, with each of its adapters


class BackboneChecks:
    """Asks and remembers, for each structure that a model has had (see `structure_of`), whether methods can explain it.

    Every check leaves the model as it was, and runs in a thread of its own: what the asking thread has entered (rules,
    captures, recorders, autocast, inference mode) sees nothing of it and changes nothing in it.

    A refusal is not remembered, but found out anew: weights that were not a number yesterday may be fine today. What
    rules account for is remembered for as long as no weight is written to: a part without a rule that is multiplied by
    0, as new adapters are, shows only once it has learned.
    """

    def __init__(self) -> None:
        self._found: dict[Structure, dict[Any, Any]] = {}
        self._lock = threading.Lock()  # of two threads that find a new structure, one runs the model
        self._here = threading.local()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied or pickled, it is empty: what it knows is known of one model's modules."""
        return type(self), ()

    @contextmanager
    def same_model(self, classifier: ExplainableClassifier) -> Iterator[None]:
        """Context in which this thread takes the classifier for what it was on entering, without looking again."""
        outer = getattr(self._here, "structure", None)
        self._here.structure = self._structure(classifier)
        try:
            yield
        finally:
            self._here.structure = outer

    def refuse(self, classifier: ExplainableClassifier, method: AttributionMethod) -> None:
        """Raise ValueError, with the reason and the methods that remain, if `method` would explain wrongly."""
        self._ask(_changes_itself, classifier)
        if not _has_no_backward_pass(classifier):
            self._ask(layer_without_gradient, classifier)  # for later: a graph that is recorded cannot find it out
        if method.needs_words_apart:
            self._ask(_words_out_of_place, classifier, method)
        if method.needs_every_rule:
            self._ask(_loses_relevance, classifier, method)

    @torch.compiler.disable  # as explanations are: of a head that reads adjusted features, logits ask for it too
    def refuse_without_gradient(self, classifier: ExplainableClassifier) -> None:
        """Raise ValueError, naming the layer or the kernel, if some layer passes no gradient."""
        if _has_no_backward_pass(classifier):
            raise ValueError(
                "attn_implementation='flex_attention' has no backward pass on a CPU: load the model with 'sdpa' or "
                "'eager'."
            )
        layer = self._ask(layer_without_gradient, classifier)
        if layer is not None:
            before = "as it was before quantisation, or " if layer.endswith("quantised)") else ""
            raise ValueError(
                f"{layer} passes no gradient, or not its own, so a method with a backward pass would answer wrongly: "
                f"explain the model {before}by a method of one forward pass (attention_last, rollout, expnet)."
            )

    def lays_out_texts_first(self, classifier: ExplainableClassifier) -> bool:
        """Whether token states are (batch, tokens, width)."""
        return self._ask(_lays_out_texts_first, classifier)

    def mixes_tokens(self, classifier: ExplainableClassifier) -> bool:
        """Whether a token's last state depends on other tokens' states behind the last attention product."""
        return self._ask(_mixes_tokens, classifier)

    def _structure(self, classifier: ExplainableClassifier) -> Structure:
        return getattr(self._here, "structure", None) or structure_of(classifier, tensors=False)

    def _ask(self, question: Callable[..., Any], classifier: ExplainableClassifier, *about: Any) -> Any:
        if getattr(classifier, "_is_replica", False):
            raise ValueError(
                "nn.DataParallel runs copies of the model that it makes anew at each call, so that what is found out "
                "about one holds for no other: explain on one device, or start a process for each (torchrun, "
                "accelerate launch)."
            )
        structure = self._structure(classifier)
        if getattr(self._here, "checking", False):  # a question that a check asks: who started it holds the lock
            return self._answer(structure, question, classifier, *about)
        with self._lock:
            return self._answer(structure, question, classifier, *about)

    def _answer(
        self, structure: Structure, question: Callable[..., Any], classifier: ExplainableClassifier, *about: Any
    ) -> Any:
        found = self._found.get(structure, {})
        weights = weights_of(classifier) if question is _loses_relevance else None
        if question not in found or found[question][0] != weights:
            if get_proxy_mode() is not None:
                raise ValueError("explain a text once before recording the model as a graph.")
            with ThreadPoolExecutor(max_workers=1) as thread:
                answer = thread.submit(self._check, structure, question, classifier, *about).result()
            while len(self._found) >= _REMEMBERED and structure not in self._found:
                del self._found[next(iter(self._found))]
            found = self._found.setdefault(structure, found)
            found[question] = weights_of(classifier) if weights else None, answer
        return found[question][1]

    def _check(
        self, structure: Structure, question: Callable[..., Any], classifier: ExplainableClassifier, *about: Any
    ) -> Any:
        self._here.checking, self._here.structure = True, structure
        return _run(question, classifier, *about)


def _has_no_backward_pass(classifier: ExplainableClassifier) -> bool:
    return attention_kernel(classifier.backbone) == "flex_attention" and classifier.device.type == "cpu"


def _run(question: Callable[..., Any], classifier: ExplainableClassifier, *about: Any) -> Any:
    untouched = Untouched(classifier)
    with torch.no_grad():
        for _ in range(2):  # what a model does to its weights at its first text, it has done at the second
            with untouched:
                answer = question(classifier, *about)
            if not untouched.written:
                break
    if untouched.written:
        raise ValueError(
            f"{type(classifier.backbone).__name__} writes to its own weights whenever it reads a text "
            f"({untouched.written[0]}), so that no explanation holds for the next one."
        )
    if untouched.changes:
        raise ValueError(
            f"{type(classifier.backbone).__name__} changes itself when it reads a short text, and answers otherwise "
            f"from then on: {untouched.changes[0]}. To explain it, set that from the start: in its config.json."
        )
    return answer


# Questions: what speaks against a method is raised as ValueError ----------------------------------------


def _changes_itself(classifier: ExplainableClassifier) -> None:
    classifier.encode(sample_inputs(classifier, 3, 8))  # what it changes is seen by who runs this


def _words_out_of_place(classifier: ExplainableClassifier, method: AttributionMethod) -> None:
    reason = word_out_of_place(classifier)
    if reason is not None:
        raise ValueError(
            f"{type(classifier.backbone).__name__}: {reason}, where {method.name!r} reads its scores: it would mark "
            f"other words than those that decide. {other_methods('needs_words_apart')}"
        )


def _loses_relevance(classifier: ExplainableClassifier, method: AttributionMethod) -> None:
    # Not as many texts as tokens: their layout would have to be found out first, which not all layers show.
    error = unaccounted_relevance(classifier, sample_inputs(classifier, 7, 8))
    if not error <= _UNACCOUNTED:  # NaN too
        raise ValueError(
            f"{type(classifier.backbone).__name__}: the rules of {method.name!r} leave {error:.1%} of the relevance "
            "unaccounted for here, so some part of this backbone has no propagation rule, or rounds what it computes "
            f"with. {other_methods('needs_every_rule')}"
        )


def _mixes_tokens(classifier: ExplainableClassifier) -> bool:
    return mixes_tokens(classifier, sample_inputs(classifier, 4, 9))


def _lays_out_texts_first(classifier: ExplainableClassifier) -> bool:
    parts = find_parts(classifier.backbone)
    place, side = embedding_place(parts, at_sum=False)
    with ActivationCapture([parts.layers[0]]) as entering, ActivationCapture([place], side) as embedded:
        classifier.encode(sample_inputs(classifier, 2, 8))
    return all(len(states) == 2 for states in [*entering.values, *embedded.values])  # SqueezeBERT's layers show none
