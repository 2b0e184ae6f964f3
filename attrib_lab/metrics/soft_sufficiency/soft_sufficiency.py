"""Soft sufficiency as a module for `evaluate`."""

import datasets
import evaluate

from attrib_lab.evaluation.examples import measure_ids


_DESCRIPTION = """
Soft sufficiency: how much of the predicted label's probability is missing where the entries of each token's embedding
stay at the rate of its score. Scores become rates of a fixed mean, unlike in the paper. Lower is better.
"""

_CITATION = r"""
@inproceedings{zhao2023incorporating,
  title = {Incorporating Attribution Importance for Improving Faithfulness Metrics},
  author = {Zhao, Zhixue and Aletras, Nikolaos},
  booktitle = {Proceedings of ACL},
  year = {2023}
}
"""

_INPUTS = """
Args:
    predictions: one score per token of each text, toward the explained label, special tokens included.
    references: token ids of each text, special tokens included; padding at either end is taken off.
    model: a sequence classifier in evaluation mode.
    tokenizer: its tokenizer.
    targets: the labels that the scores explain, one index per text; by default those that the model predicts.
    draws: how many sets of random numbers to take the mean over, 8 by default; seeded by the text.
    mean_rate: the mean rate at which entries stay, 0.5 by default.
Returns:
    soft_sufficiency: mean over texts; NaN where none could be measured.
    texts: how many were measured.
    skipped: how many were not, by reason.
Example:
    >>> soft_sufficiency = evaluate.load("attrib_lab/metrics/soft_sufficiency")
    >>> ids = tokenizer(["a film of great charm"])["input_ids"]
    >>> scores = model(torch.tensor(ids)).attributions.tolist()
    >>> result = soft_sufficiency.compute(predictions=scores, references=ids, model=model, tokenizer=tokenizer)
    >>> result["soft_sufficiency"]
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class SoftSufficiency(evaluate.Metric):
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
        return measure_ids("soft_sufficiency", predictions, references, model, tokenizer, **options)
