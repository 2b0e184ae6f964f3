"""What a model card can say of a model: what it is, what it learned from, and what somebody measured."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from huggingface_hub.utils import HFValidationError, validate_repo_id

from modeling_attrib import AttribConfig

from ..data.sources import HUB_SOURCE, READERS
from ..evaluation.classifiers import EvaluatedClassifier
from ..models.model_folder import TrainedModel
from ..terminal.errors import UserError


EXAMPLE = "Stocks rally as oil prices fall."
EVALUATION = "evaluation"  # the folder in a model's own that `attrib evaluate --output` may be given
SPLITS = {"test": "test", "validation": "held-out validation"}
# What `metrics.json` calls a figure -> what the card and the Hub call it.
FIGURES = {
    "accuracy": ("Accuracy", "accuracy"),
    "macro_precision": ("Macro precision", "precision"),
    "macro_recall": ("Macro recall", "recall"),
    "macro_f1": ("Macro F1", "f1"),
}


@dataclass(frozen=True)
class DataSource:
    """A data source as a recipe names it; of a local file the name only, not where it lay."""

    name: str
    hub_id: str | None = None
    config: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class CardFacts:
    """What is known of a model. What is not known has its default, and the card leaves it out.

    Attributes:
        config: the model's.
        repo_id: "user/name".
        revision: the tag that snippets pin.
        parameters: number of weights.
        token_limit: longest text in tokens that is read at once; None where there is no limit.
        metrics, recipe: the content of `metrics.json` and `recipe.yaml`.
        explainer_recipe: of a trained explanation head.
        evaluation: the content of `results.json`.
        license_id, language: as the Hub spells them ("apache-2.0", "en").
        base_model: Hub id of what it was converted from or trained on.
        example: the text that the card's snippets explain.
        explained: what the pipeline returns for it, if the picture beside the card shows that.
    """

    config: AttribConfig
    repo_id: str
    revision: str
    parameters: int
    token_limit: int | None
    metrics: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    explainer_recipe: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    license_id: str | None = None
    language: str | None = None
    base_model: str | None = None
    example: str = EXAMPLE
    explained: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """The repository's name, without its owner."""
        return self.repo_id.rpartition("/")[2]

    @property
    def converted(self) -> bool:
        """Whether it is somebody's finished classifier, whose head was kept."""
        return self.config.classifier_head == "original"

    @property
    def split(self) -> str | None:
        """The rows that figures were measured on: "test", "validation", or None where nobody measured any."""
        return next((split for split in SPLITS if self._figures_of(split)), None)

    @property
    def figures(self) -> dict[str, float]:
        """What `metrics.json` says of these rows, by its names there."""
        return self._figures_of(self.split) if self.split else {}

    def rows(self, split: str | None) -> int | None:
        """How many rows a split has; None if nobody wrote it down."""
        found = (self.metrics.get("rows") or {}).get(split)
        return found if isinstance(found, int) else None

    @property
    def trained_on(self) -> DataSource | None:
        """What the recipe trains on."""
        return self._source("train")

    @property
    def measured_on(self) -> DataSource | None:
        """What the figures were measured on: held-out rows are of the training data, if the recipe says no other."""
        return (self._source(self.split) if self.split else None) or self.trained_on

    @property
    def original_of(self) -> str | None:
        """Hub id of the model underneath; None for a folder, which means nothing to others."""
        name = self.base_model or (self.metrics.get("settings") or {}).get("backbone")
        return name if isinstance(name, str) and is_hub_id(name) else None

    def _figures_of(self, split: str) -> dict[str, float]:
        found = self.metrics.get(split) or {}
        known = {name: found[name] for name in FIGURES if isinstance(found.get(name), float)}
        return {name: value for name, value in known.items() if math.isfinite(value)}

    def _source(self, split: str) -> DataSource | None:
        data = self.recipe.get("data")
        return read_data_source(str(data[split])) if isinstance(data, dict) and data.get(split) else None


def read_data_source(source: str) -> DataSource:
    """What a recipe's `data.train` or `data.test` names: a Hub dataset, a file or the embedded newswire."""
    if source.startswith("newswire:"):
        return DataSource(f"{source} (generated, ships with the training code)")
    file_name = PurePosixPath(PureWindowsPath(source).as_posix())
    match = HUB_SOURCE.fullmatch(source)
    if file_name.suffix.lower() in READERS or match is None or not is_hub_id(match["name"]):
        return DataSource(file_name.name)
    return DataSource(source, match["name"], match["config"], match["split"])


def is_hub_id(name: str) -> bool:
    """Whether a name can be one on the Hub, and is no folder here."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return not Path(name).exists()


def read_evaluation(model_dir: Path, trained: TrainedModel) -> dict[str, Any]:
    """What `attrib evaluate` measured of this very model, if its output is the folder `evaluation` in the model's own.

    Returns:
        The content of `results.json`, with "passes": method -> measured cost in forward passes. Empty where there is
        none, and, said aloud, where it is another model's.

    Raises:
        UserError: for results that cannot be read.
    """
    folder = model_dir / EVALUATION
    if not (folder / "results.json").is_file():
        return {}
    try:
        results, settings, costs = (
            json.loads((folder / name).read_text(encoding="utf-8"))
            for name in ("results.json", "state/settings.json", "state/cost.json")
        )
        measured, passes = settings["model"], {name: cost["passes"] for name, cost in costs.items() if cost}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} cannot be read as an evaluation: {type(error).__name__}: {error}") from None
    if measured != EvaluatedClassifier(trained.model, trained.tokenizer, explains=True).fingerprint():
        print(f"the model card leaves out {folder}: it was measured on other weights, or another configuration.")
        return {}
    return results | {"passes": passes}


def accuracy_interval(accuracy: float, rows: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share of `rows` independent rows."""
    z = 1.959964
    centre = (accuracy + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * math.sqrt(accuracy * (1 - accuracy) / rows + z * z / (4 * rows * rows))
    return max(0.0, centre - half), min(1.0, centre + half)
