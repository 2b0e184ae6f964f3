"""Code blocks of the documentation: how they are found, what is said of them, and how they are run."""

import argparse
import importlib
import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest

import push_to_hub
import train
from attrib_lab import commands
from attrib_lab.recipes.help import describe_recipe, describe_recipes
from attrib_lab.recipes.loading import load_recipe


ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("python", "bash")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Readers of the page do not see it: why a block is not run, that it takes long, or which package it needs.
MARKER = re.compile(r"^<!-- (?:(?P<kind>not run|slow|needs): (?P<said>\S.*?)) -->$")


@dataclass(frozen=True)
class CodeBlock:
    """A fenced block of a page.

    Attributes:
        page: the file that it stands in.
        line: of the page, at which its code begins.
        kind: "" if it is run with every test; "not run", "slow" or "needs" as its marker says.
        said: the marker's reason, or the package that is needed.
    """

    page: Path
    line: int
    language: str
    code: str
    kind: str = ""
    said: str = ""


def read_blocks(page: Path) -> list[CodeBlock]:
    """All Python and shell blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    blocks = []
    for match in FENCE.finditer(text):
        before = text[: match.start()].split("\n")
        marker = MARKER.match(before[-2]) if len(before) > 1 else None
        said = (marker["kind"], marker["said"]) if marker else ("", "")
        if match[1] in LANGUAGES:
            blocks.append(CodeBlock(page, len(before) + 1, match[1], match[2], *said))
    return blocks


def compiled(block: CodeBlock) -> object:
    """A Python block's code; what it raises names the page and its line."""
    return compile("\n" * (block.line - 1) + block.code, str(block.page), "exec")


# Command lines ------------------------------------------------------------------------------------------------------


def command_lines(block: CodeBlock) -> list[list[str]]:
    """The words of each command in a shell block."""
    lines = [shlex.split(line, comments=True) for line in block.code.replace("\\\n", " ").splitlines()]
    return [words for words in lines if words]


def run_command(words: list[str]) -> None:
    """Run one of this project's commands in this process, without the silence that it asks of libraries."""
    program, arguments = _program(words)
    with (
        patch("sys.argv", [program.__module__, *arguments]),
        patch("attrib_lab.terminal.library_messages.quiet_libraries", lambda: None),
    ):
        program()


def parse_command(words: list[str]) -> None:
    """Have a command's own parser read its arguments.

    Raises:
        UserError, SystemExit: for arguments that it refuses.
        AssertionError: for a program that is none of ours, or a target that the Makefile does not have.
    """
    if words[0] == "make":
        _parse_make(words)
        return
    if words[0] in ("torchrun", "accelerate"):  # their own options are read in test_published_names.py
        words = ["python", *words[words.index("train.py") :]]
    program, arguments = _program(words)
    if program is train.main:
        _parse_recipe(arguments)
        return
    with patch("sys.argv", [program.__module__, *arguments]), _stop_after_parsing(), pytest.raises(_Parsed):
        program()


def _program(words: list[str]) -> tuple[Callable[[], None], list[str]]:
    """The main function behind a command, and its arguments."""
    name, *arguments = words
    if name == ".venv/bin/attrib":
        return commands._main, arguments
    assert name in ("python", ".venv/bin/python"), f"{shlex.join(words)}: how is this to be checked?"
    script, *arguments = arguments
    if script == "-m":
        module, *arguments = arguments
        assert module.startswith("benchmarks."), module
        return importlib.import_module(module).main, arguments
    return {"train.py": train.main, "push_to_hub.py": push_to_hub.main}[script], arguments


def _parse_recipe(arguments: list[str]) -> None:
    names = [word for word in arguments[:1] if not word.startswith("--")]
    overrides = [word for word in arguments[len(names) :] if word not in ("--overwrite", "--help")]
    if not names:
        assert describe_recipes()
    elif "--help" in arguments:
        assert describe_recipe(names[0])
    else:
        load_recipe(names[0], overrides)


def _parse_make(words: list[str]) -> None:
    """Make must know the target and the variables; what it would then run of ours is parsed like any command."""
    variables = [word.partition("=")[0] for word in words if "=" in word]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{name} \?=", makefile, re.MULTILINE) for name in variables), words
    command = ["make", "--dry-run", "--assume-old=.venv/.ready", *words[1:]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        if re.match(r"\.venv/bin/python (train\.py|-m benchmarks\.)", line):
            parse_command(shlex.split(line))


class _Parsed(Exception):  # noqa: N818 - no error
    """The arguments were read."""


def _stop_after_parsing() -> object:
    read = argparse.ArgumentParser.parse_args

    def parse_args(self: argparse.ArgumentParser, *given: object) -> None:
        read(self, *given)
        raise _Parsed

    return patch.object(argparse.ArgumentParser, "parse_args", parse_args)
