"""Anybody's text in Markdown: it reads as itself, acts nowhere, and is left alone where it does no harm."""

import ast
import html
import re

import pytest
from rendered_markdown import rendered

from attrib_lab.markdown_text import escape_markdown, python_literal


MEANT_AS_IT_IS = [
    "</td><script>alert(1)</script> `x` | **B** [y](javascript:z) \n---\nlicense: evil\n---\n# Owned",
    *("# h", "> q", "- item", "---", "===", "1. one", "123) x", "~~s~~", "~~~", "```js", "a\\", "\\`x`"),
    *("$$x^2$$", "\\(x\\)", "&lt;b&gt; &#60; AT&T", "https://a.example/b", "www.a.example", ":smile:", "[^1]"),
    *("![x](http://t.example/p.png)", "_a_ __b__ snake_case", "<!-- c -->", "a | b", "C:\\Users\\x", "<a href=x>"),
]


@pytest.mark.parametrize("text", MEANT_AS_IT_IS)
def test_escaped_text_means_itself_wherever_it_stands(text):
    escaped, meant = escape_markdown(text), " ".join(text.split())
    in_cell = rendered(f"| a | b |\n| - | - |\n| 0 | {escaped} |\n")
    (cell,) = re.findall(r"<td>0</td>\s*<td>(.*?)</td>", in_cell)
    (paragraph,) = re.findall(r"^<p>(.*)</p>$", rendered(escaped))
    (alternative,) = re.findall(r'^<p><img src="p.png" alt="(.*)" /></p>$', rendered(f"![“{escaped}](p.png)"))
    assert html.unescape(cell) == html.unescape(paragraph) == html.unescape(alternative)[1:] == meant
    assert not re.search(r"<\w", cell + paragraph)
    # What the Hub sets as mathematics before it looks at the rest.
    assert not re.search(r"\$\$|\\\\\(", escaped)


@pytest.mark.parametrize(
    "text",
    [
        "👩🏽‍🚀 naïve (a, b) - c/d.",
        "this project: Ali et al. 2022, AH & LN; A·V's 3.5 = x - 1!",
        *("newswire:2000", "-1", "+1", "12:30", "AT&T"),
    ],
)
def test_what_does_no_harm_is_left_as_it_is(text):
    assert escape_markdown(text) == text


def test_half_characters_can_be_written():
    assert escape_markdown("a\ud800b").encode("utf-8") == "a\ufffdb".encode()


@pytest.mark.parametrize("text", [*MEANT_AS_IT_IS, "\u2028\u202e'\"\x00\U000e0001 漢字 {x}"])
def test_literals_are_one_line_of_python(text):
    literal = python_literal(text)
    assert ast.literal_eval(literal) == text
    assert literal.isprintable()
    assert not re.search(r"\$\$|\\\\\(", literal)
