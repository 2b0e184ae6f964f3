"""Normalised AOPC as a module for `evaluate`."""

import datasets
import evaluate

from attrib_lab.evaluation.examples import measure_ids


_DESCRIPTION = """
Normalised AOPC: the AOPC of the tokens' order (they leave one by one), between the worst and the best order of the
same text that beam search finds. Higher is better.
"""

_CITATION = r"""
@article{edin2024normalized,
  title = {Normalized {AOPC}: Fixing Misleading Faithfulness Metrics for Feature Attribution Explainability},
  author = {Edin, Joakim and Motzfeldt, Andreas Geert and Christensen, Casper L. and Ruotsalo, Tuukka and
    Maal{\o}e, Lars and Maistro, Maria},
  journal = {arXiv preprint arXiv:2408.08137},
  year = {2024}
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
    beam_width: sets of each size that the search keeps, 5 by default.
    max_units: texts with more tokens are skipped, 64 by default.
Returns:
    normalized_aopc: mean over texts; NaN where none could be measured.
    texts: how many were measured.
    skipped: how many were not, by reason.
Example:
    >>> normalized_aopc = evaluate.load("attrib_lab/metrics/normalized_aopc")
    >>> ids = tokenizer(["a film of great charm"])["input_ids"]
    >>> scores = model(torch.tensor(ids)).attributions.tolist()
    >>> result = normalized_aopc.compute(predictions=scores, references=ids, model=model, tokenizer=tokenizer)
    >>> result["normalized_aopc"]
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class NormalizedAopc(evaluate.Metric):
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
        return measure_ids("normalized_aopc", predictions, references, model, tokenizer, **options)
