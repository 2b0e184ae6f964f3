"""Errors that a user can cause, and how a command ends on them."""

import io
import os
import sys
from collections.abc import Callable
from difflib import get_close_matches

from .extras import missing_extra
from .progress import Progress


class UserError(Exception):
    """Something the user can mend; its message is one clear line.

    Args:
        message: that line.
        frames: where in code of the user's own it arose; see `user_frames`.
    """

    def __init__(self, message: str, frames: str = "") -> None:
        super().__init__(message)
        self.frames = frames


def nearest(word: str, known: list[str]) -> str:
    """`" Did you mean 'x'?"` for the known word nearest to `word`, or an empty string."""
    # "epoch" is near "num_train_epochs" by its parts alone.
    parts = [name for name in known if len(word) > 3 and any(part.startswith(word) for part in name.split("_"))]
    matches = parts or get_close_matches(word, known, n=1, cutoff=0.5)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def run_command(main: Callable[[], None]) -> None:
    """Run a command's main function; a `UserError` ends it in one line and exit status 2, without a traceback.

    So does a missing module that an extra of the package brings.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # who reads a log file reads it while it is written
    try:
        main()
    except UserError as error:
        Progress.close_all()
        if error.frames:
            print(error.frames, file=sys.stderr)
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        advice = missing_extra(error)
        if advice is None:
            raise
        print(f"error: {advice}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        Progress.close_all()
        print("interrupted; run the same command again to go on.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # who reads the output, `| head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
