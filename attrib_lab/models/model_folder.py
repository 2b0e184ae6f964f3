"""The folder of a finished model: what its files are called, how it is read and how it is written."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from modeling_attrib import AttribConfig, AttribForSequenceClassification
from modeling_attrib.attribution_methods import get_attribution_method

from ..storage.files import write_whole
from ..terminal.errors import UserError, first_line
from . import attention_only  # noqa: F401  (its registration is what makes a folder of such a model loadable)


RECIPE_FILE = "recipe.yaml"  # of a finished classifier; beside the checkpoints, of the run that writes them
EXPLAINER_RECIPE_FILE = "expnet.yaml"  # of the head of a finished classifier
METRICS_FILE = "metrics.json"
CURVE_FILE = "curve.png"
PAGE_FILE = "explanations.html"
CHECKPOINTS = "checkpoints"  # a folder, while the model is trained


@dataclass(frozen=True)
class TrainedModel:
    """A model folder, read: the model and its tokenizer, and what training wrote down about them.

    Attributes:
        model, tokenizer: on the CPU.
        metrics, recipe: of the classifier; empty where nothing was written down, as of a converted one.
        explainer_recipe: of its trained explanation head.
    """

    model: AttribForSequenceClassification
    tokenizer: PreTrainedTokenizerBase
    metrics: dict[str, Any]
    recipe: dict[str, Any]
    explainer_recipe: dict[str, Any] = field(default_factory=dict)


def load_trained_model(folder: Path) -> TrainedModel:
    """Read what `train.py` (or `save_pretrained`) left in `folder`, with this package's code, on the CPU.

    Raises:
        UserError: for a folder without a complete attribution-returning classifier and its tokenizer.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder.")
    content = _read_mapping(folder / "config.json", json.loads)
    if content is None:
        unfinished = " (its training has not finished)" if (folder / CHECKPOINTS).is_dir() else ""
        raise UserError(f"{folder} holds no trained model: there is no config.json{unfinished}.")
    if content.get("model_type") != AttribConfig.model_type:
        raise UserError(
            f"{folder} holds no attribution-returning model: its model_type is "
            f"{content.get('model_type')!r}, not {AttribConfig.model_type!r}."
        )
    try:
        # Weights that are pickled may run code when they are read: without a file of safetensors there is no model.
        model, loading = AttribForSequenceClassification.from_pretrained(
            folder, output_loading_info=True, use_safetensors=True
        )
        get_attribution_method(model.config.attribution_method)
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, SafetensorError) as error:
        raise UserError(f"{folder}: the model cannot be loaded: {first_line(error)}") from None
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}: the tokenizer cannot be loaded: {first_line(error)}") from None
    for fault in ("missing_keys", "unexpected_keys"):
        if loading[fault]:
            raise UserError(
                f"{folder}: the weights do not fit the model: {fault.replace('_', ' ')} ({min(loading[fault])} ...)."
            )
    return TrainedModel(
        model=model.eval(),
        tokenizer=tokenizer,
        metrics=_read_mapping(folder / METRICS_FILE, json.loads) or {},
        recipe=_read_mapping(folder / RECIPE_FILE, yaml.safe_load) or {},
        explainer_recipe=_read_mapping(folder / EXPLAINER_RECIPE_FILE, yaml.safe_load) or {},
    )


def save_model(
    folder: Path, model: AttribForSequenceClassification, tokenizer: PreTrainedTokenizerBase, recipe: dict[str, Any]
) -> None:
    """Write a finished model, its code, its tokenizer and its recipe into a folder, as `finished_model` gives it."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_recipe(folder / RECIPE_FILE, recipe)


def write_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """Write what is known of a model into its folder."""
    (folder / METRICS_FILE).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


def write_recipe(file: Path, recipe: dict[str, Any]) -> None:
    """Write a recipe, in the layout of its YAML file."""
    write_whole(file, yaml.safe_dump(recipe, sort_keys=False))


def _read_mapping(file: Path, parse: Any) -> dict[str, Any] | None:
    """The mapping in a JSON or YAML file, or None if there is no such file."""
    try:
        content = parse(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{file} cannot be read: {first_line(error)}") from None
    if not isinstance(content, dict):
        raise UserError(f"{file} cannot be read: it is no mapping.")
    return content
