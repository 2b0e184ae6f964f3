"""From a text, or a pair, to what a model reads at once: all of its tokens, in one window or in several.

A long text is encoded once, uncut, and its windows are slices of that: each token keeps the place that it has in the
whole, whichever window it is read in, and whatever side the tokenizer would cut.
"""

import re
import threading
from dataclasses import dataclass
from typing import Any, NamedTuple


NO_LIMIT = 10**9  # tokens; tokenizers without a maximum length report a huge one
DEFAULT_OVERLAP = 64  # tokens: about three sentences of context on each side of a window's edge

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
# A fast tokenizer keeps its truncation settings inside: two threads that share one would cut each other's texts.
_TOKENIZER_LOCK = threading.Lock()


class Token(NamedTuple):
    """A token and the characters that it stands for.

    Attributes:
        id: its number in the vocabulary.
        sequence: 0 in the text, 1 in the pair's second text, None for a special token, which stands for nothing.
        start, end: offsets in that text.
    """

    id: int
    sequence: int | None
    start: int
    end: int


class Window(NamedTuple):
    """What the model reads at once.

    Attributes:
        inputs: the model's inputs, each a list of one number a token.
        places: which of the text's tokens these are, without padding.
    """

    inputs: dict[str, list[int]]
    places: list[int]


@dataclass(frozen=True)
class TokenizedText:
    """A text, or a pair, with its tokens in order and the windows that cover them."""

    texts: list[str]
    tokens: list[Token]
    windows: list[Window]

    def shares(self) -> list[float]:
        """Each window's share: its number of text tokens over all windows'; equal shares if there are none."""
        counts = [sum(self.tokens[place].sequence is not None for place in w.places) for w in self.windows]
        total = sum(counts)
        return [count / total for count in counts] if total else [1 / len(counts)] * len(counts)


def tokenize(tokenizer: Any, texts: list[str], arguments: dict[str, Any], limit: int, overlap: int) -> TokenizedText:
    """One text or a pair, ready for a model that reads `limit` tokens at once.

    Args:
        tokenizer: a fast one, which knows where its tokens are.
        arguments: further arguments for the tokenizer; where they cut the text, there is one window.
        limit: tokens, special ones included.
        overlap: tokens that neighbouring windows share; the default becomes half a window where there is less room.

    Raises:
        ValueError: for a slow tokenizer, an impossible overlap, or a pair whose shorter text leaves no room.
    """
    if not tokenizer.is_fast:
        raise ValueError("attributions need a fast tokenizer: this one does not know where its tokens are.")
    options = _tokenizer_options(arguments, limit)
    # U+FFFD takes one character's place, so offsets still point into the original text.
    clean = [_LONE_SURROGATE.sub("\ufffd", text) for text in texts]
    with _TOKENIZER_LOCK:
        encoded = tokenizer(*clean, **options)
    ids = encoded["input_ids"]
    columns = {name: encoded[name] for name in _INPUTS if name in encoded}
    columns.setdefault("attention_mask", [1] * len(ids))
    if not ids:
        return TokenizedText(texts, *_placeholder(tokenizer, columns))
    real = [place for place, is_real in enumerate(columns["attention_mask"]) if is_real]
    sequences, offsets = encoded.sequence_ids(0), encoded["offset_mapping"]
    tokens = [Token(ids[place], sequences[place], *offsets[place]) for place in real]
    if len(ids) <= limit or options["truncation"]:
        return TokenizedText(texts, tokens, [Window(columns, list(range(len(tokens))))])
    columns = {name: [column[place] for place in real] for name, column in columns.items()}
    places = _window_places([token.sequence for token in tokens], limit, overlap)
    windows = [Window({name: [column[i] for i in own] for name, column in columns.items()}, own) for own in places]
    return TokenizedText(texts, tokens, windows)


def _tokenizer_options(arguments: dict[str, Any], limit: int) -> dict[str, Any]:
    """All arguments of the tokenizer: the caller's, understood as tokenizers do, and what its answer must say."""
    options = {"verbose": False} | arguments | {"return_offsets_mapping": True}
    for name in ("return_tensors", "return_overflowing_tokens"):
        options.pop(name, None)
    truncation, length = options.get("truncation"), options.get("max_length")
    if truncation is None:
        truncation = length is not None and not options.get("padding")  # a length that nothing is padded to cuts
    elif truncation == "do_not_truncate":
        truncation = False
    if truncation and length is None and limit < NO_LIMIT:
        options["max_length"] = limit  # which the tokenizer itself may not know
    return options | {"truncation": truncation}


def _window_places(sequences: list[int | None], limit: int, overlap: int) -> list[list[int]]:
    """Which tokens each window holds: all, or a piece of the longer text and all that stands before and behind it."""
    if len(sequences) <= limit:  # without the padding that was asked for
        return [list(range(len(sequences)))]
    longer = max((0, 1), key=sequences.count)
    start = sequences.index(longer)
    end = start + sequences.count(longer)
    room = limit - (len(sequences) - (end - start))
    if room < 1:
        raise ValueError(
            f"both texts of the pair are too long: the shorter one leaves no room in {limit} tokens for the other."
        )
    overlap = min(overlap, room // 2) if overlap == DEFAULT_OVERLAP else overlap
    if not isinstance(overlap, int) or not 0 <= overlap < room:
        raise ValueError(f"overlap={overlap!r}: it must be from 0 to {room - 1} tokens.")
    starts = range(start, max(end - overlap, start + 1), room - overlap)
    before, behind = range(start), range(end, len(sequences))
    return [[*before, *range(first, min(first + room, end)), *behind] for first in starts]


def _placeholder(tokenizer: Any, columns: dict[str, list[int]]) -> tuple[list[Token], list[Window]]:
    """A single special token for an empty text under a tokenizer that adds none: models need a token to read."""
    candidates = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id)
    token = next((token for token in candidates if token is not None), 0)
    inputs = {name: [0] for name in columns} | {"input_ids": [token], "attention_mask": [1]}
    return [Token(token, None, 0, 0)], [Window(inputs, [0])]
