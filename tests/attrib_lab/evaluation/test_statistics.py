"""Intervals and tests against enumeration, scipy and figures computed by hand."""

import itertools

import numpy as np
import pytest
from scipy import stats

from attrib_lab.evaluation import statistics
from attrib_lab.evaluation.statistics import (
    bootstrap_interval,
    bootstrap_means,
    compare_with_best,
    holm,
    paired_test,
    percentile_limits,
)


def test_interval_of_two_texts_by_hand():
    """Means of two draws from {0, 1} are 0, ½, 1 with probability ¼, ½, ¼: the middle 40 % are all ½."""
    interval = bootstrap_interval([0.0, 1.0], confidence=0.4)
    assert (interval.mean, interval.low, interval.high, interval.texts) == (0.5, 0.5, 0.5, 2)
    wide = bootstrap_interval([0.0, 1.0], confidence=0.6)
    assert (wide.low, wide.high) == (0.0, 1.0)


def test_interval_agrees_with_scipy():
    values = np.random.default_rng(3).gamma(2.0, size=60)
    own = bootstrap_interval(values, resamples=20_000)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    assert own.mean == pytest.approx(values.mean())
    assert (own.low, own.high) == pytest.approx((theirs.low, theirs.high), abs=0.02 * values.std())


def test_interval_covers_the_true_mean_as_often_as_it_says():
    generator = np.random.default_rng(0)
    samples = generator.normal(size=(300, 80))
    inside = [i.low <= 0 <= i.high for i in (bootstrap_interval(s, 0.8, 500, seed=n) for n, s in enumerate(samples))]
    assert np.mean(inside) == pytest.approx(0.8, abs=3 * np.sqrt(0.16 / 300) + 0.02)


def test_the_seed_decides(monkeypatch):
    values = np.random.default_rng(1).normal(size=40)
    assert bootstrap_interval(values, seed=5) == bootstrap_interval(values, seed=5)
    assert bootstrap_interval(values, seed=5) != bootstrap_interval(values, seed=6)


def test_columns_are_resampled_together():
    """A column that is another one plus a constant keeps its distance in every resample."""
    values = np.random.default_rng(1).normal(size=30)
    means = bootstrap_means(np.stack([values, values + 2], axis=1), resamples=200)
    np.testing.assert_allclose(means[:, 1] - means[:, 0], 2)
    assert percentile_limits(means).shape == (2, 2)


def test_portions_draw_every_resample(monkeypatch):
    monkeypatch.setattr(statistics, "DRAWN_AT_ONCE", 100)
    means = bootstrap_means(np.arange(7.0)[:, None], resamples=50)
    assert means.shape == (50, 1)
    assert len(np.unique(means)) > 10
    assert means.min() >= 0
    assert means.max() <= 6


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [np.inf]])
def test_what_has_no_mean_is_refused(values):
    with pytest.raises(ValueError, match=r"no texts|not finite"):
        bootstrap_interval(values)


def test_paired_test_by_hand():
    """Differences 1, 2, 3: of eight sign assignments +++ and --- alone reach a sum of 6."""
    assert paired_test([2.0, 4.0, 6.0], [1.0, 2.0, 3.0]) == 2 / 8
    # Differences 1, 2, -3 sum to 0, which every assignment reaches.
    assert paired_test([1.0, 2.0, 0.0], [0.0, 0.0, 3.0]) == 1.0
    assert paired_test([0.5, 0.5], [0.5, 0.5]) == 1.0


def test_paired_test_against_enumeration():
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(2, 10))
    difference = first - second
    sums = [abs(np.dot(signs, difference)) for signs in itertools.product([1, -1], repeat=10)]
    exact = np.mean(np.array(sums) >= abs(difference.sum()) - 1e-12)
    assert paired_test(first, second) == pytest.approx(exact)
    assert paired_test(first, second, flips=1000) == pytest.approx(exact, abs=0.05)  # 1024 > 1000: random ones


def test_paired_test_against_scipy():
    generator = np.random.default_rng(2)
    first = generator.normal(size=80)
    second = first + generator.normal(0.2, 1, size=80)
    theirs = stats.permutation_test(
        (first, second), lambda a, b, axis: np.mean(a - b, axis=axis), permutation_type="samples",
        vectorized=True, n_resamples=20_000, rng=1,
    )  # fmt: skip
    assert paired_test(first, second, flips=20_000) == pytest.approx(theirs.pvalue, abs=0.015)


def test_paired_test_rejects_rarely_without_a_difference():
    generator = np.random.default_rng(4)
    p_values = [paired_test(*generator.normal(size=(2, 30)), flips=300, seed=n) for n in range(300)]
    assert np.mean(np.array(p_values) <= 0.1) == pytest.approx(0.1, abs=0.055)


def test_the_smallest_possible_p_value():
    assert paired_test(np.full(40, 2.0), np.zeros(40), flips=999) == pytest.approx(1 / 1000)


def test_a_pair_of_different_lengths_is_refused():
    with pytest.raises(ValueError, match="same texts"):
        paired_test([1.0], [1.0, 2.0])


def test_holm_by_hand():
    """Sorted .01, .02, .03, .04 times 4, 3, 2, 1 is .04, .06, .06, .04: never decreasing, so the last is .06 too."""
    np.testing.assert_allclose(holm([0.04, 0.01, 0.03, 0.02]), [0.06, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1.0, 1.0])
    assert holm([]).size == 0


def test_best_is_compared_on_common_texts():
    nan = np.nan
    values = {
        "good": np.array([3.0, 4.0, 5.0, nan]),
        "bad": np.array([nan, 1.0, 1.0, 1.0]),
        "alone": np.array([nan, nan, nan, 2.0]),
        "empty": np.full(4, nan),
    }
    best, p_values = compare_with_best(values, higher_is_better=True)
    assert best == "good"
    # Differences 3 and 4 on the two common texts: ++ and -- of four assignments.
    assert p_values == {"bad": 0.5}
    best, p_values = compare_with_best(values, higher_is_better=False)
    assert best == "bad"
    assert set(p_values) == {"good", "alone"}
    with pytest.raises(ValueError, match="no method"):
        compare_with_best({"empty": np.full(4, nan)}, higher_is_better=True)
