"""Log-odds as a module for `evaluate`."""

from attrib_lab.evaluation import evaluate_modules


class LogOdds(evaluate_modules.ModelMetric):
    metric = "log_odds"
    summary = """
Log-odds: by how much the logarithm of the predicted label's probability changes without the 20 % of tokens with the
highest scores. Lower is better.
"""
    options = """
perturbation: "mask" (default), "unk" or "delete": what becomes of a removed token.
fraction: which share of the tokens to remove, 0.2 by default.
"""
    citation = r"""
@inproceedings{shrikumar2017learning,
  title = {Learning Important Features Through Propagating Activation Differences},
  author = {Shrikumar, Avanti and Greenside, Peyton and Kundaje, Anshul},
  booktitle = {Proceedings of the 34th International Conference on Machine Learning},
  year = {2017}
}
"""
