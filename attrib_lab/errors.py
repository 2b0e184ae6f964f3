"""Errors that a user can cause, and how a command ends on them."""

import sys
from collections.abc import Callable
from difflib import get_close_matches

from .extras import missing_extra


class UserError(Exception):
    """Something the user can mend; its message is one clear line."""


def nearest(word: str, known: list[str]) -> str:
    """`" Did you mean 'x'?"` for the known word nearest to `word`, or an empty string."""
    matches = get_close_matches(word, known, n=1, cutoff=0.5)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def run_command(main: Callable[[], None]) -> None:
    """Run a command's main function; a `UserError` ends it in one line and exit status 2, without a traceback.

    So does a missing module that an extra of the package brings.
    """
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        advice = missing_extra(error)
        if advice is None:
            raise
        print(f"error: {advice}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on.", file=sys.stderr)
        sys.exit(130)
