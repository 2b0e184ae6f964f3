"""Token F1 as a module for `evaluate`."""

from attrib_lab.evaluation import evaluate_modules


class TokenF1(evaluate_modules.MaskMetric):
    metric = "token_f1"
    summary = """
Token F1: the tokens of the highest scores against those that people marked. Higher is better.
"""
    options = """
share: which share of the tokens an explanation names; by default the mean share that people marked here.
threshold: name the tokens with at least this score instead.
"""
    example = """
>>> result = token_f1.compute(predictions=[[0.9, 0.1, 0.5, 0.2, 0.3]], references=[[1, 1, 0, 0, 0]], share=0.4)
>>> result["token_f1"]
0.5
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
