"""Attributions as HTML: a fragment for notebooks and web pages, and a page that holds several.

A fragment is self-contained: one scoped style element, no script, no id, nothing to download. All text
in it is escaped, and direction marks in a text act on that text alone. Standard library only.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from .text_spans import sum_scores


# Text, highlights at full strength included, keeps a contrast of at least 4.5 (WCAG AA) in both schemes; blue and
# orange stay apart for every common colour blindness, underlines in greyscale. Paper is white: dark is for screens.
# Browsers place words in 1/64 px: a line height or padding that is no such fraction sets some of them a pixel lower.
_STYLE = """<style>
.attrib-view{--ink:#1b1f24;--soft:#57606a;--card:#ffffff;--line:#d8dee4;--for:0,114,178;--against:213,94,0;\
--depth:.55;color-scheme:light}
@media screen and (prefers-color-scheme:dark){.attrib-view{--ink:#eef1f4;--soft:#a3adb8;--card:#171b21;--line:#343b44;\
--for:30,140,210;--against:225,105,25;--depth:.6;color-scheme:dark}}
.attrib-view{box-sizing:border-box;max-width:100%;margin:.5em 0;padding:1.1em 1.25em;overflow:hidden;\
border:1px solid var(--line);border-radius:12px;background:var(--card);color:var(--ink);text-align:start;\
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Noto Sans",sans-serif;\
unicode-bidi:isolate;print-color-adjust:exact;-webkit-print-color-adjust:exact}
.attrib-head{display:flex;flex-wrap:wrap;justify-content:space-between;align-items:baseline;gap:0 1em}
.attrib-label{font-size:1.125em;font-weight:650;overflow-wrap:anywhere}
.attrib-probability{font-variant-numeric:tabular-nums}
.attrib-bar{height:4px;margin:.4em 0 0;border-radius:2px;background:var(--line);overflow:hidden}
.attrib-bar div{height:100%;border-radius:2px;background:rgb(var(--for))}
.attrib-note{margin-top:.7em;color:var(--soft);font-size:.8125em;overflow-wrap:anywhere}
.attrib-text{margin:.8em 0;line-height:1.875;white-space:pre-wrap;tab-size:4;overflow-wrap:anywhere;\
unicode-bidi:plaintext}
.attrib-note+.attrib-text{margin-top:.15em}
.attrib-for,.attrib-against{border-radius:.2em;padding-block:.125em;box-decoration-break:clone;\
-webkit-box-decoration-break:clone;background:rgba(var(--tone),calc(var(--a)*var(--depth)));\
text-decoration:underline 2px rgba(var(--tone),calc(var(--a)*1.5));text-underline-offset:.3em;\
text-decoration-skip-ink:none}
.attrib-for{--tone:var(--for);text-decoration-style:solid}
.attrib-against{--tone:var(--against);text-decoration-style:dotted}
.attrib-foot{display:flex;flex-wrap:wrap;justify-content:space-between;gap:.5em 1.5em;padding-top:.7em;\
border-top:1px solid var(--line);color:var(--soft);font-size:.8125em;overflow-wrap:anywhere}
.attrib-legend,.attrib-sum{display:flex;flex-wrap:wrap;gap:.25em 1em}
.attrib-legend span{padding-inline:.4em;color:var(--ink)}
.attrib-sum b{color:var(--ink);font-weight:600;font-variant-numeric:tabular-nums}
</style>"""

_PAGE_STYLE = """<style>
:root{color-scheme:light dark}
body{margin:0;background:#f4f6f8;color:#1b1f24;\
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Noto Sans",sans-serif}
main{box-sizing:border-box;max-width:52rem;margin:0 auto;padding:clamp(1rem,4vw,3rem) clamp(.75rem,4vw,2rem)}
h1{margin:0 0 1.2rem;font-size:clamp(1.4rem,4vw,1.9rem);line-height:1.25;font-weight:700;\
letter-spacing:-.015em;text-wrap:balance;overflow-wrap:anywhere}
.lead{margin:-.6rem 0 1.2rem;color:#57606a;overflow-wrap:anywhere}
h2{margin:2rem 0 0;font-size:1rem;line-height:1.4;font-weight:600;overflow-wrap:anywhere}
section+section{margin-top:1.1rem}
@media screen and (prefers-color-scheme:dark){body{background:#0d1014;color:#eef1f4}.lead{color:#a3adb8}}
@page{margin:15mm}
@media print{:root{color-scheme:light}body{background:none}main{padding:0}\
section{break-inside:avoid}h2{break-after:avoid}}
</style>"""

# What HTML or UTF-8 cannot hold: controls but tab and line ends, and lone surrogates.
_UNSHOWABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")

_TEXT_NAMES = {"text": "Text", "text_pair": "Text pair"}

# The parts of the sum up to the logit: where the result has them, and what they are.
_PARTS = {
    "special tokens": ("special_score", "the scores of tokens that stand for no word, such as [CLS] and [SEP]"),
    "rest": ("residual", "what this method gives to no token"),
}
_LOGIT = ("= logit", "the label's score, before the scores of all labels become probabilities")
_LOGIT_DIFFERENCE = ("= logit difference", "how far the one label's score is above the other's")


class HTMLFragment(str):
    """HTML that is safe to insert as it is; notebooks and template engines show it rendered."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return str(self)

    def __html__(self) -> str:
        return str(self)


def render_html(
    text: str | Mapping[str, str], result: Mapping[str, Any], *, max_score: float | None = None
) -> HTMLFragment:
    """Renders one classification result with its words highlighted.

    Args:
        text: the text classified, or `{"text": ..., "text_pair": ...}` for a pair.
        result: `{"label", "score", "attributions": [{"start", "end", "score"}, ...]}` as the pipeline
            returns it; an attribution of a pair's second text has `"sequence": "text_pair"`. Optional:
            `"target"` (label explained, if not `"label"`), `"contrast"` (label explained against), and
            `"special_score"` and `"residual"`, which add the line that sums up to the logit.
        max_score: the |score| shown at full strength, in the unit of the scores; by default the largest
            finite one of this result. Give one value to several results to compare them by eye.

    Returns:
        An `HTMLFragment`, always encodable as UTF-8. Text outside any attribution is shown plain, and so
        are words with a NaN score; characters that HTML cannot hold are shown as U+FFFD.

    Raises:
        ValueError: a list of results, or a result without attributions; an attribution outside its text,
            overlapping another, or of an unknown sequence; a `max_score` that is not above 0.
        KeyError: `result` lacks a key that is not optional.
    """
    if not isinstance(result, Mapping):
        raise ValueError("render_html shows one result: choose one of those that pipe(text) gives, pipe(text)[0].")
    if "attributions" not in result:
        raise ValueError("this result has no attributions to show: it was asked for with attributions=False.")
    given = {"text": text} if isinstance(text, str) else text
    texts = {name: given[name] for name in _TEXT_NAMES if given.get(name) is not None}
    attributions: dict[str, list[Mapping[str, Any]]] = {name: [] for name in texts}
    for attribution in result["attributions"]:
        sequence = attribution.get("sequence", "text")
        if sequence not in attributions:
            raise ValueError(f"attribution of the sequence {sequence!r}, but the text has {', '.join(texts)}")
        attributions[sequence].append(attribution)

    # Special tokens, which stand among the others at aggregation="token", have their own part of the sum.
    scores = [float(attribution["score"]) for attribution in result["attributions"] if not attribution.get("special")]
    if max_score is None:
        max_score = max((abs(score) for score in scores if math.isfinite(score)), default=0.0) or 1.0
    elif not max_score > 0:
        raise ValueError(f"max_score is {max_score}: it must be above 0")

    parts = [_STYLE, '<div class="attrib-view" dir="ltr">', _head(result)]
    for name, one_text in texts.items():
        if len(texts) > 1:
            parts.append(f'<div class="attrib-note">{_TEXT_NAMES[name]}</div>')
        parts.append('<div class="attrib-text" dir="auto" lang="">')
        parts.extend(_highlighted(one_text, attributions[name], max_score))
        parts.append("</div>")
    parts += [_foot(result, scores), "</div>"]
    return HTMLFragment("".join(parts))


def render_page(title: str, fragments: Iterable[str | tuple[str, str]], *, introduction: str = "") -> str:
    """A complete HTML document that shows fragments below each other.

    Args:
        title: plain text, for the window and the top of the page.
        fragments: fragments, or pairs of a plain-text heading and a fragment. A string that does not
            declare itself HTML (by `__html__`, as `HTMLFragment` does) is escaped.
        introduction: plain text, below the title.

    Returns:
        The document, always encodable as UTF-8, without scripts or anything to download.
    """
    sections = []
    for item in fragments:
        heading, fragment = item if isinstance(item, tuple) else (None, item)
        body = fragment.__html__() if hasattr(fragment, "__html__") else _isolated(fragment)
        top = "" if heading is None else f"<h2>{_isolated(heading)}</h2>\n"
        # One copy of the fragments' style, in the head, serves them all.
        sections.append(f"<section>\n{top}{body.replace(_STYLE, '')}\n</section>\n")
    lead = f'<p class="lead">{_isolated(introduction)}</p>\n' if introduction else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_escaped(title)}</title>\n{_STYLE}\n{_PAGE_STYLE}\n</head>\n<body>\n<main>\n"
        f"<h1>{_isolated(title)}</h1>\n{lead}{''.join(sections)}</main>\n</body>\n</html>\n"
    )


def _head(result: Mapping[str, Any]) -> str:
    """The label, its probability with a bar, and what the words explain where that is not the label."""
    score = float(result["score"])
    is_probability = 0 <= score <= 1
    shown = f"{score:.1%}" if is_probability else signed(score)
    head = (
        f'<div class="attrib-head"><span class="attrib-label">{_isolated(result["label"])}</span>'
        f'<span class="attrib-probability">{shown}</span></div>'
    )
    if is_probability:
        head += f'<div class="attrib-bar" aria-hidden="true"><div style="width:{score:.1%}"></div></div>'
    target, contrast = result.get("target"), result.get("contrast")
    if contrast is not None and contrast == _explained(result):
        why = f"Why not {_isolated(contrast)}? It is {_isolated(contrast)}: no score says why"
    elif contrast is not None:
        why = f"Why {_isolated(_explained(result))}, not {_isolated(contrast)}"
    elif target is not None and target != result["label"]:
        why = f"What speaks for {_isolated(target)}"
    else:
        return head
    return head + f'<div class="attrib-note">{why}</div>'


def _foot(result: Mapping[str, Any], scores: Sequence[float]) -> str:
    """The legend and, where the result says what no word accounts for, the sum up to the logit."""
    contrast = result.get("contrast")
    against = "against" if contrast is None else f"for {_isolated(contrast)}"
    foot = (
        '<div class="attrib-foot"><div class="attrib-legend">'
        f'<span class="attrib-for" style="--a:.7">for {_isolated(_explained(result))}</span>'
        f'<span class="attrib-against" style="--a:.7">{against}</span></div>'
    )
    terms = [("words", "the words' scores, added up", sum_scores(scores))]
    for name, (key, meaning) in _PARTS.items():
        if result.get(key) is not None:
            terms.append((name, meaning, float(result[key])))
    if len(terms) > 1:
        total = sum_scores([value for *_, value in terms])
        terms.append((*(_LOGIT if contrast is None else _LOGIT_DIFFERENCE), total))
        items = " ".join(f'<span title="{what}">{name} <b>{signed(value)}</b></span>' for name, what, value in terms)
        foot += f'<div class="attrib-sum">{items}</div>'
    return foot + "</div>"


def _explained(result: Mapping[str, Any]) -> Any:
    target = result.get("target")
    return result["label"] if target is None else target


def _highlighted(text: str, attributions: Iterable[Mapping[str, Any]], max_score: float) -> Iterable[str]:
    """The whole text in pieces, each attributed word in an element of its own."""
    text = _showable(text)  # keeps the length, so spans still fit
    position = 0
    for attribution in sorted(attributions, key=lambda one: (one["start"], one["end"])):
        start, end, score = attribution["start"], attribution["end"], float(attribution["score"])
        if not position <= start <= end <= len(text):
            raise ValueError(
                f"attribution ({start}, {end}) overlaps another or leaves its text of {len(text)} characters: is the "
                "result another text's?"
            )
        yield escape(text[position:start])
        position = end
        if start == end:
            continue
        # min() also keeps infinity, which CSS does not know, out of the style.
        strength = 0.0 if math.isnan(score) else min(1.0, abs(score) / max_score)
        mark = ""
        if strength >= 0.005:  # below, two decimals show nothing
            mark = f'class="attrib-{"for" if score > 0 else "against"}" style="--a:{strength:.2f}" '
        yield f'<span {mark}title="{signed(score)}">{escape(text[start:end])}</span>'
    yield escape(text[position:])


def signed(value: float) -> str:
    """A number with its sign and three significant digits."""
    return "not a number" if math.isnan(value) else f"{value + 0.0:+#.3g}".rstrip(".")


def _showable(text: Any) -> str:
    return _UNSHOWABLE.sub("\ufffd", str(text))


def _escaped(text: Any) -> str:
    return escape(_showable(text), quote=True)


def _isolated(text: Any) -> str:
    """Escaped text whose direction marks cannot reorder what stands around it."""
    return f'<bdi dir="auto">{_escaped(text)}</bdi>'
