"""Metrics over examples that come as plain lists: what the modules of `attrib_lab/metrics` call."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .metrics import METRICS
from .perturbation import Perturbation
from .perturbation_runner import Measured, Measurement, NotMeasurable, PerturbationRunner, classifier_logits
from .stability import rank_distance
from .texts import EncodedText, mean_rationale_share, text_from_ids


Summary = dict[str, Any]


def measure_ids(
    name: str,
    scores: Sequence[Sequence[float]],
    ids: Sequence[Sequence[int]],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    labels: Sequence[int] | None = None,
    targets: Sequence[int] | None = None,
    perturbation: str = "mask",
    **options: Any,
) -> Summary:
    """A metric of the registry that asks the model, over texts given as token ids.

    Args:
        scores: one score per token of each text, special tokens and padding included.
        ids: token ids, special tokens included; padding at either end is taken off.
        labels: gold labels, which `auac` reads.
        targets: the labels that the scores explain; by default those that the model predicts.
        perturbation: "mask", "unk" or "delete", where the metric's definition does not fix it.
        options: the metric's own.

    Returns:
        `{name: mean over texts, "texts": how many were measured, "skipped": {reason: how many}}`, and
        `"curve": mean curve` where the metric has one. NaN if no text could be measured.

    Raises:
        ValueError: where there are not as many scores as tokens, or not as many labels or targets as texts, and for
            those that the model does not have.
    """
    metric = METRICS[name]
    _check_lengths("rows of scores", scores, len(ids))
    for what, given in (("labels", labels), ("targets", targets)):
        if given is not None:
            _check_lengths(what, given, len(ids))
            _check_labels(what, given, model.config.num_labels)
    texts, rows = [], []
    for number, (row_ids, row_scores) in enumerate(zip(ids, scores)):
        if len(row_ids) != len(row_scores):
            raise ValueError(f"example {number}: {len(row_scores)} scores for {len(row_ids)} tokens.")
        real = np.flatnonzero(np.array(row_ids, dtype=np.int64) != tokenizer.pad_token_id)
        place = slice(real[0], real[-1] + 1) if len(real) else slice(0)
        label = None if labels is None else int(labels[number])
        texts.append(text_from_ids([int(token) for token in row_ids[place]], tokenizer, number, label))
        rows.append(np.array(row_scores[place], dtype=np.float64))
    runner = PerturbationRunner(classifier_logits(model, tokenizer))
    if targets is None:
        targets = [int(found.value) for found in runner.run([_prediction(text) for text in texts])]
    taken = Perturbation.of(tokenizer, metric.perturbation or perturbation)
    measurements = [
        metric.measure(text, row, target, taken, **options) for text, row, target in zip(texts, rows, targets)
    ]
    return summarise(name, runner.run(measurements))


def measure_masks(
    name: str, scores: Sequence[Sequence[float]], masks: Sequence[Sequence[int]], **options: Any
) -> Summary:
    """A metric of the registry that compares scores with rationales, one 0 or 1 per score; see `measure_ids`.

    For `token_f1` and `iou_f1`, share defaults to the mean share of marked tokens over these examples.

    Raises:
        ValueError: where there are not as many scores as marks, and for marks that are neither 0 nor 1.
    """
    _check_lengths("rows of scores", scores, len(masks))
    texts = []
    for number, (row, mask) in enumerate(zip(scores, masks)):
        if len(row) != len(mask):
            raise ValueError(f"example {number}: {len(row)} scores for a mask of {len(mask)}.")
        for mark in mask:
            if mark not in (0, 1):  # -100 marks what a loss leaves out, which a rationale cannot say
                raise ValueError(f"example {number}: the mask holds {mark}; it must hold a 0 or 1 for each score.")
        places = tuple(range(len(mask)))
        texts.append(EncodedText(str(number), places, (False,) * len(mask), places, rationale=tuple(map(bool, mask))))
    if name != "auprc" and not options:
        options = {"share": mean_rationale_share(texts) or 0.0}
    tokens = Perturbation("delete", None)
    measurements = [
        METRICS[name].measure(text, np.array(row), 0, tokens, **options) for text, row in zip(texts, scores)
    ]
    return summarise(name, PerturbationRunner(_nothing_to_ask).run(measurements))


def measure_pairs(before: Sequence[Sequence[float]], after: Sequence[Sequence[float]]) -> Summary:
    """`stability` where the words' scores before and after an edit are there already; see `measure_ids`."""
    _check_lengths("rows of scores before the edit", before, len(after))
    results: list[Measured | NotMeasurable] = []
    for number, (row, other) in enumerate(zip(before, after)):
        if len(row) != len(other):
            raise ValueError(f"example {number}: {len(row)} words before the edit, {len(other)} after it.")
        distance = rank_distance(row, other)
        comparable = np.isfinite(distance)
        results.append(Measured(distance) if comparable else NotMeasurable("too few different scores to compare"))
    return summarise("stability", results)


def summarise(name: str, results: Sequence[Measured | NotMeasurable]) -> Summary:
    """Mean value and curve of what was found, and the counted reasons of what was not."""
    found = [result for result in results if isinstance(result, Measured)]
    summary: Summary = {
        name: float(np.mean([one.value for one in found])) if found else float("nan"),
        "texts": len(found),
        "skipped": dict(Counter(str(result) for result in results if isinstance(result, NotMeasurable))),
    }
    if found and found[0].curve:
        summary["curve"] = np.mean([one.curve for one in found], axis=0).tolist()
    return summary


def _check_lengths(what: str, given: Sequence[Any], texts: int) -> None:
    if len(given) != texts:
        raise ValueError(f"{len(given)} {what} for {texts} texts.")


def _check_labels(what: str, given: Sequence[int], labels: int) -> None:
    """Refuse what is no index of a label, as the -1 of a test set that keeps its labels to itself."""
    for number, label in enumerate(given):
        if label not in range(labels):
            raise ValueError(f"example {number}: {what} holds {label}; the model has the labels 0 to {labels - 1}.")


def _prediction(text: EncodedText) -> Measurement:
    return Measured(float((yield [text.unperturbed])[0].argmax()))


def _nothing_to_ask(perturbed_texts: list) -> np.ndarray:
    raise AssertionError("plausibility asks no model")
