"""The registry of metrics: name -> how it measures one text, and how to read its value."""

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import UserError, nearest
from .faithfulness import FLIPPED, TOP, au_mse, auac, comprehensiveness, log_odds, sufficiency
from .probing import Measurement


@dataclass(frozen=True)
class Metric:
    """An entry of the registry.

    Attributes:
        measure: `(text, scores, target, removal, **options)` -> a measurement for `Probe.run`.
        higher_is_better: the direction of better explanations.
        paper: where it is defined.
        cost: questions to the model per text, as a reader wants to know it beforehand.
        removal: the kind of removal that its definition fixes, or None where it is the user's choice.
        needs: "rationale" (skips texts without one), "explainer" (takes the option `explain`), or None.
        fractions: where the points of its curve lie, if it has one.
    """

    name: str
    measure: Callable[..., Measurement]
    higher_is_better: bool
    paper: str
    cost: str
    removal: str | None = None
    needs: str | None = None
    fractions: tuple[float, ...] = ()


_ALI, _ERASER = "Ali et al. 2022, section 5", "DeYoung et al. 2020, section 4.2"

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("auac", auac, True, _ALI, "11", removal="unk", fractions=FLIPPED),
        Metric("au_mse", au_mse, False, _ALI, "11", removal="unk", fractions=FLIPPED),
        Metric("comprehensiveness", comprehensiveness, True, _ERASER, "6", fractions=TOP),
        Metric("sufficiency", sufficiency, False, _ERASER, "6", fractions=TOP),
        Metric("log_odds", log_odds, False, "Shrikumar et al. 2017", "2"),
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
