"""Whether concept vectors differ from chance: t-tests for values from overlapping random splits, and Holm's correction.

The values of one concept's vectors are not independent: all of them are fitted on the same few sentences, so that an
ordinary t-test over fifty of them calls almost any set of sentences significant. Nadeau and Bengio 2003 ("Inference for
the Generalization Error") put the overlap into the variance: instead of s²/J it is s²·(1/J + unseen/trained) for J
splits that train on `trained` and leave `unseen` sentences out.
"""

import numpy as np
from scipy.stats import t as student


def t_test_value(values: np.ndarray, expected: float, overlap: float = 0.0) -> float:
    """P-value, two-sided, of a t-test of the mean of `values`, (vectors,), against a number.

    Args:
        overlap: unseen/trained sentences of the splits; 0 is the ordinary test.
    """
    variance, freedom = _variance_of_mean(values, overlap)
    return _two_sided(float(np.mean(values) - expected), variance, freedom)


def t_test_random(values: np.ndarray, random_values: np.ndarray, overlap: float = 0.0) -> float:
    """P-value, two-sided, of Welch's t-test of `values`, (vectors,), against those of random concepts, (vectors,).

    Args:
        overlap: unseen/trained sentences of the concept's splits. Every random vector has sentences of its own, so
            that theirs are independent.
    """
    own, freedom = _variance_of_mean(values, overlap)
    theirs, their_freedom = _variance_of_mean(random_values, 0.0)
    total = own + theirs
    # Welch and Satterthwaite's degrees of freedom.
    joint = total**2 / (own**2 / freedom + theirs**2 / their_freedom) if total > 0 else freedom
    return _two_sided(float(np.mean(values) - np.mean(random_values)), total, joint)


def holm(p_values: list[float]) -> list[float]:
    """P-values adjusted for their number (Holm 1979): the k-th smallest of m times m − k + 1, never decreasing."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(np.asarray(p_values)[order] * factors), 1.0)
    return adjusted.tolist()


def _variance_of_mean(values: np.ndarray, overlap: float) -> tuple[float, float]:
    count = len(values)
    return float(np.var(values, ddof=1)) * (1 / count + overlap), count - 1


def _two_sided(difference: float, variance: float, freedom: float) -> float:
    if variance == 0:  # every vector gave the same value
        return 1.0 if difference == 0 else 0.0
    return float(2 * student.sf(abs(difference) / variance**0.5, freedom))
