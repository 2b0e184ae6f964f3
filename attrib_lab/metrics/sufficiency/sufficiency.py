"""Sufficiency as a module for `evaluate`."""

import datasets
import evaluate

from attrib_lab.evaluation.examples import measure_ids


_DESCRIPTION = """
Sufficiency: how much of the predicted label's probability is missing where only the tokens of the highest scores are
left, mean over the top 1, 5, 10, 20 and 50 %. Lower is better.
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
    predictions: one score per token of each text, toward the explained label, special tokens included.
    references: token ids of each text, special tokens included; padding at either end is taken off.
    model: a sequence classifier in evaluation mode.
    tokenizer: its tokenizer.
    targets: the labels that the scores explain, one index per text; by default those that the model predicts.
    perturbation: "mask" (default), "unk" or "delete": what becomes of a removed token.
    fractions: which shares of the tokens to leave.
Returns:
    sufficiency: mean over texts; NaN where none could be measured.
    texts: how many were measured.
    skipped: how many were not, by reason.
    curve: mean difference at each fraction.
Example:
    >>> sufficiency = evaluate.load("attrib_lab/metrics/sufficiency")
    >>> ids = tokenizer(["a film of great charm"])["input_ids"]
    >>> scores = model(torch.tensor(ids)).attributions.tolist()
    >>> result = sufficiency.compute(predictions=scores, references=ids, model=model, tokenizer=tokenizer)
    >>> result["sufficiency"]
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class Sufficiency(evaluate.Metric):
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

    def _compute(self, predictions, references, model, tokenizer, **options):
        return measure_ids("sufficiency", predictions, references, model, tokenizer, **options)
