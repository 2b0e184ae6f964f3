"""AUAC as a module for `evaluate`."""

import datasets
import evaluate

from attrib_lab.evaluation.examples import measure_ids


_DESCRIPTION = """
AUAC: area under the activation curve. All tokens are [UNK] at first and are put back by descending score; recorded
is the probability of the true class at fractions 0, 0.1 ... 1. Higher is better.
"""

_CITATION = r"""
@inproceedings{ali2022xai,
  title = {{XAI} for Transformers: Better Explanations through Conservative Propagation},
  author = {Ali, Ameen and Schnake, Thomas and Eberle, Oliver and Montavon, Gr{\'e}goire and M{\"u}ller,
    Klaus-Robert and Wolf, Lior},
  booktitle = {Proceedings of the 39th International Conference on Machine Learning},
  year = {2022}
}
"""

_INPUTS = """
Args:
    predictions: one score per token of each text, toward the explained label, special tokens included.
    references: token ids of each text, special tokens included; padding at either end is taken off.
    model: a sequence classifier in evaluation mode.
    tokenizer: its tokenizer.
    targets: the labels that the scores explain, one index per text; by default those that the model predicts.
    labels: gold labels, one index per text, which the scores explain; the predicted label stands in where there are
        none.
    special_tokens: False leaves [CLS] and [SEP] in their places; in the published protocol they take part.
Returns:
    auac: mean over texts; NaN where none could be measured.
    texts: how many were measured.
    skipped: how many were not, by reason.
    curve: mean curve over fractions 0, 0.1 ... 1.
Example:
    >>> auac = evaluate.load("attrib_lab/metrics/auac")
    >>> ids = tokenizer(["a film of great charm"])["input_ids"]
    >>> scores = model(torch.tensor(ids)).attributions.tolist()
    >>> result = auac.compute(predictions=scores, references=ids, model=model, tokenizer=tokenizer, labels=[1])
    >>> result["auac"]
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class Auac(evaluate.Metric):
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
        return measure_ids("auac", predictions, references, model, tokenizer, **options)
