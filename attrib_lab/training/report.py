"""What a person looks at after training: the learning curve and a page of explained test texts."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from datasets import Dataset

from modeling_attrib import AttribTextClassificationPipeline, render_html, render_page

from ..recipes.recipe import DataSection


matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator


def draw_curve(history: list[dict[str, Any]], path: Path) -> None:
    """Training loss and validation accuracy against steps, from the Trainer's log history, as a PNG.

    Of two figures at a step the first one counts: the second is that of the best model, which is graded again in the
    end, whatever step it comes from.
    """
    losses, accuracies = _points(history, "loss"), _points(history, "eval_accuracy")
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for axes, points, title, colour in (
        (left, losses, "training loss", "#b4552d"),
        (right, accuracies, "validation accuracy", "#1f6f8b"),
    ):
        size = 3 if len(points) > 3 else 6  # a point alone is all there is to see
        axes.plot(list(points), list(points.values()), color=colour, marker="o", markersize=size, linewidth=1.6)
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_xlabel("step")
        axes.set_xlim(left=0, right=max([*losses, *accuracies, 1]) * 1.03)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    lowest = min(accuracies.values(), default=0.0)
    right.set_ylim(lowest - 0.1 * (1 - lowest) - 0.005, 1.005)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _points(history: list[dict[str, Any]], name: str) -> dict[int, float]:
    points: dict[int, float] = {}
    for entry in history:
        if name in entry:
            points.setdefault(entry["step"], entry[name])
    return points


def choose_examples(labels: np.ndarray, predictions: np.ndarray, count: int, seed: int) -> list[int]:
    """Row indices to show: up to a third mistakes (they are what one learns from), the rest right, in random order."""
    generator = np.random.default_rng(seed)
    wrong = generator.permutation(np.flatnonzero(labels != predictions))[: count // 3]
    right = generator.permutation(np.flatnonzero(labels == predictions))[: count - len(wrong)]
    return generator.permutation(np.concatenate([wrong, right]).astype(int)).tolist()


HOW_TO_READ = (
    "Coloured words moved the model: blue with a solid line speaks for the label, orange with a dotted line against "
    "it; the stronger the colour, the more the word counts within its text. The sum below a text: its words, its "
    "special tokens such as [CLS], and the rest, which the method gives to no token, make the label's logit, from "
    "which its probability comes."
)
MISTAKES = (
    "At a mistake (✗) orange speaks for the right label: why the one, and not the other. Mistakes are shown more often "
    "than they happen."
)


def write_page(
    pipe: AttribTextClassificationPipeline,
    rows: Dataset,
    section: DataSection,
    labels: list[str],
    title: str,
    path: Path,
) -> None:
    """Explain the given rows and write them as one self-contained HTML page.

    A mistake is marked, and its words say why the model chose its label and not the right one.
    """
    fragments, mistakes = [], 0
    for row in rows:
        text = row[section.text]
        if section.text_pair:
            text = {"text": text, "text_pair": row[section.text_pair]}
        # top_k=1 asks for a list whether the input is a text or a pair
        result = pipe(text, top_k=1)[0]
        truth = labels[row[section.label]]
        heading = f"✓ {truth}"
        if result["label"] != truth:
            mistakes += 1
            heading = f"✗ predicted {result['label']}, labelled {truth}"
            result = pipe(text, top_k=1, contrast=truth)[0]
        fragments.append((heading, render_html(text, result)))
    introduction = f"{HOW_TO_READ} {MISTAKES}" if mistakes else HOW_TO_READ
    path.write_text(render_page(title, fragments, introduction=introduction), encoding="utf-8")
