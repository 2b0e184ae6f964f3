"""The sections of a model card that depend on what is known: figures, training, security, licence, citation."""

import sys
from typing import Any

import torch
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

from modeling_attrib.attribution_methods import get_attribution_method
from modeling_attrib.configuration_attrib import ATTRIB_VERSION

from ..evaluation.metrics import METRICS
from ..markdown_text import escape_markdown
from .card_facts import FIGURES, SPLITS, CardFacts, accuracy_interval
from .data_terms import terms_of
from .papers import paper_links


# Of transformers, looked up in the GitHub Advisory Database: by loading a stranger's repository, code of his is run
# although nobody said trust_remote_code. Advisory -> the version that mends it.
ADVISORIES = {"CVE-2026-4372": "5.3.0", "CVE-2026-5241": "5.5.0"}
_BASELINES = ("random", "attention_last", "rollout")
_FAITHFULNESS = {"faithfulness", "normalized_aopc", "soft_faithfulness"}  # modules of metrics
_RECIPE_KEYS = {
    "model": ("max_length",),
    "data": ("train_rows",),
    "training": ("num_train_epochs", "max_steps", "per_device_train_batch_size", "learning_rate", "weight_decay"),
}


def kind_of_answer(facts: CardFacts) -> str:
    """What the model answers, in words."""
    count = facts.config.num_labels
    if facts.config.problem_type == "regression" or count == 1:
        return "one number" if count == 1 else f"{count} numbers"
    labels = f"{count} label{'s' if count != 1 else ''}"
    return f"any of {labels}" if facts.config.problem_type == "multi_label_classification" else f"one of {labels}"


def overview(facts: CardFacts) -> str:
    """The table at the top."""
    method = get_attribution_method(facts.config.attribution_method)
    measured = facts.evaluation.get("passes", {}).get(method.name)
    cost = f"about {method.cost} forward passes, the label's included" if method.cost > 1 else "none beside the label's"
    longest = "no limit" if facts.token_limit is None else f"{facts.token_limit:,} tokens at once, more in windows"
    rows = {
        "Answers": kind_of_answer(facts),
        "Parameters": _in_words(facts.parameters),
        "Longest text": longest,
        "Accuracy": _accuracy(facts),
        "Cost of an explanation": cost if measured is None else f"{measured:.1f} forward passes (measured)",
        "Tested with": f"transformers {transformers.__version__}, torch {torch.__version__.partition('+')[0]}, "
        f"Python {sys.version_info.major}.{sys.version_info.minor}",
        "Licence": facts.license_id and escape_markdown(facts.license_id),
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items() if value)
    return f"| | |\n| :--- | :--- |\n{table}\n"


def _in_words(count: int) -> str:
    for unit, name in ((10**9, "billion"), (10**6, "million")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count:,}"


def _accuracy(facts: CardFacts) -> str | None:
    accuracy, rows = facts.figures.get("accuracy"), facts.rows(facts.split)
    if accuracy is None:
        return None
    if not rows:
        return f"{accuracy:.1%}"
    low, high = accuracy_interval(accuracy, rows)
    return f"{accuracy:.1%} on {rows:,} {SPLITS[facts.split]} rows; 95% interval {low:.1%} to {high:.1%}"


def measured(facts: CardFacts) -> str:
    """All figures that training left."""
    if facts.split is None:
        return ""
    rows, measured_on = facts.rows(facts.split), facts.measured_on
    counted = f"{rows:,} {SPLITS[facts.split]} rows" if rows else f"the {SPLITS[facts.split]} rows"
    of_data = f" of {escape_markdown(measured_on.name)}" if measured_on else ""
    table = "\n".join(f"| {FIGURES[name][0]} | {value:.4f} |" for name, value in facts.figures.items())
    return f"\n## Measured\n\nOn {counted}{of_data}:\n\n| figure | value |\n| :--- | ---: |\n{table}\n"


def faithfulness(facts: CardFacts) -> str:
    """This model's method beside random scores and attention; nothing where its own was not measured."""
    results, own = facts.evaluation, facts.config.attribution_method
    methods = [name for name in (own, *_BASELINES) if _figures(results, name)]
    names = [name for name in results.get("metrics", {}) if name in METRICS and METRICS[name].module in _FAITHFULNESS]
    if methods[:1] != [own] or not names:
        return ""
    arrows = {True: "more is better", False: "less is better"}
    head = [f"{name.replace('_', ' ')} ({arrows[results['metrics'][name]['higher_is_better']]})" for name in names]
    lines = [["scores", *head], [":---", *("---:" for _ in names)]]
    lines += [
        [f"`{method}`" + (", this model's" if method == own else ""), *_cells(_figures(results, method), names)]
        for method in dict.fromkeys(methods)
    ]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    data = escape_markdown(str(results.get("data", "")).rpartition("/")[2])
    return (
        f"\n## Are the words the right ones?\n\nMeasured by taking words away and asking the model again, on "
        f"{results['texts']:,} texts of {data}. In brackets: 95 % bootstrap intervals over texts.\n\n{table}\n"
    )


def _figures(results: dict[str, Any], method: str) -> dict[str, Any]:
    return {
        name: figure
        for name, figure in results.get("methods", {}).get(method, {}).get("metrics", {}).items()
        if figure is not None
    }


def _cells(figures: dict[str, Any], names: list[str]) -> list[str]:
    found = (figures.get(name) for name in names)
    return ["–" if f is None else f"{f['mean']:.3f} [{f['low']:.3f}, {f['high']:.3f}]" for f in found]


def origin(facts: CardFacts) -> str:
    """Where weights come from: a recipe and its data, or somebody's finished classifier."""
    if facts.converted:
        original = facts.original_of
        name = f"[{escape_markdown(original)}](https://huggingface.co/{original})" if original else "a classifier"
        kind = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(facts.config.backbone_config)].__name__
        card = "its card says what it learned from, and how well it does" if original else "ask its maker for both"
        return (
            f"\n## Where it comes from\n\nConverted from {name} (`{kind}`), whose weights and head are kept as they "
            f"are: the logits are the same. It was not trained here, and nothing was measured: {card}.\n"
        )
    trained_on = facts.trained_on
    if trained_on is None:
        return ""
    rows = facts.rows("train")
    lines = [f"{escape_markdown(trained_on.name)}{f' ({rows:,} rows)' if rows else ''}"]
    lines += [
        f"{escape_markdown(terms.name)}: {terms.terms} (its card: `{terms.source}`)."
        for terms in terms_of([facts.recipe, facts.explainer_recipe])
    ]
    settings = _recipe_settings(facts.recipe)
    if settings:
        table = "\n".join(f"| {name} | {value} |" for name, value in settings.items())
        lines.append(f"| setting | value |\n| :--- | :--- |\n{table}")
    return "\n## Training data and recipe\n\n" + "\n\n".join(lines) + "\n"


def _recipe_settings(recipe: dict[str, Any]) -> dict[str, str]:
    found = {name: recipe.get(name) for name in ("seed", "masked_training")}
    for section, keys in _RECIPE_KEYS.items():
        content = recipe.get(section)
        found |= {key: content.get(key) for key in keys} if isinstance(content, dict) else {}
    given = {key.replace("_", " "): value for key, value in found.items() if value not in (None, 0)}
    return {key: escape_markdown(str(value)) for key, value in given.items()}


def security(facts: CardFacts) -> str:
    """What loading does, and how to be sure of what is loaded."""
    newest = max(ADVISORIES.values(), key=lambda version: tuple(map(int, version.split("."))))
    named = " and\n  ".join(
        f"[{cve}](https://nvd.nist.gov/vuln/detail/{cve}) (mended in {version})" for cve, version in ADVISORIES.items()
    )
    return f"""
## Security

`trust_remote_code=True` runs the Python files of this repository, attrib {ATTRIB_VERSION}, with your rights. Therefore:

- **Read the files.** They need torch, transformers and the standard library, open no network connection, and
  unpickle nothing.
- **Pin what you have read.** The snippets pin the tag `{facts.revision}`. An owner can move a tag, but not a
  commit: for `revision`, take its hash from "History".
- **Compare checksums.** `hf cache verify {facts.repo_id} --revision {facts.revision}` compares the files that you
  have with what the Hub names.
- **Use transformers {newest.rpartition(".")[0]} or newer**, for this and any other repository. In older versions a
  stranger's repository can run code without `trust_remote_code`:
  {named}.
"""


def licence(facts: CardFacts) -> str:
    """Whose leave a reader has, and of what."""
    if facts.license_id:
        weights = f"The weights: {escape_markdown(facts.license_id)}."
    elif facts.converted:
        weights = "The weights: as the classifier says that they come from. None is stated here."
    else:
        weights = "The weights: none is stated, so ask whoever published them."
    return f"\n## Licence\n\n{weights} The Python files, which are attrib's: Apache-2.0.\n"


def citation(facts: CardFacts) -> str:
    """How to cite the code, and where the method's papers are."""
    links = paper_links(get_attribution_method(facts.config.attribution_method).paper)
    papers = "".join(f"- [{escape_markdown(paper)}]({address})\n" for paper, address in links.items())
    of_method = f"\nThe method's papers:\n\n{papers}" if papers else ""
    return f"""
## Citation

```bibtex
@software{{attrib,
  title = {{attrib: text classifiers that return the words behind their decision}},
  version = {{{ATTRIB_VERSION}}},
  license = {{Apache-2.0}}
}}
```
{of_method}"""
