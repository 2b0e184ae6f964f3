"""What a person looks at: which examples are chosen, and a curve that can be drawn from any history."""

import numpy as np
import pytest

from attrib_lab import reports
from attrib_lab.reports import choose_examples, draw_curve


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
    monkeypatch.setattr(reports.plt, "close", figures.append)
    draw_curve(history, path)
    panels = figures[0].axes
    monkeypatch.undo()
    reports.plt.close(figures[0])
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
