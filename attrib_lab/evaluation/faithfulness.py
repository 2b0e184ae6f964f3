"""Faithfulness: what the model says once the tokens that an explanation names are gone, or alone.

Every function here is a measurement (see `perturbation_runner.py`) of one text:

* text: the text; scores: (tokens,), signed, toward `target`; target: index of the explained, predicted label;
  perturbation: what stands in place of what is removed.
* It raises `NotMeasurable` for a text without two tokens or words to rank, and for scores that are not finite.

p is the softmax probability, in float64.
"""

from collections.abc import Sequence

import numpy as np
from scipy.integrate import trapezoid
from scipy.special import log_softmax, softmax

from .metrics import FLIPPED, TOP
from .perturbation import Perturbation, counts_at, rank_units
from .perturbation_runner import Measured, Measurement
from .texts import EncodedText


TOP_20 = 0.2


def comprehensiveness(
    text: EncodedText, scores: np.ndarray, target: int, perturbation: Perturbation, *, fractions: Sequence[float] = TOP
) -> Measurement:
    """p(target | text) − p(target | text without its top units), mean over fractions (DeYoung et al. 2020, ERASER).

    The top is by signed score, and ceil(fraction · units) of them. The curve holds the difference at each fraction.
    """
    ranked = rank_units(text, scores, perturbation)
    perturbed_texts = [perturbation.without(text, ranked[:count]) for count in counts_at(fractions, len(ranked))]
    probabilities = softmax((yield [text.unperturbed, *perturbed_texts]), axis=1)[:, target]
    return _mean(probabilities[0] - probabilities[1:])


def sufficiency(
    text: EncodedText, scores: np.ndarray, target: int, perturbation: Perturbation, *, fractions: Sequence[float] = TOP
) -> Measurement:
    """p(target | text) − p(target | its top units alone), mean over fractions (DeYoung et al. 2020, ERASER)."""
    ranked = rank_units(text, scores, perturbation)
    perturbed_texts = [perturbation.without(text, ranked[count:]) for count in counts_at(fractions, len(ranked))]
    probabilities = softmax((yield [text.unperturbed, *perturbed_texts]), axis=1)[:, target]
    return _mean(probabilities[0] - probabilities[1:])


def auac(
    text: EncodedText, scores: np.ndarray, target: int, perturbation: Perturbation, *, special_tokens: bool = True
) -> Measurement:
    """Area under the activation curve (Ali et al. 2022, section 5).

    `scores` explain the *true* class. All tokens are [UNK] at first, [CLS] and [SEP] too; they are put back by
    descending signed score, and p of the true class is recorded at fractions 0, 0.1 ... 1 (of `target` where the text
    has no gold label). The area is the trapezoid rule's; the mean of areas is the area of the mean curve.

    Args:
        special_tokens: False leaves special tokens alone: they stand in every perturbed and are not ranked.
    """
    ranked = rank_units(text, scores, perturbation, special_tokens=special_tokens)
    label = target if text.label is None else text.label
    logits = yield [perturbation.without(text, ranked[count:]) for count in counts_at(FLIPPED, len(ranked))]
    curve = softmax(logits, axis=1)[:, label]
    return Measured(float(trapezoid(curve, FLIPPED)), tuple(curve.tolist()))


def au_mse(
    text: EncodedText, scores: np.ndarray, target: int, perturbation: Perturbation, *, special_tokens: bool = True
) -> Measurement:
    """Area under the pruning curve of squared errors (Ali et al. 2022, section 5).

    `scores` explain the *true* class. Tokens become [UNK] by ascending magnitude of their score, [CLS] and [SEP] too;
    recorded is Σ_classes (logit₀ − logit_t)², logit₀ being the whole text's, at fractions 0, 0.1 ... 1. Trapezoid rule.

    Args:
        special_tokens: as in `auac`.
    """
    ranked = rank_units(text, scores, perturbation, special_tokens=special_tokens, ascending_magnitude=True)
    logits = yield [perturbation.without(text, ranked[:count]) for count in counts_at(FLIPPED, len(ranked))]
    curve = ((logits - logits[0]) ** 2).sum(axis=1)
    return Measured(float(trapezoid(curve, FLIPPED)), tuple(curve.tolist()))


def aopc(
    text: EncodedText,
    scores: np.ndarray,
    target: int,
    perturbation: Perturbation,
    *,
    fractions: Sequence[float] = FLIPPED[1:],
) -> Measurement:
    """Area over the perturbation curve: p(target | text) − p(target | text without its top units), mean over tenths.

    Samek et al. 2017, eq. 12, at ten places so that long texts cost no more than short ones; the registry deletes
    what is removed. Equation 12 counts the whole text too, whose drop is 0, and so divides by 11 what here is divided
    by 10: these figures are 1.1 times as large, for every method alike. Which tokens go first is all that tells
    explanations apart: at the end nothing is left.
    """
    return (yield from comprehensiveness(text, scores, target, perturbation, fractions=fractions))


def log_odds(
    text: EncodedText, scores: np.ndarray, target: int, perturbation: Perturbation, *, fraction: float = TOP_20
) -> Measurement:
    """log p(target | text without its top units) − log p(target | text) (Shrikumar et al. 2017; 20 % by default)."""
    ranked = rank_units(text, scores, perturbation)
    (count,) = counts_at([fraction], len(ranked))
    logs = log_softmax((yield [text.unperturbed, perturbation.without(text, ranked[:count])]), axis=1)[:, target]
    return Measured(float(logs[1] - logs[0]))


def _mean(differences: np.ndarray) -> Measured:
    return Measured(float(differences.mean()), tuple(differences.tolist()))
