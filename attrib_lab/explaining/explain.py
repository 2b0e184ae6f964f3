"""`attrib explain`: texts from the command line, a file or a pipe, explained by any classifier."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from modeling_attrib import AttribTextClassificationPipeline, render_page

from ..data.sources import load_texts
from ..data.tables import READERS, file_faults
from ..models.any_classifier import open_classifier
from ..storage.files import write_whole, writing
from ..terminal.errors import UserError, first_line
from .coloured_text import printable, terminal_text


def explain_texts(
    classifier: str,
    texts: Sequence[str],
    *,
    file: Path | None = None,
    column: str = "text",
    as_json: bool = False,
    html: Path | None = None,
    **question: Any,
) -> None:
    """Print each text with its label and its words for and against it.

    Args:
        classifier: see `open_classifier`.
        texts: what to explain; without texts and file, each line of standard input.
        file: a text a line, or rows of CSV, JSON or Parquet with their texts in `column`.
        as_json: print one JSON object a line instead: the text and the pipeline's result.
        html: write a page of highlighted texts too.
        question: of the pipeline: target, contrast, method.

    Raises:
        UserError: for a classifier, a file or a question that cannot be answered.
    """
    opened = open_classifier(classifier)
    pipe = AttribTextClassificationPipeline(model=opened.model, tokenizer=opened.tokenizer)
    question = {name: _label(pipe, value) if name != "method" else value for name, value in question.items()}
    colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    fragments = []
    for text in _texts(texts, file, column):
        try:
            (result,) = pipe(text, **question)
        except ValueError as error:
            raise UserError(first_line(error)) from None
        if as_json:
            print(json.dumps({"text": text} | result, ensure_ascii=False), flush=True)
        else:
            print(terminal_text(text, result, colours), end="\n\n", flush=True)
        if html is not None:
            fragments.append(pipe.render_html(text, result))
    if html is not None:
        with writing(html):
            html.parent.mkdir(parents=True, exist_ok=True)
            write_whole(html, render_page(printable(f"Explained by {Path(classifier).name}"), fragments))
        print(f"wrote {html}", file=sys.stderr)


def _label(pipe: AttribTextClassificationPipeline, value: str | None) -> str | int | None:
    """A label's name, or its index where no label has that name."""
    known = value is None or value in pipe.model.config.id2label.values() or not value.isdecimal()
    return value if known else int(value)


def _texts(texts: Sequence[str], file: Path | None, column: str) -> Iterator[str]:
    yield from texts
    if file is not None and file.suffix.lower() in READERS:
        yield from load_texts(str(file), column)
    elif file is not None:
        with file_faults(file):
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        yield from _given(lines, str(file))
    elif not texts:
        yield from _given((line.rstrip("\n") for line in sys.stdin), "standard input")


def _given(lines: Any, source: str) -> Iterator[str]:
    empty = True
    for line in lines:
        if line.strip():
            empty = False
            yield line
    if empty:
        raise UserError(f"{source} holds no text.")
