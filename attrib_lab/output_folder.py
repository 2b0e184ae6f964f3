"""What an earlier run left in a run's folder: to go on from, to replace, or to leave alone."""

import os
import shutil
from pathlib import Path
from typing import Any

import yaml
from transformers.trainer_utils import get_last_checkpoint

from .errors import UserError
from .recipes import Recipe


CHECKPOINTS = "checkpoints"
RECIPE_FILE = "recipe.yaml"  # of a finished classifier; beside the checkpoints, of the run that writes them
EXPLAINER_RECIPE_FILE = "expnet.yaml"  # of the head of a finished classifier


def claim_folder(recipe: Recipe, overwrite: bool = False) -> str | None:
    """The checkpoint to go on from, if an unfinished run of this recipe left one in `recipe.output_dir`.

    A finished model of the same recipe may be trained anew; it stays until that run has finished too.

    Args:
        recipe: of the run.
        overwrite: whether what another recipe left may be replaced.

    Raises:
        UserError: if the folder holds what another recipe left.
    """
    folder = Path(recipe.output_dir)
    checkpoints = folder / CHECKPOINTS
    checkpoint = get_last_checkpoint(checkpoints) if checkpoints.is_dir() else None
    running, finished = _read_recipe(checkpoints / RECIPE_FILE), _finished_recipe(folder)
    if running == recipe.as_dict():
        if checkpoint:
            print(f"going on from {checkpoint}")
        else:
            print(f"the run in {folder} was cut off before its first checkpoint: starting afresh")
        return checkpoint
    # Checkpoints without a recipe, beside a model with one: that run was killed while it tidied up.
    if running is not None or (checkpoint and finished is None):
        other = f"an unfinished run of another recipe{_difference(running or {}, recipe.as_dict())}"
    elif finished is not None and _arguments(finished) != _arguments(recipe.as_dict()):
        other = f"a finished model of other arguments{_difference(_arguments(finished), _arguments(recipe.as_dict()))}"
    else:
        other = ""
    if other and not overwrite:
        raise UserError(f"{folder} holds {other}: choose another --output_dir, or add --overwrite to replace it.")
    shutil.rmtree(checkpoints, ignore_errors=True)
    return None


def note_running(recipe: Recipe) -> None:
    """Beside the checkpoints: a finished model in the folder keeps its own recipe until this run has finished too."""
    checkpoints = Path(recipe.output_dir) / CHECKPOINTS
    checkpoints.mkdir(parents=True, exist_ok=True)
    (checkpoints / RECIPE_FILE).write_text(yaml.safe_dump(recipe.as_dict(), sort_keys=False), encoding="utf-8")


def note_finished(recipe: Recipe) -> None:
    """The model in the folder is this recipe's; its checkpoints, and another one's head, have served."""
    folder = Path(recipe.output_dir)
    os.replace(folder / CHECKPOINTS / RECIPE_FILE, folder / RECIPE_FILE)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    (folder / EXPLAINER_RECIPE_FILE).unlink(missing_ok=True)


def _finished_recipe(folder: Path) -> dict[str, Any] | None:
    """The recipe of the model in a folder, empty if it has none; None without a model."""
    if not (folder / "config.json").is_file():
        return None
    for name in (EXPLAINER_RECIPE_FILE, RECIPE_FILE):
        recipe = _read_recipe(folder / name)
        if recipe is not None:
            return recipe
    return {}


def _read_recipe(file: Path) -> dict[str, Any] | None:
    """A recipe that a run wrote down, empty if it cannot be read; None if there is no such file."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _arguments(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe without its place: a folder may be moved, or named by another path."""
    return {key: value for key, value in recipe.items() if key != "output_dir"}


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """` (other learning_rate, train)`: the keys in which two recipes differ, up to three; nothing if most do."""
    missing = object()
    pairs = ((key, before.get(key, missing), now.get(key, missing)) for key in (before | now))
    keys = []
    for key, old, new in pairs:
        if isinstance(old, dict) and isinstance(new, dict):
            keys += [name for name in old | new if old.get(name, missing) != new.get(name, missing)]
        elif old != new:
            keys.append(key)
    if not before or not keys:
        return ""
    return f" (other {', '.join(keys[:3])}{' ...' if len(keys) > 3 else ''})"
