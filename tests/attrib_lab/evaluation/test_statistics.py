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
    paired_tests,
    percentile_limits,
    shared_texts,
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


def paired_test(first, second, **options):
    """P-value of one pair."""
    p_values = paired_tests(np.stack([first, second], axis=1), **options)
    assert p_values[0, 1] == p_values[1, 0]
    assert p_values[0, 0] == p_values[1, 1] == 1.0
    return p_values[0, 1]


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


def test_a_pair_of_many_is_that_pair_alone():
    """What is common to all methods, even a million times as large, makes no difference."""
    generator = np.random.default_rng(5)
    values = generator.normal(size=(60, 4)) + [0.0, 0.2, 0.3, 0.0] + 1e6 * generator.normal(size=(60, 1))
    values[:, 3] = values[:, 0]
    together = paired_tests(values, flips=500)
    assert together[0, 3] == 1.0
    for a, b in itertools.combinations(range(4), 2):
        assert together[a, b] == pytest.approx(paired_test(values[:, a], values[:, b], flips=500), abs=1e-12)
        assert together[a, b] == together[b, a]


def test_portions_make_no_difference(monkeypatch):
    generator = np.random.default_rng(5)
    few, many = generator.normal(size=(7, 3)), generator.normal(size=(40, 3))
    exact, drawn = paired_tests(few), paired_tests(many, flips=999)
    monkeypatch.setattr(statistics, "DRAWN_AT_ONCE", 100)
    assert np.array_equal(paired_tests(few), exact)
    np.testing.assert_allclose(paired_tests(many, flips=999), drawn, atol=0.05)


def test_holm_by_hand():
    """Sorted .01, .02, .03, .04 times 4, 3, 2, 1 is .04, .06, .06, .04: never decreasing, so the last is .06 too."""
    np.testing.assert_allclose(holm([0.04, 0.01, 0.03, 0.02]), [0.06, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1.0, 1.0])
    assert holm([]).size == 0


def test_best_is_compared_by_hand():
    values = {"good": np.array([3.0, 4.0]), "bad": np.array([0.0, 0.0])}
    # Differences 3 and 4: ++ and -- of four assignments.
    assert compare_with_best(values, higher_is_better=True) == ("good", {"bad": 0.5})
    assert compare_with_best(values, higher_is_better=False) == ("bad", {"good": 0.5})
    assert compare_with_best({"alone": np.ones(3)}, higher_is_better=True) == ("alone", {})


@pytest.mark.parametrize("values", [{}, {"a": np.array([])}, {"a": np.ones(2), "b": np.array([1.0, np.nan])}])
def test_what_cannot_be_compared_is_refused(values):
    with pytest.raises(ValueError, match=r"no method|no texts|not finite"):
        compare_with_best(values, higher_is_better=True)


def test_every_pair_that_could_have_been_the_comparison_counts():
    """Differences of 1, 2 and 3 on 20 texts all have the smallest p-value, 1 of 1001: times three pairs."""
    values = {name: np.full(20, mean) for name, mean in (("a", 0.0), ("b", 1.0), ("c", 3.0))}
    best, p_values = compare_with_best(values, higher_is_better=True, flips=1000)
    assert best == "c"
    assert p_values == {"a": pytest.approx(3 / 1001), "b": pytest.approx(3 / 1001)}


def test_twenty_five_methods_can_be_told_apart():
    values = {f"m{number}": np.full(40, float(number)) for number in range(25)}
    best, p_values = compare_with_best(values, higher_is_better=True)
    assert best == "m24"
    assert max(p_values.values()) < 0.05


def test_equally_good_methods_are_rarely_told_apart():
    """Twelve methods that differ by chance, 300 times. Tested against the luckiest as if it had been named before,
    some method is "worse" in 13 to 18 % of runs; it may be in 5 %."""
    generator = np.random.default_rng(6)
    told_apart = 0
    for seed in range(300):
        values = dict(zip("abcdefghijkl", generator.normal(size=(12, 30))))
        _, p_values = compare_with_best(values, higher_is_better=True, flips=3000, seed=seed)
        told_apart += min(p_values.values()) < 0.05
    assert told_apart / 300 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 300)


def test_shared_texts_by_hand():
    nan = np.nan
    values = {"a": np.array([1.0, nan, 2.0, np.inf]), "b": np.array([nan, nan, 0.0, 1.0])}
    assert shared_texts(values).tolist() == [False, False, True, False]
