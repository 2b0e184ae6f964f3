"""Word scores against planted evidence, by hand."""

import math

import pytest

from attrib_lab.training.planted_words import evidence_average_precision


def words(*scores):
    return [{"word": "w", "start": 2 * i, "end": 2 * i + 1, "score": s} for i, s in enumerate(scores)]


def test_evidence_on_top_is_perfect():
    assert evidence_average_precision(words(0.9, 0.1, 0.8), [[0, 1], [4, 5]]) == 1.0


def test_hand_computed_ranking():
    # Ranks 1 and 3 are evidence: (1/1 + 2/3) / 2.
    assert evidence_average_precision(words(0.9, 0.5, 0.1), [[0, 1], [4, 5]]) == pytest.approx((1 + 2 / 3) / 2)


def test_the_sign_counts():
    # The strongest score is negative: the evidence comes last of three.
    assert evidence_average_precision(words(-0.9, 0.5, 0.1), [[0, 1]]) == pytest.approx(1 / 3)


def test_nothing_to_rank_is_nan():
    assert math.isnan(evidence_average_precision(words(0.1, 0.2), []))
    assert math.isnan(evidence_average_precision(words(0.1, 0.2), [[0, 5]]))
