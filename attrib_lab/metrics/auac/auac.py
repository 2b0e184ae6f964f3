"""AUAC as a module for `evaluate`."""

from attrib_lab.evaluation import evaluate_modules


class Auac(evaluate_modules.ModelMetric):
    metric = "auac"
    summary = """
AUAC: area under the activation curve. All tokens are [UNK] at first and are put back by descending score; recorded
is the probability of the true class at fractions 0, 0.1 ... 1. Higher is better.
"""
    options = """
labels: gold labels, one index per text, which the scores explain; the predicted label stands in where there are
    none.
special_tokens: False leaves [CLS] and [SEP] in their places; in the published protocol they take part.
"""
    curve = "mean curve over fractions 0, 0.1 ... 1."
    citation = r"""
@inproceedings{ali2022xai,
  title = {{XAI} for Transformers: Better Explanations through Conservative Propagation},
  author = {Ali, Ameen and Schnake, Thomas and Eberle, Oliver and Montavon, Gr{\'e}goire and M{\"u}ller,
    Klaus-Robert and Wolf, Lior},
  booktitle = {Proceedings of the 39th International Conference on Machine Learning},
  year = {2022}
}
"""
