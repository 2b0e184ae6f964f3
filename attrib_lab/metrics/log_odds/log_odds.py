"""Log-odds as a module for `evaluate`."""

import datasets
import evaluate

from attrib_lab.evaluation.examples import measure_ids


_DESCRIPTION = """
Log-odds: by how much the logarithm of the predicted label's probability changes without the 20 % of tokens with the
highest scores. Lower is better.
"""

_CITATION = r"""
@inproceedings{shrikumar2017learning,
  title = {Learning Important Features Through Propagating Activation Differences},
  author = {Shrikumar, Avanti and Greenside, Peyton and Kundaje, Anshul},
  booktitle = {Proceedings of the 34th International Conference on Machine Learning},
  year = {2017}
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
    fraction: which share of the tokens to remove, 0.2 by default.
Returns:
    log_odds: mean over texts; NaN where none could be measured.
    texts: how many were measured.
    skipped: how many were not, by reason.
Example:
    >>> log_odds = evaluate.load("attrib_lab/metrics/log_odds")
    >>> ids = tokenizer(["a film of great charm"])["input_ids"]
    >>> scores = model(torch.tensor(ids)).attributions.tolist()
    >>> result = log_odds.compute(predictions=scores, references=ids, model=model, tokenizer=tokenizer)
    >>> result["log_odds"]
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class LogOdds(evaluate.Metric):
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
        return measure_ids("log_odds", predictions, references, model, tokenizer, **options)
