"""What `train.py --help` says: the recipes there are, and the keys of one with the values that it has."""

import re
import shutil
import textwrap
from pathlib import Path
from typing import Any

from .declarations import Key
from .keys import EXPLAINER_KEYS, SECTIONS, TASK_KEYS, TOP_KEYS, TRAINING_DEFAULTS
from .loading import RECIPE_FOLDER, find_recipe, load_recipe
from .recipe import Recipe


USAGE = "python train.py RECIPE [--overwrite] [--key value ...]"
_COLUMN = 36  # where meanings start
_WIDEST = 110


def describe_recipes() -> str:
    """Help without a recipe: how the command is written, and the recipes of `configuration/` in a line each."""
    files = sorted(RECIPE_FOLDER.glob("*.yaml"))
    return "\n".join(
        [
            f"usage: {USAGE}",
            "",
            "Train an attribution-returning classifier, or a head that explains one. RECIPE is a",
            "YAML file of yours, or the name of one of these:",
            "",
            *(_entry(file.stem, re.split(r"\. |: | \(", _about(file))[0], column=24) for file in files),
            "",
            "python train.py RECIPE --help lists its keys, and the value that each has in it.",
            "",
            "example: python train.py own_data --train mine.csv --text body --label topic",
        ]
    )


def describe_recipe(name: str) -> str:
    """Help on one recipe: what it is, and each key with its value here and its meaning.

    Raises:
        UserError: for a recipe that cannot be read.
    """
    recipe = load_recipe(name)
    values = recipe.as_dict()
    parts = [f"usage: {USAGE.replace('RECIPE', name)}", "", *_wrapped(_about(find_recipe(name)))]
    top = {key: entry for key, entry in TOP_KEYS.items() if key not in SECTIONS}
    parts += ["", "A key is given as --key value, or --section.key value where two sections have it."]
    parts += ["--overwrite replaces what another recipe left in output_dir."]
    parts += ["", "the run", *_entries(top, values)]
    for section, keys in SECTIONS.items():
        if section == "explainer" and recipe.explainer is None:
            continue
        if recipe.explainer is not None and section in EXPLAINER_KEYS:
            keys = {key: keys[key] for key in EXPLAINER_KEYS[section]}
        if section == "training":
            parts += ["", *_training_entries(keys, recipe)]
        else:
            parts += ["", section, *_entries(keys, values[section])]
    if recipe.explainer is not None and recipe.explainer.tasks:
        parts += ["", "each of the tasks (in the YAML file alone)", *_entries(TASK_KEYS, {})]
    return "\n".join(parts)


def _training_entries(keys: dict[str, Key], recipe: Recipe) -> list[str]:
    """What the recipe and this project set, in full; of transformers' many other arguments the names."""
    given = (
        recipe.training
        if recipe.explainer
        else recipe.training | {key: value for key, value in TRAINING_DEFAULTS.items() if key not in recipe.training}
    )
    shown = {key: keys[key] for key in given}
    others = [key for key in keys if key not in shown]
    lines = ["training (arguments of transformers' TrainingArguments)", *_entries(shown, given)]
    if others:
        lines += ["  and, with transformers' own values:", *_wrapped(", ".join(others), "    ")]
    return lines


def _entries(keys: dict[str, Key], values: dict[str, Any]) -> list[str]:
    lines = []
    for name, key in keys.items():
        # Terse, as a terminal wants it: without marks of Markdown, references and what is said in brackets at the end.
        meaning = re.sub(r"(; see .*| \([^()]*\))$", "", key.meaning).replace("`", "").replace("*", "")
        if not all(str(choice) in meaning for choice in key.choices):
            meaning = f"{meaning}: {', '.join(str(choice).lower() for choice in key.choices)}"
        lines.append(_entry(f"--{name} {_written(values.get(name, key.default))}", meaning))
    return lines


def _entry(left: str, meaning: str, column: int = _COLUMN) -> str:
    lines = _wrapped(meaning, " " * column) or [""]
    left = f"  {left}"
    if len(left) < column - 1:
        return left.ljust(column) + lines[0].lstrip() + "".join(f"\n{line}" for line in lines[1:])
    return "\n".join([left, *lines])


def _written(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ",".join(value) or "none"
    if isinstance(value, (list, dict)):
        return "..."
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None or value == "" else str(value)


def _about(file: Path) -> str:
    """The comment at the head of a recipe's file."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return " ".join(lines)


def _wrapped(text: str, indent: str = "") -> list[str]:
    width = min(_WIDEST, shutil.get_terminal_size().columns - 1)
    return textwrap.wrap(
        text, max(width, len(indent) + 30), initial_indent=indent, subsequent_indent=indent, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
