"""Soft sufficiency as a module for `evaluate`."""

from attrib_lab.evaluation import evaluate_modules


class SoftSufficiency(evaluate_modules.ModelMetric):
    metric = "soft_sufficiency"
    summary = """
Soft sufficiency: how much of the predicted label's probability is missing where the entries of each token's embedding
stay at the rate of its score. Scores become rates of a fixed mean, unlike in the paper. Lower is better.
"""
    options = """
draws: how many sets of random numbers to take the mean over, 8 by default; seeded by the text.
mean_rate: the mean rate at which entries stay, 0.5 by default.
"""
    citation = r"""
@inproceedings{zhao2023incorporating,
  title = {Incorporating Attribution Importance for Improving Faithfulness Metrics},
  author = {Zhao, Zhixue and Aletras, Nikolaos},
  booktitle = {Proceedings of ACL},
  year = {2023}
}
"""
