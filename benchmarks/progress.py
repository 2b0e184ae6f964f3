"""The rows of a run in a file, so that a run that was killed goes on where it was."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class Progress:
    """Rows and versions measured so far.

    Args:
        file: one JSON object a line, the settings first; what it holds of a run with other settings is dropped.
        settings: the run's.
    """

    def __init__(self, file: Path, settings: dict[str, Any]) -> None:
        self.rows: list[dict[str, Any]] = []
        self.versions: dict[str, dict[str, str]] = {}
        self._file = file
        lines = _whole_lines(file)
        if lines[:1] == [{"settings": settings}]:
            print(f"going on with {file}: {len(lines) - 1} lines are there.")
            for line in lines[1:]:
                self._take(line)
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = lines if self.rows else [{"settings": settings}]
        file.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row."""
        self._write({"row": row})

    def add_versions(self, environment: str, versions: dict[str, str]) -> None:
        """Keep an environment's versions."""
        self._write({"environment": environment, "versions": versions})

    def lacks(self, environment: str, threads: int, size: tuple[int, int], memory: bool, names: Iterable[str]) -> bool:
        """Whether a size has no row yet of any of these candidates. What a library could not do in time, it is not
        asked to do for its memory."""
        here = [r for r in self.rows if (r["environment"], r["texts"], r["tokens"]) == (environment, *size)]
        done = {r["candidate"] for r in here if (r["threads"], r["memory_run"]) == (threads, memory)}
        failed = {r["candidate"] for r in here if memory and "reason" in r}
        return not set(names) <= done | failed

    def ratios(self, environment: str, threads: int) -> dict[str, float]:
        """Candidate -> its cost at the last size that has one."""
        own = [r for r in self.rows if (r["environment"], r["threads"]) == (environment, threads) and "ratio" in r]
        return {row["candidate"]: row["ratio"]["median"] for row in own}

    def remove(self) -> None:
        """Once the report is written."""
        self._file.unlink()

    def _write(self, line: dict[str, Any]) -> None:
        self._take(line)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _take(self, line: dict[str, Any]) -> None:
        if "versions" in line:
            self.versions.setdefault(line["environment"], {}).update(line["versions"])
            return
        row = line["row"]
        key = ("environment", "threads", "texts", "tokens", "memory_run", "candidate")
        self.rows = [old for old in self.rows if any(old[name] != row[name] for name in key)] + [row]


def _whole_lines(file: Path) -> list[dict[str, Any]]:
    """The file's lines, without one that was cut off while it was written."""
    if not file.exists():
        return []
    text = file.read_text(encoding="utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
