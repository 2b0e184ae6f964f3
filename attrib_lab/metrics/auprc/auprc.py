"""AUPRC as a module for `evaluate`."""

from attrib_lab.evaluation import evaluate_modules


class Auprc(evaluate_modules.MaskMetric):
    metric = "auprc"
    summary = """
AUPRC: area under the precision-recall curve of the scores against a rationale that people marked, by the trapezoid rule
as in ERASER. Higher is better.
"""
    example = """
>>> result = auprc.compute(predictions=[[0.9, 0.1, 0.5, 0.2, 0.3]], references=[[1, 1, 0, 0, 0]])
>>> result["auprc"]
0.6625
"""
    citation = r"""
@inproceedings{deyoung2020eraser,
  title = {{ERASER}: A Benchmark to Evaluate Rationalized {NLP} Models},
  author = {DeYoung, Jay and Jain, Sarthak and Rajani, Nazneen Fatema and Lehman, Eric and Xiong, Caiming and
    Socher, Richard and Wallace, Byron C.},
  booktitle = {Proceedings of ACL},
  year = {2020}
}
"""
