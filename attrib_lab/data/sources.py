"""Text-classification data from the Hub, local files or the embedded demo, in one shape."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset, load_dataset_builder
from datasets.packaged_modules.csv.csv import CsvConfig

from ..recipes.recipe import DataSection
from ..terminal.errors import UserError, first_line
from . import synthetic_news
from .labels import Label, class_names, encode_labels, name_labels, read_labels, say_single_labels
from .row_selection import decontaminate, draw, hold_out, say_absent_labels
from .tables import READERS, check_columns, check_types, kind_of, read_table


HUB_SOURCE = re.compile(r"(?P<name>[^@:\s]+(?:/[^@:\s]+)?)(?::(?P<config>[^@\s]+))?(?:@(?P<split>.+))?")
_SEEDS = {"train": 0, "test": 1, "validation": 2}  # newswires of one seed would be the same
_EVIDENCE = "evidence"  # where a source, as the newswire does, knows which spans of a text carry its label
_NUMBER = re.compile(r"\s*[-+]?[\d.,]*\d[\d.,]*\s*")
_FEW = 10  # so many labels may well all differ
# Of a CSV on the Hub: pandas, by which `datasets` reads it, takes the words NA, None, null ... for missing.
_ONLY_EMPTY_IS_MISSING = {"keep_default_na": False, "na_values": [""]}


@dataclass
class Splits:
    """Three splits with the source's columns of texts and label, and the label names.

    Texts are strings, labels are indices of `labels`; a source's column `evidence` comes along.
    """

    train: Dataset
    validation: Dataset
    test: Dataset | None
    labels: list[str]


def load_splits(section: DataSection, seed: int) -> Splits:
    """Load, check, clean and split the data of a recipe; prints one line on everything left out or taken otherwise.

    Raises:
        UserError: for a missing file or column, an unreadable source, empty data, or labels that do not fit.
    """
    sources = {name: source for name in _SEEDS if (source := getattr(section, name))}
    rows = {name: _load_split(source, name, section, seed + _SEEDS[name]) for name, source in sources.items()}
    given = {name: read_labels(part, section.label, name) for name, part in rows.items()}
    labels = section.labels or class_names(rows["train"], section.label) or name_labels(given["train"], "train")
    _check_labels(labels, given["train"], section)
    for name, part in rows.items():
        rows[name] = _encode(part, given[name], section, labels, name)
    train, validation, test = (rows.get(name) for name in ("train", "validation", "test"))
    if test is not None:
        train = decontaminate(train, test, section.decontaminate, "test")
        test = draw(test, section.test_rows, seed)
    if validation is not None:
        train = decontaminate(train, validation, section.decontaminate, "validation")
    train = draw(train, section.train_rows, seed)
    if not len(train):
        raise UserError(f"{section.train}: no rows are left to train on.")
    if validation is None:
        train, validation = hold_out(train, section.label, section.validation_fraction, seed, section.train)
    used = {"train": train, "validation": validation} | ({} if test is None else {"test": test})
    say_absent_labels(used, section.label, labels)
    kept = [*section.texts, section.label, _EVIDENCE]
    return Splits(*(_select(part, kept) for part in (train, validation, test)), labels)


def load_rows(
    source: str,
    split: str,
    seed: int,
    texts: Sequence[str],
    others: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> Dataset:
    """Columns of a local file, a Hub dataset (`owner/name@split`) or the embedded demo (`newswire:COUNT`).

    Whoever reads rows that users give reads them here. None is what is missing.

    Args:
        split: of a Hub dataset that names none itself.
        seed: of the newswire.
        texts: columns whose values become strings, lists of words, or None where there is not a single word; numbers
            are read as texts.
        others: columns that are needed as they are.
        optional: columns that are taken if the source has them.

    Raises:
        UserError: for a missing file or column, a source that cannot be read or is none of these, or values that are
            no texts.
    """
    required = list(dict.fromkeys([*texts, *others]))
    optional = [column for column in optional if column not in required]
    path = Path(source)
    if source.partition(":")[0] != "newswire" and path.suffix.lower() in READERS:
        table = read_table(path, required, optional)
        check_types(table.schema, required, source)
        rows = Dataset(table)
    else:
        rows = (
            _load_synthetic_news(source, seed) if source.partition(":")[0] == "newswire" else _load_hub(source, split)
        )
        check_columns(rows.column_names, required, source)
        check_types(rows.features.arrow_schema, required, source)
        rows = _select(rows, [*required, *optional])
    for column in dict.fromkeys(texts):
        rows = _as_texts(rows, column, source)
    return rows


def complete_rows(rows: Dataset, columns: Sequence[str], source: str) -> list[int]:
    """The places of the rows that have a value in each of these columns.

    Raises:
        UserError: if there is none.
    """
    values = {column: rows[column][:] for column in columns}
    for column, found in values.items():
        if all(value is None for value in found):
            raise UserError(f"{source}: the column {column!r} is empty.")
    places = [place for place, row in enumerate(zip(*values.values())) if None not in row]
    if not places:
        raise UserError(f"{source}: no row has all of {', '.join(columns)}.")
    return places


def _load_synthetic_news(source: str, seed: int) -> Dataset:
    count = source.partition(":")[2]
    if not count.isdecimal() or not int(count):
        raise UserError(f"{source!r}: the embedded demo is written newswire:COUNT, e.g. newswire:2000.")
    return synthetic_news.as_dataset(int(count), seed)


def _load_hub(source: str, split: str) -> Dataset:
    path, suffixes = Path(source), ", ".join(READERS)
    if path.is_file():
        raise UserError(f"{source}: {path.suffix or 'such'} files are not read; save it as one of {suffixes}.")
    match = HUB_SOURCE.fullmatch(source)
    if match is None:
        raise UserError(f"{source!r} is neither a file ({suffixes}) nor a Hub dataset owner/name@split.")
    try:
        is_csv = isinstance(load_dataset_builder(match["name"], match["config"]).config, CsvConfig)
        options = _ONLY_EMPTY_IS_MISSING if is_csv else {}
        return load_dataset(match["name"], match["config"], split=match["split"] or split, **options)
    except Exception as error:  # datasets raises a different class for every cause
        raise UserError(f"there is no file {source!r}, and no such Hub dataset was read: {first_line(error)}") from None


def _select(rows: Dataset | None, columns: Sequence[str]) -> Dataset | None:
    return None if rows is None else rows.select_columns([name for name in columns if name in rows.column_names])


def replace_column(rows: Dataset, column: str, values: list[Any]) -> Dataset:
    """The rows with other values in a column, which may be their only one: without columns they would have no rows."""
    new = "_" * (1 + max(map(len, rows.column_names)))
    return rows.add_column(new, values).remove_columns(column).rename_column(new, column)


# Texts --------------------------------------------------------------------------------------------------------------


def _as_texts(rows: Dataset, column: str, source: str) -> Dataset:
    values = rows[column][:]
    texts = [_as_text(value, column, source, row) for row, value in enumerate(values, 1)]
    if any(text is not None for text in texts) and all(
        isinstance(text, str) and _NUMBER.fullmatch(text) for text in texts if text is not None
    ):
        print(f"{source}: every text in the column {column!r} is a number: is it the right column?")
    return rows if texts == values else replace_column(rows, column, texts)


def _as_text(value: Any, column: str, source: str, row: int) -> str | list[str] | None:
    if isinstance(value, str):
        return value if value and not value.isspace() else None
    if value is None or value != value:  # NaN is not itself
        return None
    if isinstance(value, (int, float)):
        return str(int(value) if isinstance(value, float) and value.is_integer() else value)
    if isinstance(value, list) and all(isinstance(word, (str, int, float)) for word in value):
        return [str(word) for word in value] or None
    raise UserError(f"{source}, row {row}: {column!r} holds {kind_of(value)}, not a text or a list of words.")


def join_words(rows: Dataset, columns: Sequence[str]) -> Dataset:
    """Texts that come as lists of words, as annotated data often do, become strings: joined by spaces."""
    for column in columns:
        values = rows[column][:]
        if any(isinstance(value, list) for value in values):
            rows = replace_column(rows, column, [" ".join(v) if isinstance(v, list) else v for v in values])
    return rows


def load_texts(source: str, column: str = "text", limit: int | None = None) -> list[str]:
    """The texts of a source's column, read as for training: the first `limit` of those that are not missing.

    Raises:
        UserError: for a source that cannot be read, a missing column, or no text at all.
    """
    if limit is not None and limit < 1:
        raise UserError(f"--limit {limit}: measure on one text at least.")
    rows = load_rows(source, "test", 0, [column])
    return join_words(rows.select(complete_rows(rows, [column], source)[:limit]), [column])[column][:]


# Splits -------------------------------------------------------------------------------------------------------------


def _load_split(source: str, name: str, section: DataSection, seed: int) -> Dataset:
    rows = load_rows(source, name, seed, section.text_columns, [section.label], [_EVIDENCE])
    return join_words(rows, section.text_columns)


def _check_labels(labels: list[str], given: list[Label], section: DataSection) -> None:
    """Refuse training labels that no classifier can learn."""
    given = [label for label in given if label is not None]
    if not given:
        raise UserError(f"{section.train}: the column {section.label!r} is empty.")
    if len(labels) < 2:
        raise UserError(f"{section.train}: every row has the label {labels[0]!r}; a classifier needs two at least.")
    say_single_labels(given, "train")
    if len(set(given)) == len(given) > _FEW:
        raise UserError(
            f"{section.train}: all {len(given)} labels in the column {section.label!r} differ: is it the right column?"
        )


def _encode(rows: Dataset, given: list[Label], section: DataSection, labels: list[str], split: str) -> Dataset:
    """Labels to indices; rows without text or label are left out, and counted aloud."""
    own = class_names(rows, section.label)
    rows = replace_column(rows, section.label, encode_labels(given, labels, own, bool(section.labels), split))
    keep = complete_rows(rows, [*section.texts, section.label], getattr(section, split))
    if len(keep) < len(rows):
        missing = [str(row + 1) for row in sorted(set(range(len(rows))) - set(keep))]
        named = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        print(f"{split}: {len(missing)} of {len(rows)} rows have no text or no label and are left out (row {named}).")
    return rows.select(keep)
