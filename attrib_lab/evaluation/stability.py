"""Stability: how far an explanation moves when a text is edited and its meaning is not."""

import re
from collections.abc import Callable
from difflib import SequenceMatcher

import numpy as np
from scipy.stats import spearmanr

from .perturbation import Perturbation
from .perturbation_runner import Measured, Measurement, NotMeasurable
from .texts import EncodedText


# From texts (each a text, or a text and its pair) and the label to explain to what the model reads and its scores.
Explain = Callable[[list[tuple[str, ...]], int], list[tuple[EncodedText, np.ndarray]]]

_SYNONYMS = (
    ("film", "movie"), ("films", "movies"), ("begins", "starts"), ("big", "large"), ("quickly", "rapidly"),
    ("maybe", "perhaps"), ("often", "frequently"), ("almost", "nearly"), ("entire", "whole"), ("kids", "children"),
    ("tv", "television"), ("photo", "photograph"), ("toward", "towards"), ("among", "amongst"),
)  # fmt: skip
_OTHER_WORD = {word: other for pair in _SYNONYMS for word, other in (pair, pair[::-1])}
_SYNONYM = re.compile(rf"\b({'|'.join(_OTHER_WORD)})\b", re.IGNORECASE)
_AUXILIARY = "do|does|did|is|are|was|were|has|have|had|could|would|should"
_NOT = re.compile(rf"\b(?P<verb>{_AUXILIARY})(?: ?(?P<short>n['’]t)| not)\b", re.IGNORECASE)
_QUOTES = str.maketrans({"’": "'", "'": "’", "“": '"', "”": '"'})


def swap_synonyms(text: str) -> str:
    """Words of a short list become the other of their pair, with their capitals: Film -> Movie."""

    def swap(match: re.Match) -> str:
        word, other = match[0], _OTHER_WORD[match[0].lower()]
        return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other

    return _SYNONYM.sub(swap, text)


def swap_contractions(text: str) -> str:
    """`don't` and `do n't` become `do not`, and the other way round."""
    return _NOT.sub(lambda match: match["verb"] + (" not" if match["short"] else "n't"), text)


def swap_quotes(text: str) -> str:
    """Straight apostrophes become typographic ones and the other way round; typographic quotes become straight."""
    return text.translate(_QUOTES)


def swap_final_stop(text: str) -> str:
    """A text that ends with a full stop loses it, and one that ends with a word gets one."""
    text = text.rstrip()
    if text.endswith(".") and not text.endswith(".."):
        return text[:-1].rstrip()
    return f"{text}." if text[-1:].isalnum() else text


EDITS: tuple[Callable[[str], str], ...] = (
    swap_synonyms,
    swap_contractions,
    swap_quotes,
    swap_final_stop,
    str.lower,
)


def stability(
    text: EncodedText, scores: np.ndarray, target: int, perturbation: Perturbation, *, explain: Explain
) -> Measurement:
    """Mean of 1 − Spearman's correlation of word scores before and after each edit: 0 for an explanation that stays.

    Edits keep the meaning: synonyms, contractions, quotes, the last full stop, lower case. Compared are the words that
    the edit left in their place or replaced one for one. Edits that change nothing that the model reads do not count.
    The label explained stays `target`, whatever the model says of the edited text. `perturbation` has no part in it.

    Args:
        explain: the explainer itself; see `Explain`.

    Raises:
        NotMeasurable: where no edit changes the text, or the text's own scores are not finite or all the same.
    """
    yield from ()
    sources = {tuple(edit(part) for part in text.source) for edit in EDITS} - {text.source}
    distances = []
    for edited, edited_scores in explain(sorted(sources), target) if sources else ():
        if edited.ids != text.ids:
            before, after = _word_scores(text, scores), _word_scores(edited, edited_scores)
            pairs = _aligned_words(text, edited)
            distances.append(rank_distance([before[i] for i, _ in pairs], [after[j] for _, j in pairs]))
    if not distances:
        raise NotMeasurable("no edit changes what the model reads")
    if not any(np.isfinite(distances)):
        raise NotMeasurable("too few different scores to compare")
    return Measured(float(np.nanmean(distances)))


def rank_distance(before: list[float], after: list[float]) -> float:
    """1 − Spearman's correlation, 0 to 2; NaN for fewer than three words, or scores that are not finite.

    Two words can only agree or not: that says nothing of an explanation. Scores that are all the same before the edit
    have no order to lose: NaN. Where they have one and are all the same after it, nothing is left of it: 1, which is no
    correlation, although Spearman's is not defined there.
    """
    if len(before) < 3 or len(set(before)) < 2 or not np.isfinite([*before, *after]).all():
        return float("nan")
    if len(set(after)) < 2:
        return 1.0
    return float(1 - spearmanr(before, after).statistic)


def _word_scores(text: EncodedText, scores: np.ndarray) -> np.ndarray:
    totals = np.zeros(len(text.word_spans))
    for word, score in zip(text.words, np.asarray(scores, dtype=np.float64).tolist()):
        if word is not None:
            totals[word] += score
    if not np.isfinite(totals).all():
        raise NotMeasurable("scores are not finite")
    return totals


def _aligned_words(text: EncodedText, edited: EncodedText) -> list[tuple[int, int]]:
    """Pairs of word indices: words that are the same, and runs replaced by as many words."""
    before, after = ([one.source[s][start:end] for s, start, end in one.word_spans] for one in (text, edited))
    blocks = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    return [
        pair
        for tag, i, i_end, j, j_end in blocks
        if tag == "equal" or i_end - i == j_end - j
        for pair in zip(range(i, i_end), range(j, j_end))
    ]
