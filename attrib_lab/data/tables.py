"""Files of rows (CSV, TSV, JSON, Parquet) as columns: every cell as it is written, every mistake with its line."""

import csv
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
from pyarrow import parquet

from ..terminal.errors import UserError, first_line, nearest


_SEPARATORS = {".csv": ",;\t", ".tsv": "\t"}
_SEPARATOR_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}
_LONGEST_FIELD = 2**31 - 1
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
_KINDS = {
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
    type(None): "nothing",
}


def read_table(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> pa.Table:
    """Columns of a local file, in which None is what is missing: an empty field of a CSV, null elsewhere.

    The cells of a CSV are strings, whatever they look like. Its columns are separated by commas, semicolons or tabs,
    whichever give the required names; those of a TSV by tabs.

    Args:
        path: a file with one of the suffixes of `READERS`.
        required, optional: names of columns; others are not read.

    Raises:
        UserError: for a missing, empty or broken file, or a missing column; names the line where there is one.
    """
    if not path.is_file():
        raise UserError(f"data file {str(path)!r} does not exist.")
    with file_faults(path):
        if path.stat().st_size <= 3 and not path.read_bytes().removeprefix(b"\xef\xbb\xbf").strip():
            raise UserError(f"{path} is empty.")
        table = READERS[path.suffix.lower()](path, required, optional)
    if not len(table):
        raise UserError(f"{path} has no rows.")
    return table


def check_header(path: Path, required: Sequence[str]) -> None:
    """Refuse a CSV, TSV or Parquet file whose header lacks a required column; the columns of JSON stand in its rows.

    Raises:
        UserError: as `read_table`.
    """
    if path.suffix.lower() in _SEPARATORS:
        with _csv_file(path) as file:
            separator, _ = _csv_layout(path, file, required)
            _csv_header(path, _records(path, csv.reader(file, delimiter=separator)), required)
    elif path.suffix.lower() == ".parquet":
        with _parquet_file(path) as file:
            check_columns(file.schema_arrow.names, required, str(path))


@contextmanager
def file_faults(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a text file is opened and read as UTF-8 into a `UserError` that says where."""
    try:
        yield
    except UnicodeDecodeError:
        raise UserError(_not_utf8(path)) from None
    except OSError as error:
        raise UserError(f"{path} could not be read: {error.strerror or first_line(error)}.") from None


def _not_utf8(path: Path) -> str:
    convert = f"save it as UTF-8, e.g. iconv -f {{}} -t UTF-8 {shlex.quote(str(path))} > utf8{path.suffix}"
    with path.open("rb") as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            return f"{path} is UTF-16, not UTF-8: {convert.format('UTF-16')}"
        file.seek(0)
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                place = f"{path}, line {number}: byte 0x{line[error.start]:02X} is not UTF-8"
                return f"{place}: {convert.format('WINDOWS-1252')}"
    return f"{path} is not UTF-8."


def check_columns(names: Sequence[str], required: Sequence[str], source: str, hint: str = "") -> None:
    """Refuse a source that has a required column not exactly once.

    Args:
        names: the source's columns.
        hint: a sentence for where it has none of them.
    """
    for column in required:
        if column not in names:
            listed = ", ".join(name if len(name) <= 40 else f"{name[:37]}..." for name in names[:20])
            more = ", ..." if len(names) > 20 else ""
            advice = nearest(column, list(names)) or ("" if set(required) & set(names) or not hint else f" {hint}")
            raise UserError(f"{source} has no column {column!r}; it has {listed or 'none'}{more}.{advice}")
        if names.count(column) > 1:
            raise UserError(f"{source} has {names.count(column)} columns named {column!r}: rename all but one.")


def check_types(schema: pa.Schema, columns: Sequence[str], source: str) -> None:
    """Refuse columns of what is neither a text nor a number, nor made of these: bytes, and types without a name here.

    Args:
        schema: the source's, with these columns.
    """
    for column in columns:
        kind = schema.field(column).type
        while hasattr(kind, "value_type") and not pa.types.is_map(kind):
            kind = kind.value_type
        if any(is_bytes(kind) for is_bytes in _BYTES):
            raise UserError(
                f"{source}: the column {column!r} holds bytes, not texts: decode them first, "
                "in pandas for example by .str.decode('utf-8')."
            )
        if pa.types.is_map(kind) or isinstance(kind, pa.BaseExtensionType):
            raise UserError(f"{source}: the column {column!r} holds values of the type {kind}: save it as texts.")


# CSV ----------------------------------------------------------------------------------------------------------------


def _read_csv(path: Path, required: Sequence[str], optional: Sequence[str]) -> pa.Table:
    with _csv_file(path) as file:
        separator, spaced = _csv_layout(path, file, required)
        if separator != _SEPARATORS[path.suffix.lower()][0]:
            print(f"{path}: columns are separated by {_SEPARATOR_NAMES[separator]}.")
        reader = csv.reader(file, delimiter=separator, skipinitialspace=spaced, strict=True)
        columns = _csv_columns(path, reader, required, optional)
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


@contextmanager
def _csv_file(path: Path) -> Iterator[TextIO]:
    before = csv.field_size_limit(_LONGEST_FIELD)  # the module's own is 131,072 characters
    try:
        with file_faults(path), path.open(encoding="utf-8-sig", newline="") as file:
            yield file
    finally:
        csv.field_size_limit(before)


def _csv_layout(path: Path, file: TextIO, required: Sequence[str]) -> tuple[str, bool]:
    """What separates the columns, and whether spaces follow it.

    The first separator under which the header has the required names is taken, else the one that makes the most names
    of it. A header written `a, b` says that the rows are written so too.
    """
    headers = {}
    for separator in _SEPARATORS[path.suffix.lower()]:
        # Not strictly: under a wrong separator, quotes stand where none may.
        records = _records(path, csv.reader(file, delimiter=separator))
        _, headers[separator] = next(records, (0, []))
        file.seek(0)
    fitting = [one for one, names in headers.items() if set(required) <= {name.strip() for name in names}]
    chosen = fitting[0] if fitting else max(headers, key=lambda one: len(headers[one]))
    return chosen, any(name.startswith(" ") for name in headers[chosen][1:])


def _csv_columns(
    path: Path, reader: Any, required: Sequence[str], optional: Sequence[str]
) -> dict[str, list[str | None]]:
    records = _records(path, reader)
    names = _csv_header(path, records, required)
    places = {name: names.index(name) for name in (*required, *optional) if name in names}
    columns: dict[str, list[str | None]] = {name: [] for name in places}
    ragged: list[tuple[int, int]] = []
    for line, record in records:
        if len(record) != len(names):
            ragged.append((line, len(record)))
            continue
        for name, place in places.items():
            columns[name].append(record[place] or None)
    if ragged:
        line, fields = ragged[0]
        raise UserError(
            f"{path}, line {line} has {fields} field{'s'[: fields > 1]} where the header has {len(names)} "
            f"({len(ragged)} such line{'s'[: len(ragged) > 1]}): put quotes around a text that holds a separator."
        )
    return columns


def _csv_header(path: Path, records: Iterator[tuple[int, list[str]]], required: Sequence[str]) -> list[str]:
    _, header = next(records, (0, []))
    names = [name.strip() for name in header]
    if len(names) == 1:
        _refuse_separator(path, names[0], required)
    check_columns(names, required, str(path), "Its first line must name them; --text and --label say which to take.")
    return names


def _refuse_separator(path: Path, header: str, required: Sequence[str]) -> None:
    """Name the character by which a header of one column would have the required ones."""
    for mark in dict.fromkeys(mark for mark in header if not mark.isalnum() and mark not in " _\"'"):
        if set(required) <= {name.strip(" \"'") for name in header.split(mark)}:
            known = " or ".join(_SEPARATOR_NAMES[separator] for separator in _SEPARATORS[path.suffix.lower()])
            raise UserError(f"{path}: columns of a {path.suffix} file are separated by {known}, not by {mark!r}.")


def _records(path: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """The records that are not blank, each with the line that it starts in."""
    while True:
        line = reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            fault = {
                "unexpected end of data": "a quote opens a field and nothing closes it",
                "expected after": f"a quote inside a quoted field is written twice (read up to line {reader.line_num})",
            }
            said = next((ours for theirs, ours in fault.items() if theirs in str(error)), str(error))
            raise UserError(f"{path}, line {line}: {said}.") from None
        if record:
            yield line, record


# JSON ---------------------------------------------------------------------------------------------------------------


def _read_json(path: Path, required: Sequence[str], optional: Sequence[str]) -> pa.Table:
    with path.open(encoding="utf-8-sig") as file:
        start = file.read(1)
        while start.isspace():
            start = file.read(1)
        file.seek(0)
        rows = list(_json_list(path, file) if start == "[" else _json_lines(path, file))
    names = list(dict.fromkeys(name for row in rows for name in row))
    if rows:
        check_columns(names, required, str(path))
    wanted = [*required, *(column for column in optional if column in names)]
    return pa.table({name: _as_array(path, name, [_whole(row.get(name)) for row in rows]) for name in wanted})


def _json_lines(path: Path, file: TextIO) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        with _json_faults(path, number, "; each line is one object, or the whole file one list of objects"):
            row = json.loads(line)
        yield _object(path, f"line {number}", row)


def _json_list(path: Path, file: TextIO) -> Iterator[dict[str, Any]]:
    with _json_faults(path):
        rows = json.load(file)
    for number, row in enumerate(rows, 1):
        yield _object(path, f"item {number}", row)


@contextmanager
def _json_faults(path: Path, line: int = 0, advice: str = "") -> Iterator[None]:
    """Turn what goes wrong in reading JSON into a `UserError`; `line` where one line of the file is read."""
    try:
        yield
    except json.JSONDecodeError as error:
        place = f"{path}, line {line or error.lineno}, character {error.colno}"
        raise UserError(f"{place}: not JSON ({error.msg}){advice}.") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, lists in lists without end
        raise UserError(f"{path}{f', line {line}' if line else ''} cannot be read: {first_line(error)}.") from None


def _object(path: Path, place: str, row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise UserError(f'{path}, {place} holds {kind_of(row)}, not an object {{"text": ..., "label": ...}}.')
    return row


def _whole(value: Any) -> Any:
    """The value without half characters, as cut emoji leave them: no file could hold them again."""
    if isinstance(value, str):
        return _HALF_CHARACTER.sub("\ufffd", value)
    return [_whole(one) for one in value] if isinstance(value, list) else value


def _as_array(path: Path, column: str, values: list[Any]) -> pa.Array:
    """Values of one type as they are; texts and numbers side by side as texts."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        kinds: dict[str, int] = {}
        for row, value in enumerate(values, 1):
            if value is not None:
                kinds.setdefault("text" if isinstance(value, (str, int, float)) else kind_of(value).split()[-1], row)
    if list(kinds) == ["text"]:
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    held = " and ".join(f"{kind}s (row {row})" for kind, row in kinds.items())
    raise UserError(f"{path}: the column {column!r} holds {held}{' of different types'[: 99 * (len(kinds) == 1)]}.")


def kind_of(value: Any) -> str:
    """What JSON calls a value: "a text", "a list" ..."""
    return _KINDS.get(type(value), f"a {type(value).__name__}")


# Parquet ------------------------------------------------------------------------------------------------------------


def _read_parquet(path: Path, required: Sequence[str], optional: Sequence[str]) -> pa.Table:
    with _parquet_file(path) as file:
        names = file.schema_arrow.names
        check_columns(names, required, str(path))
        wanted = [*required, *(column for column in optional if column in names)]
        table = file.read(columns=wanted).select(wanted)
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):  # what pandas calls a category
            table = table.set_column(place, field.name, table[place].cast(field.type.value_type))
    return table


@contextmanager
def _parquet_file(path: Path) -> Iterator[parquet.ParquetFile]:
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} could not be read as Parquet: {first_line(error)}") from None


READERS = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_json,
    ".json": _read_json,
    ".parquet": _read_parquet,
}
