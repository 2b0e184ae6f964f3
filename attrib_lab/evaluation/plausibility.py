"""Plausibility: how well an explanation agrees with what people marked as the reason for a label.

`auprc`, `token_f1` and `iou_f1` are measurements of one text (see `perturbation_runner.py`) that ask the model nothing:
what counts is `text.rationale` and the scores. Units are those of `perturbation`: tokens, or words, of which a word is
marked if one of its tokens is. They raise `NotMeasurable` where there is no rationale, and for what cannot be
ranked (see `perturbation.py`).
"""

import numpy as np
from sklearn.metrics import auc, precision_recall_curve

from .perturbation import Perturbation, Unit, unit_scores, units_of
from .perturbation_runner import Measured, Measurement, NotMeasurable
from .texts import EncodedText


def auprc(text: EncodedText, scores: np.ndarray, target: int, perturbation: Perturbation) -> Measurement:
    """Area under the precision-recall curve of the scores against the rationale (DeYoung et al. 2020, section 4.1).

    The area is the trapezoid rule's, as in ERASER's code, from recall 0 at precision 1; with few units it is not the
    average precision, which is the sum of a step function. A text of which every unit is marked is not measurable.
    """
    yield from ()
    units, marked = _marked_units(text, perturbation)
    sums = unit_scores(text, scores, units)
    if marked.all():
        raise NotMeasurable("everything is rationale")
    precision, recall, _ = precision_recall_curve(marked, sums)
    return Measured(float(auc(recall, precision)))


def token_f1(
    text: EncodedText,
    scores: np.ndarray,
    target: int,
    perturbation: Perturbation,
    *,
    share: float | None = None,
    threshold: float | None = None,
) -> Measurement:
    """F1 of the chosen units against the rationale (DeYoung et al. 2020, section 4.1).

    Args:
        share: choose the max(1, round(share · units)) units of the highest scores, the first of equal ones; take the
            data's mean share of marked tokens (`mean_rationale_share`), as is usual.
        threshold: choose the units with at least this score instead, as for methods that learnt one.
    """
    yield from ()
    units, marked = _marked_units(text, perturbation)
    chosen = _choose(unit_scores(text, scores, units), share, threshold)
    return Measured(_f1((chosen & marked).sum(), chosen.sum(), marked.sum()))


def iou_f1(
    text: EncodedText,
    scores: np.ndarray,
    target: int,
    perturbation: Perturbation,
    *,
    share: float | None = None,
    threshold: float | None = None,
) -> Measurement:
    """F1 over spans: runs of chosen units that match a run of the rationale (DeYoung et al. 2020, section 4.1).

    Two runs match if their intersection holds at least half of the units of their union. The figure of a data set is
    the mean of its texts' F1, each of which an interval and a test need; ERASER's macro F1 is the F1 of mean precision
    and mean recall instead, and so another number.

    Args:
        share, threshold: as in `token_f1`.
    """
    yield from ()
    units, marked = _marked_units(text, perturbation)
    chosen = _runs(_choose(unit_scores(text, scores, units), share, threshold), units)
    human = _runs(marked, units)
    matched = sum(any(2 * len(run & other) >= len(run | other) for other in human) for run in chosen)
    return Measured(_f1(matched, len(chosen), len(human)))


def _marked_units(text: EncodedText, perturbation: Perturbation) -> tuple[list[Unit], np.ndarray]:
    if text.rationale is None or not any(text.rationale):
        raise NotMeasurable("no rationale")
    units = units_of(text, perturbation)
    return units, np.array([any(text.rationale[position] for position in unit) for unit in units])


def _choose(scores: np.ndarray, share: float | None, threshold: float | None) -> np.ndarray:
    if (share is None) == (threshold is None):
        raise ValueError("give either a share or a threshold: which tokens does the explanation name?")
    if threshold is not None:
        return scores >= threshold
    chosen = np.zeros(len(scores), dtype=bool)
    chosen[np.argsort(-scores, kind="stable")[: max(1, round(share * len(scores)))]] = True
    return chosen


def _runs(flags: np.ndarray, units: list[Unit]) -> list[set[int]]:
    """Runs of flagged units that follow one another without a special token between, as sets of unit numbers."""
    runs: list[set[int]] = []
    for number in np.flatnonzero(flags).tolist():
        follows = runs and number - 1 in runs[-1] and units[number][0] == units[number - 1][-1] + 1
        if follows:
            runs[-1].add(number)
        else:
            runs.append({number})
    return runs


def _f1(matched: int, chosen: int, marked: int) -> float:
    """Harmonic mean of matched/chosen and matched/marked; 0 where nothing matches."""
    return float(2 * matched / (chosen + marked)) if matched else 0.0
