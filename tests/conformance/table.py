"""The table of architectures, docs/architectures.md: made of the sweep's rows, and read back by the tests."""

import re
from dataclasses import dataclass
from typing import Any

import torch
import transformers

from tests.conformance.checks import FAMILIES
from tests.conformance.text_models import NOT_TEXT, known_types


Rows = list[dict[str, Any]]
YES, PARTLY, NO = "yes", "partly", "no"
FINE = ("holds", "refused")
# Of what a refusal says, what the table says; a refusal that is not here has to be read, and entered.
REASONS = {
    r"an encoder-decoder whose encoder transformers does not offer": "encoder-decoder without an encoder by itself",
    r"takes no attention_mask": "takes no attention mask",
    r"word embeddings were not found": "has no table of words",
    r"activation .* \((\w+)\) has no propagation rule": r"no rule for \1",
    r"activation .* beside a tanh-based GELU": "no rule for tanh beside a tanh-based GELU",
    r"something other than a softmax over": "mixes tokens by something other than one softmax a layer",
    r"which did not run on text": "a norm that text does not reach",
    r"this attention is written in a way of its own": "attention products are out of sight of the halving rules",
    r"what enters the second layer is out of sight": "layers are out of sight",
    r"never ran": "layers are out of sight",
    r"passes no gradient, or not its own": "gradients are not whole",
    r"by its configuration they would have": "states are not as wide as the configuration says",
    r"pads, its tokens in a way of its own": "states are not (texts, tokens, width)",
    r"cannot be told to belong together": "several attention products a layer",
    r"writes to its own weights": "writes to its own weights",
    r"is not one softmax over all tokens in each layer": "attention is not one softmax over all tokens in each layer",
    r"some part of this backbone has no propagation rule": "a part has no rule: relevance is not conserved",
    r"its embeddings mix each word with its neighbours": "words are mixed before the layers",
    r"words reach the logits by another way": "words reach the logits around the layers",
    r"norms: the rule never met": "norms are written by hand",
    r"is not \(batch, tokens, width\)": "states are not (texts, tokens, width)",
    r"changes itself when it reads a short text": "changes itself when it reads a short text",
    r"You have to specify bbox": "needs boxes beside the text",
    r"does not say how wide token states are": "does not say how wide its states are",
    r"returns no token states": "returns no states of tokens",
    r"QuantEmbedding takes or gives a tuple": "embeds words as whole numbers and a scale",
}


@dataclass(frozen=True)
class Line:
    """One line of the table: a verdict for each family of methods, and why."""

    model_type: str
    cells: tuple[str, ...]
    reasons: str

    def __str__(self) -> str:
        return f"| {' | '.join((f'`{self.model_type}`', *self.cells, self.reasons))} |"


def line(model_type: str, rows: Rows) -> Line:
    """Of the rows of one type.

    Raises:
        ValueError: for a row that is wrong or crashed, and for a refusal that `REASONS` does not know.
    """
    reasons: dict[str, list[str]] = {}
    verdicts: dict[str, set[str]] = {family: set() for family in FAMILIES}
    for row in rows:
        if row["outcome"] not in FINE:
            raise ValueError(f"{model_type}, {place(row)}: {row['outcome']}: {row['reason']}")
        for family, methods in FAMILIES.items():
            if row["method"] in ("", *methods):
                verdicts[family].add(YES if row["outcome"] == "holds" else NO)
        if row["outcome"] != "holds":
            reasons.setdefault(short_reason(row["reason"]), []).append(row["method"] or row["kernel"])
        elif "lets padding into the logits" in row["reason"]:
            reasons.setdefault("padding reaches the logits", [])
    cells = tuple(PARTLY if len(verdicts[family]) > 1 else verdicts[family].pop() for family in FAMILIES)
    return Line(model_type, cells, "; ".join(sorted(reasons)))


def place(row: dict[str, Any]) -> str:
    """Where a row was asked: kernel, pooling and method."""
    return " ".join(row[name] for name in ("kernel", "pooling", "method") if row[name])


def short_reason(reason: str) -> str:
    """A few words for what a refusal says.

    Raises:
        ValueError: if nobody has entered any.
    """
    for pattern, words in REASONS.items():
        found = re.search(pattern, reason)
        if found:
            return found.expand(words)
    raise ValueError(f"no short reason for: {reason}")


def render(results: dict[str, Rows]) -> str:
    """The page."""
    lines = [line(model_type, rows) for model_type, rows in sorted(results.items())]
    return _PAGE.format(
        transformers=transformers.__version__,
        torch=torch.__version__.partition("+")[0],
        count=len(lines),
        whole=sum(set(entry.cells) == {YES} for entry in lines),
        part=sum(set(entry.cells) not in ({YES}, {NO}) for entry in lines),
        none=sum(set(entry.cells) == {NO} for entry in lines),
        others="; ".join(f"{reason} ({len(_known(names))})" for reason, names in NOT_TEXT.items()),
        families=" | ".join(f"{family}" for family in FAMILIES),
        methods="\n".join(
            f"* **{family}**: {', '.join(f'`{m}`' for m in names)}" for family, names in FAMILIES.items()
        ),
        rule=" | ".join("---" for _ in FAMILIES),
        lines="\n".join(map(str, lines)),
    )


def _known(names: str) -> list[str]:
    return [name for name in names.split() if name in known_types()]


def read(page: str) -> dict[str, Line]:
    """The lines of a page, by model type."""
    found = {}
    for text in page.splitlines():
        cells = [cell.strip() for cell in text.strip("|").split("|")]
        if text.startswith("| `") and len(cells) == len(FAMILIES) + 2:
            name = cells[0].strip("`")
            found[name] = Line(name, tuple(cells[1:-1]), cells[-1])
    return found


def version(page: str) -> str:
    """The version of transformers that a page is about."""
    return re.search(r"transformers (\S+) and torch", page).group(1)


_PAGE = """# Which encoders work

Generated by `make architectures` with transformers {transformers} and torch {torch}; do not edit it by hand.

This page lists all {count} model types of transformers that read text alone, and says of each which methods explain it.
All methods explain {whole} of them, some methods {part}, none {none}.

## How to read the table

Each column is a family of methods:

{methods}

Each cell says what these methods do:

* **yes**: the method answers, and its answer holds.
* **no**: the method is refused. The `ValueError` gives the reason in full, and the methods that remain.
* **partly**: some methods of the family answer, or under some attention kernel or pooling only.

The last column gives the reasons in short. *padding reaches the logits* is a warning and no refusal: the encoder itself
reads a padded batch otherwise than single texts, so explain texts of one length together.

## What "holds" means

Each type is tried as a tiny model with random weights: under SDPA and eager attention where transformers has both, with
mean, first-token and last-token pooling. An answer holds if all of this is true:

* The logits are those of the bare encoder.
* A text has the same scores alone and in a padded batch.
* Frozen weights change no score.
* Without biases, the scores of `lrp` sum to each logit.
* If all words but one are silent, that one has all of the score.
* The other methods give the values worked out by hand from the attention and the states that transformers returns.
* No explanation changes the model.

Random weights say that a method is computed right, not that it is faithful on your texts: for that see
[Evaluation](evaluation.md). The tests are in `tests/conformance`.

## The table

| model type | {families} | why not, or what to know |
| --- | {rule} | --- |
{lines}

Not tried, because they read something else than text, or something beside it: {others}.
"""
