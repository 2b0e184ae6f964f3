"""Normalised AOPC against brute force over every order, on a model in which tokens act together."""

import math
from itertools import permutations

import numpy as np
import pytest
from linear_model import IDS, LinearClassifier, plain_text, word_tokenizer

from attrib_lab.evaluation.normalized_aopc import normalized_aopc
from attrib_lab.evaluation.perturbation import Perturbation
from attrib_lab.evaluation.perturbation_runner import Measured, PerturbationRunner, classifier_logits


TOKENIZER = word_tokenizer()
MASK = Perturbation.of(TOKENIZER)


def jumpy_logits(perturbed_texts):
    """A logit for each set of tokens that has nothing to do with that of its neighbours."""
    rows = []
    for perturbed in perturbed_texts:
        seed = sum(IDS["[MASK]"] != token for token in perturbed.ids) + 100 * hash(perturbed.ids) % 2**31
        rows.append([0.0, np.random.default_rng(seed).normal(scale=2)])
    return np.array(rows)


def aopc_of(order, text, logits):
    def p(units):
        ids = tuple(IDS["[MASK]"] if (place,) in units else token for place, token in enumerate(text.ids))
        return 1 / (1 + math.exp(-logits([text.unperturbed._replace(ids=ids)])[0, 1]))

    return sum(p([]) - p(order[: i + 1]) for i in range(len(order))) / len(order)


@pytest.mark.parametrize("words", ["a b", "a b c", "a b c d", "a b c d e"])
def test_brute_force_agrees(words):
    text = plain_text(words)
    units = [(place,) for place in range(1, len(text.ids) - 1)]
    every = {order: aopc_of(order, text, jumpy_logits) for order in permutations(units)}
    lower, upper = min(every.values()), max(every.values())
    generator = np.random.default_rng(1)
    for _ in range(3):
        scores = generator.normal(size=len(text.ids))
        order = tuple((int(place) + 1,) for place in np.argsort(-scores[1:-1]))
        # Five tokens have at most ten sets of one size: a beam of ten is exact.
        measurement = normalized_aopc(text, scores, 1, MASK, beam_width=10)
        (result,) = PerturbationRunner(jumpy_logits).run([measurement])
        assert result.value == pytest.approx((every[order] - lower) / (upper - lower), abs=1e-9)


def test_the_best_and_the_worst_order_of_a_linear_model():
    # [MASK] weighs 0: with weights 3, 1, -1, -2 the best order removes them from the greatest to the least.
    weights = {"a": 3.0, "b": 1.0, "c": -1.0, "d": -2.0}
    runner = PerturbationRunner(classifier_logits(LinearClassifier(weights), TOKENIZER))
    text = plain_text("c a d b")
    scores = np.array([0.0, -1, 3, -2, 1, 0])
    measurements = [normalized_aopc(text, sign * scores, 1, MASK, beam_width=1) for sign in (1, -1)]
    best, worst = runner.run(measurements)
    assert best.value == pytest.approx(1)
    assert worst.value == pytest.approx(0)


def test_the_value_between_by_hand():
    # p falls from s(2) by a (2) first: s(0), then b (0): s(0). The other order: s(2), s(0).
    s = [1 / (1 + math.exp(-logit)) for logit in (0, 1, 2, 3)]
    runner = PerturbationRunner(classifier_logits(LinearClassifier({"a": 2.0, "b": 1.0, "c": 0.0}), TOKENIZER))
    text = plain_text("a b c")
    # Order b, a, c: drops to s(2), s(0), s(0). Best: a, b, c: s(1), s(0), s(0). Worst: c, b, a: s(3), s(2), s(0).
    (result,) = runner.run([normalized_aopc(text, np.array([0, 1.0, 2.0, 0.0, 0]), 1, MASK)])
    value, lower, upper = (3 * s[3] - total for total in (s[2] + 2 * s[0], s[3] + s[2] + s[0], s[1] + 2 * s[0]))
    assert result.value == pytest.approx((value - lower) / (upper - lower))


def test_methods_share_the_questions_of_the_search():
    asked = []

    def counting(perturbed_texts):
        asked.extend(perturbed_texts)
        return jumpy_logits(perturbed_texts)

    text = plain_text("a b c d e")
    generator = np.random.default_rng(0)
    measurements = [normalized_aopc(text, generator.normal(size=7), 1, MASK) for _ in range(12)]
    results = PerturbationRunner(counting).run(measurements)
    assert all(isinstance(result, Measured) for result in results)
    assert len(asked) == len(set(asked)) <= 2**5


def test_what_has_no_bounds_says_why():
    runner = PerturbationRunner(classifier_logits(LinearClassifier({"e": 1.0}), TOKENIZER))
    same, long = (
        normalized_aopc(plain_text("a b"), np.zeros(4), 1, MASK),
        normalized_aopc(plain_text("a b c"), np.zeros(5), 1, MASK, max_units=2),
    )
    reasons = [str(result) for result in runner.run([same, long])]
    assert reasons == ["every order has the same AOPC", "more than 2 units to order"]
