"""Rows held out: each label with its share in both parts, none lost from what is learned, none missing unsaid."""

from collections import Counter

import pytest
from datasets import Dataset

from attrib_lab.data.row_selection import hold_out
from attrib_lab.data.sources import load_splits
from attrib_lab.recipes.recipe import DataSection
from attrib_lab.terminal.errors import UserError


def rows_of(*counts):
    """So many rows of each label, in the labels' order."""
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    return Dataset.from_dict({"text": [f"t{i}" for i in range(len(labels))], "label": labels})


def save(tmp_path, labels, name="train"):
    path = tmp_path / f"{name}.csv"
    path.write_text("text,label\n" + "".join(f"{name}{i},{label}\n" for i, label in enumerate(labels)))
    return str(path)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("counts", "fraction"), [((60, 30, 10), 0.1), ((50, 3, 2), 0.4), ((2,) * 40, 0.3), ((9, 9), 0.9)]
)
def test_each_label_has_its_share_in_both_parts(counts, fraction, seed):
    train, held_out = hold_out(rows_of(*counts), "label", fraction, seed, "mine.csv")
    assert sorted([*train["text"], *held_out["text"]]) == sorted(rows_of(*counts)["text"])
    total, taken = sum(counts), Counter(held_out["label"])
    assert len(held_out) == min(round(fraction * total), total - len(counts))
    free = total - len(counts)
    for label, count in enumerate(counts):
        assert abs(taken[label] - len(held_out) * (count - 1) / free) < 1
    assert set(train["label"]) == set(range(len(counts)))


def test_the_draw_is_seeded_and_in_no_order(tmp_path):
    parts = [hold_out(rows_of(30, 30), "label", 0.2, seed, "mine.csv") for seed in (0, 0, 1)]
    texts = [[part["text"][:] for part in pair] for pair in parts]
    assert texts[0] == texts[1] != texts[2]
    for part in parts[0]:
        assert part["label"][:] not in (sorted(part["label"]), sorted(part["label"], reverse=True))


@pytest.mark.parametrize("seed", range(8))
def test_a_label_of_one_row_is_learned_and_its_absence_is_said(tmp_path, capsys, seed):
    source = save(tmp_path, [*"xy" * 3, "z"])
    splits = load_splits(DataSection(train=source, validation_fraction=0.5), seed)
    assert set(splits.train["label"]) == {0, 1, 2}
    said = capsys.readouterr().out
    assert said == "train: one row alone has the label 'z'.\nvalidation: no row has the label z.\n"


def test_a_label_that_has_no_training_row_is_said_with_who_has_it(tmp_path, capsys):
    names = ["u", "x", "y", "z"]
    train, validation = save(tmp_path, "xyxy"), save(tmp_path, "xyz", "validation")
    test = save(tmp_path, "xyz", "test")
    load_splits(DataSection(train=train, validation=validation, test=test, labels=names), seed=0)
    assert capsys.readouterr().out == (
        "train: no row has the label u, z, which validation and test rows have: it cannot be learned.\n"
        "validation: no row has the label u.\n"
        "test: no row has the label u.\n"
    )


def test_a_label_that_went_with_what_occurs_in_the_test_rows_is_said(tmp_path, capsys):
    train, test = save(tmp_path, "xyxyz"), save(tmp_path, "xyz", "test")
    with open(test, "a") as file:
        file.write("train4,z\n")  # the training row of this label
    load_splits(DataSection(train=train, test=test, decontaminate=["text"]), seed=0)
    said = capsys.readouterr().out
    assert "1 rows occur in the test data" in said
    assert "train: no row has the label z, which test rows have: it cannot be learned." in said


def test_a_label_of_the_test_rows_alone_is_refused(tmp_path):
    train, test = save(tmp_path, "xyxy"), save(tmp_path, "xyz", "test")
    with pytest.raises(UserError, match=r"^test, row 3: the label 'z' is none of x, y\.$"):
        load_splits(DataSection(train=train, test=test), seed=0)


def test_too_few_rows_to_hold_one_out(tmp_path):
    with pytest.raises(UserError, match="2 rows are too few: no label has a second one to hold out"):
        load_splits(DataSection(train=save(tmp_path, "xy")), seed=0)
