"""Explanations as pictures: what is drawn, that no text acts or warns, and what is refused."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import colors, image

from attrib_lab.publishing import explanation_picture
from attrib_lab.publishing.explanation_picture import AGAINST, FOR, WIDTH, UndrawableTextError, draw_explanation
from modeling_attrib import render_html
from modeling_attrib.text_spans import word_spans


pytestmark = pytest.mark.filterwarnings("error")


def result(text, scores=(), **more):
    padded = [*scores, *[0.0] * 1000]
    words = [{"start": start, "end": end, "score": score} for (start, end), score in zip(word_spans(text), padded)]
    answer = {"label": "World", "score": 0.75, "attributions": words, "special_score": 0.1, "residual": 1.0}
    return answer | more


def drawn(tmp_path, text, given):
    draw_explanation(text, given, tmp_path / "picture.png")
    return image.imread(tmp_path / "picture.png")


def share(picture, colour):
    """How much of the picture's middle has about the colour of a word at full strength, on white."""
    middle = picture[len(picture) // 3 : -len(picture) // 3, :, :3]
    shade = 1 - 0.55 * (1 - np.array(colors.to_rgb(colour)))
    return (np.abs(middle - shade).max(axis=-1) < 0.02).mean()


def test_words_stand_in_the_colour_of_their_sign(tmp_path):
    speaks_for = drawn(tmp_path, "minister", result("minister", [2.0]))
    speaks_against = drawn(tmp_path, "minister", result("minister", [-2.0]))
    silent = drawn(tmp_path, "minister", result("minister", [0.0]))
    assert share(speaks_for, FOR) > 5 * share(silent, FOR)
    assert share(speaks_against, AGAINST) > 5 * share(silent, AGAINST)
    assert share(speaks_for, AGAINST) == share(silent, AGAINST)


def test_colours_are_those_of_the_html():
    style = render_html("a", result("a", [1.0])).replace("\n", "")
    light = re.search(r"--for:([\d,]+);--against:([\d,]+);--depth:([\d.]+);color-scheme:light", style)
    for colour, given in zip((FOR, AGAINST), light.groups()):
        assert [round(255 * part) for part in colors.to_rgb(colour)] == [int(part) for part in given.split(",")]
    assert light[3] == ".55"


def test_long_texts_and_labels_take_more_lines_and_stay_inside(tmp_path):
    one = drawn(tmp_path, "word", result("word", [1.0]))
    text = "word, " * 60 + "\n\n" + "x" * 400
    many = drawn(tmp_path, text, result(text, [1.0, -1.0] * 30, label="a long label " * 30))
    assert many.shape[0] > 2 * one.shape[0]
    assert many.shape[1] == one.shape[1] == WIDTH * 200 // 72
    margin = many[30:-30, 5:30]
    assert np.ptp(margin, axis=(0, 1)).max() == 0, "something is drawn in the margin"
    assert np.ptp(many[30:-30, -30:-5], axis=(0, 1)).max() == 0


@pytest.mark.parametrize(
    "text",
    [
        "$x^2$ $$ \\frac{1}{",
        "<b>&amp;",
        "a\tb\u200b\u202ec\x00\x1b[31m",
        "one\n\n two ",
        "ﬁ e\u0301 Ω Ж ½ €",
        "   ",
        ".",
    ],
)
def test_no_text_or_label_acts_or_warns(tmp_path, text):
    scores = [float("nan"), float("inf"), -1.0, 0.5]
    drawn(tmp_path, text, result(text, scores, label=text, score=float("nan")))


def test_the_same_result_gives_the_same_file(tmp_path):
    for name in ("one.png", "two.png"):
        draw_explanation("a cup", result("a cup", [1.0, -0.5]), tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


@pytest.mark.parametrize(
    ("text", "label", "reason"),
    [
        ("הממשלה", "World", "right to left"),
        ("budget", "اقتصاد", "right to left"),
        ("a\U00010600b", "World", "no installed font has the character '\U00010600'"),
        ("budget", "\U00010600", "no installed font has the character"),
    ],
)
def test_what_would_come_out_wrong_is_refused(tmp_path, text, label, reason, monkeypatch):
    monkeypatch.setattr(explanation_picture, "fontManager", SimpleNamespace(ttflist=[]))
    with pytest.raises(UndrawableTextError, match=reason):
        draw_explanation(text, result(text, label=label), tmp_path / "picture.png")
    assert not (tmp_path / "picture.png").exists()
