"""Soft comprehensiveness and sufficiency: embeddings thinned out by rate, not tokens removed (Zhao & Aletras 2023).

The entries of each token's embedding are set to 0 at random, more of them the more (or less) the token matters.
Special tokens are left whole. Two things differ from the paper:

* Scores become rates by one affine map per text whose mean is fixed, so that every explanation takes away equally
  much: with raw scores as rates, a method with greater scores removes more and looks more faithful.
* The differences of p are not cut off at 0, nor divided by that of an empty text: both would add a bias.
"""

import zlib

import numpy as np
from scipy.special import softmax

from .perturbation import Perturbation, unit_scores, units_of
from .perturbation_runner import Measured, Measurement
from .texts import EncodedText


def soft_comprehensiveness(
    text: EncodedText,
    scores: np.ndarray,
    target: int,
    perturbation: Perturbation,
    *,
    draws: int = 8,
    mean_rate: float = 0.5,
) -> Measurement:
    """p(target | text) − p(target | text whose embedding entries go at the rate of their unit's score), mean of draws.

    Args:
        perturbation: only its unit counts: the tokens of a word have one rate.
        draws: how many sets of random numbers to take the mean over; they are the text's own, the same for every
            explanation and from run to run.
        mean_rate: mean over units of the rate at which entries go.
    """
    return (yield from _thinned(text, target, 1 - _rates(text, scores, perturbation, mean_rate), draws))


def soft_sufficiency(
    text: EncodedText,
    scores: np.ndarray,
    target: int,
    perturbation: Perturbation,
    *,
    draws: int = 8,
    mean_rate: float = 0.5,
) -> Measurement:
    """p(target | text) − p(target | text whose embedding entries stay at the rate of their unit's score).

    Args:
        perturbation, draws: as in `soft_comprehensiveness`.
        mean_rate: mean over units of the rate at which entries stay.
    """
    rates = _rates(text, scores, perturbation, mean_rate)
    return (yield from _thinned(text, target, np.where(text.special, 1.0, rates), draws))


def _rates(text: EncodedText, scores: np.ndarray, perturbation: Perturbation, mean_rate: float) -> np.ndarray:
    """Rates in [0, 1] per token (0 at special ones): affine in the scores, as steep as fits, their mean given.

    Their mean over units, that is; units with equal scores, or all of them, get equal rates.
    """
    units = units_of(text, perturbation)
    sums = unit_scores(text, scores, units)
    centred = sums - sums.mean()
    high, low = centred.max(), -centred.min()
    slope = min((1 - mean_rate) / high, mean_rate / low) if high > 0 and low > 0 else 0.0
    rates = np.zeros(len(text.ids))
    for unit, rate in zip(units, np.clip(mean_rate + slope * centred, 0, 1)):
        rates[list(unit)] = rate
    return rates


def _thinned(text: EncodedText, target: int, keep: np.ndarray, draws: int) -> Measurement:
    seeds = [zlib.crc32(f"{text.key}/{draw}".encode()) for draw in range(draws)]
    perturbed_texts = [text.unperturbed._replace(keep=tuple(keep.tolist()), seed=seed) for seed in seeds]
    probabilities = softmax((yield [text.unperturbed, *perturbed_texts]), axis=1)[:, target]
    return Measured(float(probabilities[0] - probabilities[1:].mean()))
