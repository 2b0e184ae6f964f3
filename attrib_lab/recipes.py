"""Recipes: YAML files in `configuration/` that say what to train, on which data, and how."""

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from transformers import TrainingArguments

from modeling_attrib import AttribConfig
from modeling_attrib.configuration_attrib import HEAD_INPUTS

from .errors import UserError, nearest


class _Loader(yaml.SafeLoader):
    """Safe YAML in which 5e-5 is a number: YAML 1.1 takes it for a string, and a learning rate with it."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+"), list("-+0123456789")
)

RECIPE_FOLDER = Path(__file__).resolve().parent.parent / "configuration"


@dataclass
class ModelSection:
    """What is trained. Keys beyond these are arguments of `AttribConfig`.

    Attributes:
        backbone: Hub id or folder of a pretrained encoder; or, for an encoder with fresh weights, a mapping of
            `model_type`, `tokenizer` (Hub id or folder of the encoder whose tokenizer and vocabulary it takes) and
            arguments of that type's configuration.
        max_length: longer texts are cut there, in tokens.
        attn_implementation: the attention kernel; unset lets the backbone choose.
    """

    backbone: dict[str, Any] | str = "sentence-transformers/all-MiniLM-L6-v2"
    max_length: int = 128
    attn_implementation: str | None = None
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def tokenizer(self) -> str:
        """Hub id or folder that the tokenizer comes from."""
        return self.backbone if isinstance(self.backbone, str) else self.backbone["tokenizer"]


@dataclass
class DataSection:
    """What it is trained on.

    A source is a Hub dataset (`owner/name@split`, `owner/name:config@split`), a file (.csv, .jsonl, .json,
    .parquet) or `newswire:COUNT`, the embedded demo.

    Attributes:
        train, validation, test: sources. Without a validation source a share of the training rows is held out.
        validation_fraction: that share.
        text, text_pair, label: column names. A text may be a list of words, which are joined by spaces.
        labels: label names in the order of their indices; otherwise taken from the data.
        train_rows, test_rows: use that many rows only, drawn with the seed.
        decontaminate: training rows that share a value of one of these columns with a test or validation row are
            dropped; of texts, case, spaces and punctuation are not compared.
        explained_examples: how many test rows `explanations.html` shows.
    """

    train: str = ""
    validation: str | None = None
    test: str | None = None
    validation_fraction: float = 0.02
    text: str = "text"
    text_pair: str | None = None
    label: str = "label"
    labels: list[str] | None = None
    train_rows: int | None = None
    test_rows: int | None = None
    decontaminate: list[str] = field(default_factory=list)
    explained_examples: int = 12


@dataclass
class TaskSection:
    """A task whose texts people have marked, and the classifier that reads them.

    Attributes:
        classifier: a model folder that `train.py` left; not changed.
        train, validation: sources, as in `DataSection`.
        text, rationale: columns: a text and the [start, end) spans of its characters that people marked, or a list of
            words and one 0 or 1 for each.
        passage: cut long lists of words into passages of so many words.
        rows: learn from that many marked texts or passages only, drawn with the seed.
    """

    classifier: str = ""
    train: str = ""
    validation: str = ""
    text: str = "text"
    rationale: str = "rationale"
    passage: int | None = None
    rows: int | None = None


@dataclass
class ExplainerSection:
    """What `expnet`, the trained head of a finished classifier (`model.backbone`), learns from.

    Attributes:
        learns_from: an attribution method, whose scores for the texts of `data.train` it learns to give; or
            "rationales", what people marked in the texts of `tasks`.
        reads: what the head reads of each token: its "attention" patterns, or its "states" (see `AttribConfig`).
        tasks: of rationales: one or more `TaskSection`s.
        rationale: of rationales: the column of `data.test` with what people marked there, to be found by a head that
            has never seen any of it.
    """

    learns_from: str = "lrp"
    reads: str = "attention"
    tasks: list[TaskSection] = field(default_factory=list)
    rationale: str = "rationale"

    def as_dict(self) -> dict[str, Any]:
        """The section in the layout of its YAML file."""
        return {**vars(self), "tasks": [dict(vars(task)) for task in self.tasks]}


@dataclass
class Recipe:
    """One training run: of a classifier, or with `explainer` of the head that explains a finished one.

    Attributes:
        training: arguments of transformers' `TrainingArguments`. `bf16: auto` uses bfloat16 where the device
            computes in it, and says so.
        early_stopping_patience: stop after so many evaluations without a better validation accuracy.
        masked_training: share of each training batch whose tokens are masked at random rates, 0 to 1: for models
            that are to be graded by masking words (see `masked_training.py`).
    """

    output_dir: str
    model: ModelSection
    data: DataSection
    training: dict[str, Any]
    seed: int = 0
    early_stopping_patience: int | None = None
    masked_training: float = 0.0
    explainer: ExplainerSection | None = None

    def as_dict(self) -> dict[str, Any]:
        """The recipe in the layout of its YAML file."""
        model = {k: v for k, v in vars(self.model).items() if k != "config"} | self.model.config
        explainer = {} if self.explainer is None else {"explainer": self.explainer.as_dict()}
        top = {key: value for key, value in vars(self).items() if key != "explainer"}
        return {**top, "model": model, "data": dict(vars(self.data)), **explainer}


_TOP = ["output_dir", "seed", "early_stopping_patience", "masked_training", "model", "data", "training", "explainer"]
_MODEL = [f.name for f in fields(ModelSection) if f.name != "config"]
# The head comes with its own training.
_NOT_CHOSEN = ("backbone_config", "attribution_head", "attribution_head_reads", "kwargs", "return")
_CONFIG = [name for name in AttribConfig.__init__.__annotations__ if name not in _NOT_CHOSEN] + ["problem_type"]
_DATA = [f.name for f in fields(DataSection)]
# What `training.py` decides: where, from what draw, and what the Trainer hands back.
_NOT_LEFT_TO_RECIPES = {"output_dir", "seed", "data_seed", "label_names", "remove_unused_columns"} | {
    "prediction_loss_only",
    "batch_eval_metrics",
    "eval_do_concat_batches",
}
_TRAINING = sorted({f.name for f in fields(TrainingArguments)} - _NOT_LEFT_TO_RECIPES)
_EXPLAINER = [f.name for f in fields(ExplainerSection)]
_SECTIONS = {"model": _MODEL + _CONFIG, "data": _DATA, "training": _TRAINING, "explainer": _EXPLAINER}
# An explainer's recipe takes a finished classifier and fits a small head: little is left to choose.
_EXPLAINER_SECTIONS = {
    "model": ["backbone", "max_length", "attribution_method"],
    "training": ["num_train_epochs", "learning_rate"],
}


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
    for section in _SECTIONS:
        content[section] = content.get(section) or {}
        if not isinstance(content[section], dict):
            raise UserError(f"{path}: {section!r} is a mapping.")
    for key, value in parse_overrides(overrides):
        section, key = _locate(key)
        (content if section is None else content[section])[key] = value
    content.setdefault("output_dir", f"outputs/{path.stem}")
    return _build(content, str(path))


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
    section, dot, name = key.partition(".")
    if dot:
        if name not in _SECTIONS.get(section, []):
            known = [f"{s}.{k}" for s, keys in _SECTIONS.items() for k in keys]
            raise UserError(f"unknown key --{key}.{nearest(key, known)}")
        return section, name
    if key in _TOP and key not in _SECTIONS:
        return None, key
    homes = [section for section, keys in _SECTIONS.items() if key in keys]
    if len(homes) == 1:
        return homes[0], key
    if homes:
        raise UserError(f"--{key} is ambiguous: write {' or '.join(f'--{home}.{key}' for home in homes)}.")
    known = [name for keys in _SECTIONS.values() for name in keys] + _TOP
    raise UserError(f"unknown key --{key}.{nearest(key, known)}")


def _build(content: dict[str, Any], where: str) -> Recipe:
    _check_keys(content, _TOP, where)
    for section, known in _SECTIONS.items():
        _check_keys(content[section], known, f"{where}, section {section!r}")
    model, data = content["model"], content["data"]
    for key in ("decontaminate", "labels"):  # on the command line: --labels World,Sports
        if isinstance(data.get(key), str):
            data[key] = [part.strip() for part in data[key].split(",")]
    data["decontaminate"] = data.get("decontaminate") or []
    if data.get("labels"):
        data["labels"] = [str(name) for name in data["labels"]] if isinstance(data["labels"], list) else data["labels"]
    for section, cls in (("model", ModelSection), ("data", DataSection)):
        _check_types(content[section], cls, where)
    _check_backbone(model.get("backbone", ModelSection.backbone), where)
    seed = content.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
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
            **{k: v for k, v in model.items() if k in _MODEL}, config={k: v for k, v in model.items() if k in _CONFIG}
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
    for name, known in _EXPLAINER_SECTIONS.items():
        _check_keys(content[name], known, f"{where}, section {name!r} of an explainer's recipe")
    _check_types(section, ExplainerSection, where)
    explainer = ExplainerSection(**section | {"tasks": []})
    for number, task in enumerate(section.get("tasks") or []):
        place = f"{where}, task {number} of the explainer"
        if not isinstance(task, dict):
            raise UserError(f"{place}: a task is a mapping.")
        _check_keys(task, [f.name for f in fields(TaskSection)], place)
        _check_types(task, TaskSection, place)
        for key in ("classifier", "train", "validation"):
            if not task.get(key):
                raise UserError(f"{place}: {key} is missing.")
        explainer.tasks.append(TaskSection(**task))
    if (explainer.learns_from == "rationales") != bool(explainer.tasks):
        raise UserError(f"{where}: an explainer that learns from rationales has tasks, and no other one has.")
    if explainer.reads not in HEAD_INPUTS:
        raise UserError(f"{where}: explainer.reads={explainer.reads!r}: use one of {', '.join(HEAD_INPUTS)}.")
    if not content["data"].get("test"):
        raise UserError(f"{where}: data.test is missing: a head is graded before it is kept.")
    return explainer


# How a section writes a field's type -> what YAML must give, and how to ask for it.
_KINDS: dict[str, tuple[Any, str]] = {
    "str": (str, "a word"),
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "list[str]": (list, "a list"),
    str(list[TaskSection]): (list, "a list"),
}


def _check_types(values: dict[str, Any], section: type, where: str) -> None:
    for entry in fields(section):
        kind, _, optional = (entry.type.__name__ if entry.type in (str, int, float) else str(entry.type)).partition(
            " | "
        )
        value = values.get(entry.name)
        if entry.name not in values or (value is None and optional) or kind not in _KINDS:
            continue
        accepted, wanted = _KINDS[kind]
        if not isinstance(value, accepted) or isinstance(value, bool):
            raise UserError(f"{where}: {entry.name} is {wanted}, not {value!r}.")


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
