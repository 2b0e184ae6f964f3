"""Journals: JSON-lines files that a killed run goes on from, and the settings under which they were written."""

import json
from pathlib import Path
from typing import Any

from ..storage.files import write_whole
from ..terminal.errors import UserError, first_line


class Journal:
    """Entries of one file, appended in batches that are kept whole or not at all.

    A batch is its entries, one line each, and a line `{"batch": number of entries}`. Entries without that last line,
    torn or not, are what a kill left of an unfinished batch: they are dropped on opening.

    Args:
        path: the file, in a folder that is `locked`; made if need be.

    Raises:
        UserError: if it is no such file.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b")
        try:
            self.entries = self._recover()
        except ValueError as error:
            self._file.close()
            raise UserError(f"{path} cannot be read: {first_line(error)}; delete it to start afresh.") from None

    def append(self, entries: list[dict[str, Any]]) -> None:
        """Write one batch, and do not return before the operating system has it."""
        lines = [*entries, {"batch": len(entries)}]
        self._file.write("".join(json.dumps(line) + "\n" for line in lines).encode())
        self._file.flush()
        self.entries += entries

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _recover(self) -> list[dict[str, Any]]:
        self._file.seek(0)
        entries: list[dict[str, Any]] = []
        batch: list[dict[str, Any]] = []
        whole = place = 0
        for line in self._file:
            place += len(line)
            if not line.endswith(b"\n"):
                break
            entry = json.loads(line)
            if not isinstance(entry, dict):
                raise ValueError("a line is no entry")
            if "batch" not in entry:
                batch.append(entry)
                continue
            if entry["batch"] != len(batch):
                raise ValueError(f"a batch of {entry['batch']} entries has {len(batch)}")
            entries += batch
            batch, whole = [], place
        self._file.truncate(whole)
        return entries


def check_settings(path: Path, settings: dict[str, Any]) -> None:
    """Note the settings of a run, or refuse to go on under others, of which nothing may be mixed.

    Settings that an earlier run did not have are added.

    Raises:
        UserError: naming the first setting that differs from what `path` says.
    """
    before: dict[str, Any] = {}
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{path} cannot be read: {first_line(error)}.") from None
    for name in settings:
        if name in before and before[name] != settings[name]:
            raise UserError(
                f"{path.parent.parent} holds a run with another {name} ({before[name]}, now {settings[name]}): "
                f"choose another --output, or delete {path.parent} to start afresh."
            )
    if before | settings != before:
        write_whole(path, json.dumps(before | settings, indent=2) + "\n")
