"""Comprehensiveness as a module for `evaluate`."""

from attrib_lab.evaluation import evaluate_modules


class Comprehensiveness(evaluate_modules.ModelMetric):
    metric = "comprehensiveness"
    summary = """
Comprehensiveness: how much of the predicted label's probability goes with the tokens of the highest scores, mean over
the top 1, 5, 10, 20 and 50 %. Higher is better.
"""
    options = """
perturbation: "mask" (default), "unk" or "delete": what becomes of a removed token.
fractions: which shares of the tokens to remove.
"""
    curve = "mean difference at each fraction."
    citation = r"""
@inproceedings{deyoung2020eraser,
  title = {{ERASER}: A Benchmark to Evaluate Rationalized {NLP} Models},
  author = {DeYoung, Jay and Jain, Sarthak and Rajani, Nazneen Fatema and Lehman, Eric and Xiong, Caiming and
    Socher, Richard and Wallace, Byron C.},
  booktitle = {Proceedings of ACL},
  year = {2020}
}
"""
