"""One explained text for a terminal: words for the label on blue, words against it on orange, and their scores."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any


# Colours 16 to 231 of a terminal are a cube of 6 by 6 by 6: from pale to strong, told apart by the colour-blind too.
_FOR, _AGAINST = (153, 111, 69, 27), (223, 216, 209, 202)
_DARK, _LIGHT = 16, 231  # letters on pale and on strong colours
_VISIBLE = 0.08  # of the largest score: weaker words stay plain
_NAMED = 5
_RESET = "\033[0m"


def terminal_text(text: str | Mapping[str, str], result: Mapping[str, Any], colours: bool) -> str:
    """A result of the pipeline as lines for a terminal.

    Args:
        text: what was explained; a pair as the pipeline takes it.
        colours: whether the terminal shows them; what they say stands in words too.
    """
    entries = [entry for entry in result["attributions"] if not entry.get("special")]
    lines = [_head(result)]
    parts = (
        {"text": text} if isinstance(text, str) else {key: text[key] for key in ("text", "text_pair") if key in text}
    )
    for sequence, content in parts.items():
        own = [entry for entry in entries if entry.get("sequence", "text") == sequence]
        lines.append(_coloured(content, own, entries) if colours else printable(content))
    lines += [f"  {title}: {named}" for title, named in (("for", _named(entries, 1)), ("against", _named(entries, -1)))]
    rest = result["special_score"] + result["residual"]
    lines.append(f"  words {sum(entry['score'] for entry in entries):+.2f}, rest {rest:+.2f}")
    return "\n".join(lines)


def printable(text: str) -> str:
    """Text without what a terminal would obey: control characters, and those that turn the direction of writing."""
    return "".join(_printable(character) for character in text)


def _printable(character: str) -> str:
    if character in "\n\t":
        return " "
    category = unicodedata.category(character)
    hidden = category in ("Cc", "Cs") or character in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    return "\ufffd" if hidden else character


def _head(result: Mapping[str, Any]) -> str:
    head = f"{printable(str(result['label']))}  {result['score']:.1%}"
    if "target" in result and result["target"] != result["label"]:
        head += f"   explained: {printable(str(result['target']))}"
    if "contrast" in result:
        head += f"   against: {printable(str(result['contrast']))}"
    return head


def _coloured(text: str, own: Sequence[Mapping[str, Any]], entries: Sequence[Mapping[str, Any]]) -> str:
    largest = max((abs(entry["score"]) for entry in entries), default=0.0)
    pieces, end = [], 0
    for entry in own:
        pieces.append(printable(text[end : entry["start"]]))
        word, end = printable(text[entry["start"] : entry["end"]]), entry["end"]
        share = abs(entry["score"]) / largest if largest else 0.0
        if share < _VISIBLE:
            pieces.append(word)
            continue
        step = min(3, int(share * 4))
        background = (_FOR if entry["score"] > 0 else _AGAINST)[step]
        ink = _LIGHT if step == 3 and entry["score"] > 0 else _DARK
        pieces.append(f"\033[48;5;{background};38;5;{ink}m{word}{_RESET}")
    return "".join([*pieces, printable(text[end:])])


def _named(entries: Sequence[Mapping[str, Any]], sign: int) -> str:
    chosen = sorted((entry for entry in entries if entry["score"] * sign > 0), key=lambda entry: -abs(entry["score"]))
    named = ", ".join(f"{printable(entry['word'])} {entry['score']:+.2f}" for entry in chosen[:_NAMED])
    return named or "nothing"
