"""An explained text as a picture, for places that show no styled HTML, such as a model card."""

import math
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.patches import FancyBboxPatch

from modeling_attrib.html_attrib import signed
from modeling_attrib.text_spans import sum_scores


# The light colours of `modeling_attrib/html_attrib.py`; a length is in points, from the top left corner.
FOR, AGAINST, DEPTH = "#0072b2", "#d55e00", 0.55
INK, SOFT, CARD, LINE = "#1b1f24", "#57606a", "#ffffff", "#d8dee4"
WIDTH, MARGIN, DOTS_PER_INCH = 576, 15, 200
_LABEL, _BODY, _SMALL = 13.5, 12.0, 9.75
_LINE_HEIGHT = 22.5
_NO_FONTS = ("Last Resort", "Noto Color Emoji")  # a box for every character; pictures, which matplotlib cannot set


class UndrawableTextError(ValueError):
    """A text, or a label, that would come out wrong."""


def draw_explanation(text: str, result: Mapping[str, Any], path: Path) -> None:
    """Draw one result with its words highlighted, as `render_html` shows it, into a PNG file.

    Args:
        text: the text classified.
        result: what the pipeline returns for it, explained toward its label, words with `start`, `end`, `score`.
        path: the file.

    Raises:
        UndrawableTextError: if no installed font has one of the characters, or the script runs from right to left.
    """
    # Everything invisible, line ends apart, becomes one visible character: the places of the words stay right.
    text = "".join(c if c.isprintable() or c == "\n" else " " if c.isspace() else "\ufffd" for c in text)
    label = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(str(result["label"]).split()))
    sheet = _Sheet(_families(text + label))
    y = _draw_head(sheet, label, float(result["score"]))
    y = _draw_text(sheet, list(_pieces(text, result["attributions"])), y + 6)
    y = _draw_foot(sheet, label, result, y + 13)
    sheet.save(path, y + 3)


class _Sheet:
    """What is drawn so far, in points from the top left corner; its height is known at the end."""

    def __init__(self, families: list[str]) -> None:
        self.families = families
        self.figure = Figure(figsize=(WIDTH / 72, 1), dpi=DOTS_PER_INCH)
        self.renderer = FigureCanvasAgg(self.figure).get_renderer()
        self.drawn: list[tuple[str, tuple[float, ...], dict[str, Any]]] = []

    def font(self, size: float, weight: str = "normal") -> FontProperties:
        return FontProperties(family=self.families, size=size, weight=weight)

    def width(self, text: str, size: float, weight: str = "normal") -> float:
        pixels = self.renderer.get_text_width_height_descent(text, self.font(size, weight), ismath=False)[0]
        return pixels * 72 / DOTS_PER_INCH

    def cut(self, text: str, width: float, size: float, weight: str = "normal") -> str:
        """The text, or as much of it as fits, with an ellipsis."""
        if self.width(text, size, weight) <= width:
            return text
        while text and self.width(f"{text}…", size, weight) > width:
            text = text[:-1]
        return f"{text}…"

    def text(self, x: float, y: float, text: str, size: float, colour: str = INK, weight: str = "normal") -> float:
        """Draw on the baseline `y`; where the text ends."""
        self.drawn.append(("text", (x, y), {"s": text, "color": colour, "fontproperties": self.font(size, weight)}))
        return x + self.width(text, size, weight)

    def mark(self, x: float, y: float, text: str, size: float, score: float, strength: float) -> float:
        """A highlighted word on the baseline `y`; where it ends."""
        end = self.text(x, y, text, size)
        colour = FOR if score > 0 else AGAINST
        box = {"color": colour, "alpha": strength * DEPTH}
        self.drawn.insert(0, ("box", (x, y - 1.05 * size, end - x, 1.45 * size), box))
        style = "solid" if score > 0 else (0, (1, 1))
        under = {"color": colour, "alpha": min(1.0, 1.5 * strength), "linestyle": style, "linewidth": 1.5}
        self.drawn.append(("line", (x, end, y + 0.32 * size), under))
        return end

    def rule(self, start: float, end: float, y: float, colour: str = LINE, width: float = 0.75) -> None:
        self.drawn.append(("line", (start, end, y), {"color": colour, "linewidth": width}))

    def save(self, path: Path, height: float) -> None:
        self.figure.set_size_inches(WIDTH / 72, height / 72)
        axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(height, 0))
        axes.axis("off")
        frame = {"boxstyle": "round,pad=0,rounding_size=9", "facecolor": CARD, "edgecolor": LINE, "linewidth": 0.75}
        axes.add_patch(FancyBboxPatch((0.5, 0.5), WIDTH - 1, height - 1, **frame))
        for kind, place, style in self.drawn:
            if kind == "text":
                axes.text(*place, parse_math=False, **style)
            elif kind == "box":
                x, y, width, tall = place
                rounded = "round,pad=0,rounding_size=2.5"
                axes.add_patch(FancyBboxPatch((x, y), width, tall, boxstyle=rounded, linewidth=0, **style))
            else:
                start, end, y = place
                axes.plot((start, end), (y, y), solid_capstyle="butt", dash_capstyle="butt", **style)
        self.figure.savefig(path, format="png", transparent=True, metadata={"Software": None})


def _draw_head(sheet: _Sheet, label: str, score: float) -> float:
    """The label, its probability and a bar; where they end."""
    share = f"{score:.1%}"
    right = WIDTH - MARGIN
    start = right - sheet.width(share, _BODY)
    sheet.text(MARGIN, 27, sheet.cut(label, start - 2 * MARGIN, _LABEL, "bold"), _LABEL, weight="bold")
    sheet.text(start, 27, share, _BODY)
    sheet.rule(MARGIN, right, 36, width=3)
    if 0 <= score <= 1:
        sheet.rule(MARGIN, MARGIN + score * (right - MARGIN), 36, colour=FOR, width=3)
    return 36


def _draw_text(sheet: _Sheet, pieces: list[tuple[str, float]], y: float) -> float:
    """The words in lines, each as strong as its share of the strongest; where the last line ends."""
    strongest = max((abs(score) for _, score in pieces if math.isfinite(score)), default=0.0) or 1.0
    x, y, right = MARGIN, y + _LINE_HEIGHT - 4, WIDTH - MARGIN
    for blank, run in groupby(pieces, key=lambda piece: piece[0].isspace()):
        together = list(run)
        if blank:
            x += sheet.width(" ", _BODY) if x > MARGIN else 0
            breaks = together[0][0].count("\n")
            x, y = (MARGIN, y + breaks * _LINE_HEIGHT) if breaks else (x, y)
            continue
        if x > MARGIN and x + sum(sheet.width(piece, _BODY) for piece, _ in together) > right:
            x, y = MARGIN, y + _LINE_HEIGHT
        for piece, score in together:
            shown = sheet.cut(piece, right - x, _BODY)
            strength = 0.0 if math.isnan(score) else min(1.0, abs(score) / strongest)
            plain = strength < 0.005
            x = sheet.text(x, y, shown, _BODY) if plain else sheet.mark(x, y, shown, _BODY, score, strength)
    return y


def _draw_foot(sheet: _Sheet, label: str, result: Mapping[str, Any], y: float) -> float:
    """The legend, and the sum up to the logit below it where both do not fit; where they end."""
    right = WIDTH - MARGIN
    sheet.rule(MARGIN, right, y)
    y += 19
    x = sheet.mark(MARGIN + 3, y, sheet.cut(f"for {label}", (right - MARGIN) / 2, _SMALL), _SMALL, 1, 0.7)
    x = sheet.mark(x + 12, y, "against", _SMALL, -1, 0.7)
    terms = {
        "words": sum_scores([float(word["score"]) for word in result["attributions"]]),
        "special tokens": float(result["special_score"]),
        "rest": float(result["residual"]),
    }
    terms["= logit"] = sum_scores(list(terms.values()))
    shown = [(f"{name} ", signed(value)) for name, value in terms.items()]
    gap = 10
    long = sum(sheet.width(name, _SMALL) + sheet.width(value, _SMALL, "bold") + gap for name, value in shown) - gap
    if x + 2 * gap + long > right:
        x, y = MARGIN, y + 18
    else:
        x = right - long
    for name, value in shown:
        x = sheet.text(x, y, name, _SMALL, SOFT)
        x = sheet.text(x, y, value, _SMALL, weight="bold") + gap
    return y + 9


def _pieces(text: str, attributions: list[Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    """The whole text in (piece, score): words with theirs, what stands between them with 0, blanks on their own."""
    position = 0
    for word in sorted(attributions, key=lambda one: one["start"]):
        yield from ((piece, 0.0) for piece in _split(text[position : word["start"]]))
        if word["end"] > word["start"]:
            yield from ((piece, float(word["score"])) for piece in _split(text[word["start"] : word["end"]]))
        position = word["end"]
    yield from ((piece, 0.0) for piece in _split(text[position:]))


def _split(text: str) -> Iterator[str]:
    """Runs of blanks and runs of anything else, in order."""
    start = 0
    for end in range(1, len(text) + 1):
        if end == len(text) or text[end].isspace() != text[start].isspace():
            yield text[start:end]
            start = end


def _families(text: str) -> list[str]:
    """Fonts that have every character: matplotlib's own, and of those installed what it lacks."""
    # Words are set one by one from the left.
    if any(unicodedata.bidirectional(c) in ("R", "AL", "AN") for c in text):
        raise UndrawableTextError("a script that runs from right to left cannot be drawn")
    families, missing = (
        ["DejaVu Sans"],
        set(text) - {"\n"} - _characters(findfont(FontProperties(family=["DejaVu Sans"]))),
    )
    for font in sorted(fontManager.ttflist, key=lambda font: font.fname) if missing else ():
        plain = font.style == "normal" and font.weight == 400 and not font.name.startswith(_NO_FONTS)
        found = missing & _characters(font.fname) if plain else set()
        if found:
            families, missing = [*families, font.name], missing - found
    if missing:
        raise UndrawableTextError(f"no installed font has the character {min(missing)!r}")
    return families


@lru_cache(maxsize=1024)
def _characters(file: str) -> frozenset[str]:
    """What a font can show."""
    return frozenset(map(chr, get_font(file).get_charmap()))
