"""Example sentences of concepts, random sentences, and the texts that are asked about them, from files."""

from pathlib import Path

from ..errors import UserError
from ..sources import READERS, load_rows


def read_sentences(source: str, column: str) -> list[str]:
    """The different sentences of a file, in its order.

    Args:
        source: a text file (.txt) with one sentence a line; or a file of rows (.csv, .tsv, .jsonl, .json, .parquet).
        column: of such a file of rows.

    Raises:
        UserError: for a missing or unreadable file, another kind of file, or a missing column.
    """
    path = Path(source)
    if path.suffix.lower() == ".txt":
        if not path.is_file():
            raise UserError(f"file {source!r} does not exist.")
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            raise UserError(f"{source} could not be read as UTF-8 text.") from None
    elif path.suffix.lower() in READERS:
        rows = load_rows(source, "train", seed=0)
        if column not in rows.column_names:
            raise UserError(f"{source} has no column {column!r}; it has {', '.join(rows.column_names)}.")
        lines = [value for value in rows[column] if isinstance(value, str)]
    else:
        raise UserError(f"{source!r}: sentences are read from .txt (one a line) or {', '.join(READERS)}.")
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))
