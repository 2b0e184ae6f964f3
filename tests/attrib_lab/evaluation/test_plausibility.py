"""Scores against what people marked, by hand."""

import itertools
import math

import numpy as np
import pytest
from sklearn import metrics

from attrib_lab.evaluation.perturbation import Perturbation
from attrib_lab.evaluation.perturbation_runner import NotMeasurable, PerturbationRunner
from attrib_lab.evaluation.plausibility import auprc, iou_f1, token_f1
from attrib_lab.evaluation.texts import EncodedText


TOKENS = Perturbation("delete", None)
WORDS = Perturbation("delete", None, "word")


def measure(metric, marks, scores, perturbation=TOKENS, words=None, **options):
    """A metric of tokens between [CLS] and [SEP], both of which have high scores."""
    size = len(marks)
    text = EncodedText(
        key="0-00000000",
        ids=tuple(range(size + 2)),
        special=(True, *[False] * size, True),
        words=(None, *(words or range(size)), None),
        rationale=(False, *map(bool, marks), False),
    )
    (result,) = PerturbationRunner(None).run([metric(text, np.array([9.0, *scores, 9.0]), 0, perturbation, **options)])
    return result if isinstance(result, NotMeasurable) else result.value


def test_auprc_by_hand():
    # Marked tokens come first and last of five. Precision is 1 from recall 0 to 1/2, falls to 1/4 there, and goes
    # straight to 2/5 at recall 1: 1/2 · 1 + 1/2 · (1/4 + 2/5) / 2. The average precision would be 0.7.
    assert measure(auprc, [1, 1, 0, 0, 0], [0.9, 0.1, 0.5, 0.2, 0.3]) == pytest.approx(0.6625)


def test_auprc_against_scikit_learns_own_curve():
    """ERASER: auc(recall, precision) of precision_recall_curve; with equal scores too."""
    generator = np.random.default_rng(0)
    for _ in range(20):
        marks = [1, 0, *generator.integers(2, size=18).tolist()]
        scores = generator.integers(-4, 5, size=20).astype(float).tolist()
        precision, recall, _ = metrics.precision_recall_curve(marks, scores)
        assert measure(auprc, marks, scores) == pytest.approx(metrics.auc(recall, precision), rel=1e-12)
        assert measure(auprc, marks, scores) == pytest.approx(trapezoid_by_thresholds(marks, scores), rel=1e-12)


def trapezoid_by_thresholds(marks, scores):
    """The same area from its definition: a point for each different score, and precision 1 at recall 0."""
    marks, scores = np.array(marks), np.array(scores)
    points = [(0.0, 1.0)]
    for threshold in sorted(set(scores), reverse=True):
        named = scores >= threshold
        found = marks[named].sum()
        points.append((found / marks.sum(), found / named.sum()))
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(points))


def test_auprc_of_words():
    # The marked token is the last of four, so the curve falls to precision 0 and goes straight to 1/4 at recall 1; its
    # word, 0.4 + 0.3, is the first of three.
    assert measure(auprc, [0, 1, 0, 0], [0.4, 0.3, 0.5, 0.6]) == pytest.approx(1 / 8)
    assert measure(auprc, [0, 1, 0, 0], [0.4, 0.3, 0.5, 0.6], WORDS, [0, 0, 1, 2]) == 1.0


def test_token_f1_by_share():
    # 0.4 of five tokens: tokens 0 and 2 are chosen, one of them is marked, and one marked token is missed.
    assert measure(token_f1, [1, 1, 0, 0, 0], [0.9, 0.1, 0.5, 0.2, 0.3], share=0.4) == pytest.approx(0.5)
    # At least one token is chosen: precision 1, recall 1/2.
    assert measure(token_f1, [1, 1, 0, 0, 0], [0.9, 0.1, 0.5, 0.2, 0.3], share=0.0) == pytest.approx(2 / 3)
    assert measure(token_f1, [0, 0, 0, 1, 0], [0.9, 0.1, 0.5, 0.2, 0.3], share=0.4) == 0.0


def test_token_f1_by_threshold():
    # 0.9, 0.5 and 0.3 are chosen: precision 1/3, recall 1/2.
    assert measure(token_f1, [1, 1, 0, 0, 0], [0.9, 0.1, 0.5, 0.2, 0.3], threshold=0.3) == pytest.approx(0.4)
    assert measure(token_f1, [1, 1, 0, 0, 0], [0.9, 0.1, 0.5, 0.2, 0.3], threshold=5.0) == 0.0


def test_iou_f1_by_hand():
    # Chosen runs {0, 1} and {4}; marked runs {0, 1, 2} and {5}. The first matches at 2/3, {4} matches nothing:
    # precision 1/2, recall 1/2.
    assert measure(iou_f1, [1, 1, 1, 0, 0, 1], [0.9, 0.8, 0.1, 0.2, 0.7, 0.3], threshold=0.5) == pytest.approx(0.5)
    # One of two is half: a match. One of three is none.
    assert measure(iou_f1, [1, 1, 0], [0.9, 0.1, 0.2], threshold=0.5) == 1.0
    assert measure(iou_f1, [1, 1, 1], [0.9, 0.1, 0.2], threshold=0.5) == 0.0


def test_a_run_does_not_go_over_a_special_token():
    text = EncodedText(
        key="0", ids=(0, 1, 2), special=(False, True, False), words=(0, None, 1), rationale=(True, False, False)
    )
    # Both tokens are chosen, as two runs: one matches the marked one, so precision is 1/2 and recall 1.
    (result,) = PerturbationRunner(None).run([iou_f1(text, np.ones(3), 0, TOKENS, threshold=0.5)])
    assert result.value == pytest.approx(2 / 3)


@pytest.mark.parametrize("metric", [auprc, token_f1, iou_f1])
def test_without_a_rationale_nothing_is_measured(metric):
    options = {} if metric is auprc else {"share": 0.5}
    text = EncodedText(key="0", ids=(0, 1), special=(False, False), words=(0, 1))
    (result,) = PerturbationRunner(None).run([metric(text, np.ones(2), 0, TOKENS, **options)])
    assert str(result) == "no rationale"
    assert str(measure(metric, [0, 0], [1.0, 2.0], **options)) == "no rationale"
    assert str(measure(metric, [1], [1.0], **options)) == "only one token"
    assert str(measure(metric, [1, 0], [math.nan, 1.0], **options)) == "scores are not finite"


def test_auprc_of_a_text_that_is_all_rationale():
    assert str(measure(auprc, [1, 1], [1.0, 2.0])) == "everything is rationale"


def test_what_an_explanation_names_must_be_said():
    with pytest.raises(ValueError, match="give either a share or a threshold"):
        measure(token_f1, [1, 0], [1.0, 2.0])
