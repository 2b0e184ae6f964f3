"""Stability as a module for `evaluate`."""

from attrib_lab.evaluation import evaluate_modules


class Stability(evaluate_modules.PairMetric):
    metric = "stability"
    summary = """
Stability: 1 - Spearman's correlation between the scores of the same words before and after an edit that keeps the
meaning; 1 where all scores are the same after it. Lower is better.
"""
    example = """
>>> result = stability.compute(predictions=[[0.9, 0.1, 0.5]], references=[[0.8, 0.3, 0.2]])
>>> result["stability"]
0.5
"""
    citation = r"""
@misc{attrib,
  title = {attrib: text classifiers that show their words},
  note = {The measure is this project's own}
}
"""
