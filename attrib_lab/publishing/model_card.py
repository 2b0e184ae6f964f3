"""The model card of a classifier: what it does, how it was measured, how far to trust its reasons."""

from collections.abc import Mapping
from typing import Any

from modeling_attrib.attribution_methods import AttributionMethod, get_attribution_method

from ..markdown_text import escape_markdown
from . import card_sections as sections
from .card_facts import CardFacts
from .card_header import header
from .card_snippets import snippets
from .inspection import PICTURE


_CARD = """\
---
{header}
---

# {title}

A text classifier that explains itself. One call returns the label **and**, for every token,
{score}.
The scores come from the model itself, {passes}: no second tool to install,
no second model to trust.
{picture}
It reads text with {encoder}.

{overview}
## Use

{snippets}
## Labels

| index | label |
| ---: | :--- |
{labels}
{measured}{faithfulness}
## Reading the attributions

{direction} For every text,

> attributions + special_score + residual = the explained logit.

`special_score` is what fell on tokens such as `[CLS]` and `[SEP]`, which stand for no word: the pipeline sums
it apart, `out.attributions` keeps these tokens in their places. `residual` is what no token accounts for.
{conservation}

The method is `{method}`: {paper}.
{scale}

## Limits

- An attribution explains the model, not the world. A word that speaks for a label has moved this model; that
  does not make the label true, nor the word its cause.
- {worth}
- Away from the kind of text it was trained on, the model still names a label and still gives reasons for it.
  Neither is then worth much, and a high score is no warning.
- The LRP family of methods is claimed by a patent in some countries. The rules in this repository are an
  independent implementation, named after the papers that describe them (Ali et al. 2022). Whether the claim
  concerns your use is for you to find out.
{origin}{security}{licence}{citation}"""


def model_card(facts: CardFacts) -> str:
    """The text of README.md: YAML header and Markdown. What the facts lack, it leaves out."""
    method = get_attribution_method(facts.config.attribution_method)
    labels = sorted(facts.config.id2label.items())
    return _CARD.format(
        header=header(facts),
        title=escape_markdown(facts.name),
        encoder=_encoder(facts),
        picture=_picture(facts.example, facts.explained) if facts.explained else "",
        passes=_passes(method.cost),
        overview=sections.overview(facts),
        snippets=snippets(facts),
        labels="\n".join(f"| {index} | {escape_markdown(str(label))} |" for index, label in labels),
        measured=sections.measured(facts),
        faithfulness=sections.faithfulness(facts),
        method=method.name,
        paper=escape_markdown(method.paper),
        origin=sections.origin(facts),
        security=sections.security(facts),
        licence=sections.licence(facts),
        citation=sections.citation(facts),
        **_ways_of_reading(method),
    )


def _passes(cost: int) -> str:
    if cost == 1:
        return "out of its own forward pass"
    return "by one backward pass through it" if cost == 2 else f"by {cost - 1} more passes through it"


def _picture(example: str, explained: Mapping[str, Any]) -> str:
    """The picture, with the same in words for who does not see it."""
    strongest = sorted(explained["attributions"], key=lambda word: abs(word["score"]), reverse=True)[:5]
    words = ", ".join(f"{word['word']} {word['score']:+.2f}" for word in strongest)
    shown = f"“{example}” is labelled {explained['label']} ({explained['score']:.1%}); the strongest words: {words}"
    return f"\n![{escape_markdown(shown)}]({PICTURE})\n"


def _encoder(facts: CardFacts) -> str:
    original = facts.original_of
    if original is None or facts.converted:
        return f"an encoder of the type {escape_markdown(facts.config.backbone_config.model_type)}"
    return f"[{escape_markdown(original)}](https://huggingface.co/{original})"


def _ways_of_reading(method: AttributionMethod) -> dict[str, str]:
    """What a score and the residual mean under this method."""
    if method.signed:
        score = "a signed score that says how much it spoke for or against that label"
        direction = "A positive score speaks **for** the explained label, a negative one **against** it."
    else:
        score = "a score that says how much it mattered for that label"
        direction = "This method gives importance only: it does not say whether a token speaks for or against."
    if method.conservative:
        conservation = "The method is conservative: the residual is the share of the model's biases alone."
        scale = "Its scores are on the scale of the logit: compare them within one text rather than across texts."
        worth = (
            "Look at the residual before you look at the words. Where it is large beside the scores, they tell only a\n"
            "  part of the decision."
        )
    else:
        conservation = "The method is not conservative: the residual also holds what it leaves unexplained."
        scale = "Compare its scores with each other, within one text: not with the logit, nor across texts."
        worth = "The scores say which words count more than others, not how much of the decision the words are."
    return {
        "score": score,
        "direction": direction,
        "conservation": conservation,
        "scale": scale,
        "worth": worth,
    }
