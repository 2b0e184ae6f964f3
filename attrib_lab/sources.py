"""Text-classification data from the Hub, local files or the embedded demo, in one shape."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset

from . import newswire
from .errors import UserError, first_line, nearest
from .recipes import READERS, DataSection


HUB_SOURCE = re.compile(r"(?P<name>[^@:\s]+(?:/[^@:\s]+)?)(?::(?P<config>[^@\s]+))?(?:@(?P<split>.+))?")


@dataclass
class Splits:
    """Three splits with the columns of the source and an integer label column, and the label names."""

    train: Dataset
    validation: Dataset
    test: Dataset | None
    labels: list[str]


def load_splits(section: DataSection, seed: int) -> Splits:
    """Load, check, clean and split the data of a recipe; prints one line on every row that is left out.

    Raises:
        UserError: for a missing file or column, an unreadable source, empty data, or labels that do not fit.
    """
    train = load_rows(section.train, "train", seed)
    test = load_rows(section.test, "test", seed + 1) if section.test else None
    validation = load_rows(section.validation, "validation", seed + 2) if section.validation else None
    given = {"train": train, "validation": validation, "test": test}
    for name, rows in given.items():
        if rows is not None:
            _check_columns(rows, section, name)
            given[name] = _join_words(rows, section)
    train, test, validation = given["train"], given["test"], given["validation"]
    labels = section.labels or _label_names(train, section.label)
    encoded = {n: None if rows is None else _encode(rows, section, labels, n) for n, rows in given.items()}
    train, validation, test = encoded["train"], encoded["validation"], encoded["test"]
    if test is not None:
        train = _decontaminate(train, test, section.decontaminate, "test")
        test = _draw(test, section.test_rows, seed)
    if validation is not None:
        train = _decontaminate(train, validation, section.decontaminate, "validation")
    train = _draw(train, section.train_rows, seed)
    if validation is None:
        held_out = max(1, round(len(train) * section.validation_fraction))
        if held_out >= len(train):
            raise UserError(f"{section.train}: {len(train)} rows are too few to train on.")
        parts = train.train_test_split(test_size=held_out, seed=seed)
        train, validation = parts["train"], parts["test"]
    return Splits(train, validation, test, labels)


def load_rows(source: str, split: str, seed: int) -> Dataset:
    """The rows of a local file, a Hub dataset (`owner/name@split`) or the embedded demo (`newswire:COUNT`).

    Raises:
        UserError: for a missing file, an unreadable source or a name that is none of these.
    """
    name, _, count = source.partition(":")
    if name == "newswire":
        if not count.isdecimal() or not int(count):
            raise UserError(f"{source!r}: the embedded demo is written newswire:COUNT, e.g. newswire:2000.")
        return newswire.as_dataset(int(count), seed)
    path = Path(source)
    if path.suffix.lower() in READERS:
        if not path.is_file():
            raise UserError(f"data file {source!r} does not exist.")
        return _read_file(path)
    match = HUB_SOURCE.fullmatch(source)
    if match is None:
        raise UserError(f"{source!r} is neither a file ({', '.join(READERS)}) nor a Hub dataset owner/name@split.")
    try:
        return load_dataset(match["name"], match["config"], split=match["split"] or split)
    except Exception as error:  # datasets raises a different class for every cause
        raise UserError(f"Hub dataset {source!r} could not be loaded: {first_line(error)}") from None


def _read_file(path: Path) -> Dataset:
    reader = READERS[path.suffix.lower()]
    options = {"sep": "\t"} if path.suffix.lower() == ".tsv" else {}
    try:
        return load_dataset(reader, data_files=str(path), split="train", **options)
    except Exception as error:
        raise UserError(f"{path} could not be read as {reader}: {first_line(error)}") from None


def _check_columns(rows: Dataset, section: DataSection, split: str) -> None:
    columns = [section.text, section.label] + ([section.text_pair] if section.text_pair else [])
    if split == "train":
        columns += section.decontaminate
    for column in columns:
        if column not in rows.column_names:
            raise UserError(
                f"the {split} data has no column {column!r}; it has {', '.join(rows.column_names)}."
                + nearest(column, rows.column_names)
            )
    if not len(rows):
        raise UserError(f"the {split} data has no rows.")


def _join_words(rows: Dataset, section: DataSection) -> Dataset:
    """Texts that come as lists of words, as annotated data often do, become strings: joined by spaces."""
    for column in (section.text, section.text_pair):
        values = rows[column] if column else []
        if any(isinstance(value, list) for value in values):
            joined = [" ".join(map(str, value)) if isinstance(value, list) else value for value in values]
            rows = rows.remove_columns(column).add_column(column, joined)
    return rows


def _plain(value: Any) -> Any:
    """A label as its file meant it: one empty cell turns a column of whole numbers into 1.0, 2.0 ..."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or value != value  # NaN is not itself


def _label_names(train: Dataset, column: str) -> list[str]:
    """Names from a ClassLabel column, else the sorted distinct values of the training data."""
    names = getattr(train.features[column], "names", None)
    if names:
        return list(names)
    values = {_plain(value) for value in train[column] if not _is_missing(value)}
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return [str(value) for value in sorted(values)]
    return sorted(str(value) for value in values)


def _encode(rows: Dataset, section: DataSection, labels: list[str], split: str) -> Dataset:
    """Labels to indices; rows without text or label are left out, and counted aloud."""
    if len(labels) < 2:
        raise UserError(f"the data has {len(labels)} label; a classifier needs two at least.")
    index = {name: position for position, name in enumerate(labels)}
    # A source that names its own classes is read by name where the names agree, whatever their order there.
    own_names = getattr(rows.features[section.label], "names", None) or []
    by_name = set(own_names) == set(labels)

    def encode(value: Any) -> int | None:
        if _is_missing(value):
            return None
        value = _plain(value)
        if isinstance(value, int) and not isinstance(value, bool):
            if by_name and 0 <= value < len(own_names):
                return index[own_names[value]]
            if str(value) not in index and (section.labels or own_names) and 0 <= value < len(labels):
                return value  # the recipe's names are in the order of the numbers
        if str(value) in index:
            return index[str(value)]
        raise UserError(
            f"the {split} data has the label {value!r}, which is none of {', '.join(labels)}."
            + nearest(str(value), labels)
        )

    encoded = [encode(value) for value in rows[section.label]]
    texts = rows[section.text]
    keep = [i for i, (text, label) in enumerate(zip(texts, encoded)) if isinstance(text, str) and label is not None]
    if len(keep) < len(rows):
        print(f"{split}: {len(rows) - len(keep)} of {len(rows)} rows have no text or no label and are left out.")
    rows = rows.select(keep).remove_columns(section.label)
    return rows.add_column(section.label, [encoded[i] for i in keep])


def _compared(value: Any) -> Any:
    """What decontamination compares of a value: letters and digits, so that `Cool !` is `cool`."""
    return "".join(filter(str.isalnum, value.casefold())) or value if isinstance(value, str) else value


def _decontaminate(train: Dataset, test: Dataset, columns: list[str], split: str) -> Dataset:
    seen_again: set[int] = set()
    for column in columns:
        if column not in test.column_names:
            raise UserError(f"the {split} data has no column {column!r} to compare the training rows by.")
        in_test = {_compared(value) for value in test[column] if value}
        seen_again |= {i for i, value in enumerate(train[column]) if value and _compared(value) in in_test}
    if seen_again:
        print(f"train: {len(seen_again)} rows occur in the {split} data ({', '.join(columns)}) and are left out.")
    return train.select([i for i in range(len(train)) if i not in seen_again]) if seen_again else train


def _draw(rows: Dataset, count: int | None, seed: int) -> Dataset:
    return rows if count is None or count >= len(rows) else rows.shuffle(seed=seed).select(range(count))
