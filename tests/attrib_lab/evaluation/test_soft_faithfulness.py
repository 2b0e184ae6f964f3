"""Soft faithfulness: rates by hand, the fixed mean, and the expectation of a linear model."""

import numpy as np
import pytest
from linear_model import LinearClassifier, plain_text, word_tokenizer

from attrib_lab.evaluation.metrics import get_metric
from attrib_lab.evaluation.perturbation import Perturbation
from attrib_lab.evaluation.perturbation_runner import PerturbationRunner, classifier_logits


TOKENIZER = word_tokenizer()
TOKENS = Perturbation.of(TOKENIZER)


def rates_of(name, text, scores, perturbation=TOKENS, **options):
    """The rates at which a metric asks to keep embedding entries, per token."""
    _, *thinned = next(get_metric(name).measure(text, np.array(scores), 1, perturbation, **options))
    assert len({perturbed.keep for perturbed in thinned}) == 1
    return thinned[0].keep


def test_rates_by_hand():
    # Scores 0, 1, 5 around their mean 2: -2, -1, 3. The steepest map with mean 0.5 that fits in [0, 1] has slope 1/6.
    rates = rates_of("soft_sufficiency", plain_text("a b c"), [9.0, 0.0, 1.0, 5.0, 9.0])
    assert rates == pytest.approx((1, 0.5 - 2 / 6, 0.5 - 1 / 6, 1, 1))  # special tokens are left whole
    rates = rates_of("soft_comprehensiveness", plain_text("a b c"), [9.0, 0.0, 1.0, 5.0, 9.0])
    assert rates == pytest.approx((1, 0.5 + 2 / 6, 0.5 + 1 / 6, 0, 1))


def test_another_mean_rate():
    # Mean 0.2: the slope is 0.2 / 2 at the lower end, less than 0.8 / 3 at the upper.
    rates = rates_of("soft_sufficiency", plain_text("a b c"), [0, 0.0, 1.0, 5.0, 0], mean_rate=0.2)
    assert rates == pytest.approx((1, 0.0, 0.1, 0.5, 1))


@pytest.mark.parametrize("name", ["soft_sufficiency", "soft_comprehensiveness"])
def test_the_mean_rate_does_not_depend_on_the_scores(name):
    generator = np.random.default_rng(0)
    for scores in (generator.normal(size=7), 1e6 * generator.random(7), generator.exponential(size=7) ** 5, np.ones(7)):
        rates = np.array(rates_of(name, plain_text("a b c d e"), scores))
        assert rates[1:-1].mean() == pytest.approx(0.5)
        assert rates.min() >= 0
        assert rates.max() <= 1


def test_scale_and_shift_of_scores_change_nothing():
    text, scores = plain_text("a b c"), np.array([0, 0.3, -1.0, 2.0, 0])
    assert rates_of("soft_sufficiency", text, scores) == pytest.approx(
        rates_of("soft_sufficiency", text, 7 * scores + 3)
    )


def test_tokens_of_a_word_have_one_rate():
    text = plain_text("a b c", words=(None, 0, 0, 1, None))
    rates = rates_of("soft_sufficiency", text, [0, 1.0, 2.0, 0.5, 0], Perturbation.of(TOKENIZER, unit="word"))
    assert rates == pytest.approx((1, 1, 1, 0, 1))


def test_certain_rates_give_the_values_of_removal():
    # Two tokens with rates 1 and 0: nothing is left to chance. Kept embeddings: a alone, or b alone.
    def p(logit):
        return 1 / (1 + np.exp(-logit))

    runner = PerturbationRunner(classifier_logits(LinearClassifier({"a": 2.0, "b": 0.5, "[CLS]": 1.0}), TOKENIZER))
    text, scores = plain_text("a b"), np.array([0, 4.0, 3.0, 0])
    names = ("soft_comprehensiveness", "soft_sufficiency")
    results = runner.run([get_metric(name).measure(text, scores, 1, TOKENS) for name in names])
    assert results[0].value == pytest.approx(p(3.5) - p(1.5))
    assert results[1].value == pytest.approx(p(3.5) - p(3.0))


def test_the_mean_of_draws_nears_the_expectation():
    # Rates 1, 0.5, 0: a is kept, b in half of the draws. E = p(full) - (p(3) + p(2)) / 2.
    def p(logit):
        return 1 / (1 + np.exp(-logit))

    runner = PerturbationRunner(classifier_logits(LinearClassifier({"a": 2.0, "b": 1.0, "c": -1.0}), TOKENIZER))
    text, scores = plain_text("a b c"), np.array([0, 2.0, 1.0, 0.0, 0])
    measurement = get_metric("soft_sufficiency").measure(text, scores, 1, TOKENS, draws=2000)
    (result,) = runner.run([measurement])
    spread = (p(3) - p(2)) / 2 / np.sqrt(2000)
    assert abs(result.value - (p(2) - (p(3) + p(2)) / 2)) < 4 * spread


def test_random_numbers_are_the_texts_own():
    def seeds(key):
        _, *thinned = next(
            get_metric("soft_sufficiency").measure(plain_text("a b", key=key), np.arange(4.0), 1, TOKENS)
        )
        return [perturbed.seed for perturbed in thinned]

    assert seeds("0-aa") == seeds("0-aa")
    assert len(set(seeds("0-aa") + seeds("1-aa"))) == 16
