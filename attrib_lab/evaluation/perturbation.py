"""What is removed from a text (tokens or words, ranked by their scores) and what stands in its place."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from ..terminal.errors import UserError
from .options import KINDS, UNITS
from .perturbation_runner import NotMeasurable, PerturbedText
from .texts import EncodedText


Unit = tuple[int, ...]  # the positions of one token, or of the tokens of one word


@dataclass(frozen=True)
class Perturbation:
    """How units are taken out of a text.

    Attributes:
        kind: "mask" and "unk" put that token in the place of each removed one; "delete" closes the gap.
        replacement: the id of that token; None where tokens are deleted.
        unit: "token", or "word": its tokens go together, and its score is the sum of theirs.
    """

    kind: str
    replacement: int | None
    unit: str = "token"

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, kind: str = "mask", unit: str = "token") -> "Perturbation":
        """The perturbation of one kind with the ids of a tokenizer.

        Raises:
            UserError: for a kind or unit that there is not, or a tokenizer without a token of that kind.
        """
        if kind not in KINDS or unit not in UNITS:
            raise UserError(f"perturbation {kind!r} of {unit!r}: there is {', '.join(KINDS)} of {' or '.join(UNITS)}.")
        if kind == "delete":
            return cls(kind, None, unit)
        replacement = getattr(tokenizer, f"{kind}_token_id", None)
        if replacement is None:
            raise UserError(f"this tokenizer has no {kind} token: remove in another way ({', '.join(KINDS)}).")
        if replacement in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id):
            token = tokenizer.convert_ids_to_tokens(replacement)
            raise UserError(f"this tokenizer's {kind} token, {token}, also begins, ends or pads texts: delete instead.")
        return cls(kind, replacement, unit)

    def without(self, text: EncodedText, units: Iterable[Unit]) -> PerturbedText:
        """The text without these units.

        Raises:
            NotMeasurable: if nothing at all is left for the model to read.
        """
        removed = {position for unit in units for position in unit}
        if self.replacement is None:
            kept = [position for position in range(len(text.ids)) if position not in removed]
            if not kept:
                raise NotMeasurable("nothing is left once every token is deleted")
            return PerturbedText(
                tuple(text.ids[position] for position in kept),
                tuple(text.types[position] for position in kept) if text.types else (),
            )
        ids = tuple(self.replacement if p in removed else token for p, token in enumerate(text.ids))
        return PerturbedText(ids, text.types)


def units_of(text: EncodedText, perturbation: Perturbation, special_tokens: bool = False) -> list[Unit]:
    """The units of a text in order; each special token is one of its own, where they take part."""
    units: dict[object, list[int]] = {}
    for position, (word, special) in enumerate(zip(text.words, text.special)):
        if special and not special_tokens:
            continue
        by_word = perturbation.unit == "word" and not special
        units.setdefault(("word", word) if by_word else position, []).append(position)
    return [tuple(positions) for positions in units.values()]


def unit_scores(text: EncodedText, scores: np.ndarray, units: Sequence[Unit]) -> np.ndarray:
    """The sum of the token scores of each unit.

    Raises:
        NotMeasurable: for a text with fewer than two tokens besides special ones, where there is nothing to rank, and
            for scores that are not finite.
        ValueError: if there is not one score per token.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.shape != (len(text.ids),):
        raise ValueError(f"scores have shape {scores.shape}; {text.key} has {len(text.ids)} tokens.")
    tokens = len(text.ids) - sum(text.special)
    if tokens < 2:
        raise NotMeasurable("only one token" if tokens else "only special tokens")
    sums = np.array([scores[list(unit)].sum() for unit in units])
    if not np.isfinite(sums).all():
        raise NotMeasurable("scores are not finite")
    if len(units) < 2:
        raise NotMeasurable("only one word")
    return sums


def rank_units(
    text: EncodedText,
    scores: np.ndarray,
    perturbation: Perturbation,
    *,
    special_tokens: bool = False,
    ascending_magnitude: bool = False,
) -> list[Unit]:
    """The units of a text by descending signed score, or by ascending magnitude; of equal ones the first comes first.

    Raises:
        NotMeasurable: see `unit_scores`.
    """
    units = units_of(text, perturbation, special_tokens)
    sums = unit_scores(text, scores, units)
    order = np.argsort(np.abs(sums) if ascending_magnitude else -sums, kind="stable")
    return [units[place] for place in order]


def counts_at(fractions: Sequence[float], total: int) -> list[int]:
    """ceil(fraction · total) in floating point, as published: 0.3 of 10 is 4 where the fraction is 3 · 0.1."""
    return [math.ceil(fraction * total) for fraction in fractions]
