"""What a mean over texts is worth: bootstrap intervals, paired tests between methods, Holm's correction."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


DRAWN_AT_ONCE = 1 << 22  # random numbers; bounds the memory of a resampling of many texts
# Sign assignments of a test: the smallest p-value, 1 in as many, is below 5 % even times the 300 pairs of 25 methods.
FLIPS = 20_000


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


def paired_tests(values: np.ndarray, flips: int = FLIPS, seed: int = 0) -> np.ndarray:
    """Two-sided sign-flip permutation tests of equal means on the same texts (Good 2005, section 3.2.1), of all pairs.

    If two methods are equally good, each text's difference is as likely to have the other sign. The p-value is the
    share of sign assignments whose mean difference is at least as large as the one observed: of all 2^texts where
    these are no more than `flips`, else of `flips` random ones and the observed one. All pairs have the same ones.

    Args:
        values: one figure a text and method, (texts, methods); no NaN.

    Returns:
        P-values (methods, methods), symmetric; 1 on the diagonal.

    Raises:
        ValueError: without texts, or for values that are not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    _check(values)
    # A pair's sum of signed differences is the difference of two signed sums: one product serves all pairs. What the
    # methods have in common goes first, as it would only cost digits.
    values = values - values.mean(axis=1, keepdims=True)
    count, methods = values.shape
    first, second = np.triu_indices(methods, 1)
    # What differs by rounding only counts as equal: a sum depends on the order of its terms.
    rounding = 1e-13 * np.abs(values).sum(axis=0)
    totals = values.sum(axis=0)
    observed = np.abs(totals[first] - totals[second]) - rounding[first] - rounding[second]
    exact = count < 62 and 2**count <= flips
    generator = np.random.default_rng(seed)
    larger = np.zeros(len(first), dtype=np.int64)
    done = 0
    for portion in _portions(2**count if exact else flips, max(count, len(first))):
        if exact:
            bits = (np.arange(done, done + portion)[:, None] >> np.arange(count)) & 1
        else:
            bits = generator.integers(2, size=(portion, count), dtype=np.int8)
        sums = (1.0 - 2.0 * bits) @ values
        larger += (np.abs(sums[:, first] - sums[:, second]) >= observed).sum(axis=0)
        done += portion
    p_values = np.ones((methods, methods))
    p_values[first, second] = p_values[second, first] = larger / done if exact else (larger + 1) / (done + 1)
    return p_values


def holm(p_values: np.ndarray) -> np.ndarray:
    """P-values adjusted for their number (Holm 1979): the k-th smallest of m times m − k + 1, never decreasing."""
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return adjusted


def shared_texts(values: dict[str, np.ndarray]) -> np.ndarray:
    """Where every method has a figure: (texts,), true or false. Only these tell methods apart: texts differ in how
    easy they are, so that a mean over other texts says nothing of the method.

    Args:
        values: method -> one figure a text, (texts,), NaN where there is none.
    """
    return np.all([np.isfinite(own) for own in values.values()], axis=0)


def compare_with_best(
    values: dict[str, np.ndarray], higher_is_better: bool, flips: int = FLIPS, seed: int = 0
) -> tuple[str, dict[str, float]]:
    """The method with the best mean, and the adjusted p-value of every other method against it.

    The best is chosen by the figures that it is then tested on, so that of equally good methods the luckiest is
    compared with the unluckiest. Holm's correction is therefore over all pairs of methods, any of which could have
    been compared: the chance that any two equally good ones are told apart is at most the level of the test.

    Args:
        values: method -> one figure a text, (texts,), no NaN; the same texts for all (`shared_texts`).

    Returns:
        The best method, and method -> p-value for the others. None of these has a better mean, so that a small p-value
        means worse.

    Raises:
        ValueError: without methods or texts, or for values that are not finite.
    """
    if not values:
        raise ValueError("no method has a figure to compare.")
    methods = list(values)
    table = np.stack([values[method] for method in methods], axis=1)
    p_values = paired_tests(table, flips, seed)
    pairs = np.triu_indices(len(methods), 1)
    p_values[pairs] = p_values.T[pairs] = holm(p_values[pairs])
    means = table.mean(axis=0)
    best = int(means.argmax() if higher_is_better else means.argmin())
    return methods[best], {m: float(p) for m, p in zip(methods, p_values[best]) if m != methods[best]}


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
