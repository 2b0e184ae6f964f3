"""Recipes as they are written: YAML files in `configuration/`, overridden by arguments, and checked."""

import re
from pathlib import Path
from typing import Any

import yaml

from ..terminal.errors import UserError, nearest
from .declarations import Key
from .keys import EXPLAINER_KEYS, MODEL_ARGUMENTS, SECTIONS, TASK_KEYS, TOP_KEYS, is_secret
from .recipe import DataSection, ExplainerSection, ModelSection, Recipe, TaskSection
from .secrets import kind_of_secret


class _Loader(yaml.SafeLoader):
    """Safe YAML in which 5e-5 is a number: YAML 1.1 takes it for a string, and a learning rate with it."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+"), list("-+0123456789")
)

DATA_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")  # of the files that `data/tables.py` reads

_CODE = Path(__file__).resolve()
_PLACES = (_CODE.with_name("configuration"), _CODE.parents[2] / "configuration")  # installed, and in a checkout
RECIPE_FOLDER = next(folder for folder in _PLACES if folder.is_dir())
_TOP = list(TOP_KEYS)


def find_recipe(name: str) -> Path:
    """The file of a recipe named by path, or by name in `configuration/`."""
    for path in (Path(name), RECIPE_FOLDER / f"{name}.yaml"):
        if path.is_file():
            return path
    known = sorted(path.stem for path in RECIPE_FOLDER.glob("*.yaml"))
    raise UserError(f"no recipe {name!r}: neither a file nor one of {', '.join(known)}.{nearest(name, known)}")


def load_recipe(name: str, overrides: list[str] = ()) -> Recipe:
    """Read a recipe and apply `--key value` overrides (`--section.key value` where two sections share a key).

    Raises:
        UserError: for a missing file, YAML that cannot be read, or an unknown key (naming the nearest known one).
    """
    path = find_recipe(name)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: a recipe is a mapping with the keys {', '.join(_TOP)}.")
    for section in SECTIONS:
        content[section] = content.get(section) or {}
        if not isinstance(content[section], dict):
            raise UserError(f"{path}: {section!r} is a mapping.")
    for key, value in parse_overrides(overrides):
        section, name = _locate(key)
        known = TOP_KEYS if section is None else SECTIONS[section]
        (content if section is None else content[section])[name] = _checked(known[name], value, f"--{key}")
    content.setdefault("output_dir", f"outputs/{path.stem}")
    return _build(content, str(path))


def check_files(recipe: Recipe) -> None:
    """Whether the data files that a recipe names are there, before anything is loaded.

    Raises:
        UserError: naming the first that is not.
    """
    tasks = recipe.explainer.tasks if recipe.explainer else []
    named = [getattr(section, split) for section in (recipe.data, *tasks) for split in ("train", "validation")]
    for source in filter(None, [*named, recipe.data.test]):
        if Path(source).suffix.lower() in DATA_SUFFIXES and not Path(source).is_file():
            raise UserError(f"data file {source!r} does not exist.")


def parse_overrides(arguments: list[str]) -> list[tuple[str, Any]]:
    """`["--a", "1", "--b=x"]` -> `[("a", 1), ("b", "x")]`; values are read as YAML."""
    pairs, rest = [], list(arguments)
    while rest:
        key = rest.pop(0)
        if not key.startswith("--"):
            raise UserError(f"unexpected argument {key!r}: overrides are written --key value.")
        key, equals, value = key[2:].partition("=")
        if not equals:
            if not rest:
                raise UserError(f"--{key} needs a value.")
            value = rest.pop(0)
        try:
            pairs.append((key.replace("-", "_"), yaml.load(value, Loader=_Loader)))
        except yaml.YAMLError:
            pairs.append((key.replace("-", "_"), value))
    return pairs


def _locate(key: str) -> tuple[str | None, str]:
    _refuse_secrets({key.rpartition(".")[2]: None}, f"--{key}")
    section, dot, name = key.partition(".")
    if dot:
        if name not in SECTIONS.get(section, {}):
            known = [f"{s}.{k}" for s, keys in SECTIONS.items() for k in keys]
            raise UserError(f"unknown key --{key}.{nearest(key, known)}")
        return section, name
    if key in _TOP and key not in SECTIONS:
        return None, key
    homes = [section for section, keys in SECTIONS.items() if key in keys]
    if len(homes) == 1:
        return homes[0], key
    if homes:
        raise UserError(f"--{key} is ambiguous: write {' or '.join(f'--{home}.{key}' for home in homes)}.")
    known = [name for keys in SECTIONS.values() for name in keys] + _TOP
    raise UserError(f"unknown key --{key}.{nearest(key, known)}")


def _checked(key: Key, value: Any, where: str) -> Any:
    """The value that a recipe gives a key, in the key's type.

    Raises:
        UserError: if it is of another type, or none of the key's choices.
    """
    if isinstance(value, str) and key.kind.startswith("list["):  # on the command line: --labels World,Sports
        value = [part.strip() for part in value.split(",")]
    if value == "none" and "None" in key.kind:  # as --help writes it
        value = None
    if value is False and "no" in key.choices:  # in YAML, no means false
        value = "no"
    fault = "" if key.name in _CHECKED_APART else key.fault(value)
    if fault:
        raise UserError(f"{where} {fault}")
    return value


# These say more than their type does.
_CHECKED_APART = ("output_dir", "masked_training", "backbone", *SECTIONS)


def _refuse_secrets(content: Any, where: str) -> None:
    """Whatever a recipe holds is written beside the model, which may be published."""
    if isinstance(content, dict):
        for key, value in content.items():
            if is_secret(str(key)):
                raise UserError(
                    f"{where}: {key} is a secret, and recipes are written beside the model: "
                    "set HF_TOKEN, or run `hf auth login`."
                )
            _refuse_secrets(value, where)
    elif isinstance(content, list):
        for value in content:
            _refuse_secrets(value, where)
    elif isinstance(content, str) and (kind := kind_of_secret(content)):
        raise UserError(
            f"{where}: a value holds {kind}, and recipes are written beside the model: "
            "set HF_TOKEN, or run `hf auth login`."
        )


def _build(content: dict[str, Any], where: str) -> Recipe:
    _refuse_secrets(content, where)
    _check_keys(content, _TOP, where)
    for section, keys in SECTIONS.items():
        _read_section(content[section], keys, f"{where}, section {section!r}", f"{where}: {section}.")
    for name in content:
        content[name] = _checked(TOP_KEYS[name], content[name], f"{where}: {name}")
    model, data = content["model"], content["data"]
    data["decontaminate"] = data.get("decontaminate") or []
    if data.get("labels"):
        for name in data["labels"]:
            if isinstance(name, bool) or not isinstance(name, (str, int, float)):
                raise UserError(f"{where}: data.labels holds {name!r}: write yes, no and null in quotes.")
        data["labels"] = [str(name) for name in data["labels"]]
    _check_backbone(model.get("backbone", ModelSection.backbone), where)
    seed = content.get("seed", 0)
    if not 0 <= seed < 2**32:
        raise UserError(f"{where}: seed is a whole number from 0 to 2**32 - 1, not {seed!r}.")
    masked = content.get("masked_training", 0.0)
    if isinstance(masked, bool) or not isinstance(masked, (int, float)) or not 0 <= masked <= 1:
        raise UserError(f"{where}: masked_training is a share from 0 to 1, not {masked!r}.")
    if data.get("labels") and len(set(data["labels"])) < len(data["labels"]):
        raise UserError(f"{where}: data.labels names a label twice.")
    if not 0 < data.get("validation_fraction", 0.5) < 1:
        raise UserError(f"{where}: data.validation_fraction is between 0 and 1.")
    recipe = Recipe(
        output_dir=str(content["output_dir"]),
        seed=seed,
        early_stopping_patience=content.get("early_stopping_patience"),
        masked_training=masked,
        model=ModelSection(
            **{key: value for key, value in model.items() if key not in MODEL_ARGUMENTS},
            config={key: value for key, value in model.items() if key in MODEL_ARGUMENTS},
        ),
        data=DataSection(**data),
        training=content["training"],
        explainer=_build_explainer(content, where),
    )
    if recipe.data.label in (recipe.data.text, recipe.data.text_pair) and not recipe.explainer:
        raise UserError(f"{where}: column {recipe.data.label!r} cannot be both text and label.")
    if not recipe.data.train and not (recipe.explainer and recipe.explainer.tasks):
        raise UserError(f"{where}: data.train is missing: name a Hub dataset, a file or newswire:COUNT.")
    return recipe


def _build_explainer(content: dict[str, Any], where: str) -> ExplainerSection | None:
    section = content["explainer"]
    if not section:
        return None
    for name, known in EXPLAINER_KEYS.items():
        _check_keys(content[name], known, f"{where}, section {name!r} of an explainer's recipe")
    explainer = ExplainerSection(**section | {"tasks": []})
    for number, task in enumerate(section.get("tasks") or []):
        place = f"{where}, task {number} of the explainer"
        if not isinstance(task, dict):
            raise UserError(f"{place}: a task is a mapping.")
        _read_section(task, TASK_KEYS, place, f"{place}: ")
        for key in ("classifier", "train", "validation"):
            if not task.get(key):
                raise UserError(f"{place}: {key} is missing.")
        explainer.tasks.append(TaskSection(**task))
    if (explainer.learns_from == "rationales") != bool(explainer.tasks):
        raise UserError(f"{where}: an explainer that learns from rationales has tasks, and no other one has.")
    if not content["data"].get("test"):
        raise UserError(f"{where}: data.test is missing: a head is graded before it is kept.")
    return explainer


def _read_section(values: dict[str, Any], keys: dict[str, Key], where: str, prefix: str) -> None:
    _check_keys(values, list(keys), where)
    for name, value in values.items():
        values[name] = _checked(keys[name], value, f"{prefix}{name}")


def _check_backbone(backbone: Any, where: str) -> None:
    if isinstance(backbone, str):
        return
    if not isinstance(backbone, dict):
        raise UserError(f"{where}: model.backbone is a name or a mapping, not {backbone!r}.")
    for key in ("model_type", "tokenizer"):
        if not isinstance(backbone.get(key), str):
            raise UserError(f"{where}: model.backbone is a mapping, so it needs {key}: a word.")


def _check_keys(mapping: dict[str, Any], known: list[str], where: str) -> None:
    for key in mapping:
        if key not in known:
            raise UserError(f"{where}: unknown key {key!r}.{nearest(str(key), known)}")
