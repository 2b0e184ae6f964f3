"""The model card of a trained classifier: what it does, how it was measured, how far to trust its reasons."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from huggingface_hub.utils import HFValidationError, validate_repo_id
from transformers import PretrainedConfig

from modeling_attrib.attribution_methods import AttributionMethod, get_attribution_method
from modeling_attrib.configuration_attrib import ATTRIB_VERSION

from ..data.sources import HUB_SOURCE, READERS
from ..markdown_text import escape_markdown, python_literal


TAGS = ["attributions", "explainability", "interpretability", "feature-attribution"]

# What `metrics.json` calls a figure -> what the card and the Hub call it.
_FIGURES = {
    "accuracy": ("Accuracy", "accuracy"),
    "macro_precision": ("Macro precision", "precision"),
    "macro_recall": ("Macro recall", "recall"),
    "macro_f1": ("Macro F1", "f1"),
}
_SPLITS = {"test": "test", "validation": "held-out validation"}
PICTURE = "explanation.png"
EXAMPLE = "Stocks rally as oil prices fall."

_CARD = """\
---
{header}
---

# {title}

A text classifier that explains itself. One call returns the label **and**, for every token,
{score}.
The scores come from the model itself, {passes}: no second tool to install,
no second model to trust.
{picture}
It reads text with {encoder} and knows {label_count}.

## Use

```python
from transformers import pipeline

classify = pipeline("text-classification", model="{repo_id}", trust_remote_code=True)
result = classify({example})[0]
print(result["label"], result["score"])
for part in result["attributions"]:
    print(f"{{part['score']:+.3f}}  {{part['word']}}")
```

Everything that the stock pipeline accepts works. Beyond it, `target="a label"` explains another label,
`contrast="a label"` asks why the one and not the other, and `aggregation="token"` or `"sentence"` changes
the unit. Texts longer than the model's limit are read in overlapping windows; nothing is cut.

```python
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{repo_id}", trust_remote_code=True)
model = AutoModelForSequenceClassification.from_pretrained("{repo_id}", trust_remote_code=True)
with torch.no_grad():
    out = model(**tokenizer({example}, return_tensors="pt"))
print(out.logits)  # (texts, labels)
print(out.attributions)  # (texts, tokens): toward out.attribution_target, 0 at padding
print(out.attribution_target)  # (texts,): the explained label, by default the predicted one
print(out.attribution_residual)  # (texts,): what no token accounts for
```

`trust_remote_code=True` runs the Python files of this repository, attrib {version}: pin a `revision` once you
have read them.

## Labels

| index | label |
| ---: | :--- |
{labels}
{measured}
## Reading the attributions

{direction} For every text,

> attributions + special_score + residual = the explained logit.

`special_score` is what fell on tokens such as `[CLS]` and `[SEP]`, which stand for no word: the pipeline sums
it apart, `out.attributions` keeps these tokens in their places. `residual` is what no token accounts for.
{conservation}

The method is `{method}`: {paper}.
{scale}

## Limits

- An attribution explains the model, not the world. A word that speaks for a label has moved this model; that
  does not make the label true, nor the word its cause.
- {worth}
- Away from the kind of text it was trained on, the model still names a label and still gives reasons for it.
  Neither is then worth much, and a high score is no warning.
- The LRP family of methods is claimed by a patent in some countries. The rules in this repository are an
  independent implementation, named after the papers that describe them (Ali et al. 2022). Whether the claim
  concerns your use is for you to find out.
{training}"""


@dataclass(frozen=True)
class DataSource:
    """A data source as a recipe names it; of a local file the name only, not where it lay."""

    name: str
    hub_id: str | None = None
    config: str | None = None
    split: str | None = None


def read_data_source(source: str) -> DataSource:
    """What a recipe's `data.train` or `data.test` names: a Hub dataset, a file or the embedded newswire."""
    if source.startswith("newswire:"):
        return DataSource(f"{source} (generated, ships with the training code)")
    file_name = PurePosixPath(PureWindowsPath(source).as_posix())
    match = HUB_SOURCE.fullmatch(source)
    if file_name.suffix.lower() in READERS or match is None or not _is_hub_id(match["name"]):
        return DataSource(file_name.name)
    return DataSource(source, match["name"], match["config"], match["split"])


def model_card(
    config: PretrainedConfig,
    repo_id: str,
    metrics: dict[str, Any],
    recipe: dict[str, Any],
    license_id: str | None = None,
    language: str | None = None,
    *,
    example: str = EXAMPLE,
    explained: Mapping[str, Any] | None = None,
) -> str:
    """The text of README.md: YAML header and Markdown.

    Args:
        config: the model's `AttribConfig`.
        repo_id: "user/name".
        metrics: the content of `metrics.json`, or an empty dictionary; what it lacks, the card leaves out.
        recipe: the content of `recipe.yaml`, or an empty dictionary.
        license_id, language: as the Hub spells them ("apache-2.0", "en"); unknown if None.
        example: the text that the card's snippets explain.
        explained: what the pipeline returns for it, if the picture `PICTURE` beside the card shows that.
    """
    split = next((split for split in _SPLITS if _figures(metrics, split)), None)
    figures = _figures(metrics, split) if split else {}
    data = recipe.get("data") if isinstance(recipe.get("data"), dict) else {}
    trained_on = read_data_source(str(data["train"])) if data.get("train") else None
    measured_on = read_data_source(str(data[split])) if split and data.get(split) else trained_on
    backbone = _backbone(metrics)
    header = ModelCardData(
        language=language,
        license=license_id,
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=list(TAGS),
        base_model=backbone,
        datasets=[trained_on.hub_id] if trained_on and trained_on.hub_id else None,
        metrics=[_FIGURES[name][1] for name in figures] or None,
        model_name=repo_id.rpartition("/")[2],
        eval_results=_eval_results(figures, measured_on, split) if measured_on else None,
    )
    method = get_attribution_method(config.attribution_method)
    labels = sorted(config.id2label.items())
    return _CARD.format(
        header=header.to_yaml(),
        title=escape_markdown(repo_id.rpartition("/")[2]),
        encoder=_encoder(backbone, config.backbone_config.model_type),
        label_count=f"{len(labels)} label{'s' if len(labels) != 1 else ''}",
        repo_id=repo_id,
        version=ATTRIB_VERSION,
        example=python_literal(example),
        picture=_picture(example, explained) if explained else "",
        passes=_passes(method.cost),
        labels="\n".join(f"| {index} | {escape_markdown(str(label))} |" for index, label in labels),
        measured=_measured_section(metrics, split, figures, measured_on),
        method=method.name,
        paper=escape_markdown(method.paper),
        training=_training_section(metrics, trained_on),
        **_ways_of_reading(method),
    )


def _passes(cost: int) -> str:
    if cost == 1:
        return "out of its own forward pass"
    return "by one backward pass through it" if cost == 2 else f"by {cost - 1} more passes through it"


def _picture(example: str, explained: Mapping[str, Any]) -> str:
    """The picture, with the same in words for who does not see it."""
    strongest = sorted(explained["attributions"], key=lambda word: abs(word["score"]), reverse=True)[:5]
    words = ", ".join(f"{word['word']} {word['score']:+.2f}" for word in strongest)
    shown = f"“{example}” is labelled {explained['label']} ({explained['score']:.1%}); the strongest words: {words}"
    return f"\n![{escape_markdown(shown)}]({PICTURE})\n"


def _is_hub_id(name: str) -> bool:
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return not Path(name).exists()


def _backbone(metrics: dict[str, Any]) -> str | None:
    """The backbone's Hub id; None for a folder, which means nothing to others."""
    name = (metrics.get("settings") or {}).get("backbone")
    return name if isinstance(name, str) and _is_hub_id(name) else None


def _encoder(backbone: str | None, model_type: str) -> str:
    if backbone is None:
        return f"an encoder of the type {escape_markdown(model_type)}"
    return f"[{escape_markdown(backbone)}](https://huggingface.co/{backbone})"


def _figures(metrics: dict[str, Any], split: str) -> dict[str, float]:
    found = metrics.get(split) or {}
    known = {name: found[name] for name in _FIGURES if isinstance(found.get(name), float)}
    return {name: value for name, value in known.items() if math.isfinite(value)}


def _rows(metrics: dict[str, Any], split: str) -> int | None:
    rows = (metrics.get("rows") or {}).get(split)
    return rows if isinstance(rows, int) else None


def _eval_results(figures: dict[str, float], measured_on: DataSource, split: str | None) -> list[EvalResult]:
    name = " ".join(measured_on.name.split())
    return [
        EvalResult(
            task_type="text-classification",
            task_name="Text Classification",
            dataset_type=measured_on.hub_id or "other",
            dataset_name=name,
            dataset_config=measured_on.config,
            dataset_split=measured_on.split if split == "test" else None,
            metric_type=_FIGURES[figure][1],
            metric_name=_FIGURES[figure][0],
            metric_value=value,
        )
        for figure, value in figures.items()
    ]


def _measured_section(
    metrics: dict[str, Any], split: str | None, figures: dict[str, float], measured_on: DataSource | None
) -> str:
    if split is None:
        return ""
    rows = _rows(metrics, split)
    counted = f"{rows:,} {_SPLITS[split]} rows" if rows else f"the {_SPLITS[split]} rows"
    of_data = f" of {escape_markdown(measured_on.name)}" if measured_on else ""
    table = "\n".join(f"| {_FIGURES[name][0]} | {value:.4f} |" for name, value in figures.items())
    return f"\n## Measured\n\nOn {counted}{of_data}:\n\n| figure | value |\n| :--- | ---: |\n{table}\n"


def _ways_of_reading(method: AttributionMethod) -> dict[str, str]:
    """What a score and the residual mean under this method."""
    if method.signed:
        score = "a signed score that says how much it spoke for or against that label"
        direction = "A positive score speaks **for** the explained label, a negative one **against** it."
    else:
        score = "a score that says how much it mattered for that label"
        direction = "This method gives importance only: it does not say whether a token speaks for or against."
    if method.conservative:
        conservation = "The method is conservative: the residual is the share of the model's biases alone."
        scale = "Its scores are on the scale of the logit: compare them within one text rather than across texts."
        worth = (
            "Look at the residual before you look at the words. Where it is large beside the scores, they tell only a\n"
            "  part of the decision."
        )
    else:
        conservation = "The method is not conservative: the residual also holds what it leaves unexplained."
        scale = "Compare its scores with each other, within one text: not with the logit, nor across texts."
        worth = "The scores say which words count more than others, not how much of the decision the words are."
    return {
        "score": score,
        "direction": direction,
        "conservation": conservation,
        "scale": scale,
        "worth": worth,
    }


def _training_section(metrics: dict[str, Any], trained_on: DataSource | None) -> str:
    if trained_on is None:
        return ""
    rows = _rows(metrics, "train")
    counted = f" ({rows:,} rows)" if rows else ""
    return f"\n## Training data\n\n{escape_markdown(trained_on.name)}{counted}\n"
