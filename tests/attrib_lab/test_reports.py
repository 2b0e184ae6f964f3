"""What a person looks at: which examples are chosen, and a curve that can be drawn from any history."""

import numpy as np
import pytest

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


@pytest.mark.parametrize(
    "history", [[], [{"step": 5, "loss": 1.0}], [{"step": 5, "loss": 1.0}, {"step": 10, "eval_accuracy": 0.5}]]
)
def test_a_curve_is_a_picture(tmp_path, history):
    draw_curve(history, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
