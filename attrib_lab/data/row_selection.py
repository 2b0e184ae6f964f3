"""Which rows are learned from: none that is graded on, a drawn number, and every label's share of those held out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset

from ..terminal.errors import UserError


def decontaminate(train: Dataset, graded: Dataset, columns: Sequence[str], split: str) -> Dataset:
    """The training rows that share no value in `columns` with the graded ones; says how many are left out.

    Args:
        split: what the graded rows are, for messages ("test").

    Raises:
        UserError: if the graded rows lack a column.
    """
    seen_again: set[int] = set()
    for column in columns:
        if column not in graded.column_names:
            raise UserError(f"the {split} data has no column {column!r} to compare the training rows by.")
        in_graded = {_compared(value) for value in graded[column] if value}
        seen_again |= {i for i, value in enumerate(train[column]) if value and _compared(value) in in_graded}
    if seen_again:
        print(f"train: {len(seen_again)} rows occur in the {split} data ({', '.join(columns)}) and are left out.")
    return train.select([i for i in range(len(train)) if i not in seen_again]) if seen_again else train


def _compared(value: Any) -> Any:
    """What decontamination compares of a value: letters and digits, so that `Cool !` is `cool`."""
    return "".join(filter(str.isalnum, value.casefold())) or value if isinstance(value, str) else value


def draw(rows: Dataset, count: int | None, seed: int) -> Dataset:
    """So many rows, at random; all of them if there are no more, or `count` is None."""
    return rows if count is None or count >= len(rows) else rows.shuffle(seed=seed).select(range(count))


def hold_out(rows: Dataset, label: str, fraction: float, seed: int, source: str) -> tuple[Dataset, Dataset]:
    """Rows to learn from and rows held out, at random, each label with its share in both.

    One row of each label is always learned from: a label of a single row is not held out.

    Args:
        label: the column of label indices.
        fraction: how many are held out; at least one.
        source: where the rows are from, for messages.

    Raises:
        UserError: if no label has two rows.
    """
    shuffled = np.random.default_rng(seed).permutation(len(rows))
    labels = np.array(rows[label][:])
    free = np.delete(shuffled, np.unique(labels[shuffled], return_index=True)[1])
    if not len(free):
        raise UserError(f"{source}: {len(rows)} rows are too few: no label has a second one to hold out.")
    count = min(max(1, round(fraction * len(rows))), len(free))
    # Evenly spaced through rows in the order of their labels: of each label its share, to less than one row.
    by_label = free[np.argsort(labels[free], kind="stable")]
    held_out = by_label[((np.arange(count) + 0.5) * len(free) / count).astype(int)]
    taken = np.isin(shuffled, held_out)
    return rows.select(shuffled[~taken]), rows.select(shuffled[taken])


def say_absent_labels(parts: Mapping[str, Dataset], label: str, labels: Sequence[str]) -> None:
    """One line for each split in which some label has no row; of the training rows, whether others need it.

    Args:
        parts: each split's rows, as they are used.
        label: the column of label indices.
        labels: their names.
    """
    found = {split: set(rows[label]) for split, rows in parts.items()}
    for split, own in found.items():
        absent = [index for index in range(len(labels)) if index not in own]
        if not absent:
            continue
        names = ", ".join(labels[index] for index in absent[:5]) + f" and {len(absent) - 5} more" * (len(absent) > 5)
        graded = [other for other in found if split == "train" and found[other] & set(absent)]
        unlearned = f", which {' and '.join(graded)} rows have: it cannot be learned" if graded else ""
        print(f"{split}: no row has the label {names}{unlearned}.")
