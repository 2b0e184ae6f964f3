"""Pictures of an evaluation: curves with confidence bands, and cost against faithfulness."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np


matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter


# Okabe and Ito's colours, told apart by people with any kind of colour vision; yellow is too faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", ":", "-.")
MARKERS = "osD^vP*X<>hp8d"
GREY = "#8A8A8A"  # of `random`, the floor
BANDS = 4  # at most, in one panel

# Metric -> what its curve's axes show; others are called by their names.
AXES = {
    "auac": ("tokens put back, most relevant first", "p(label)"),
    "au_mse": ("tokens taken out, least relevant first", "squared change of the logits"),
    "comprehensiveness": ("most relevant removed", "fall of p(predicted)"),
    "sufficiency": ("most relevant kept alone", "fall of p(predicted)"),
    "aopc": ("most relevant removed", "fall of p(predicted)"),
}


def look_of(method: str, methods: Sequence[str]) -> dict[str, Any]:
    """Colour, line and marker of a method: the same in every picture of a run, and no two alike."""
    if method == "random":
        return {"color": GREY, "linestyle": ":", "marker": "."}
    index = [name for name in methods if name != "random"].index(method)
    turn, place = divmod(index, len(COLOURS))
    return {"color": COLOURS[place], "linestyle": LINES[turn % len(LINES)], "marker": MARKERS[index % len(MARKERS)]}


def draw_curves(results: dict[str, Any], file: Path) -> bool:
    """A panel for each metric with a curve: means over texts with 95 % bands; False if there is nothing to draw."""
    panels = {metric: curves for metric, curves in results["curves"].items() if curves}
    if not panels:
        return False
    methods = list(results["methods"])
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    size = (5.2 * columns + 2.6, max(4.0 * rows, 0.24 * len(methods) + 0.8))
    figure, grid = pyplot.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    handles: dict[str, Any] = {}
    for axes, (metric, curves) in zip(grid.flat, panels.items()):
        reading = results["metrics"][metric]
        places = _scale_fractions(axes, reading["fractions"])
        banded = _with_band(results, metric, list(curves))
        for method, curve in curves.items():
            look = look_of(method, methods)
            if method in banded:
                axes.fill_between(places, curve["low"], curve["high"], color=look["color"], alpha=0.13, linewidth=0)
            (handles[method],) = axes.plot(places, curve["mean"], linewidth=1.3, markersize=3.5, label=method, **look)
        x_label, y_label = AXES.get(metric, ("share of the text", metric))
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        direction = "higher" if reading["higher_is_better"] else "lower"
        axes.set_title(f"{metric}: {direction} is better", loc="left", fontsize=11)
        _tidy(axes)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    _legend(figure, handles, results, next(iter(panels)))
    if len(methods) > BANDS:
        figure.supxlabel(f"Bands: 95 % intervals over texts, of the {BANDS - 1} best and of random.", fontsize=9)
    figure.savefig(file, dpi=130)
    pyplot.close(figure)
    return True


def _scale_fractions(axes: Axes, fractions: Sequence[float]) -> Sequence[float]:
    """Even fractions lie where they are; others (1, 5, 10, 20, 50 %) side by side, or the small ones would touch."""
    if len(fractions) < 3 or np.ptp(np.diff(fractions)) < 1e-9:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
        return fractions
    places = list(range(len(fractions)))
    axes.set_xticks(places, [f"{fraction:.0%}" for fraction in fractions])
    return places


def _with_band(results: dict[str, Any], metric: str, methods: Sequence[str]) -> list[str]:
    """Methods whose bands are drawn: bands of a dozen hide one another."""
    if len(methods) <= BANDS:
        return list(methods)
    return [*_best_first(results, metric, [name for name in methods if name != "random"])[: BANDS - 1], "random"]


def _best_first(results: dict[str, Any], metric: str, methods: Sequence[str]) -> list[str]:
    sign = -1 if results["metrics"][metric]["higher_is_better"] else 1

    def order(method: str) -> tuple[bool, float]:
        own = results["methods"][method]["metrics"][metric]
        return (own is None, 0.0 if own is None else sign * own["mean"])

    return sorted(methods, key=order)


def _legend(figure: Any, handles: dict[str, Any], results: dict[str, Any], metric: str) -> None:
    """Methods beside the panels, in the order of a metric's figures, best first."""
    names = _best_first(results, metric, list(handles))
    figure.legend(
        [handles[name] for name in names], names, loc="outside right upper", frameon=False, fontsize=9,
        title=f"by {metric}, best first", title_fontsize=9, handlelength=3.2, alignment="left",
    )  # fmt: skip


def draw_costs(results: dict[str, Any], costs: dict[str, Any], file: Path) -> bool:
    """Cost in forward passes against the first metric, with 95 % intervals; False if there is nothing to draw."""
    metric, reading = next(iter(results["metrics"].items()))
    methods = list(results["methods"])
    figures = {name: entry["metrics"][metric] for name, entry in results["methods"].items()}
    points = {
        name: (costs[name]["passes"], figure)
        for name, figure in figures.items()
        if figure is not None and costs.get(name)
    }
    if not points:
        return False
    figure, axes = pyplot.subplots(figsize=(9.5, max(5.5, 0.3 * len(points) + 1.5)), layout="constrained")
    for name, (cost, own) in points.items():
        look = look_of(name, methods) | {"linestyle": "none"}
        around = [[own["mean"] - own["low"]], [own["high"] - own["mean"]]]
        axes.errorbar(cost, own["mean"], around, elinewidth=0.9, capsize=2, markersize=7, **look)
    _tidy(axes)
    axes.set_xscale("log")
    _tick_passes(axes, [cost for cost, _ in points.values()])
    axes.set_xlabel("cost of explaining, in forward passes of the model")
    direction = "higher" if reading["higher_is_better"] else "lower"
    axes.set_ylabel(f"{metric} ({direction} is better)")
    axes.set_title(f"Cost against faithfulness: {metric} on {results['texts']} texts", loc="left", fontsize=11)
    _name_points(axes, {name: (cost, own["mean"]) for name, (cost, own) in points.items()}, methods)
    figure.savefig(file, dpi=130)
    pyplot.close(figure)
    return True


def _tick_passes(axes: Axes, costs: Sequence[float]) -> None:
    lowest, highest = min(*costs, 1.0), max(*costs, 4.0)
    axes.set_xlim(lowest / 1.25, highest * 1.4)
    digits = (1, 2, 5) if highest > 10 else (1, 1.5, 2, 3, 5)
    ticks = [digit * 10**power for power in range(6) for digit in digits]
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if tick <= highest * 1.3]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _name_points(axes: Axes, points: dict[str, tuple[float, float]], methods: Sequence[str]) -> None:
    """Names in a column beside the axes, each joined to its point: points may lie close, names may not."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    to_axes = axes.transAxes.inverted()
    heights = {name: to_axes.transform(axes.transData.transform(point))[1] for name, point in points.items()}
    names = sorted(points, key=heights.__getitem__)
    line = 0.24 / (axes.figure.get_size_inches()[1] - 1)  # of text, in heights of the axes
    step = min(line, 1 / max(1, len(names) - 1))
    for name, place in zip(names, spread_out([heights[name] for name in names], step)):
        axes.annotate(
            name, xy=points[name], xytext=(1.03, place), textcoords="axes fraction", va="center", fontsize=9,
            color=look_of(name, methods)["color"], annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": look_of(name, methods)["color"], "linewidth": 0.5, "alpha": 0.6},
        )  # fmt: skip


def spread_out(places: Sequence[float], step: float) -> list[float]:
    """Ascending places moved as little as need be to lie `step` apart within [0, 1], where there is room for all.

    Groups that touch keep their common centre.
    """
    groups: list[tuple[float, int]] = []  # centre, number of members
    for place in places:
        groups.append((place, 1))
        while len(groups) > 1 and groups[-1][0] - groups[-2][0] < step * (groups[-1][1] + groups[-2][1]) / 2:
            (before, number), (after, count) = groups[-2:]
            groups[-2:] = [((before * number + after * count) / (number + count), number + count)]
    spread = [centre + step * (member - (count - 1) / 2) for centre, count in groups for member in range(count)]
    highest = [1 - step * (len(spread) - 1 - number) for number in range(len(spread))]
    lowest = [step * number for number in range(len(spread))]
    return [max(low, min(high, place)) for low, high, place in zip(lowest, highest, spread)]


def _tidy(axes: Axes) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
