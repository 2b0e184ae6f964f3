"""Batches of token rows: what each row holds, and nothing where nothing differs."""

import pytest

from attrib_lab.evaluation.padding import pad_rows
from attrib_lab.evaluation.perturbation_runner import PerturbedText


def test_rows_are_padded_on_the_right():
    batch = pad_rows([PerturbedText((2, 5, 3)), PerturbedText((2, 3), (0, 1))], 9)
    assert {name: values.tolist() for name, values in batch.items()} == {
        "input_ids": [[2, 5, 3], [2, 3, 9]],
        "attention_mask": [[1, 1, 1], [1, 1, 0]],
        "token_type_ids": [[0, 0, 0], [0, 1, 0]],
    }


@pytest.mark.parametrize(("types", "takes_types"), [((0, 0), True), ((0, 1), False), ((), True)])
def test_types_are_left_out_where_they_say_nothing(types, takes_types):
    assert set(pad_rows([PerturbedText((2, 3), types)], 0, takes_types)) == {"input_ids", "attention_mask"}
