"""AOPC as a module for `evaluate`."""

from attrib_lab.evaluation import evaluate_modules


class Aopc(evaluate_modules.ModelMetric):
    metric = "aopc"
    summary = """
AOPC: area over the perturbation curve. Tokens are deleted by descending score; the mean drop of the predicted label's
probability at tenths 0.1 ... 1. Samek et al. divide the same sum by 11, as they count 0 too. Higher is better.
"""
    options = """
fractions: which shares of the tokens to delete.
"""
    curve = "mean drop at each fraction."
    citation = r"""
@article{samek2017evaluating,
  title = {Evaluating the Visualization of What a Deep Neural Network Has Learned},
  author = {Samek, Wojciech and Binder, Alexander and Montavon, Gr{\'e}goire and Lapuschkin, Sebastian and
    M{\"u}ller, Klaus-Robert},
  journal = {IEEE Transactions on Neural Networks and Learning Systems},
  year = {2017}
}
"""
