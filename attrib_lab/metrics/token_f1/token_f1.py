"""Token F1 as a module for `evaluate`."""

import datasets
import evaluate

from attrib_lab.evaluation.examples import measure_masks


_DESCRIPTION = """
Token F1: the tokens of the highest scores against those that people marked. Higher is better.
"""

_CITATION = r"""
@inproceedings{deyoung2020eraser,
  title = {{ERASER}: A Benchmark to Evaluate Rationalized {NLP} Models},
  author = {DeYoung, Jay and Jain, Sarthak and Rajani, Nazneen Fatema and Lehman, Eric and Xiong, Caiming and
    Socher, Richard and Wallace, Byron C.},
  booktitle = {Proceedings of ACL},
  year = {2020}
}
"""

_INPUTS = """
Args:
    predictions: one score per token of each text, without special tokens and padding.
    references: 0 or 1 for each of these tokens: whether people marked it.
    share: which share of the tokens an explanation names; by default the mean share that people marked here.
    threshold: name the tokens with at least this score instead.
Returns:
    token_f1: mean over texts; NaN where none could be measured.
    texts: how many were measured.
    skipped: how many were not, by reason (no rationale, only one token ...).
Example:
    >>> token_f1 = evaluate.load("attrib_lab/metrics/token_f1")
    >>> result = token_f1.compute(predictions=[[0.9, 0.1, 0.5, 0.2, 0.3]], references=[[1, 1, 0, 0, 0]], share=0.4)
    >>> result["token_f1"]
    0.5
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class TokenF1(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        features = {
            "predictions": datasets.Sequence(datasets.Value("float64")),
            "references": datasets.Sequence(datasets.Value("int64")),
        }
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(features),
        )

    def _compute(self, predictions, references, **options):
        return measure_masks("token_f1", predictions, references, **options)
