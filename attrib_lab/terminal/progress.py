"""How far the work is, as a person sees it: one bar in a terminal, a line now and then in a log file."""

import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import ClassVar, TextIO, TypeVar

from tqdm import tqdm


Item = TypeVar("Item")

_LINE_EVERY = 30.0  # seconds, in a log file
_WIDEST = 100  # columns
_BAR = "{desc} {percentage:3.0f}% |{bar}| {n_fmt} of {total_fmt} {unit}, {remaining} left{postfix}"


class Progress:
    """One piece of work that takes a known number of steps.

    In a terminal it is a bar, which is gone when the work is done. Elsewhere nothing can be written over: there it is
    a plain line every half minute, and none for work that is done before. Leaving its `with` block ends it.

    Args:
        total: steps of the work.
        what: the work, "explaining".
        unit: what its steps are, in the plural, "texts".
        done: steps that an earlier run has done.
    """

    _open: ClassVar["list[Progress]"] = []

    def __init__(self, total: int, what: str, unit: str, done: int = 0) -> None:
        self.total, self.what, self.unit, self.done = total, what, unit, done
        self._note = ""
        self._started = self._told = time.monotonic()
        self._first = done
        self._bar: tqdm | None = None
        if sys.stderr.isatty():
            # nrows: a terminal that does not tell its size has none for tqdm, and then no bar.
            size = {"ncols": _columns(), "nrows": 20}
            self._bar = tqdm(total=total, initial=done, desc=what, unit=unit, leave=False, bar_format=_BAR, **size)
        self._open.append(self)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def advance(self, steps: int = 1) -> None:
        """So many steps more are done."""
        self.done += steps
        if self._bar is not None:
            self._bar.update(steps)
        elif time.monotonic() - self._told >= _LINE_EVERY:
            self._told = time.monotonic()
            print(self._line(), file=sys.stderr, flush=True)

    def note(self, words: str) -> None:
        """What is said behind the count, "loss 0.31"."""
        self._note = f", {words}" if words else ""
        if self._bar is not None:
            self._bar.set_postfix_str(words)

    def close(self) -> None:
        """The work is done, or given up."""
        if self in self._open:
            self._open.remove(self)
            if self._bar is not None:
                self._bar.close()

    @classmethod
    def close_all(cls) -> None:
        """Take away what a failing piece of work left in the terminal, so that its last words start a line."""
        for progress in list(cls._open):
            progress.close()

    def _line(self) -> str:
        seconds = (time.monotonic() - self._started) * (self.total - self.done) / max(1, self.done - self._first)
        left = tqdm.format_interval(max(0, round(seconds)))
        return f"{self.what}: {self.done} of {self.total} {self.unit}{self._note}, {left} left"


def track(items: Iterable[Item], what: str, unit: str) -> Iterator[Item]:
    """The items one by one, and how far that is; see `Progress`."""
    sized = items if isinstance(items, Sized) else list(items)
    with Progress(len(sized), what, unit) as progress:
        for item in sized:
            yield item
            progress.advance()


def say(line: str, file: TextIO | None = None) -> None:
    """Print a line to a file (standard output), above a bar if there is one."""
    tqdm.write(line, file or sys.stdout)
    (file or sys.stdout).flush()


def is_first_process() -> bool:
    """Whether this is the first, or the only one, of the processes that a launcher started to train together."""
    return int(os.environ.get("RANK", 0)) == 0


def silence_other_processes() -> None:
    """Under a launcher of several processes only the first one speaks; what goes wrong is still heard from each."""
    if not is_first_process():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (it stays open to the end)


def _columns() -> int:
    """A terminal's width, less the last column, where some wrap; no wider than can be read at a glance."""
    return min(_WIDEST, shutil.get_terminal_size().columns - 1)
