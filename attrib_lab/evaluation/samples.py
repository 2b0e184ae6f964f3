"""The sample of texts that an evaluation runs on: drawn rows, labels as the model numbers them, what is left out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from datasets import Dataset

from ..data.labels import class_names, encode_labels, read_labels
from ..data.sources import complete_rows, load_rows, replace_column
from ..terminal.errors import UserError
from .classifiers import EvaluatedClassifier
from .options import Columns
from .texts import EncodedText, encode_rows


@dataclass(frozen=True)
class Sample:
    """Encoded texts in the order of their rows, and a line on everything that was left out or cut."""

    texts: list[EncodedText]
    notes: list[str]


def load_sample(
    source: str,
    split: str,
    columns: Columns,
    classifier: EvaluatedClassifier,
    limit: int | None = None,
    max_length: int | None = None,
    seed: int = 0,
) -> Sample:
    """Read, draw and encode texts.

    Args:
        source: a file or a Hub id, as for training.
        split: of a Hub data set.
        limit: how many rows are drawn at random (seeded; data sets are often sorted by label); all if None.
        max_length: tokens that are read of each text, at most what the model reads.

    Raises:
        UserError: for data that cannot be read, columns that there are not, labels that are not the model's, or no
            text at all.
    """
    if max_length is not None and not 0 < max_length <= classifier.token_limit:
        raise UserError(f"--max-length {max_length}: this model reads 1 to {classifier.token_limit} tokens.")
    auto = columns.label == "auto"
    others = [columns.rationale, None if auto or columns.label == "none" else columns.label]
    texts = [columns.text, columns.text_pair] if columns.text_pair else [columns.text]
    rows = load_rows(source, split, seed, texts, [c for c in others if c], ["label"] if auto else [])
    label = "label" if auto and "label" in rows.column_names else others[1]
    if label is not None:
        rows = _with_model_labels(rows, label, columns.labels, classifier.labels, source)
    notes = []
    kept = complete_rows(rows, texts, source)
    if len(kept) < len(rows):
        notes.append(f"{len(rows) - len(kept)} of {len(rows)} rows have no text and are left out.")
    if limit is not None and limit < len(kept):
        drawn = np.random.default_rng(seed).permutation(len(kept))[:limit]
        kept = [kept[number] for number in sorted(drawn.tolist())]
    rows = rows.select(kept)
    texts = encode_rows(
        rows,
        classifier.tokenizer,
        text=columns.text,
        text_pair=columns.text_pair,
        label=label,
        rationale=columns.rationale,
        max_length=max_length or classifier.token_limit,
    )
    # Named by their rows in the file, whichever were drawn.
    texts = [replace(text, key=f"{row}-{text.key.partition('-')[2]}") for row, text in zip(kept, texts)]
    return _without_empty(texts, notes, source, label, columns.rationale)


def _without_empty(
    texts: list[EncodedText], notes: list[str], source: str, label: str | None, rationale: str | None
) -> Sample:
    readable = [text for text in texts if text.ids]
    if not readable:
        raise UserError(f"{source} holds no text to explain.")

    def count(number: int, what: str) -> None:
        if number:
            notes.append(f"{number} of {len(texts)} texts {what}.")

    count(len(texts) - len(readable), "are empty to this tokenizer and left out")
    count(sum(text.truncated for text in readable), "are longer than what is read of them")
    if label is not None:
        count(sum(text.label is None for text in readable), "have no label")
    if rationale is not None:
        count(sum(not any(text.rationale or ()) for text in readable), "have no rationale")
    return Sample(readable, notes)


def _with_model_labels(
    rows: Dataset, column: str, names: Sequence[str], model_names: Sequence[str], source: str
) -> Dataset:
    """The label column as indices of the model's labels, None where a row has none.

    Words are read as the given names, or else the model's; numbers that are none of these as indices.
    """
    if names and len(names) != len(model_names):
        raise UserError(
            f"--labels names {len(names)} labels; the model has {len(model_names)}: {', '.join(model_names)}."
        )
    own, labels = class_names(rows, column), read_labels(rows, column, source)
    try:
        encoded = encode_labels(labels, names or model_names, own, by_position=True, what=source)
    except UserError as error:
        raise UserError(
            f"{error} --labels gives the data's names in the model's order, --label none leaves them unread."
        ) from None
    return replace_column(rows, column, encoded)
