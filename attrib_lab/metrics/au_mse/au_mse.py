"""AU-MSE as a module for `evaluate`."""

from attrib_lab.evaluation import evaluate_modules


class AuMse(evaluate_modules.ModelMetric):
    metric = "au_mse"
    summary = """
AU-MSE: area under the pruning curve. Tokens become [UNK] by ascending magnitude of their score; recorded is the sum
of squared differences of the logits from the whole text's at fractions 0, 0.1 ... 1. Lower is better.
"""
    options = """
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
