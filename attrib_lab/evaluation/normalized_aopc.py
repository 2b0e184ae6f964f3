"""AOPC between the worst and the best order of one text, found by beam search (Edin et al. 2024)."""

from collections.abc import Generator

import numpy as np
from scipy.special import softmax

from .perturbation import Perturbation, rank_units, units_of
from .perturbation_runner import Measured, Measurement, NotMeasurable, PerturbedText
from .texts import EncodedText


def normalized_aopc(
    text: EncodedText,
    scores: np.ndarray,
    target: int,
    perturbation: Perturbation,
    *,
    beam_width: int = 5,
    max_units: int = 64,
) -> Measurement:
    """(AOPC − lower) / (upper − lower), with the bounds of this text, model and perturbation (Edin et al. 2024).

    AOPC of an order is the mean over i = 1 ... n of p(target | text) − p(target | text without the order's first i
    units); here units leave one by one. The bounds are its extremes over all orders as far as two beam searches see:
    they keep the `beam_width` best sets of each size (5 in the paper), and are exact where no size has more sets than
    that. Beyond that an explanation may be better than the best order found, and its value above 1.

    Asks about n² · beam_width questions, the same for every explanation of a text: measure them in one run.

    Raises:
        NotMeasurable: for texts of more than `max_units` units, and where every order is as good; and see
            `faithfulness`.
    """
    ranked = rank_units(text, scores, perturbation)
    if len(ranked) > max_units:
        raise NotMeasurable(f"more than {max_units} units to order")
    logits = yield [text.unperturbed, *(perturbation.without(text, ranked[: i + 1]) for i in range(len(ranked)))]
    probabilities = softmax(logits, axis=1)[:, target]
    whole = probabilities[0]
    value = float((whole - probabilities[1:]).mean())
    lower, upper = yield from _bounds(text, target, perturbation, whole, beam_width)
    if upper - lower < 1e-9:
        raise NotMeasurable("every order has the same AOPC")
    return Measured((value - lower) / (upper - lower))


def _bounds(
    text: EncodedText, target: int, perturbation: Perturbation, whole: float, beam_width: int
) -> Generator[list[PerturbedText], np.ndarray, tuple[float, float]]:
    """Least and greatest AOPC found, by two searches that share their questions.

    A set of removed units is an integer with a bit for each. What an order gains by its next unit depends on the set
    reached alone, so of the orders that lead to one set only the best goes on.
    """
    units = units_of(text, perturbation)
    # For each direction: the sets of its beam, and direction · (sum of the drops on the best way there).
    beams: dict[int, dict[int, float]] = {-1: {0: 0.0}, 1: {0: 0.0}}
    for _ in units:
        reached = {direction: _extend(beam, len(units)) for direction, beam in beams.items()}
        asked = sorted(set().union(*reached.values()))
        logits = yield [
            perturbation.without(text, [unit for place, unit in enumerate(units) if removed >> place & 1])
            for removed in asked
        ]
        drops = dict(zip(asked, (whole - softmax(logits, axis=1)[:, target]).tolist()))
        for direction, totals in reached.items():
            totals = {removed: total + direction * drops[removed] for removed, total in totals.items()}
            best = sorted(totals, key=lambda removed, totals=totals: (-totals[removed], removed))[:beam_width]
            beams[direction] = {removed: totals[removed] for removed in best}
    lower, upper = (direction * next(iter(beams[direction].values())) / len(units) for direction in (-1, 1))
    return lower, upper


def _extend(beam: dict[int, float], total_units: int) -> dict[int, float]:
    """The sets with one unit more, each with the greatest total among those that it can come from."""
    extended: dict[int, float] = {}
    for removed, total in beam.items():
        for place in range(total_units):
            if not removed >> place & 1:
                bigger = removed | 1 << place
                extended[bigger] = max(total, extended.get(bigger, -np.inf))
    return extended
