"""From token scores to spans of the original text.

Words are cut from the text itself, never from the tokenizer's pieces: two tokenizers give the same
words, and `text[start:end]` is always what the reader sees. Standard library only.

A translation table turns every character into a one-letter class and a regular expression reads the
class string, which has the length of the text: offsets carry over and long texts stay in C code.
"""

import math
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any


Span = tuple[int, int]

LEVELS = ("word", "token", "sentence")

# The classes, one letter each:
#   L letter, number, connector   D decimal digit        E mark or joiner (stays with what it follows)
#   A inner apostrophe            N . or , in a number   K ideograph or kana (a word alone)
#   G pictograph or sign          T skin tone            R half of a flag
#   J zero-width joiner           V emoji selector       Y keycap      H base of a keycap
#   S separator                   O lone surrogate       X any other punctuation
_SPECIAL_CLASSES = {
    "A": "'\u2019\uff07\u00b7\u05f3\u05f4",  # the last three: Catalan paral·lel, Hebrew abbreviations
    "N": ".,\u066b\u066c",
    # Bidirectional controls and zero-width spaces: invisible, and not part of any word.
    "S": "\u200b\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff",
    "H": "#*",
    "J": "\u200d",
    "V": "\ufe0f",
    "Y": "\u20e3",
    "E": "\uff9e\uff9f",  # half-width voicing marks: letters to unicodedata, marks to a reader
    "G": "\u2139",  # the information emoji, a letter to unicodedata
}
_CLASS_RANGES = (
    ("R", 0x1F1E6, 0x1F1FF),
    ("T", 0x1F3FB, 0x1F3FF),
    # Ideographs by range: each Python knows only the extensions of its own Unicode version.
    ("K", 0x3400, 0x4DBF),
    ("K", 0x4E00, 0x9FFF),
    ("K", 0xF900, 0xFAFF),
    ("K", 0x20000, 0x3FFFD),
    ("K", 0x3005, 0x3007),
    ("K", 0x3021, 0x3029),
    ("K", 0x3041, 0x3096),
    ("K", 0x309D, 0x309F),
    ("K", 0x30A1, 0x30FA),
    ("K", 0x30FC, 0x30FF),
    ("K", 0x31F0, 0x31FF),
    ("K", 0xFF66, 0xFF9D),
    ("K", 0x1AFF0, 0x1B16F),
)
_CATEGORY_CLASSES = {"Cc": "S", "Cs": "O", "Cf": "E", "Nd": "D", "Pc": "L"}
_CATEGORY_CLASSES |= {"So": "G", "Sm": "G", "Cn": "G", "Co": "G"}
_MAJOR_CLASSES = {"L": "L", "N": "L", "M": "E", "Z": "S"}


class _ClassTable(dict):
    """Maps code points to class letters for `str.translate`, filled as characters are met."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        category = unicodedata.category(char)
        found = next((name for name, low, high in _CLASS_RANGES if low <= code <= high), None)
        if found is None and char.isspace():
            found = "S"
        found = found or _CATEGORY_CLASSES.get(category) or _MAJOR_CLASSES.get(category[0], "X")
        self[code] = found
        return found


_TABLE = _ClassTable({ord(char): name for name, chars in _SPECIAL_CLASSES.items() for char in chars})

# A digit under a keycap is an emoji, not part of a number: 1️⃣2️⃣ is two words.
_KEYCAP_DIGIT = re.compile(r"D(?=V?Y)")
_WORD = re.compile(
    r"[LD][LDEVJY]*(?:(?:A(?=[LD])|(?<=D)N(?=D))[LDEVJY]+)*"  # letters and numbers
    r"|RR?[EVJ]*"  # flags
    r"|[GT]V?T?[EVYJ]*(?:(?<=J)[GT]V?T?[EVYJ]*)*"  # emoji and their joined families
    r"|[KHXAN][EVYJ]*"  # one ideograph, one punctuation mark
    r"|[EVYJ]+"  # marks with nothing to sit on
    r"|O"
)

# Ends that need a space or the end of the text behind them, then those that stand alone.
_STOPS = ".!?…\u203c\u2047\u2048\u2049\u037e\u0589\u061f\u06d4\u0964\u0965\u104b\u1362\u1367\u17d4\u17d5"
_WIDE_STOPS = "。！？｡．"
_OPENERS = r"\"'(\[{“‘«‹„¿¡"
_CLOSERS = r"\"')\]}’”›»」』）】》〉｣］｝"
_BREAK = re.compile(
    r"(?P<line>[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029])"
    rf"|(?P<stop>[{_STOPS}{_WIDE_STOPS}]+)"
    # Then closing quotes, German “ and French » (after its space) where no word can follow them
    # directly, and invisible direction marks.
    rf"(?P<close>(?:[{_CLOSERS}]|[“‘](?=\s|\Z)|[ \xa0\u202f][»›](?=[\s.,;:!?…]|\Z)"
    r"|[\u200e\u200f\u061c\u202c\u2069])*)"
)
_NEXT_WORD = re.compile(rf"\s*[{_OPENERS}]*(\w{{0,16}})")
_LAST_WORD = re.compile(r"(?:[^\W\d_]\.)*\w+\Z")
_LAST_WORD_REACH = 16

# A full stop after these never ends a sentence ...
_ABBREVIATION = re.compile(
    r"mr|mrs|ms|mx|dr|prof|st|mt|gen|col|maj|lt|sgt|capt|cmdr|rev|hon|sen|rep|gov|pres|messrs|mme|mlle"
    r"|vs|cf|ca|approx|al|e\.g|i\.e|z\.b|d\.h|p\.ex",
    re.IGNORECASE,
)
# ... after these only when no number follows ...
_NUMBERED = re.compile(
    r"nos?|nr|figs?|eq|sec|ch|art|vol|pp?|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec", re.IGNORECASE
)
# ... and after these, or initials as in "U.S.", only when a usual first word follows.
_SUFFIX = re.compile(r"inc|corp|ltd|co|bros|jr|sr|dept|est|(?:[^\W\d_]\.)*[^\W\d_]", re.IGNORECASE)
_FIRST_WORD = re.compile(
    r"The|This|That|These|Those|There|It|He|She|They|We|I|You|But|And|In|On|At|As|If|When|While|After"
    r"|Before|However|Its|His|Her|Their|Our|My|What|Who|Why|How"
)


def word_spans(text: str) -> list[Span]:
    """Character spans of the words and single punctuation marks of `text`, in order.

    Letters, digits, combining marks and connectors join, also across an inner apostrophe ("don't") and
    across a separator between digits ("3.14", "1,000"). An ideograph, a kana, a whole emoji sequence
    and a lone surrogate are one word each. Whitespace, control characters and invisible direction
    marks separate. Scripts written without spaces but with letters (Thai, Lao, Khmer) give one word per run.

    Returns:
        `(start, end)` pairs with `start < end`, not overlapping. Runs in linear time.
    """
    classes = _KEYCAP_DIGIT.sub("H", text.translate(_TABLE))
    return [match.span() for match in _WORD.finditer(classes)]


def sentence_spans(text: str) -> list[Span]:
    """Character spans of the sentences of `text`, in order.

    A line break ends a sentence, and so does a stop mark with the quotes or brackets that close after
    it; a stop that needs a space behind it (not 。！？) does not end one inside "3.14", after initials
    or a common abbreviation, or before a word in lower case (unless the whole text is in lower case).

    Returns:
        `(start, end)` pairs without surrounding whitespace, not overlapping; every character that is
        not whitespace is in exactly one. Runs in linear time.
    """
    # A text without capitals says nothing by a lower-case word after a full stop.
    cased = text != text.lower()
    spans = []
    start = 0
    for match in _BREAK.finditer(text):
        if match["line"] or _ends_sentence(text, match, start, cased):
            spans.append(_trim(text, start, match.end()))
            start = match.end()
    spans.append(_trim(text, start, len(text)))
    return [span for span in spans if span[0] < span[1]]


def _ends_sentence(text: str, match: re.Match, start: int, cased: bool) -> bool:
    """Whether the stop that `match` found ends the sentence that began at `start`."""
    stop, position, end = match["stop"], match.start(), match.end()
    following = text[end : end + 1]
    if any(char in _WIDE_STOPS for char in stop):
        return not (stop == "．" and following.isdigit())
    if following and not following.isspace():
        return False
    following_word = _NEXT_WORD.match(text, end)
    next_word = following_word[1] if following_word else ""
    if cased and next_word[:1].islower() and (stop[-1] in ".…" or match["close"]):
        return False
    if stop != "." or match["close"]:
        return True
    # Looking back a fixed distance keeps a text full of dots linear.
    found = _LAST_WORD.search(text, max(start, position - _LAST_WORD_REACH), position)
    word = found[0] if found else ""
    if _ABBREVIATION.fullmatch(word):
        return False
    if _NUMBERED.fullmatch(word) and next_word[:1].isdigit():
        return False
    if _SUFFIX.fullmatch(word):
        return bool(_FIRST_WORD.fullmatch(next_word))
    # "1. First point": the number belongs to what it numbers.
    return not (word.isdigit() and len(word) <= 2 and text[start:position].strip() == word)


def aggregate(text: str, offsets: Sequence[Span], scores: Sequence[float], level: str) -> list[dict[str, Any]]:
    """Sums token scores over spans of the original text.

    Args:
        text: the original text.
        offsets: `(start, end)` in characters of each non-special token, in the tokenizer's order. Spaces
            around a token's own characters, empty spans and repeated spans (byte-level pieces of one
            emoji) are all expected.
        scores: one float per token, in any unit; sums keep it.
        level: one of `LEVELS`.

    Returns:
        `{"word": text[start:end], "start": start, "end": end, "score": sum}` in text order, spans never
        overlapping. The scores of the entries sum to the scores given.

        * `"word"`: words linked by a common token merge, so a token that spans two words gives one entry
          of both. A token without a character of any word (whitespace, control characters, an empty
          span) gives its score to the next token's word, or to the previous one at the end. Words
          without a token (cut off, or dropped by the tokenizer) give no entry.
        * `"sentence"`: the words of each sentence; a word that crosses an end counts where it starts.
        * `"token"`: exactly one entry per token. Characters that an earlier token covers stay with it:
          of four byte pieces of one emoji the first shows the emoji and three have an empty word. A
          token of nothing but whitespace keeps its whitespace.

        Where no token holds a word (a blank text), the levels "word" and "sentence" give one entry with
        the empty span (0, 0) and the sum, or no entry if that sum is 0.

    Raises:
        ValueError: unknown level, `offsets` and `scores` of different lengths, or an offset outside the text.
    """
    if level not in LEVELS:
        raise ValueError(f"unknown aggregation {level!r}: use one of {', '.join(LEVELS)}")
    if len(offsets) != len(scores):
        raise ValueError(f"{len(offsets)} offsets for {len(scores)} scores: there must be one score per token")
    spans = [(int(start), int(end)) for start, end in offsets]
    for start, end in spans:
        if not 0 <= start <= end <= len(text):
            raise ValueError(f"offset ({start}, {end}) does not lie in a text of {len(text)} characters")
    values = [float(score) for score in scores]
    if level == "token":
        return _token_entries(text, spans, values)
    groups = _word_groups(text, spans, values)
    if level == "sentence":
        groups = _by_sentence(text, groups)
    if not groups:
        total = sum_scores(values)
        return [_entry(text, (0, 0), total)] if total != 0 else []
    return [_entry(text, span, sum_scores(members)) for span, members in groups]


def sum_scores(scores: Sequence[float]) -> float:
    """The sum of `scores`, exactly rounded; NaN or infinite where a score is."""
    try:
        return math.fsum(scores)
    except (OverflowError, ValueError):  # fsum refuses inf - inf and sums out of range
        return sum(scores)


def _word_groups(text: str, offsets: Sequence[Span], scores: list[float]) -> list[tuple[Span, list[float]]]:
    """The merged words with the scores of their tokens, in text order; none where no token holds a word."""
    words = word_spans(text)
    starts = [start for start, _ in words]
    ends = [end for _, end in words]
    touched = []  # first word, last word, scores of one token and of the wordless tokens before it
    waiting: list[float] = []
    for (start, end), score in zip(offsets, scores):
        waiting.append(score)
        first, last = bisect_right(ends, start), bisect_left(starts, end) - 1
        if start < end and first <= last:
            touched.append((first, last, waiting))
            waiting = []
    if not touched:
        return []
    touched[-1][2].extend(waiting)

    groups: list[tuple[Span, list[float]]] = []
    open_first = open_last = -1
    members: list[float] = []
    for first, last, given in sorted(touched, key=lambda token: token[0]):
        if first > open_last:
            if open_last >= 0:
                groups.append(((starts[open_first], ends[open_last]), members))
            open_first, members = first, []
        open_last = max(open_last, last)
        members.extend(given)
    groups.append(((starts[open_first], ends[open_last]), members))
    return groups


def _by_sentence(text: str, groups: list[tuple[Span, list[float]]]) -> list[tuple[Span, list[float]]]:
    """Joins word groups whose words start in the same sentence."""
    sentences = sentence_spans(text)
    starts = [start for start, _ in sentences]
    members: dict[Span, list[float]] = {}
    for (start, _), scores in groups:
        members.setdefault(sentences[bisect_right(starts, start) - 1], []).extend(scores)
    return list(members.items())


def _token_entries(text: str, offsets: Sequence[Span], scores: list[float]) -> list[dict[str, Any]]:
    """One entry per token, each cut back to the characters that no earlier token covers."""
    entries = []
    covered = 0
    for (start, end), score in zip(offsets, scores):
        start, end = max(start, covered), max(end, covered)
        if not text[start:end].isspace():
            start, end = _trim(text, start, end)
        entries.append(_entry(text, (start, end), score))
        covered = end
    return entries


def _entry(text: str, span: Span, score: float) -> dict[str, Any]:
    start, end = span
    return {"word": text[start:end], "start": start, "end": end, "score": score}


def _trim(text: str, start: int, end: int) -> Span:
    """The span without the whitespace at either side; empty, at its end, where there is nothing else."""
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    return start, start + len(piece.strip())
