"""The README's pictures show today's pages, and what the README says beside them."""

import hashlib
import json
import re
import sys
from pathlib import Path

import pytest

from attrib_lab.terminal.errors import UserError
from attrib_lab.training.report import HOW_TO_READ, MISTAKES
from docs import take_pictures


ROOT = take_pictures.DOCS.parent
NOTES = json.loads(take_pictures.NOTES.read_text(encoding="utf-8"))
STALE = "the pages look otherwise than in this picture: make demo, then make pictures, and look at them"


@pytest.mark.parametrize("name", NOTES)
def test_picture_is_the_one_that_the_notes_describe(name):
    assert hashlib.sha256((take_pictures.DOCS / name).read_bytes()).hexdigest() == NOTES[name]["picture"], STALE


@pytest.mark.parametrize("name", NOTES)
def test_picture_was_taken_of_todays_looks(name):
    assert take_pictures.looks()[name] == NOTES[name]["looks"], STALE


def test_every_picture_of_the_readme_is_noted():
    shown = re.findall(r'src="docs/(\S+\.png)"', (ROOT / "README.md").read_text(encoding="utf-8"))
    assert set(shown) == set(NOTES)


def test_readme_says_what_the_browser_picture_shows():
    """To the digits that the README gives."""
    readme, shown = (ROOT / "README.md").read_text(encoding="utf-8"), NOTES["browser.png"]["shows"]
    call = re.search(r"pipe\('(.*)'\)\n# (\[\{.*(?:\n# .*)*)", readme)
    said = call[2].replace("\n#", "")
    label, share = re.search(r"^(\w+)\n([\d.]+) % confidence$", shown, re.MULTILINE).groups()
    assert call[1] in re.sub(r"\s*\n\s*", "", shown)
    assert f'"label": "{label}"' in said
    figures = {
        r'"score": ([\d.]+), "attributions"': float(share) / 100,
        r'"word": "parliament".*?"score": ([\d.]+)': number_after(shown, "parliament"),
        r'"special_score": ([\d.]+)': number_after(shown, "special tokens"),
        r'"residual": ([\d.]+)': number_after(shown, "rest"),
    }
    for pattern, expected in figures.items():
        assert float(re.search(pattern, said)[1]) == pytest.approx(expected, abs=0.0051), pattern


def number_after(shown: str, name: str) -> float:
    return float(re.search(rf"{name}\s+([+\u2212][\d.]+)", shown)[1].replace("\u2212", "-"))


def test_explanations_in_the_picture_show_a_mistake_and_how_to_read_it():
    shown = NOTES["explanations.png"]["shows"]
    assert f"{HOW_TO_READ} {MISTAKES}" in shown
    assert "✗ predicted" in shown
    assert shown.startswith("demo: explained test texts")


def test_what_cannot_be_taken_ends_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(take_pictures, "PAGE", tmp_path)
    with pytest.raises(UserError, match="the page is not built: make browser MODEL=outputs/demo"):
        take_pictures.take_pictures(Path("outputs/demo"))
    (tmp_path / "dist" / "model").mkdir(parents=True)
    (tmp_path / "dist" / "model" / "model.onnx").touch()
    with pytest.raises(UserError, match="has no explanations"):
        take_pictures.take_pictures(tmp_path)
    (tmp_path / "explanations.html").touch()
    with pytest.raises(UserError, match="no picture was taken"):
        take_pictures.take_pictures(tmp_path)
    monkeypatch.setattr(sys, "argv", ["take_pictures"])
    with pytest.raises(UserError, match="one argument"):
        take_pictures.main()
