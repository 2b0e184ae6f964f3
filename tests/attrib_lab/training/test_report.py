"""What a person looks at: which examples are chosen, and a curve that can be drawn from any history."""

import re

import numpy as np
import pytest
from datasets import Dataset

from attrib_lab.recipes.recipe import DataSection
from attrib_lab.training import report
from attrib_lab.training.report import choose_examples, draw_curve, write_page


def test_up_to_a_third_of_the_examples_are_mistakes():
    labels = np.zeros(100, dtype=int)
    predictions = labels.copy()
    predictions[:20] = 1
    chosen = choose_examples(labels, predictions, 12, seed=0)
    assert len(set(chosen)) == 12
    assert sum(predictions[i] != labels[i] for i in chosen) == 4
    assert chosen == choose_examples(labels, predictions, 12, seed=0)
    assert chosen != choose_examples(labels, predictions, 12, seed=1)


def test_few_mistakes_leave_room_for_right_ones():
    labels = np.zeros(10, dtype=int)
    predictions = labels.copy()
    predictions[3] = 1
    chosen = choose_examples(labels, predictions, 6, seed=0)
    assert 3 in chosen
    assert len(chosen) == 6


def drawn(history, path, monkeypatch):
    """The points of the two panels, and how far their second axis reaches."""
    figures = []
    monkeypatch.setattr(report.plt, "close", figures.append)
    draw_curve(history, path)
    panels = figures[0].axes
    monkeypatch.undo()
    report.plt.close(figures[0])
    return [list(zip(*panel.lines[0].get_data())) for panel in panels], panels[1].get_ylim()


def test_a_curve_ends_where_training_did(tmp_path, monkeypatch):
    history = [
        {"step": 5, "loss": 1.0},
        {"step": 5, "eval_accuracy": 0.75, "eval_loss": 0.9},
        {"step": 8, "loss": 0.5},
        {"step": 8, "eval_accuracy": 0.5},
        {"step": 8, "train_loss": 0.8},
        {"step": 8, "eval_accuracy": 0.75},  # the best model, graded in the end
    ]
    panels, (low, high) = drawn(history, tmp_path / "curve.png", monkeypatch)
    assert panels == [[(5, 1.0), (8, 0.5)], [(5, 0.75), (8, 0.5)]]
    assert 0.4 < low < 0.5
    assert 1 < high < 1.01


def test_a_perfect_score_is_inside_its_panel(tmp_path, monkeypatch):
    history = [{"step": 1, "loss": 1.0}, {"step": 1, "eval_accuracy": 1.0}]
    panels, (low, high) = drawn(history, tmp_path / "curve.png", monkeypatch)
    assert panels == [[(1, 1.0)], [(1, 1.0)]]
    assert low < 1 < high


@pytest.mark.parametrize(
    "history", [[], [{"step": 5, "loss": 1.0}], [{"step": 5, "loss": 1.0}, {"step": 10, "eval_accuracy": 0.5}]]
)
def test_a_curve_is_a_picture(tmp_path, history):
    draw_curve(history, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def says_world(text, top_k, contrast=None):
    """Stands for a pipeline: every text is World, its first letter speaks."""
    words = [{"word": text[:1], "start": 0, "end": 1, "score": 2.0 if contrast is None else -2.0}]
    answer = {"label": "World", "score": 0.9, "attributions": words, "special_score": 0.0, "residual": 1.0}
    return [answer if contrast is None else answer | {"contrast": contrast}]


def page_of(tmp_path, truths):
    rows = Dataset.from_dict({"text": ["a text"] * len(truths), "label": truths})
    write_page(says_world, rows, DataSection(train="rows.csv"), ["World", "Sports"], "run", tmp_path / "page.html")
    return re.sub(r"<style>.*?</style>|<[^>]+>", "", (tmp_path / "page.html").read_text("utf-8"), flags=re.DOTALL)


def test_a_mistake_is_marked_and_says_why_not_the_right_label(tmp_path):
    page = page_of(tmp_path, [0, 1])
    assert "✓ World" in page
    assert "✗ predicted World, labelled Sports" in page
    assert page.count("Why World, not Sports") == page.count("for Sports") == page.count("logit difference") == 1
    assert "for Worldagainst" in page


def test_the_page_says_how_to_read_it(tmp_path):
    page = page_of(tmp_path, [0])
    for word in ("blue", "orange", "special tokens", "the rest", "logit"):
        assert word in page
    assert "mistake" not in page
    assert "At a mistake (✗) orange speaks for the right label" in page_of(tmp_path, [1])
