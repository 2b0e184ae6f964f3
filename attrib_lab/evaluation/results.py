"""From figures of single texts to what can be said: means, intervals, the best method and who is no worse."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .explainers import Explainer
from .metrics import Metric
from .perturbation import Perturbation
from .samples import Sample
from .statistics import bootstrap_interval, bootstrap_means, compare_with_best, percentile_limits, shared_texts
from .texts import EncodedText


SIGNIFICANT = 0.05  # p-values below it tell two methods apart

Name = tuple[str, str]  # method and metric


@dataclass(frozen=True)
class Values:
    """What was measured.

    Attributes:
        figures: (method, metric) -> (texts,), NaN where a text was left out.
        curves: (method, metric) -> (texts, points), NaN likewise; only of metrics that have a curve.
        not_explained: method -> how many texts have no explanation, by reason.
        not_measured: (method, metric) -> how many explained texts were left out, by reason.
    """

    figures: dict[Name, np.ndarray]
    curves: dict[Name, np.ndarray]
    not_explained: dict[str, Counter[str]]
    not_measured: dict[Name, Counter[str]]

    @classmethod
    def read(
        cls,
        texts: Sequence[EncodedText],
        explainers: Iterable[Explainer],
        metrics: Iterable[Metric],
        attributions: Iterable[dict[str, Any]],
        measurements: Iterable[dict[str, Any]],
    ) -> "Values":
        """Collect what the journals say about these methods and metrics; what they say of others is not asked for."""
        place = {text.key: number for number, text in enumerate(texts)}
        methods = [explainer.name for explainer in explainers]
        names = {(method, metric.name): metric for method in methods for metric in metrics}
        figures = {name: np.full(len(texts), np.nan) for name in names}
        curves = {
            name: np.full((len(texts), len(metric.fractions)), np.nan)
            for name, metric in names.items()
            if metric.fractions
        }
        not_explained: dict[str, Counter[str]] = {method: Counter() for method in methods}
        not_measured: dict[Name, Counter[str]] = {name: Counter() for name in names}
        counted = set()  # a text may have been explained for two labels
        for entry in attributions:
            if (
                entry["method"] in not_explained
                and "reason" in entry
                and (entry["method"], entry["key"]) not in counted
            ):
                not_explained[entry["method"]][entry["reason"]] += 1
                counted.add((entry["method"], entry["key"]))
        for entry in measurements:
            name = entry["method"], entry["metric"]
            if name not in names:
                continue
            if "reason" in entry:
                not_measured[name][entry["reason"]] += 1
                continue
            figures[name][place[entry["key"]]] = entry["value"]
            if name in curves and "curve" in entry:
                curves[name][place[entry["key"]]] = entry["curve"]
        return cls(figures, curves, not_explained, not_measured)


def summarise(
    values: Values,
    explainers: Sequence[Explainer],
    metrics: Sequence[Metric],
    perturbations: dict[str, Perturbation],
    sample: Sample,
    seed: int,
) -> dict[str, Any]:
    """What can be said about each method by each metric.

    A metric's means, intervals and curves are over the texts that all methods with a figure share, so that they can be
    compared. Where these share none, each method's are over its own texts and none is compared.

    Returns:
        "texts"; "notes": a line on everything left out; "metrics": name -> how to read it; "methods": name -> its
        "source" and, by metric, mean, low, high (95 % bootstrap), texts, p_against_best (paired, Holm-adjusted over all
        pairs of methods; None for the best) and verdict: "best", "not told apart from the best", "worse" or "not
        compared"; None for a method without figures. "curves": metric -> method -> mean, low and high at each of the
        metric's fractions.
    """
    figures: dict[str, dict[str, Any]] = {explainer.name: {} for explainer in explainers}
    for metric in metrics:
        for method, figure in _compare(values, metric, list(figures), seed).items():
            figures[method][metric.name] = figure
    return {
        "texts": len(sample.texts),
        "notes": [
            *sample.notes,
            *_true_class_notes(sample, metrics),
            *_notes(values, metrics, len(sample.texts)),
            *_shared_notes(values, metrics, len(sample.texts)),
        ],
        "metrics": {
            metric.name: {
                "higher_is_better": metric.higher_is_better,
                "paper": metric.paper,
                "perturbation": perturbations[metric.name].kind,
                "unit": perturbations[metric.name].unit,
                "fractions": list(metric.fractions),
            }
            for metric in metrics
        },
        "methods": {e.name: {"source": e.source, "metrics": figures[e.name]} for e in explainers},
        "curves": {
            metric.name: {e.name: curve for e in explainers if (curve := _curve(values, e.name, metric.name, seed))}
            for metric in metrics
            if metric.fractions
        },
    }


def _measured(values: Values, metric: str) -> dict[str, np.ndarray]:
    """The figures of each method that has one."""
    own = {method: values.figures[method, metric] for method in values.not_explained}
    return {method: figures for method, figures in own.items() if np.isfinite(figures).any()}


def _compare(values: Values, metric: Metric, methods: list[str], seed: int) -> dict[str, dict[str, Any] | None]:
    measured = _measured(values, metric.name)
    if not measured:
        return dict.fromkeys(methods)
    shared = shared_texts(measured)
    best, p_values = None, {}
    if shared.any():
        measured = {method: figures[shared] for method, figures in measured.items()}
        best, p_values = compare_with_best(measured, metric.higher_is_better, seed=seed)
    compared: dict[str, dict[str, Any] | None] = {}
    for method in methods:
        if method not in measured:
            compared[method] = None
            continue
        own = measured[method]
        p_value = p_values.get(method)
        if best is None:
            verdict = "not compared"
        elif method == best:
            verdict = "best"
        else:
            verdict = "worse" if p_value < SIGNIFICANT else "not told apart from the best"
        interval = bootstrap_interval(own[np.isfinite(own)], seed=seed)
        compared[method] = asdict(interval) | {"p_against_best": p_value, "verdict": verdict}
    return compared


def _curve(values: Values, method: str, metric: str, seed: int) -> dict[str, list[float]] | None:
    measured = _measured(values, metric)
    if method not in measured:
        return None
    shared = shared_texts(measured)
    points = values.curves[method, metric][shared if shared.any() else slice(None)]
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        return None
    low, high = percentile_limits(bootstrap_means(points, resamples=1000, seed=seed))
    return {"mean": points.mean(axis=0).tolist(), "low": low.tolist(), "high": high.tolist()}


def _shared_notes(values: Values, metrics: Sequence[Metric], texts: int) -> list[str]:
    """On how many texts methods are compared, where these are not all."""
    by_count: dict[int, list[str]] = defaultdict(list)
    for metric in metrics:
        measured = _measured(values, metric.name)
        if measured:
            by_count[int(shared_texts(measured).sum())].append(metric.name)
    every = [metric.name for metric in metrics]
    return [
        f"{_names(names, every, 'metrics')}: means and tests are over the {count} of {texts} texts that all methods "
        "with figures share."
        if count
        else f"{_names(names, every, 'metrics')}: no text is shared by all methods with figures: each mean is over the "
        "method's own texts, and none is compared."
        for count, names in sorted(by_count.items())
        if count < texts
    ]


def _true_class_notes(sample: Sample, metrics: Sequence[Metric]) -> list[str]:
    """What stands for the true class where it is not known."""
    missing = sum(text.label is None for text in sample.texts)
    if not missing or not any(metric.name == "auac" for metric in metrics):
        return []
    return [f"auac: {missing} of {len(sample.texts)} texts have no label; there it follows the predicted one."]


def _notes(values: Values, metrics: Sequence[Metric], texts: int) -> list[str]:
    """A line for each reason why texts were left out, of all methods and metrics that share it."""
    shared: dict[tuple[str, int], list[str]] = defaultdict(list)
    for method, reasons in values.not_explained.items():
        for reason, count in sorted(reasons.items()):
            shared[reason, count].append(method)
    notes = [
        f"{_names(methods, list(values.not_explained), 'methods')}: {count} of {texts} texts not explained: {reason}."
        for (reason, count), methods in shared.items()
    ]
    by_metric: dict[tuple[str, int, tuple[str, ...]], list[str]] = defaultdict(list)
    for metric in metrics:
        alike: dict[tuple[str, int], list[str]] = defaultdict(list)
        for method in values.not_explained:
            for reason, count in sorted(values.not_measured[method, metric.name].items()):
                alike[reason, count].append(method)
        for (reason, count), methods in alike.items():
            by_metric[reason, count, tuple(methods)].append(metric.name)
    for (reason, count, methods), names in by_metric.items():
        whom = _names(list(methods), list(values.not_explained), "methods")
        what = _names(names, [metric.name for metric in metrics], "metrics")
        notes.append(f"{what}, {whom}: {count} of {texts} texts not measured: {reason}.")
    return notes


def _names(names: list[str], every: list[str], what: str) -> str:
    return f"all {what}" if len(names) == len(every) > 1 else ", ".join(names)
