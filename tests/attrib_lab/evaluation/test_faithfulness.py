"""Each metric of a linear model, worked out by hand: label 1 has the logit Σ weights, label 0 has 0."""

import math

import numpy as np
import pytest
from linear_model import IDS, LinearClassifier, plain_text, word_tokenizer

from attrib_lab.evaluation.metrics import METRICS, get_metric
from attrib_lab.evaluation.perturbation import Perturbation
from attrib_lab.evaluation.perturbation_runner import NotMeasurable, PerturbationRunner, classifier_logits


TOKENIZER = word_tokenizer()
WEIGHTS = {"[CLS]": 0.5, "[SEP]": -0.25, "[UNK]": 0.1, "[MASK]": -0.5, "a": 2.0, "b": 1.0, "c": -1.0, "d": 0.5}
RUNNER = PerturbationRunner(classifier_logits(LinearClassifier(WEIGHTS), TOKENIZER))


def p(logit):
    """Probability of label 1."""
    return 1 / (1 + math.exp(-logit))


def measure(name, text, scores, target=1, kind=None, unit="token", **options):
    metric = get_metric(name)
    perturbation = Perturbation.of(TOKENIZER, kind or metric.perturbation or "mask", unit)
    (result,) = RUNNER.run([metric.measure(text, np.array(scores), target, perturbation, **options)])
    if isinstance(result, NotMeasurable):
        raise result
    return result


# "a b c d" has the logit 0.25 (special tokens) + 2 + 1 - 1 + 0.5 = 2.75, and its scores put a, b, d, c in this order.
# The top 1, 5, 10 and 20 % of four tokens are one token, the top 50 % are two.
TEXT, SCORES = plain_text("a b c d"), [7.0, 2.0, 1.0, -1.0, 0.5, 7.0]


def test_comprehensiveness():
    without_a, without_a_b = 0.25 + 0.5 - 0.5, 0.25 - 0.5 - 2 * 0.5  # [MASK] weighs -0.5
    drops = [p(2.75) - p(without_a)] * 4 + [p(2.75) - p(without_a_b)]
    result = measure("comprehensiveness", TEXT, SCORES)
    assert result.curve == pytest.approx(drops)
    assert result.value == pytest.approx(sum(drops) / 5)


def test_sufficiency():
    only_a, only_a_b = 0.25 + 2 - 3 * 0.5, 0.25 + 3 - 2 * 0.5
    drops = [p(2.75) - p(only_a)] * 4 + [p(2.75) - p(only_a_b)]
    result = measure("sufficiency", TEXT, SCORES)
    assert result.curve == pytest.approx(drops)
    assert result.value == pytest.approx(sum(drops) / 5)


def test_the_explained_label_counts():
    # Toward label 0 the same perturbations raise the probability: 1 - p(2.75) - (1 - p(0.25)).
    result = measure("comprehensiveness", TEXT, SCORES, target=0)
    assert result.curve[0] == pytest.approx(p(0.25) - p(2.75))


def test_removal_by_unknown_token_and_by_deletion():
    assert measure("comprehensiveness", TEXT, SCORES, kind="unk").curve[0] == pytest.approx(p(2.75) - p(0.75 + 0.1))
    assert measure("comprehensiveness", TEXT, SCORES, kind="delete").curve[0] == pytest.approx(p(2.75) - p(0.75))


def test_words_go_with_all_their_tokens():
    text = plain_text("a b c d", words=(None, 0, 1, 1, 2, None))
    # Words: a = 2, b + c = 0.25 + 2.75 = 3, d = 0: the word of b and c goes first, its two tokens become [MASK].
    result = measure("comprehensiveness", text, [0, 2, 0.25, 2.75, 0, 0], unit="word")
    assert result.curve[0] == pytest.approx(p(2.75) - p(0.25 + 2.5 - 2 * 0.5))


def test_aopc_deletes_by_tenths():
    # Of two tokens, tenths 0.1 ... 0.5 delete one, 0.6 ... 1 both; special tokens stay.
    result = measure("aopc", plain_text("b a"), [0, 1, 2, 0])
    drops = [p(3.25) - p(1.25)] * 5 + [p(3.25) - p(0.25)] * 5
    assert result.curve == pytest.approx(drops)
    assert result.value == pytest.approx(sum(drops) / 10)


def test_log_odds():
    # 20 % of four tokens is one, a.
    assert measure("log_odds", TEXT, SCORES).value == pytest.approx(math.log(p(0.25)) - math.log(p(2.75)))


# [CLS] a b [SEP], ranked a, b, [CLS], [SEP]. ceil(4 · fraction) at 0, 0.1 ... 1:
COUNTS = [0, 1, 1, 2, 2, 2, 3, 3, 4, 4, 4]
SHORT, SHORT_SCORES = plain_text("a b"), [0.0, 2.0, 1.0, -1.0]
TRAPEZOID = [0.05, *[0.1] * 9, 0.05]


def area(values):
    return sum(width * value for width, value in zip(TRAPEZOID, values))


def test_auac_as_published():
    logits = [0.4, 2 + 0.3, 3 + 0.2, 3.5 + 0.1, 3.25]  # 0 ... 4 tokens put back among [UNK] = 0.1
    curve = [p(logits[count]) for count in COUNTS]
    result = measure("auac", SHORT, SHORT_SCORES)
    assert result.curve == pytest.approx(curve)
    assert result.value == pytest.approx(area(curve))


def test_auac_records_the_true_class():
    curve = [1 - p(logit) for logit in (0.4, 2.3, 3.2, 3.6, 3.25)]
    result = measure("auac", plain_text("a b", label=0), SHORT_SCORES, target=1)
    assert result.curve == pytest.approx([curve[count] for count in COUNTS])


def test_auac_without_special_tokens():
    # [CLS] and [SEP] stand in every perturbed; ceil(2 · fraction) is 0, then 1 up to 0.5, then 2.
    logits = [0.25 + 0.2, 0.25 + 2 + 0.1, 3.25]
    curve = [p(logits[count]) for count in [0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2]]
    assert measure("auac", SHORT, SHORT_SCORES, special_tokens=False).curve == pytest.approx(curve)


def test_au_mse_as_published():
    # By ascending magnitude: [CLS] (0), then b (1) before [SEP] (-1), then a. Each loses its weight and gains 0.1.
    logits = [3.25, 2.85, 1.95, 2.3, 0.4]
    curve = [(3.25 - logits[count]) ** 2 for count in COUNTS]  # the other label's logit is 0 throughout
    result = measure("au_mse", SHORT, SHORT_SCORES)
    assert result.curve == pytest.approx(curve)
    assert result.value == pytest.approx(area(curve))


def test_au_mse_sums_the_squares_over_labels():
    # Label 0 has the logit s, label 1 has s squared: errors of a model that is not linear, at both labels.
    table = {token: WEIGHTS.get(word, 0.0) for word, token in IDS.items()}

    def logits(perturbed_texts):
        sums = [sum(table[token] for token in perturbed.ids) for perturbed in perturbed_texts]
        return np.array([[s, s**2] for s in sums])

    sums = [3.25, 2.85, 1.95, 2.3, 0.4]
    curve = [(3.25 - sums[count]) ** 2 + (3.25**2 - sums[count] ** 2) ** 2 for count in COUNTS]
    measurement = get_metric("au_mse").measure(SHORT, np.array(SHORT_SCORES), 1, Perturbation.of(TOKENIZER, "unk"))
    (result,) = PerturbationRunner(logits).run([measurement])
    assert result.curve == pytest.approx(curve)


def test_conservation():
    # The logit is 2.75, the scores add up to 2.5 with [CLS] and [SEP] at 0.
    assert measure("conservation_error", TEXT, [0, 2, 1, -1, 0.5, 0]).value == pytest.approx(0.25 / 2.75)
    assert measure("conservation_error", TEXT, [0.5, 2, 1, -1, 0.5, -0.25]).value == pytest.approx(0, abs=1e-15)
    # -logit would be the contrast; with the wrong sign the error is 2.
    assert measure("conservation_error", TEXT, [0, 0, 0, 0, 0, -2.75]).value == pytest.approx(2)


def test_conservation_needs_a_logit():
    with pytest.raises(NotMeasurable, match=r"^the logit is 0$"):
        measure("conservation_error", TEXT, SCORES, target=0)
    with pytest.raises(NotMeasurable, match=r"^scores are not finite$"):
        measure("conservation_error", TEXT, [math.nan] * 6)


RANKING = ["auac", "au_mse", "comprehensiveness", "sufficiency", "aopc", "log_odds", "normalized_aopc"]
RANKING += ["soft_comprehensiveness", "soft_sufficiency"]


@pytest.mark.parametrize("name", RANKING)
@pytest.mark.parametrize(
    ("words", "scores", "reason"),
    [
        ("", [1, 2], "only special tokens"),
        ("a", [1, 2, 3], "only one token"),
        ("a b", [1, 2, math.nan, 3], "scores are not finite"),
    ],
)
def test_what_cannot_be_measured_is_not(name, words, scores, reason):
    with pytest.raises(NotMeasurable, match=f"^{reason}$"):
        measure(name, plain_text(words), scores)


@pytest.mark.parametrize("name", RANKING)
def test_the_direction_of_each_metric_is_the_registered_one(name):
    # The model's own weights against their opposite.
    good = measure(name, TEXT, SCORES).value
    bad = measure(name, TEXT, [-score for score in SCORES]).value
    if name == "au_mse":  # blind to the sign by definition: the weights against their order turned round
        bad = measure(name, TEXT, [0.5, 0.1, 1.0, 1.1, 2.0, 0.2]).value
    assert (good > bad) == METRICS[name].higher_is_better
    assert good != bad
