"""Human rationales: tasks that ExpNet learns them from, and how well a head finds those of a task it has never seen."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from transformers import PreTrainedTokenizerBase

from modeling_attrib import AttribForSequenceClassification

from ..data.sources import complete_rows, load_rows
from ..evaluation.perturbation import Perturbation
from ..evaluation.perturbation_runner import Measured, PerturbationRunner
from ..evaluation.plausibility import token_f1
from ..evaluation.texts import EncodedText, encode_rows, mean_rationale_share
from ..models.model_folder import load_trained_model
from ..recipes.recipe import TaskSection
from ..terminal.errors import UserError
from .fitting import Inputs, read_in_batches


BASELINES = ("attention_last", "random")
_THRESHOLDS = 99  # quantiles of the scores that are tried
_TOKENS = Perturbation("delete", None)  # nothing is removed here: it says that tokens are counted, not words

Scores = Sequence[np.ndarray]


@dataclass(frozen=True)
class RationaleTask:
    """A finished classifier and the marked texts of its task."""

    name: str
    model: AttribForSequenceClassification
    tokenizer: PreTrainedTokenizerBase
    train: list[EncodedText]
    validation: list[EncodedText]


def load_task(section: TaskSection, max_length: int, seed: int) -> RationaleTask:
    """Load what a recipe's task names.

    Raises:
        UserError: for a folder without a classifier, data that cannot be read, or texts of which none is marked.
    """
    trained = load_trained_model(Path(section.classifier))
    columns = {"text": section.text, "rationale": section.rationale}
    splits = {}
    for number, split in enumerate(("train", "validation")):
        source = getattr(section, split)
        rows = load_rows(source, split, seed + number, [section.text], [section.rationale])
        rows = rows.select(complete_rows(rows, [section.text], source))
        if section.passage:
            rows = passages(rows, section.passage, **columns)
        splits[split] = marked_texts(rows, trained.tokenizer, max_length=max_length, **columns)
        if not splits[split]:
            raise UserError(f"{source}: nothing is marked in {section.rationale!r}.")
    if section.rows is not None and section.rows < len(splits["train"]):
        drawn = np.random.default_rng(seed).permutation(len(splits["train"]))[: section.rows]
        splits["train"] = [splits["train"][number] for number in drawn]
    return RationaleTask(section.classifier, trained.model, trained.tokenizer, **splits)


def passages(
    rows: Sequence[Mapping[str, Any]], words: int, text: str, rationale: str
) -> Iterator[dict[str, list[Any]]]:
    """Rows of lists of words and their marks, cut into passages of `words` words.

    Raises:
        UserError: for a text that is no list of words.
    """
    for row in rows:
        if not isinstance(row.get(text), list) or not isinstance(row.get(rationale), list):
            raise UserError(
                f"passages are cut from lists of words and their marks: {text!r} and {rationale!r} are not."
            )
        for start in range(0, len(row[text]), words):
            yield {column: row[column][start : start + words] for column in (text, rationale)}


def marked_texts(
    rows: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase, text: str, rationale: str, max_length: int
) -> list[EncodedText]:
    """The rows as the model reads them, without those in which nothing is marked."""
    texts = encode_rows(rows, tokenizer, text=text, rationale=rationale, max_length=max_length)
    return [one for one in texts if one.rationale is not None and any(one.rationale)]


def rationale_targets(inputs: Inputs, texts: Sequence[EncodedText]) -> torch.Tensor:
    """1 at marked tokens, (batch, tokens, 1)."""
    targets = torch.zeros(*inputs["input_ids"].shape, 1)
    for row, text in enumerate(texts):
        targets[row, : len(text.ids), 0] = torch.tensor(text.rationale)
    return targets


def attributions(
    model: AttribForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[EncodedText],
    method: str,
) -> list[np.ndarray]:
    """Scores of an attribution method for the predicted label, one array a text."""

    def read(inputs: Inputs, _: Sequence[EncodedText]) -> tuple[torch.Tensor]:
        with torch.no_grad():
            return (model(**inputs, attribution_method=method).attributions,)

    return [scores.double().numpy() for (scores,) in read_in_batches(model, tokenizer, texts, read, method)]


def standardise(scores: Scores, texts: Sequence[EncodedText]) -> list[np.ndarray]:
    """Scores as standard deviations from their text's mean, so that one threshold can serve all texts and tasks.

    Mean and deviation are those of the tokens that are not special.
    """
    found = []
    for values, text in zip(scores, texts):
        own = values[~np.array(text.special)]
        found.append((values - own.mean()) / (own.std() + 1e-12))
    return found


def mean_average_precision(scores: Scores, texts: Sequence[EncodedText]) -> float:
    """Mean average precision of the texts' scores against what people marked, special tokens left out.

    Texts without a mark, or with nothing else, rank nothing and are left out; NaN if there is no other.
    """
    found = []
    for values, text in zip(scores, texts):
        own = ~np.array(text.special)
        marked = np.array(text.rationale or (False,) * len(own))[own]
        if marked.any() and not marked.all():
            found.append(average_precision_score(marked, values[own]))
    return float(np.mean(found)) if found else float("nan")


def mean_token_f1(
    scores: Scores, texts: Sequence[EncodedText], *, threshold: float | None = None, share: float | None = None
) -> float:
    """Mean token F1 of the tokens with at least this score, or of this share of each text's tokens."""
    options = {"share": share, "threshold": threshold}
    return _mean([token_f1(text, own, 0, _TOKENS, **options) for text, own in zip(texts, scores)])


def choose_threshold(tasks: Sequence[tuple[Scores, Sequence[EncodedText]]]) -> float:
    """The threshold with the best token F1, on average over tasks, of scores and texts each."""
    flat = [_flatten(*task) for task in tasks]
    together = np.concatenate([scores for scores, _, _ in flat])
    candidates = np.unique(np.quantile(together, np.linspace(0, 1, _THRESHOLDS + 2)[1:-1]))
    found = [np.mean([_mean_f1(*task, threshold=one) for task in flat]) for one in candidates]
    return float(candidates[int(np.argmax(found))])


def _flatten(scores: Scores, texts: Sequence[EncodedText]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, marks and number of the text of all tokens that are not special."""
    own = [~np.array(text.special) for text in texts]
    return (
        np.concatenate([values[keep] for values, keep in zip(scores, own)]),
        np.concatenate([np.array(text.rationale)[keep] for text, keep in zip(texts, own)]),
        np.repeat(np.arange(len(texts)), [keep.sum() for keep in own]),
    )


def _mean_f1(scores: np.ndarray, marked: np.ndarray, text: np.ndarray, threshold: float) -> float:
    """`mean_token_f1` of flat arrays, for the many thresholds that are tried."""
    chosen = scores >= threshold
    hits, ours, theirs = (np.bincount(text, flags) for flags in (chosen & marked, chosen, marked))
    return float((2 * hits / (ours + theirs)).mean())


def grade(scores: Scores, texts: Sequence[EncodedText], threshold: float) -> dict[str, float]:
    """How well scores find what people marked.

    Returns:
        `token_f1` and `pooled_token_f1` at the threshold (mean over texts; all texts' tokens counted together),
        `chosen` (share of tokens at or above it), `token_f1_at_true_share` (as many of each text's tokens as people
        mark on average, which nobody knows of a new task) and `average_precision`.
    """
    own = [~np.array(text.special) for text in texts]
    marked = np.concatenate([np.array(text.rationale)[keep] for text, keep in zip(texts, own)])
    chosen = np.concatenate([values[keep] >= threshold for values, keep in zip(scores, own)])
    return {
        "token_f1": mean_token_f1(scores, texts, threshold=threshold),
        "pooled_token_f1": float(2 * (marked & chosen).sum() / (marked.sum() + chosen.sum())),
        "chosen": float(chosen.mean()),
        "token_f1_at_true_share": mean_token_f1(scores, texts, share=mean_rationale_share(texts)),
        "average_precision": mean_average_precision(scores, texts),
    }


def _mean(measurements: list[Any]) -> float:
    results = PerturbationRunner(lambda perturbed_texts: np.empty(0)).run(measurements)
    return float(np.mean([result.value for result in results if isinstance(result, Measured)]))
