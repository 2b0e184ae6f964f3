"""What a mean over texts is worth: bootstrap intervals, paired tests between methods, Holm's correction."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


DRAWN_AT_ONCE = 1 << 22  # random numbers; bounds the memory of a resampling of many texts


@dataclass(frozen=True)
class Interval:
    """A mean over texts and its percentile interval."""

    mean: float
    low: float
    high: float
    texts: int


def bootstrap_interval(values: np.ndarray, confidence: float = 0.95, resamples: int = 5000, seed: int = 0) -> Interval:
    """Mean over texts with its bootstrap percentile interval (Efron and Tibshirani 1993, section 13.3).

    Args:
        values: one figure a text, (texts,); no NaN.
        confidence: share of resampled means inside the interval; half of the rest lies on each side.
        resamples: how often as many texts are drawn with replacement.
        seed: the same seed draws the same texts, whatever their figures.

    Raises:
        ValueError: without values, for values that are not finite, or a confidence outside (0, 1).
    """
    means = bootstrap_means(np.asarray(values, dtype=np.float64)[:, None], resamples, seed)[:, 0]
    low, high = percentile_limits(means, confidence)
    return Interval(float(np.mean(values)), float(low), float(high), len(values))


def bootstrap_means(values: np.ndarray, resamples: int = 5000, seed: int = 0) -> np.ndarray:
    """Means of texts drawn with replacement, the same texts for every column: (texts, columns) -> (resamples, columns).

    Raises:
        ValueError: without texts, or for values that are not finite.
    """
    _check(values)
    generator = np.random.default_rng(seed)
    means = []
    for count in _portions(resamples, len(values)):
        drawn = generator.integers(len(values), size=(count, len(values)))
        # How often each text was drawn: one matrix product then serves all columns.
        offsets = np.arange(count)[:, None] * len(values)
        times = np.bincount((drawn + offsets).ravel(), minlength=count * len(values)).reshape(count, len(values))
        means.append(times @ values / len(values))
    return np.concatenate(means)


def percentile_limits(means: np.ndarray, confidence: float = 0.95) -> np.ndarray:
    """Lower and upper limit of each column: (resamples, ...) -> (2, ...)."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence!r}: it must lie between 0 and 1.")
    tail = (1 - confidence) / 2
    return np.quantile(means, [tail, 1 - tail], axis=0)


def paired_test(first: np.ndarray, second: np.ndarray, flips: int = 5000, seed: int = 0) -> float:
    """Two-sided sign-flip permutation test of equal means on the same texts (Good 2005, section 3.2.1).

    If two methods are equally good, each text's difference is as likely to have the other sign. The p-value is the
    share of sign assignments whose mean difference is at least as large as the one observed: of all 2^texts where
    these are no more than `flips`, else of `flips` random ones and the observed one.

    Args:
        first, second: figures of two methods for the same texts, (texts,) each; no NaN.

    Raises:
        ValueError: for different numbers of texts, none, or values that are not finite.
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"a paired test needs the same texts twice, not {first.shape} and {second.shape}.")
    difference = first - second
    _check(difference)
    # What differs by rounding only counts as equal: a sum depends on the order of its terms.
    observed = abs(difference.sum()) * (1 - 1e-12) - 1e-300
    count = len(difference)
    if count < 62 and 2**count <= flips:
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
        return float(np.mean(np.abs(signs @ difference) >= observed))
    generator = np.random.default_rng(seed)
    larger = 0
    for portion in _portions(flips, count):
        signs = generator.integers(2, size=(portion, count), dtype=np.int8) * np.int8(2) - np.int8(1)
        larger += int(np.sum(np.abs(signs @ difference) >= observed))
    return (larger + 1) / (flips + 1)


def holm(p_values: np.ndarray) -> np.ndarray:
    """P-values adjusted for their number (Holm 1979): the k-th smallest of m times m − k + 1, never decreasing."""
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return adjusted


def compare_with_best(
    values: dict[str, np.ndarray], higher_is_better: bool, flips: int = 5000, seed: int = 0
) -> tuple[str, dict[str, float]]:
    """The method with the best mean, and the Holm-adjusted p-value of every other method against it.

    Args:
        values: method -> one figure a text, (texts,), NaN where there is none; the same texts for all.

    Returns:
        The best method, and method -> p-value. A pair is tested on the texts that both have; one that shares no text
        with the best is not tested and not named.

    Raises:
        ValueError: if no method has a figure.
    """
    measured = {method: own for method, own in values.items() if np.isfinite(own).any()}
    if not measured:
        raise ValueError("no method has a figure to compare.")
    means = {method: float(np.nanmean(own)) for method, own in measured.items()}
    best = (max if higher_is_better else min)(means, key=means.__getitem__)
    p_values = {}
    for method, own in measured.items():
        common = np.isfinite(own) & np.isfinite(measured[best])
        if method != best and common.any():
            p_values[method] = paired_test(own[common], measured[best][common], flips, seed)
    return best, dict(zip(p_values, holm(np.array(list(p_values.values()))).tolist()))


def _check(values: np.ndarray) -> None:
    if not len(values):
        raise ValueError("there are no texts to take a mean of.")
    if not np.isfinite(values).all():
        raise ValueError("values that are not finite have no mean: leave their texts out first.")


def _portions(count: int, width: int) -> Iterator[int]:
    """`count` rows of `width` numbers in portions that fit into memory."""
    portion = max(1, DRAWN_AT_ONCE // width)
    while count > 0:
        yield min(portion, count)
        count -= portion
