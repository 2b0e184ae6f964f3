"""Retake the README's pictures in headless Chromium: python -m docs.take_pictures MODEL_FOLDER (make pictures).

Needs the page that `make browser` builds of the same model. What the pictures show, and of which looks they were taken,
is noted in pictures.json: a test compares that with today's looks and with the README's figures.
"""

import functools
import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from attrib_lab.terminal.errors import UserError, run_command
from modeling_attrib import render_html, render_page


DOCS = Path(__file__).resolve().parent
PAGE = DOCS.parent / "examples" / "browser"
NOTES = DOCS / "pictures.json"


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder that a plain file server shows on this machine alone."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_QuietHandler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def looks() -> dict[str, str]:
    """A fingerprint of what decides how each picture looks, the model apart."""
    words = [{"word": "a", "start": 0, "end": 1, "score": 1.0}, {"word": "b", "start": 2, "end": 3, "score": -0.5}]
    result = {"label": "A", "score": 0.5, "attributions": words, "special_score": 0.25, "residual": 1.0}
    cards = [("heading", render_html("a b", given)) for given in (result, result | {"contrast": "B"})]
    files = [PAGE / "src" / name for name in ("index.html", "style.css", "page.js", "view.js")]
    shown = {
        "browser.png": b"".join(file.read_bytes() for file in files),
        "explanations.png": render_page("title", cards, introduction="how to read it").encode(),
    }
    return {name: hashlib.sha256(content).hexdigest() for name, content in shown.items()}


def take_pictures(model: Path) -> None:
    """Write both pictures and what they show.

    Raises:
        UserError: if the page is not built, the model has no explained texts, or there is no Chromium.
    """
    if not (PAGE / "dist" / "model" / "model.onnx").is_file():
        raise UserError(f"the page is not built: make browser MODEL={model}")
    if not (model / "explanations.html").is_file():
        raise UserError(f"{model} has no explanations.html: train it with train.py.")
    with served(PAGE / "dist") as page, served(model) as explanations:
        command = ["node", PAGE / "test" / "pictures.js", page, f"{explanations}explanations.html", DOCS]
        taken = subprocess.run(command, capture_output=True, text=True)
    if taken.returncode:
        reasons = [line for line in taken.stderr.splitlines() if "Error" in line]
        raise UserError(f"no picture was taken: {(reasons or ['node says nothing'])[0].strip()}")
    of = looks()
    notes = {
        name: {"picture": hashlib.sha256((DOCS / name).read_bytes()).hexdigest(), "looks": of[name], "shows": text}
        for name, text in json.loads(taken.stdout).items()
    }
    NOTES.write_text(json.dumps(notes, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"look at them: {', '.join(str(DOCS / name) for name in notes)}")


def main() -> None:
    if len(sys.argv) != 2:
        raise UserError("one argument: the folder of the demo's model.")
    take_pictures(Path(sys.argv[1]))


if __name__ == "__main__":
    run_command(main)
