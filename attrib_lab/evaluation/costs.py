"""What explanations cost, in units of one forward pass of the same model on the same texts."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

from ..terminal.progress import Progress
from .classifiers import EvaluatedClassifier
from .explainers import Explainer, explain_batch
from .perturbation_runner import Logits
from .texts import EncodedText


TEXTS, ROUNDS = 4, 5
SLOW = 2.0  # seconds for these texts: what takes longer is timed once


@dataclass(frozen=True)
class Cost:
    """Medians over rounds.

    Attributes:
        passes: time of an explanation over that of a forward pass in the same round.
        seconds: of explaining the texts.
        forward_seconds: of a forward pass on them.
        texts, tokens: that were explained together; tokens without padding.
    """

    passes: float
    seconds: float
    forward_seconds: float
    texts: int
    tokens: int

    as_dict = asdict


def measure_costs(
    explainers: Sequence[Explainer],
    classifier: EvaluatedClassifier,
    logits: Logits,
    texts: Sequence[EncodedText],
    targets: Sequence[int],
    seed: int,
) -> Iterator[dict[str, Cost | None]]:
    """Time every explainer on a few texts of about median length; None for one that fails on the first of them.

    Forward pass and explainers take turns, round after round, so that a drift of the machine's speed meets all alike;
    slow explainers come one by one, each with a forward pass beside it.

    Yields:
        Costs as they are known, by name: of all quick explainers, then of each slow one.
    """
    middle = _places_of_median_length(texts)
    own, labels = [texts[place] for place in middle], [targets[place] for place in middle]

    def explain(explainer: Explainer, count: int) -> bool:
        found = explain_batch(explainer, classifier, own[:count], labels[:count], seed)
        return all(explanation.reason is None for explanation in found)

    def forward() -> None:
        logits([text.unperturbed for text in own])

    def time_in_turn(group: Sequence[Explainer], rounds: int) -> dict[str, Cost | None]:
        forward_seconds, seconds = [], {explainer.name: [] for explainer in group}
        for _ in range(rounds):
            forward_seconds.append(statistics.median(_seconds(forward) for _ in range(3)))
            for explainer in group:
                seconds[explainer.name].append(_seconds(lambda one=explainer: explain(one, len(own))))
                progress.advance()
        return {
            name: Cost(
                passes=statistics.median(one / unit for one, unit in zip(measured, forward_seconds)),
                seconds=statistics.median(measured),
                forward_seconds=statistics.median(forward_seconds),
                texts=len(own),
                tokens=sum(len(text.ids) for text in own),
            )
            for name, measured in seconds.items()
        }

    forward()
    # One text tells what fails and what is slow, and a first call is never the quickest.
    first = {explainer.name: _seconds_if_true(lambda one=explainer: explain(one, 1)) for explainer in explainers}
    quick = [e for e in explainers if first[e.name] is not None and first[e.name] * len(own) < SLOW]
    slow = [e for e in explainers if first[e.name] is not None and e not in quick]
    with Progress(ROUNDS * len(quick) + len(slow), "timing", "calls") as progress:
        yield {name: None for name, seconds in first.items() if seconds is None} | time_in_turn(quick, ROUNDS)
        for explainer in slow:
            yield time_in_turn([explainer], 1)


def _places_of_median_length(texts: Sequence[EncodedText]) -> list[int]:
    order = sorted(range(len(texts)), key=lambda place: (len(texts[place].ids), place))
    middle = max(0, len(order) // 2 - TEXTS // 2)
    return order[middle : middle + TEXTS]


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _seconds_if_true(call: Callable[[], bool]) -> float | None:
    answers: list[bool] = []
    seconds = _seconds(lambda: answers.append(call()))
    return seconds if answers[0] else None
