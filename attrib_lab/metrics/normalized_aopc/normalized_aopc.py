"""Normalised AOPC as a module for `evaluate`."""

from attrib_lab.evaluation import evaluate_modules


class NormalizedAopc(evaluate_modules.ModelMetric):
    metric = "normalized_aopc"
    summary = """
Normalised AOPC: the AOPC of the tokens' order (they leave one by one), between the worst and the best order of the
same text that beam search finds. Higher is better.
"""
    options = """
perturbation: "mask" (default), "unk" or "delete": what becomes of a removed token.
beam_width: sets of each size that the search keeps, 5 by default.
max_units: texts with more tokens are skipped, 64 by default.
"""
    citation = r"""
@article{edin2024normalized,
  title = {Normalized {AOPC}: Fixing Misleading Faithfulness Metrics for Feature Attribution Explainability},
  author = {Edin, Joakim and Motzfeldt, Andreas Geert and Christensen, Casper L. and Ruotsalo, Tuukka and
    Maal{\o}e, Lars and Maistro, Maria},
  journal = {arXiv preprint arXiv:2408.08137},
  year = {2024}
}
"""
