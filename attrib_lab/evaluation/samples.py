"""The sample of texts that an evaluation runs on: drawn rows, labels as the model numbers them, what is left out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from datasets import Dataset

from ..errors import UserError, nearest
from ..sources import load_rows
from .classifiers import Classifier
from .options import Columns
from .texts import EncodedText, encode_rows


@dataclass(frozen=True)
class Sample:
    """Encoded texts in the order of their rows, and a line on everything that was left out or cut."""

    texts: list[EncodedText]
    notes: list[str]


def load_sample(
    source: str,
    split: str,
    columns: Columns,
    classifier: Classifier,
    limit: int | None = None,
    max_length: int | None = None,
    seed: int = 0,
) -> Sample:
    """Read, draw and encode texts.

    Args:
        source: a file or a Hub id, as for training.
        split: of a Hub data set.
        limit: how many rows are drawn at random (seeded; data sets are often sorted by label); all if None.
        max_length: tokens that are read of each text, at most what the model reads.

    Raises:
        UserError: for data that cannot be read, columns that there are not, labels that are not the model's, or no
            text at all.
    """
    if max_length is not None and not 0 < max_length <= classifier.token_limit:
        raise UserError(f"--max-length {max_length}: this model reads 1 to {classifier.token_limit} tokens.")
    rows = load_rows(source, split, seed)
    _check_columns(rows, columns, source)
    notes = []
    kept = [number for number, text in enumerate(rows[columns.text]) if text is not None]
    if len(kept) < len(rows):
        notes.append(f"{len(rows) - len(kept)} of {len(rows)} rows have no text and are left out.")
    if limit is not None and limit < len(kept):
        drawn = np.random.default_rng(seed).permutation(len(kept))[:limit]
        kept = [kept[number] for number in sorted(drawn.tolist())]
    label = _label_column(columns, rows)
    rows = rows.select(kept)
    if label is not None:
        rows = _with_model_labels(rows, label, columns.labels, classifier.labels)
    texts = encode_rows(
        rows,
        classifier.tokenizer,
        text=columns.text,
        text_pair=columns.text_pair,
        label=label,
        rationale=columns.rationale,
        max_length=max_length or classifier.token_limit,
    )
    # Named by their rows in the file, whichever were drawn.
    texts = [replace(text, key=f"{row}-{text.key.partition('-')[2]}") for row, text in zip(kept, texts)]
    return _without_empty(texts, notes, source, label, columns.rationale)


def _without_empty(
    texts: list[EncodedText], notes: list[str], source: str, label: str | None, rationale: str | None
) -> Sample:
    readable = [text for text in texts if text.ids]
    if not readable:
        raise UserError(f"{source} holds no text to explain.")

    def count(number: int, what: str) -> None:
        if number:
            notes.append(f"{number} of {len(texts)} texts {what}.")

    count(len(texts) - len(readable), "are empty to this tokenizer and left out")
    count(sum(text.truncated for text in readable), "are longer than what is read of them")
    if label is not None:
        count(sum(text.label is None for text in readable), "have no label")
    if rationale is not None:
        count(sum(not any(text.rationale or ()) for text in readable), "have no rationale")
    return Sample(readable, notes)


def _check_columns(rows: Dataset, columns: Columns, source: str) -> None:
    for column in (columns.text, columns.text_pair, _label_column(columns, rows), columns.rationale):
        if column is not None and column not in rows.column_names:
            raise UserError(
                f"{source} has no column {column!r}; it has {', '.join(rows.column_names)}."
                + nearest(column, rows.column_names)
            )


def _label_column(columns: Columns, rows: Dataset) -> str | None:
    if columns.label == "auto":
        return "label" if "label" in rows.column_names else None
    return None if columns.label == "none" else columns.label


def _with_model_labels(rows: Dataset, column: str, names: Sequence[str], model_names: Sequence[str]) -> Dataset:
    """The label column as indices of the model's labels, None where a row has none.

    Words are read as the given names, or else the model's; numbers as indices, unless the data set names its classes
    itself and these are the model's in another order.
    """
    if names and len(names) != len(model_names):
        raise UserError(f"--labels names {len(names)} labels; the model has {len(model_names)}: {_list(model_names)}.")
    known = list(names or model_names)
    index = {name: position for position, name in enumerate(known)}
    own = getattr(rows.features[column], "names", None) or []
    by_name = set(own) == set(known)

    def encode(value: Any) -> int | None:
        if value is None or value == "" or value != value:
            return None
        if isinstance(value, float) and value.is_integer():  # one empty cell makes 1.0, 2.0 of whole numbers
            value = int(value)
        if isinstance(value, int) and 0 <= value < len(known):
            return index[own[value]] if by_name else int(value)
        if str(value) in index:
            return index[str(value)]
        raise UserError(
            f"the label {value!r} is none of {_list(known)}; --labels gives the data's names in the model's order."
            + nearest(str(value), known)
        )

    encoded = [encode(value) for value in rows[column]]
    return rows.remove_columns(column).add_column(column, encoded)


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
