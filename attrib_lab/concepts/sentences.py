"""Example sentences of concepts, random sentences, and the texts that are asked about them, from any source."""

from pathlib import Path

from ..data.sources import join_words, load_rows
from ..data.tables import file_faults
from ..terminal.errors import UserError


def read_sentences(source: str, column: str, seed: int = 0) -> list[str]:
    """The different sentences of a source, in its order.

    Args:
        source: a text file (.txt) with one sentence a line; or rows, as for training.
        column: of such rows.
        seed: of the newswire.

    Raises:
        UserError: for a missing or unreadable source, or a missing column.
    """
    path = Path(source)
    if path.suffix.lower() == ".txt":
        if not path.is_file():
            raise UserError(f"file {source!r} does not exist.")
        with file_faults(path):
            lines = path.read_text(encoding="utf-8-sig").splitlines()
    else:
        lines = join_words(load_rows(source, "test", seed, [column]), [column])[column][:]
    return list(dict.fromkeys(line.strip() for line in lines if line and line.strip()))
