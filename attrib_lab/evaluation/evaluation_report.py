"""The report on an evaluation: a table for the terminal, results.json, results.csv, results.md and two pictures."""

import csv
import html
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .evaluation_pictures import draw_costs, draw_curves
from .statistics import FLIPS


REPORT_FILE, CURVES_FILE, COST_PICTURE = "results.md", "curves.png", "cost_faithfulness.png"
MARKS = {"best": "*", "not told apart from the best": "~", "worse": "", "not compared": ""}
BOLD, PLAIN = "\033[1m", "\033[0m"

Costs = dict[str, dict[str, float] | None]


def write_report(results: dict[str, Any], costs: Costs, folder: Path) -> None:
    """Write the report's files into `folder`, which is new.

    results.json holds what is measured on texts and is the same whenever the run is repeated; times are in the other
    files alone.

    Args:
        results: see `summarise`.
        costs: method -> see `Cost`; None for a method that has none.
    """
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (folder / "results.csv").write_text(_csv(results, costs), encoding="utf-8", newline="")
    drawn = {CURVES_FILE: draw_curves(results, folder / CURVES_FILE)}
    drawn[COST_PICTURE] = draw_costs(results, costs, folder / COST_PICTURE)
    pictures = [name for name, there in drawn.items() if there]
    (folder / REPORT_FILE).write_text(_markdown(results, costs, pictures), encoding="utf-8")


def print_report(results: dict[str, Any], costs: Costs, folder: Path) -> None:
    """Print the table, what its marks mean, and where the report is."""
    _say(_terminal_table(results, costs, bold=sys.stdout.isatty()))
    _say("\n".join(["", *_legend(results), *results["notes"], f"wrote {folder / REPORT_FILE}"]))


def ranked_methods(results: dict[str, Any]) -> list[str]:
    """Methods by the first metric, best first; those without a figure last."""
    first, reading = next(iter(results["metrics"].items()))
    sign = -1 if reading["higher_is_better"] else 1

    def order(name: str) -> tuple[bool, float]:
        figure = results["methods"][name]["metrics"][first]
        return (True, 0.0) if figure is None else (False, sign * figure["mean"])

    return sorted(results["methods"], key=order)


# Tables -------------------------------------------------------------------------------------------------------------


def _table(results: dict[str, Any], costs: Costs, cell: Callable[[dict[str, Any] | None], str]) -> list[list[str]]:
    arrows = {True: "↑", False: "↓"}
    header = (
        ["method"] + [f"{name} {arrows[m['higher_is_better']]}" for name, m in results["metrics"].items()] + ["cost"]
    )
    rows = [
        [
            method,
            *(cell(results["methods"][method]["metrics"][metric]) for metric in results["metrics"]),
            _cost(costs, method),
        ]
        for method in ranked_methods(results)
    ]
    return [header, *rows]


def _cost(costs: Costs, method: str) -> str:
    cost = costs.get(method)
    return "–" if cost is None else f"{cost['passes']:.{1 if cost['passes'] < 100 else 0}f}"


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"


def _interval(figure: dict[str, Any] | None) -> str:
    if figure is None:
        return "–"
    return f"{_number(figure['mean'])} [{_number(figure['low'])}, {_number(figure['high'])}]"


def _terminal_table(results: dict[str, Any], costs: Costs, bold: bool) -> str:
    rows = _table(results, costs, lambda figure: _interval(figure) + (MARKS[figure["verdict"]] if figure else ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        padded = [row[0].ljust(widths[0])]
        padded += [cell.ljust(width) for cell, width in zip(row[1:-1], widths[1:-1])] + [row[-1].rjust(widths[-1])]
        if bold:
            padded = [f"{BOLD}{cell}{PLAIN}" if cell.rstrip().endswith("*") else cell for cell in padded]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _legend(results: dict[str, Any]) -> list[str]:
    accuracy = (
        "" if results["accuracy"] is None else f", of which the model classifies {results['accuracy']:.1%} rightly"
    )
    return [
        f"{results['texts']} texts of {results['data']}{accuracy}. In brackets: 95 % bootstrap interval over texts.",
        "* best mean; ~ not told apart from it at 5 % (two-sided sign-flip test on the same texts, up to "
        f"{FLIPS:,} sign assignments, Holm's correction over all pairs of methods, within each metric).",
        "cost: in forward passes of this model on the same texts, measured once.",
    ]


def _say(text: str) -> None:
    """Print what the terminal can show; an arrow that it cannot show is no reason to fail."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding))


def _csv(results: dict[str, Any], costs: Costs) -> str:
    columns = ["mean", "low", "high", "texts", "p_against_best", "verdict"]
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(["method", "metric", "higher_is_better", *columns, "cost_in_forward_passes", "seconds", "source"])
    for method in ranked_methods(results):
        cost = costs.get(method) or {}
        for metric, reading in results["metrics"].items():
            figure = results["methods"][method]["metrics"][metric] or {}
            own = [method, metric, reading["higher_is_better"], *(figure.get(column) for column in columns)]
            writer.writerow([*own, cost.get("passes"), cost.get("seconds"), results["methods"][method]["source"]])
    return target.getvalue()


def markdown_table(results: dict[str, Any], costs: Costs) -> str:
    """A line for each method, the best by the first metric on top; **bold**: best, ~: not told apart from it."""

    def cell(figure: dict[str, Any] | None) -> str:
        text = _interval(figure)
        mark = MARKS[figure["verdict"]] if figure else ""
        return f"**{text}**" if mark == "*" else f"{text} {mark}".rstrip()

    header, *rows = _table(results, costs, cell)
    lines = [header, ["---"] * len(header), *([plain_markdown(row[0]), *row[1:]] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _markdown(results: dict[str, Any], costs: Costs, pictures: list[str]) -> str:
    measured = next((cost for cost in costs.values() if cost is not None), None)
    unit = (
        ""
        if measured is None
        else f" The unit took {measured['forward_seconds'] * 1e3:.1f} ms on {measured['texts']} texts with "
        f"{measured['tokens']} tokens."
    )
    parts = [
        f"# Explanations of {plain_markdown(results['model'])}",
        markdown_table(results, costs),
        "\n".join(plain_markdown(line) for line in _legend(results)).replace("\\* best", "**bold**: best") + unit,
    ]
    if results["notes"]:
        parts += ["## Left out", "\n".join(f"* {plain_markdown(note)}" for note in results["notes"])]
    parts += [f"![{name.removesuffix('.png').replace('_', ' ')}]({name})" for name in pictures]
    parts += ["## Metrics", "\n".join(_metric_line(*item) for item in results["metrics"].items())]
    sources = (
        f"* {plain_markdown(name)}: {plain_markdown(entry['source'])}" for name, entry in results["methods"].items()
    )
    return "\n\n".join([*parts, "## Methods", "\n".join(sources)]) + "\n"


def _metric_line(name: str, entry: dict[str, Any]) -> str:
    direction = "higher" if entry["higher_is_better"] else "lower"
    return (
        f"* {name}: {entry['paper']}; {direction} is better; perturbation: {entry['perturbation']}, by {entry['unit']}."
    )


def plain_markdown(text: str) -> str:
    """Text that Markdown shows as it is, whatever a plug-in's error or a file's name says."""
    for character in "\\`*_[]|":
        text = text.replace(character, "\\" + character)
    return html.escape(text, quote=False)
