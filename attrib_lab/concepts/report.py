"""What a person looks at after an analysis of concepts: a table, its figures as JSON, and a picture."""

import json
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from ..markdown_text import escape_markdown
from .analysis import SIGNIFICANCE, ClassEffect, ConceptResult


matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure


TABLE_FILE = "concepts.md"
FIGURES_FILE = "concepts.json"
PICTURE_FILE = "concepts.png"
PANELS_IN_A_ROW = 3
_PANEL_WIDTH, _LETTER = 3.4, 0.085  # inches
_TITLE_LETTERS, _LABEL_LETTERS = 36, 28  # in a line
_CONCEPT, _CHANCE = "#1f6f8b", "#9a9a9a"


def write_report(results: list[ConceptResult], settings: dict[str, Any], folder: Path) -> str:
    """Write table, figures and picture into `folder`, which is new.

    Args:
        results: one for each concept.
        settings: what was analysed and how, for the record.

    Returns:
        The table.
    """
    table = format_table(results)
    (folder / TABLE_FILE).write_text(table + "\n", encoding="utf-8")
    content = {"settings": settings, "concepts": [_as_dict(result) for result in results]}
    (folder / FIGURES_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    draw_effects(results, folder / PICTURE_FILE)
    return table


def format_table(results: list[ConceptResult]) -> str:
    """Markdown: a row for each concept and class, and a line below for each warning."""
    lines = [
        "| concept | accuracy | class | value | 95 % | random | p (0.5) | p (random) | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        for effect in result.effects:
            cells = [
                escape_markdown(result.name),
                f"{result.accuracy:.2f}" + ("" if result.known else " (chance)"),
                escape_markdown(effect.label),
                f"{effect.value:.2f}",
                "{:.2f} to {:.2f}".format(*effect.interval),
                f"{np.mean(effect.random_values):.2f}",
                _format_p(effect.p_half),
                _format_p(effect.p_random),
                verdict(result, effect),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    warnings = [f"{escape_markdown(result.name)}: {result.warning}" for result in results if result.warning]
    return "\n\n".join(["\n".join(lines), *warnings])


def verdict(result: ConceptResult, effect: ClassEffect) -> str:
    """`for`, `against`, or nothing where chance would do."""
    if not result.significant(effect):
        return ""
    return "for" if effect.value > 0.5 else "against"


def _format_p(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _as_dict(result: ConceptResult) -> dict[str, Any]:
    effects = [
        {"value": effect.value, "interval": effect.interval, "significant": result.significant(effect)} | asdict(effect)
        for effect in result.effects
    ]
    return asdict(result) | {"known": result.known, "effects": effects, "warning": result.warning}


def draw_effects(results: list[ConceptResult], path: Path) -> None:
    """One panel a concept, one line a class: value with the middle 95 % of its vectors, random concepts in grey.

    Filled marks are significant, hollow ones are not.
    """
    figure = effects_figure(results)
    figure.savefig(path, dpi=150, bbox_inches="tight")  # whatever the names' letters, none is cut off
    plt.close(figure)


def effects_figure(results: list[ConceptResult]) -> Figure:
    """The figure of `draw_effects`, as wide and high as its names need."""
    columns = min(PANELS_IN_A_ROW, len(results))
    rows = -(-len(results) // columns)
    labels = [_wrap(effect.label, _LABEL_LETTERS) for effect in results[0].effects]
    margin = 0.4 + _LETTER * max(len(line) for label in labels for line in label.splitlines())
    title_lines = max(_title(result).count("\n") + 1 for result in results)
    line_height = max(0.5, *(0.2 * (label.count("\n") + 1) for label in labels))
    figure, panels = plt.subplots(
        rows,
        columns,
        figsize=(margin + _PANEL_WIDTH * columns, rows * (1.2 + 0.2 * title_lines + line_height * len(labels))),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    for panel in panels.flat[len(results) :]:
        panel.set_axis_off()
    for panel, result in zip(panels.flat, results):
        _draw_panel(panel, result)
    for panel in panels.flat[max(0, len(results) - columns) : len(results)]:
        panel.tick_params(labelbottom=True)  # also where the row below ends sooner
    for panel in panels[:, 0]:
        # Names are the user's: a $ in one is no formula.
        panel.set_yticks(range(len(labels)), labels, parse_math=False)
    panels[0, 0].invert_yaxis()
    meaning = "share of the texts whose logit for the class rises with the concept"
    figure.supxlabel(_wrap(meaning, 40) if columns == 1 else meaning, fontsize=10)
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=1 if columns == 1 else 3, frameon=False, fontsize=9)
    return figure


def _wrap(name: str, letters: int) -> str:
    return "\n".join(textwrap.wrap(name, letters)) or name


def _title(result: ConceptResult) -> str:
    note = f"{result.sentences} sentences" if result.known else "the layer does not know it"
    title = f"{result.name} ({note})"
    return title if len(title) <= _TITLE_LETTERS else f"{_wrap(result.name, _TITLE_LETTERS)}\n({note})"


def _draw_panel(panel: Axes, result: ConceptResult) -> None:
    panel.axvline(0.5, color="#555555", linewidth=0.8, linestyle=(0, (4, 3)))
    generator = np.random.default_rng(0)
    for line, effect in enumerate(result.effects):
        heights = line + generator.uniform(-0.22, 0.22, len(effect.random_values))
        panel.scatter(
            effect.random_values,
            heights,
            s=9,
            color=_CHANCE,
            alpha=0.5,
            linewidths=0,
            label=None if line else "random concepts",
        )
        panel.hlines(line, *effect.interval, color=_CONCEPT, linewidth=2.2)
    for significant, name in (
        (True, f"concept, significant at {SIGNIFICANCE:.0%}"),
        (False, "concept, not significant"),
    ):
        chosen = [(e.value, line) for line, e in enumerate(result.effects) if result.significant(e) == significant]
        panel.plot(
            *(zip(*chosen) if chosen else ([], [])),
            linestyle="",
            marker="o",
            markersize=8,
            color=_CONCEPT,
            markerfacecolor=_CONCEPT if significant else "white",
            label=name,
        )
    panel.set_title(_title(result), loc="left", fontsize=11, parse_math=False)
    panel.set_xlim(-0.04, 1.04)
    panel.grid(axis="x", alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)
