"""What the metrics of `attrib_lab/metrics` have in common as modules for `evaluate`, one class for each kind of metric.

`evaluate` takes the first class of a module that is one of its own: a metric's module therefore imports this module,
and not a class of it.
"""

import warnings
from textwrap import indent
from typing import Any, ClassVar

import datasets
import evaluate

from .examples import Summary, measure_ids, measure_masks, measure_pairs


class _MetricModule(evaluate.Metric):
    """A metric over lists of examples, described by what its class says.

    Attributes:
        metric: its name in the registry.
        summary: what it measures, which direction is better, and what differs from the paper.
        citation: BibTeX of the paper.
        options: what `compute` takes beyond the inputs, a line each.
        curve: what its curve holds, if it has one.
        example: lines of Python that give `result`.
    """

    metric: ClassVar[str]
    summary: ClassVar[str]
    citation: ClassVar[str]
    options: ClassVar[str] = ""
    curve: ClassVar[str] = ""
    example: ClassVar[str]
    _inputs: ClassVar[str]
    _references: ClassVar[str]

    def __init_subclass__(cls) -> None:
        if "metric" in vars(cls):
            cls.__doc__ = f"{cls.summary}{cls._description_of_inputs()}"

    @classmethod
    def _description_of_inputs(cls) -> str:
        returned = [
            f"{cls.metric}: mean over texts; NaN where none could be measured.",
            "texts: how many were measured.",
            "skipped: how many were not, by reason.",
            *([f"curve: {cls.curve}"] if cls.curve else []),
        ]
        load = f'{cls.metric} = evaluate.load("attrib_lab/metrics/{cls.metric}")'
        parts = {
            "Args": [*cls._inputs.strip().splitlines(), *cls.options.strip().splitlines()],
            "Returns": returned,
            "Example": [f">>> {load}", *cls.example.strip().splitlines()],
        }
        return "\n" + "".join(f"{title}:\n{indent(_lines(lines), '    ')}" for title, lines in parts.items())

    def _info(self) -> evaluate.MetricInfo:
        features = {
            "predictions": datasets.Sequence(datasets.Value("float64")),
            "references": datasets.Sequence(datasets.Value(self._references)),
        }
        return evaluate.MetricInfo(
            description=self.summary,
            citation=self.citation,
            inputs_description=self._description_of_inputs(),
            features=datasets.Features(features),
        )


def _lines(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


class ModelMetric(_MetricModule):
    """Runs perturbed texts through the model whose explanations are measured."""

    _references = "int64"
    _inputs = """
predictions: one score per token of each text, toward the explained label, special tokens included.
references: token ids of each text, special tokens included; padding at either end is taken off.
model: a sequence classifier in evaluation mode.
tokenizer: its tokenizer.
targets: the labels that the scores explain, one index per text; by default those that the model predicts.
"""

    def __init_subclass__(cls) -> None:
        more = ", labels=[1]" if "labels:" in cls.options else ""
        cls.example = f"""
>>> ids = tokenizer(["a film of great charm"])["input_ids"]
>>> scores = model(torch.tensor(ids)).attributions.tolist()
>>> result = {cls.metric}.compute(predictions=scores, references=ids, model=model, tokenizer=tokenizer{more})
>>> result["{cls.metric}"]
"""
        super().__init_subclass__()

    def _compute(
        self, predictions: list[list[float]], references: list[list[int]], model: Any, tokenizer: Any, **options: Any
    ) -> Summary:
        if "removal" in options:
            message = "removal= is called perturbation= now; the old name goes with the next release."
            warnings.warn(message, FutureWarning, stacklevel=3)
            options["perturbation"] = options.pop("removal")
        return measure_ids(self.metric, predictions, references, model, tokenizer, **options)


class MaskMetric(_MetricModule):
    """Compares scores with what people marked; asks no model."""

    _references = "int64"
    _inputs = """
predictions: one score per token of each text, without special tokens and padding.
references: 0 or 1 for each of these tokens: whether people marked it.
"""

    def _compute(self, predictions: list[list[float]], references: list[list[int]], **options: Any) -> Summary:
        return measure_masks(self.metric, predictions, references, **options)


class PairMetric(_MetricModule):
    """Compares the scores of the same words before and after an edit; asks no model."""

    _references = "float64"
    _inputs = """
predictions: the words' scores before the edit, one list per text.
references: the scores of the same words after it, in the same order.
"""

    def _compute(self, predictions: list[list[float]], references: list[list[float]]) -> Summary:
        return measure_pairs(predictions, references)
