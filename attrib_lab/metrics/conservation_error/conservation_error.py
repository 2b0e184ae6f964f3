"""Conservation error as a module for `evaluate`."""

from attrib_lab.evaluation import evaluate_modules


class ConservationError(evaluate_modules.ModelMetric):
    metric = "conservation_error"
    summary = """
Conservation error: |logit - sum of scores| / |logit| of the explained label, special tokens included. Lower is better.
"""
    citation = r"""
@inproceedings{ali2022xai,
  title = {{XAI} for Transformers: Better Explanations through Conservative Propagation},
  author = {Ali, Ameen and Schnake, Thomas and Eberle, Oliver and Montavon, Gr{\'e}goire and M{\"u}ller,
    Klaus-Robert and Wolf, Lior},
  booktitle = {Proceedings of the 39th International Conference on Machine Learning},
  year = {2022}
}
"""
