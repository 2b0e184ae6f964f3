"""Arguments of the commands: what a user misspells ends in one line that names the nearest known word."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from .errors import UserError, nearest


class RenamedOption(argparse.Action):
    """An option's old name: does what the new one does, and says so once. `metavar` is the new name."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: str | None = None) -> None:
        """Called for each use."""
        print(f"{option} is called {self.metavar} now; the old name goes with the next release.", file=sys.stderr)
        setattr(namespace, self.dest, values)


def positive(word: str) -> int:
    """A whole number above 0, for `type=`."""
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} must be 1 at least")
    return number


class CommandParser(argparse.ArgumentParser):
    """An `ArgumentParser` whose every complaint is a `UserError`; options are written in full."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As inherited, which `parse_args` and subcommands call; but nothing stays unknown.

        Raises:
            UserError: for an argument that cannot be read, or is none of this parser's.
        """
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = [option for action in self._actions for option in action.option_strings]
            word = unknown[0].partition("=")[0]
            raise UserError(f"unknown argument {word!r}.{nearest(word, options)} {self.prog} --help lists them.")
        return known, unknown

    def error(self, message: str) -> NoReturn:
        """Called for what cannot be read."""
        raise UserError(f"{message}. {self.prog} --help says more.")
