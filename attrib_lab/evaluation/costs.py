"""What explanations cost, in units of one forward pass of the same model on the same texts."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from tqdm import tqdm

from .classifiers import Classifier
from .explainers import Explainer, explain_batch
from .probing import Logits
from .texts import EncodedText


TEXTS, ROUNDS = 8, 5
SLOW = 2.0  # seconds: what takes longer is measured once


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
    classifier: Classifier,
    logits: Logits,
    texts: Sequence[EncodedText],
    targets: Sequence[int],
    seed: int,
) -> dict[str, Cost]:
    """Time every explainer on a few texts of about median length; those that fail there have no cost.

    Forward pass and explainers take turns, round after round, so that a drift of the machine's speed meets all alike.
    """
    order = sorted(range(len(texts)), key=lambda place: (len(texts[place].ids), place))
    middle = max(0, len(order) // 2 - TEXTS // 2)
    chosen = order[middle : middle + TEXTS]
    own, labels = [texts[place] for place in chosen], [targets[place] for place in chosen]
    variants = [text.variant for text in own]

    def explain(explainer: Explainer, count: int) -> bool:
        found = explain_batch(explainer, classifier, own[:count], labels[:count], seed)
        return all(explanation.reason is None for explanation in found)

    measured: dict[str, list[tuple[float, float]]] = {}
    running = [explainer for explainer in explainers if explain(explainer, 1)]  # the first call is never the quickest
    logits(variants)
    with tqdm(total=ROUNDS * len(running), desc="timing", unit="call", leave=False) as bar:
        for _ in range(ROUNDS):
            forward = _seconds(lambda: logits(variants))
            for explainer in running:
                rounds = measured.setdefault(explainer.name, [])
                if not rounds or rounds[-1][0] < SLOW:
                    rounds.append((_seconds(lambda one=explainer: explain(one, len(own))), forward))
                bar.update()
    tokens = sum(len(text.ids) for text in own)
    return {
        name: Cost(
            passes=statistics.median(seconds / forward for seconds, forward in rounds),
            seconds=statistics.median(seconds for seconds, _ in rounds),
            forward_seconds=statistics.median(forward for _, forward in rounds),
            texts=len(own),
            tokens=tokens,
        )
        for name, rounds in measured.items()
    }


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
