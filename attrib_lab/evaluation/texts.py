"""Rows of data as the model reads them: token ids, words, special tokens and human rationales."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
from transformers import BatchEncoding, PreTrainedTokenizerBase

from modeling_attrib.text_spans import aggregate

from ..terminal.errors import UserError, nearest
from .perturbation_runner import PerturbedText


Span = tuple[int, int]
WordSpan = tuple[int, int, int]  # which text of a pair (0 or 1), first character, end


@dataclass(frozen=True)
class EncodedText:
    """One row of data as the model reads it. All sequences have one entry per token, `word_spans` one per word.

    Attributes:
        key: stable name of the row: its number and eight hexadecimal digits of its text and pair.
        ids: token ids, special tokens included, without padding.
        special: True at special tokens ([CLS], [SEP] ...), which the tokenizer added.
        words: index of each token's word in `word_spans`; None at special tokens.
        label: index of the gold label, if there is one.
        rationale: True at tokens that people marked as the reason for the label; None where nobody was asked.
        types: token type ids; empty where all are 0.
        source: the text, or the text and its pair.
        word_spans: the words as spans of the original text, those of the pipeline.
        truncated: whether the text is longer than what the model reads.
    """

    key: str
    ids: tuple[int, ...]
    special: tuple[bool, ...]
    words: tuple[int | None, ...]
    label: int | None = None
    rationale: tuple[bool, ...] | None = None
    types: tuple[int, ...] = ()
    source: tuple[str, ...] = field(default=(), repr=False)
    word_spans: tuple[WordSpan, ...] = field(default=(), repr=False)
    truncated: bool = False

    @property
    def unperturbed(self) -> PerturbedText:
        """The text itself, as a question to the model."""
        return PerturbedText(self.ids, self.types)


def encode_rows(
    rows: Iterable[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    text: str = "text",
    text_pair: str | None = None,
    label: str | None = None,
    rationale: str | None = None,
    max_length: int | None = None,
) -> list[EncodedText]:
    """Encode rows of data, one `EncodedText` each.

    Args:
        rows: a dataset, or dictionaries.
        tokenizer: a fast one (it must know where its tokens lie in the text).
        text, text_pair: columns with strings, or with lists of words, which are joined by spaces.
        label: column with indices of the model's labels.
        rationale: column with one 0 or 1 per word of a text that is a list of words, or with [start, end) spans of
            characters of a text that is a string; None or an empty list where there is none. Speaks of `text` only.
        max_length: tokens the model reads; longer texts are cut there and say so in `truncated`.

    Raises:
        UserError: for a missing column, a text that is none, a rationale that does not fit its text, or a tokenizer
            without offsets.
    """
    if not tokenizer.is_fast:
        raise UserError("the evaluation needs a fast tokenizer: this one cannot say where its tokens lie in the text.")
    encoded = []
    for number, row in enumerate(rows):
        columns = [column for column in (text, text_pair, label, rationale) if column is not None]
        for column in columns:
            if column not in row:
                raise UserError(
                    f"the data has no column {column!r}; it has {', '.join(row)}." + nearest(column, [*row])
                )
        first, word_places = _as_string(row[text], number, text)
        second = None if text_pair is None else _as_string(row[text_pair], number, text_pair)[0]
        spans = None if rationale is None else _rationale_spans(row[rationale], word_places, number, rationale)
        gold = None if label is None or row[label] is None else int(row[label])
        source = (first,) if second is None else (first, second)
        encoded.append(encode_text(source, tokenizer, number, label=gold, rationale=spans, max_length=max_length))
    return encoded


def encode_text(
    source: tuple[str, ...],
    tokenizer: PreTrainedTokenizerBase,
    number: int = 0,
    *,
    label: int | None = None,
    rationale: Sequence[Span] | None = None,
    max_length: int | None = None,
) -> EncodedText:
    """Encode one text, or a text and its pair; `rationale` holds [start, end) spans of characters of the first."""
    encoding = tokenizer(
        *source, truncation=max_length is not None, max_length=max_length, return_offsets_mapping=True, verbose=False
    )
    sequences = _sequences(encoding)
    offsets = encoding["offset_mapping"]
    words, word_spans = _words(source, sequences, offsets)
    types = tuple(encoding.get("token_type_ids", ()))
    marked = None
    if rationale is not None:
        marked = tuple(
            sequence == 0 and any(start < last and first < end for first, last in rationale)
            for sequence, (start, end) in zip(sequences, offsets)
        )
    return EncodedText(
        key=f"{number}-{sha256(chr(0).join(source).encode('utf-8', 'replace')).hexdigest()[:8]}",
        ids=tuple(encoding["input_ids"]),
        special=tuple(sequence is None for sequence in sequences),
        words=words,
        label=label,
        rationale=marked,
        types=types if any(types) else (),
        source=source,
        word_spans=word_spans,
        truncated=bool(encoding.encodings[0].overflowing),
    )


def text_from_ids(
    ids: Sequence[int], tokenizer: PreTrainedTokenizerBase, number: int = 0, label: int | None = None
) -> EncodedText:
    """A text of which only the token ids are known, without padding: every token counts as a word of its own."""
    names = ("cls_token_id", "sep_token_id", "bos_token_id", "eos_token_id")
    added = {getattr(tokenizer, name, None) for name in names} - {None}
    special = tuple(token in added for token in ids)
    words = np.cumsum([not one for one in special]) - 1
    return EncodedText(
        key=f"{number}-{sha256(repr(list(ids)).encode()).hexdigest()[:8]}",
        ids=tuple(ids),
        special=special,
        words=tuple(None if one else int(word) for one, word in zip(special, words)),
        label=label,
    )


def batches_of(texts: Sequence[EncodedText], batch_size: int, tokens: int) -> list[list[int]]:
    """Places of texts that are read together, the longest first, so that what does not fit shows at once.

    They depend on the texts alone. A batch is read as a whole or not at all, so that numbers do not depend on where a
    run was interrupted.

    Args:
        batch_size: most texts in a batch.
        tokens: most tokens in a batch, padding included; a longer text is a batch of its own.
    """
    order = sorted(range(len(texts)), key=lambda place: (-len(texts[place].ids), place))
    batches: list[list[int]] = []
    for place in order:
        full = not batches or len(batches[-1]) == batch_size
        if full or (len(batches[-1]) + 1) * len(texts[batches[-1][0]].ids) > tokens:
            batches.append([])
        batches[-1].append(place)
    return batches


def mean_rationale_share(texts: Iterable[EncodedText]) -> float | None:
    """Mean share of tokens that people marked, over the texts in which they marked any; None if there are none."""
    shares = []
    for text in texts:
        if text.rationale is not None and any(text.rationale):
            shares.append(sum(text.rationale) / (len(text.ids) - sum(text.special)))
    return float(np.mean(shares)) if shares else None


def _as_string(value: Any, number: int, column: str) -> tuple[str, list[Span] | None]:
    """A text as a string, and where its words lie in it if it came as a list of words."""
    if isinstance(value, str):
        return value, None
    if not isinstance(value, (list, tuple)) or not all(isinstance(word, str) for word in value):
        raise UserError(f"row {number}: {column!r} holds {type(value).__name__}, not a text or a list of words.")
    places, start = [], 0
    for word in value:
        places.append((start, start + len(word)))
        start += len(word) + 1
    return " ".join(value), places


def _rationale_spans(value: Any, word_places: list[Span] | None, number: int, column: str) -> list[Span] | None:
    """A rationale as spans of characters."""
    if value is None or value in ("", [], ()):
        return None
    if word_places is not None:
        fits = isinstance(value, (list, tuple)) and len(value) == len(word_places)
        if not fits or any(one not in (0, 1) for one in value):
            raise UserError(
                f"row {number}: {column!r} must hold one 0 or 1 for each of the text's {len(word_places)} words."
            )
        return [place for place, one in zip(word_places, value) if one]
    try:
        return [(int(start), int(end)) for start, end in value]
    except (TypeError, ValueError):
        raise UserError(f"row {number}: {column!r} must hold [start, end] pairs of characters.") from None


def _sequences(encoding: BatchEncoding) -> list[int | None]:
    """Which text of a pair each token is from; None at what the tokenizer added."""
    added = encoding.encodings[0].special_tokens_mask
    return [None if one else sequence for one, sequence in zip(added, encoding.sequence_ids(0))]


def _words(
    source: tuple[str, ...], sequences: list[int | None], offsets: list[Span]
) -> tuple[tuple[int | None, ...], tuple[WordSpan, ...]]:
    """The word of each token, and where the words lie: those of `modeling_attrib.text_spans`, whatever the tokenizer.

    A token without a character of any word (whitespace, an empty span) belongs to the next word, or the last.
    """
    words: list[int | None] = [None] * len(sequences)
    word_spans: list[WordSpan] = []
    for number, text in enumerate(source):
        tokens = [place for place, sequence in enumerate(sequences) if sequence == number]
        own = [offsets[place] for place in tokens]
        spans = [(e["start"], e["end"]) for e in aggregate(text, own, [1.0] * len(own), "word")]
        ends = [end for _, end in spans]
        for place, (start, _) in zip(tokens, own):
            words[place] = len(word_spans) + min(bisect_right(ends, start), len(spans) - 1)
        word_spans += [(number, *span) for span in spans]
    return tuple(words), tuple(word_spans)
