"""Soft comprehensiveness as a module for `evaluate`."""

from attrib_lab.evaluation import evaluate_modules


class SoftComprehensiveness(evaluate_modules.ModelMetric):
    metric = "soft_comprehensiveness"
    summary = """
Soft comprehensiveness: how much of the predicted label's probability goes where the entries of each token's embedding
are set to 0 at the rate of its score. Scores become rates of a fixed mean, unlike in the paper. Higher is better.
"""
    options = """
draws: how many sets of random numbers to take the mean over, 8 by default; seeded by the text.
mean_rate: the mean rate at which entries go, 0.5 by default.
"""
    citation = r"""
@inproceedings{zhao2023incorporating,
  title = {Incorporating Attribution Importance for Improving Faithfulness Metrics},
  author = {Zhao, Zhixue and Aletras, Nikolaos},
  booktitle = {Proceedings of ACL},
  year = {2023}
}
"""
