"""What a person looks at after an analysis of concepts: a table, its figures as JSON, and a picture."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from ..model_card import escape_markdown
from .analysis import SIGNIFICANCE, ClassEffect, ConceptResult


matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes


TABLE_FILE = "concepts.md"
FIGURES_FILE = "concepts.json"
PICTURE_FILE = "concepts.png"
PANELS_IN_A_ROW = 3
_CONCEPT, _CHANCE = "#1f6f8b", "#9a9a9a"


def write_report(results: list[ConceptResult], settings: dict[str, Any], folder: Path) -> str:
    """Write table, figures and picture into `folder`, which is made if need be.

    Args:
        results: one for each concept.
        settings: what was analysed and how, for the record.

    Returns:
        The table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = format_table(results)
    (folder / TABLE_FILE).write_text(table + "\n", encoding="utf-8")
    content = {"settings": settings, "concepts": [_as_dict(result) for result in results]}
    (folder / FIGURES_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    draw_effects(results, folder / PICTURE_FILE)
    return table


def format_table(results: list[ConceptResult]) -> str:
    """Markdown: a row for each concept and class."""
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
    return "\n".join(lines)


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
    return asdict(result) | {"known": result.known, "effects": effects}


def draw_effects(results: list[ConceptResult], path: Path) -> None:
    """One panel a concept, one line a class: value with the middle 95 % of its vectors, random concepts in grey.

    Filled marks are significant, hollow ones are not.
    """
    columns = min(PANELS_IN_A_ROW, len(results))
    rows = -(-len(results) // columns)
    classes = max(len(result.effects) for result in results)
    figure, panels = plt.subplots(
        rows,
        columns,
        figsize=(1.2 + 3.4 * columns, rows * (1.4 + 0.5 * classes)),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    for panel in panels.flat[len(results) :]:
        panel.set_axis_off()
    for panel, result in zip(panels.flat, results):
        _draw_panel(panel, result)
    for panel in panels[:, 0]:
        # Names are the user's: a $ in one is no formula.
        panel.set_yticks(range(classes), [e.label for e in results[0].effects], parse_math=False)
    panels[0, 0].invert_yaxis()
    figure.supxlabel("share of the texts whose logit for the class rises with the concept", fontsize=10)
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    figure.savefig(path, dpi=150)
    plt.close(figure)


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
    note = f"{result.sentences} sentences" if result.known else "the layer does not know it"
    panel.set_title(f"{result.name} ({note})", loc="left", fontsize=11, parse_math=False)
    panel.set_xlim(-0.04, 1.04)
    panel.grid(axis="x", alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)
