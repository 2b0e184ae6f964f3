"""AOPC as a module for `evaluate`."""

import datasets
import evaluate

from attrib_lab.evaluation.examples import measure_ids


_DESCRIPTION = """
AOPC: area over the perturbation curve. Tokens are deleted by descending score; the mean drop of the predicted label's
probability at tenths 0.1 ... 1. Higher is better.
"""

_CITATION = r"""
@article{samek2017evaluating,
  title = {Evaluating the Visualization of What a Deep Neural Network Has Learned},
  author = {Samek, Wojciech and Binder, Alexander and Montavon, Gr{\'e}goire and Lapuschkin, Sebastian and
    M{\"u}ller, Klaus-Robert},
  journal = {IEEE Transactions on Neural Networks and Learning Systems},
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
    fractions: which shares of the tokens to delete.
Returns:
    aopc: mean over texts; NaN where none could be measured.
    texts: how many were measured.
    skipped: how many were not, by reason.
    curve: mean drop at each fraction.
Example:
    >>> aopc = evaluate.load("attrib_lab/metrics/aopc")
    >>> ids = tokenizer(["a film of great charm"])["input_ids"]
    >>> scores = model(torch.tensor(ids)).attributions.tolist()
    >>> result = aopc.compute(predictions=scores, references=ids, model=model, tokenizer=tokenizer)
    >>> result["aopc"]
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class Aopc(evaluate.Metric):
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
        return measure_ids("aopc", predictions, references, model, tokenizer, **options)
