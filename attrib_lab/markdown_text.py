"""Anybody's text in Markdown that others read: on GitHub, on the Hub, in an editor."""

import json
import re
import unicodedata


# What HTML would act on, and the backslash: the Hub takes two of them before a parenthesis for mathematics,
# and looks for that before it reads Markdown (huggingface.co/docs/hub/model-cards).
_HTML = re.compile(r"[<\\]|&(?=#?\w+;)")
_ENTITIES = {"<": "lt", "&": "amp", "\\": "#92"}
# What Markdown, GitHub's flavour included, would act on: marks, what starts a block at the start of a line, web
# addresses, which some renderers make links of, and names of emoji.
_MARKUP = re.compile(r"[`*_\[\]|~$]|^[#>^]|^[+=-](?=[\s=-]|$)|^\d{1,9}[.)](?=\s|$)|:(?=//|[\w+-]+:)|(?<=[Ww]{3})\.")


def escape_markdown(text: str) -> str:
    """`text` on one line, such that Markdown and HTML read every character of it as itself."""
    printable = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text)
    # Half characters cannot be written to a file; direction overrides would reorder the text around them.
    printable = re.sub("[\ud800-\udfff\u202a-\u202e\u2066-\u2069]", "\ufffd", printable)
    harmless = _HTML.sub(lambda match: f"&{_ENTITIES[match.group()]};", " ".join(printable.split()))
    return _MARKUP.sub(lambda match: f"{match.group()[:-1]}\\{match.group()[-1]}", harmless)


def python_literal(text: str) -> str:
    """A literal on one line, without what the Hub would take for mathematics, in code or not."""
    literal = json.dumps(text, ensure_ascii=False).replace("$", "\\u0024").replace("\\\\", "\\u005c")
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in literal)
