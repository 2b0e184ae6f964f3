"""The page of a server without a built one: a form, and highlighted words; no script, nothing from elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import parse_qs

from modeling_attrib import HTMLFragment, render_html, render_page

from .micro_batching import Text
from .questions import Parameters, RefusedError


# What a browser may do with the page, whatever stands in it.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
_CHOICES = {
    "target": ("What speaks for", "the predicted label"),
    "contrast": ("and not for", "no other label"),
    "method": ("by the method", "the model's own"),
}
_NO_FORM = "this is not what the page's form sends."
_STYLE = """<style>
form{display:grid;gap:.6em}
textarea,select,button{font:inherit;color:inherit;background:transparent;border:1px solid #8c959f;border-radius:8px;\
padding:.5em .7em}
textarea{box-sizing:border-box;width:100%;min-height:6em;resize:vertical}
select{max-width:100%;background:Canvas;color:CanvasText}
button{justify-self:start;font-weight:600;cursor:pointer}
.choices{display:flex;flex-wrap:wrap;gap:.6em 1.2em}
.refused{border-inline-start:4px solid #d55e00;padding-inline-start:.8em;overflow-wrap:anywhere}
</style>"""


@dataclass(frozen=True)
class FormPage:
    """The page of one model.

    Attributes:
        title: the model's name.
        labels: their names, by index.
        methods: names of attribution methods.
    """

    title: str
    labels: Sequence[str]
    methods: Sequence[str]

    def render(
        self,
        asked: Mapping[str, str] | None = None,
        result: Mapping[str, Any] | None = None,
        refused: str = "",
    ) -> bytes:
        """The page: its form, filled in as it was sent, and below it the answer or why there is none."""
        asked = asked or {}
        shown: list[HTMLFragment] = [self._form(asked)]
        if refused:
            shown.append(HTMLFragment(f'<p class="refused" role="alert">{escape(refused)}</p>'))
        if result is not None:
            shown.append(render_html(text_of(asked), result))
        lead = "Which words speak for a label, and which against it? The text goes to this server and nowhere else."
        # Names of labels may hold what UTF-8 cannot.
        return render_page(self.title, shown, introduction=lead).encode("utf-8", "replace")

    def _form(self, asked: Mapping[str, str]) -> HTMLFragment:
        fields = [
            _text_area("text", "Text", asked),
            f"<details{' open' if asked.get('text_pair') else ''}><summary>With a second text</summary>"
            f"{_text_area('text_pair', 'Second text', asked)}</details>",
            '<div class="choices">',
            *(_choice(name, enumerate(self.labels), asked) for name in ("target", "contrast")),
            _choice("method", zip(self.methods, self.methods), asked),
            "</div><button>Explain</button>",
        ]
        return HTMLFragment(f'{_STYLE}<form method="post" action="/">{"".join(fields)}</form>')


def read_form(body: bytes) -> dict[str, str]:
    """The fields that a browser sent, as they are.

    Raises:
        RefusedError: for anything but such a form.
    """
    try:
        fields = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=8)
    except ValueError:
        raise RefusedError(422, _NO_FORM) from None
    return {name: values[0] for name, values in fields.items()}


def text_of(asked: Mapping[str, str]) -> Text:
    """The text of a form, or its pair."""
    text, pair = asked.get("text", ""), asked.get("text_pair", "")
    return {"text": text, "text_pair": pair} if pair else text


def question_of(asked: Mapping[str, str]) -> dict[str, Any]:
    """The pipeline's arguments for what was chosen.

    Raises:
        RefusedError: for a label that is no number, as the page's are.
    """
    chosen: dict[str, Any] = {name: asked[name] for name in _CHOICES if asked.get(name)}
    try:
        chosen |= {name: int(chosen[name]) for name in ("target", "contrast") if name in chosen}
        return Parameters(**chosen).model_dump(exclude_unset=True)
    except ValueError:
        raise RefusedError(422, _NO_FORM) from None


def _text_area(name: str, title: str, asked: Mapping[str, str]) -> str:
    # A line end behind the tag is not part of the text; the text's own first one would be lost.
    filled = f"\n{escape(asked.get(name, ''))}"
    return f'<label>{title}<textarea name="{name}" dir="auto" spellcheck="false">{filled}</textarea></label>'


def _choice(name: str, options: Any, asked: Mapping[str, str]) -> str:
    title, none = _CHOICES[name]
    listed = [f'<option value="">{none}</option>']
    for value, shown in options:
        chosen = " selected" if asked.get(name) == str(value) else ""
        listed.append(f'<option value="{escape(str(value))}"{chosen}>{escape(str(shown))}</option>')
    return f'<label>{title} <select name="{name}">{"".join(listed)}</select></label>'
