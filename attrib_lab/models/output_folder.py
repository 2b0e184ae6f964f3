"""A run's folder: what an earlier run left there, to go on from, replace or leave alone; and the finished model."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ..recipes.declarations import package_folder
from ..recipes.recipe import Recipe
from ..storage.files import writing
from ..storage.folders import discard, locked, replacing
from ..storage.manifests import MODEL
from ..terminal.errors import UserError
from .checkpoints import list_checkpoints, newest_complete
from .model_folder import (
    CHECKPOINTS,
    CURVE_FILE,
    EXPLAINER_RECIPE_FILE,
    METRICS_FILE,
    PAGE_FILE,
    RECIPE_FILE,
    write_recipe,
)


# What goes with an earlier model, whoever's: an earlier version did not note what it wrote.
_OF_THE_MODEL = (CHECKPOINTS, RECIPE_FILE, EXPLAINER_RECIPE_FILE, METRICS_FILE, CURVE_FILE, PAGE_FILE)


@contextlib.contextmanager
def claimed_folder(recipe: Recipe, overwrite: bool = False) -> Iterator[str | None]:
    """`recipe.output_dir`, to this run alone: what `claim_folder` says of it.

    Raises:
        UserError: if another run is at work there, or the folder holds what another recipe left.
    """
    with locked(Path(recipe.output_dir), MODEL):
        yield claim_folder(recipe, overwrite)


@contextlib.contextmanager
def finished_model(recipe: Recipe) -> Iterator[Path]:
    """A new folder, to be filled with the finished model and all that is said of it.

    It takes the place of `recipe.output_dir`, checkpoints included, in one step when the block ends; the user's own
    files stay. To be used inside `claimed_folder`.
    """
    with replacing(Path(recipe.output_dir), MODEL, without=_OF_THE_MODEL) as new:
        yield new


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
    running, finished = _read_recipe(checkpoints / RECIPE_FILE), _finished_recipe(folder)
    if running == recipe.as_dict():
        checkpoint = newest_complete(checkpoints, folder)
        if checkpoint is None:
            print(f"the run in {folder} was cut off before its first checkpoint: starting afresh")
            return None
        print(f"going on from {checkpoint}")
        return str(checkpoint)
    # Checkpoints without a recipe, beside a model with one: an earlier version was killed while it tidied up.
    if running is not None or (list_checkpoints(checkpoints) and finished is None):
        other = f"an unfinished run of another recipe{_difference(running or {}, recipe.as_dict())}"
    elif finished is not None and _arguments(finished) != _arguments(recipe.as_dict()):
        other = f"a finished model of other arguments{_difference(_arguments(finished), _arguments(recipe.as_dict()))}"
    else:
        taken = _taken_names(folder) if running is finished is None else []
        other = f"{', '.join(taken[:3])}{' ...' * (len(taken) > 3)}, which no run left there" if taken else ""
    if other and not overwrite:
        raise UserError(f"{folder} holds {other}: choose another --output_dir, or add --overwrite to replace it.")
    if not other and not overwrite and running is None and finished is not None:
        print(f"{folder} holds the finished model of this recipe: training it anew; the new one replaces it at the end")
    if running is None and (strangers := _strangers(checkpoints)):
        raise UserError(f"{checkpoints} holds {strangers[0]!r}, which no run left there: choose another --output_dir.")
    return None


def note_running(recipe: Recipe, afresh: bool) -> None:
    """Beside the checkpoints: a finished model in the folder keeps its own recipe until this run has finished too.

    Only now, when its data and its model have been found in order, does a new run remove an earlier one's checkpoints.
    """
    checkpoints = Path(recipe.output_dir) / CHECKPOINTS
    if afresh:
        discard(checkpoints, checkpoints.parent)
    with writing(checkpoints.parent):
        checkpoints.mkdir(parents=True, exist_ok=True)
        write_recipe(checkpoints / RECIPE_FILE, recipe.as_dict())


def _taken_names(folder: Path) -> list[str]:
    """Files of the user's own in the place of those that a finished model has."""
    names = {*_OF_THE_MODEL, "model.safetensors", "tokenizer.json", "tokenizer_config.json"} - {CHECKPOINTS}
    names |= {file.name for file in package_folder("modeling_attrib").glob("*.py")}
    return sorted(path.name for path in folder.glob("*") if path.name in names)


def _strangers(checkpoints: Path) -> list[str]:
    """Entries that the Trainer does not write there."""
    ours = {*list_checkpoints(checkpoints), checkpoints / "runs"}
    return sorted(path.name for path in checkpoints.glob("*") if path not in ours)


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
