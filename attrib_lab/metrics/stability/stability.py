"""Stability as a module for `evaluate`."""

import datasets
import evaluate

from attrib_lab.evaluation.examples import measure_pairs


_DESCRIPTION = """
Stability: 1 - Spearman's correlation between the scores of the same words before and after an edit that keeps the
meaning. Lower is better.
"""

_CITATION = r"""
@misc{attrib,
  title = {attrib: text classifiers that show their words},
  note = {The measure is this project's own}
}
"""

_INPUTS = """
Args:
    predictions: the words' scores before the edit, one list per text.
    references: the scores of the same words after it, in the same order.
Returns:
    stability: mean over texts; NaN where none could be measured.
    texts: how many were measured.
    skipped: how many were not, by reason.
Example:
    >>> stability = evaluate.load("attrib_lab/metrics/stability")
    >>> result = stability.compute(predictions=[[0.9, 0.1, 0.5]], references=[[0.8, 0.3, 0.2]])
    >>> result["stability"]
    0.5
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class Stability(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        features = {
            "predictions": datasets.Sequence(datasets.Value("float64")),
            "references": datasets.Sequence(datasets.Value("float64")),
        }
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(features),
        )

    def _compute(self, predictions, references):
        return measure_pairs(predictions, references)
