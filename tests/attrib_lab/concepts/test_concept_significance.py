"""The t-tests of concept values against scipy's, with and without overlap, and Holm's correction by hand."""

import numpy as np
import pytest
from scipy import stats

from attrib_lab.concepts.significance import holm, t_test_random, t_test_value


GENERATOR = np.random.default_rng(0)
VALUES = GENERATOR.normal(0.6, 0.1, 50)
RANDOM = GENERATOR.normal(0.55, 0.3, 40)


def test_without_overlap_they_are_the_ordinary_tests():
    assert t_test_value(VALUES, 0.5) == pytest.approx(stats.ttest_1samp(VALUES, 0.5).pvalue, rel=1e-12)
    assert t_test_value(VALUES, 0.7) == pytest.approx(stats.ttest_1samp(VALUES, 0.7).pvalue, rel=1e-12)
    welch = stats.ttest_ind(VALUES, RANDOM, equal_var=False).pvalue
    assert t_test_random(VALUES, RANDOM) == pytest.approx(welch, rel=1e-12)


def test_overlap_widens_the_concepts_variance():
    """Nadeau and Bengio 2003: s²·(1/J + overlap) instead of s²/J, here with overlap 1 and J = 50: 51 times as much."""
    ordinary = stats.ttest_1samp(VALUES, 0.5).statistic
    expected = 2 * stats.t.sf(abs(ordinary) / np.sqrt(51), 49)
    assert t_test_value(VALUES, 0.5, overlap=1.0) == pytest.approx(expected, rel=1e-12)
    wide = VALUES.std(ddof=1) * np.sqrt(51)
    welch = stats.ttest_ind_from_stats(
        VALUES.mean(), wide, 50, RANDOM.mean(), RANDOM.std(ddof=1), 40, equal_var=False
    ).pvalue
    assert t_test_random(VALUES, RANDOM, overlap=1.0) == pytest.approx(welch, rel=1e-12)


def test_values_without_spread():
    ones = np.ones(5)
    assert t_test_value(ones, 0.5) == 0.0
    assert t_test_value(ones, 1.0) == 1.0
    assert t_test_random(ones, np.zeros(5)) == 0.0
    assert t_test_random(ones, ones) == 1.0


def test_holm_by_hand():
    # Sorted: 0.01·3, 0.03·2, then 0.04·1, which may not be less than the one before.
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
