"""The registry of metrics: name -> how it measures one text, and how to read its value."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from ..terminal.errors import UserError, nearest
from .options import DEFAULT_METRICS


if TYPE_CHECKING:
    from .perturbation_runner import Measurement


FLIPPED = tuple(step * 0.1 for step in range(11))  # Ali et al. 2022
TOP = (0.01, 0.05, 0.1, 0.2, 0.5)  # DeYoung et al. 2020


@dataclass(frozen=True)
class Metric:
    """An entry of the registry, which names its measurement: who only reads the registry loads no model's libraries.

    Attributes:
        module: of this package, in which a function of the metric's name measures one text.
        higher_is_better: the direction of better explanations.
        paper: where it is defined.
        cost: questions to the model per text, as a reader wants to know it beforehand.
        perturbation: the kind of perturbation that its definition fixes, or None where it is the user's choice.
        needs: "rationale" (skips texts without one), "explainer" (takes the option `explain`), or None.
        fractions: where the points of its curve lie, if it has one.
        explains_gold: its definition asks for the probability of the text's gold label, so that it is the explanation
            of that label which is measured; the predicted label's where the data has none.
    """

    name: str
    module: str
    higher_is_better: bool
    paper: str
    cost: str
    perturbation: str | None = None
    needs: str | None = None
    fractions: tuple[float, ...] = ()
    explains_gold: bool = False

    @property
    def measure(self) -> "Callable[..., Measurement]":
        """`(text, scores, target, perturbation, **options)` -> a measurement for `PerturbationRunner.run`."""
        return getattr(import_module(f".{self.module}", __package__), self.name)


_ALI, _ERASER = "Ali et al. 2022, section 5", "DeYoung et al. 2020, section 4"
_SOFT, _EDIN = "Zhao & Aletras 2023, mean rate fixed", "Edin et al. 2024"
_SAMEK = "Samek et al. 2017, eq. 12"

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("auac", "faithfulness", True, _ALI, "11", perturbation="unk", fractions=FLIPPED, explains_gold=True),
        Metric("au_mse", "faithfulness", False, _ALI, "11", perturbation="unk", fractions=FLIPPED, explains_gold=True),
        Metric("comprehensiveness", "faithfulness", True, _ERASER, "6", fractions=TOP),
        Metric("sufficiency", "faithfulness", False, _ERASER, "6", fractions=TOP),
        Metric("aopc", "faithfulness", True, _SAMEK, "11", perturbation="delete", fractions=FLIPPED[1:]),
        Metric("log_odds", "faithfulness", False, "Shrikumar et al. 2017, section 4", "2"),
        Metric("normalized_aopc", "normalized_aopc", True, _EDIN, "tokens + 5 tokens² shared by all methods"),
        Metric("soft_comprehensiveness", "soft_faithfulness", True, _SOFT, "9"),
        Metric("soft_sufficiency", "soft_faithfulness", False, _SOFT, "9"),
        Metric("auprc", "plausibility", True, _ERASER, "0", needs="rationale"),
        Metric("token_f1", "plausibility", True, _ERASER, "0", needs="rationale"),
        Metric("iou_f1", "plausibility", True, _ERASER, "0", needs="rationale"),
        Metric("conservation_error", "conservation", False, "Ali et al. 2022, section 5", "1"),
        Metric("stability", "stability", False, "this project", "up to 5 explanations", needs="explainer"),
    )
}


def get_metric(name: str) -> Metric:
    """The metric of this name.

    Raises:
        UserError: naming the metrics there are.
    """
    if name not in METRICS:
        raise UserError(f"unknown metric {name!r}; there are: {', '.join(METRICS)}." + nearest(name, list(METRICS)))
    return METRICS[name]


def select_metrics(names: str | None, rationale: str | None = None) -> list[Metric]:
    """The metrics of a comma-separated list, or the usual ones.

    Raises:
        UserError: for an unknown metric, none at all, or one that needs a rationale where there is none.
    """
    if names is None:
        chosen = [get_metric(name) for name in DEFAULT_METRICS]
        return chosen + [metric for metric in METRICS.values() if rationale is not None and metric.needs == "rationale"]
    chosen = [get_metric(name) for name in dict.fromkeys(filter(None, (name.strip() for name in names.split(","))))]
    if not chosen:
        raise UserError("--metrics names no metric.")
    for metric in chosen:
        if metric.needs == "rationale" and rationale is None:
            raise UserError(f"the metric {metric.name} needs --rationale: the column with what people marked.")
    return chosen
