"""HTML of attributions: what is shown, that nothing in a text can act, and that it stays readable."""

import math
import random
import re
import time

import pytest
from html_reader import FRAGMENT_TAGS, PAGE_TAGS, Reader, check_inert, shown

from modeling_attrib.html_attrib import HTMLFragment, render_html, render_page
from modeling_attrib.text_spans import aggregate, word_spans


HOSTILE = [
    "<script>alert(1)</script>",
    "\" onmouseover='alert(1)' x=\"",
    "</style></div></title><img src=x onerror=alert(1)>",
    "javascript:alert(1) <a href='javascript:alert(1)'>x</a>",
    "<!-- --><![CDATA[ x ]]>&lt;&amp;&#60;script>",
    "\u202e</bdi>\u2066reversed\u2067",
    "nul\x00 bell\x07 c1\x9b del\x7f half\ud800 pair\ud83d\ude00",
    "tab\tline\nreturn\r\nend",
]


def result(attributions, **more):
    entries = [{"start": start, "end": end, "score": score} for start, end, score in attributions]
    return {"label": "Business", "score": 0.5, "attributions": entries, **more}


def word_result(text, seed=0, **more):
    generator = random.Random(seed)
    return result([(start, end, generator.gauss(0, 1)) for start, end in word_spans(text)], **more)


def test_words_carry_their_sign_strength_and_score():
    text = "Stocks rally, oil falls again"
    entries = [(0, 6, 0.8), (7, 12, 0.2), (14, 17, -0.123456), (18, 23, 0.0), (24, 29, 1e-4)]
    reader = Reader(render_html(text, result(entries)))
    assert reader.words() == [
        ("attrib-for", "--a:1.00", "+0.800", "Stocks"),
        ("attrib-for", "--a:0.25", "+0.200", "rally"),
        ("attrib-against", "--a:0.15", "-0.123", "oil"),
        (None, None, "+0.00", "falls"),
        (None, None, "+0.000100", "again"),
    ]
    assert reader.texts("attrib-text") == [text]
    assert reader.texts("attrib-label") == ["Business"]
    assert reader.texts("attrib-probability") == ["50.0%"]
    assert reader.texts("attrib-legend") == ["for Businessagainst"]
    assert reader.texts("attrib-sum") == []


def test_special_tokens_among_the_words_are_summed_once():
    words = [{"word": "oil", "start": 0, "end": 3, "score": 0.5}]
    special = {"word": "", "start": 0, "end": 0, "score": -0.2, "token": "[CLS]", "special": True}
    rest = {"label": "x", "score": 0.9, "special_score": -0.2, "residual": 0.1}
    one = render_html("oil", rest | {"attributions": words})
    assert render_html("oil", rest | {"attributions": [special, *words]}) == one
    assert "+0.400" in one


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ([{"label": "x", "score": 0.9, "attributions": []}], r"choose one .*pipe\(text\)\[0\]"),
        ({"label": "x", "score": 0.9}, "no attributions to show: .*attributions=False"),
        (
            {"label": "x", "score": 0.9, "attributions": [{"start": 0, "end": 9, "score": 1.0}]},
            "is the result another text's",
        ),
    ],
)
def test_what_cannot_be_shown_says_what_to_give(result, message):
    with pytest.raises(ValueError, match=message):
        render_html("oil", result)


def test_max_score_sets_the_scale_and_caps_it():
    entries = [(0, 1, 1.0), (2, 3, -0.5), (4, 5, 8.0)]
    reader = Reader(render_html("a b c", result(entries), max_score=4))
    assert [style for _, style, _, _ in reader.words()] == ["--a:0.25", "--a:0.12", "--a:1.00"]


def test_scores_that_are_no_numbers():
    entries = [(0, 1, 1.0), (2, 3, math.nan), (4, 5, math.inf), (6, 7, -math.inf), (8, 9, 2.0)]
    reader = Reader(render_html("a b c d e", result(entries)))
    assert reader.words() == [
        ("attrib-for", "--a:0.50", "+1.00", "a"),
        (None, None, "not a number", "b"),
        ("attrib-for", "--a:1.00", "+inf", "c"),
        ("attrib-against", "--a:1.00", "-inf", "d"),
        ("attrib-for", "--a:1.00", "+2.00", "e"),
    ]
    only_nan = Reader(render_html("a", result([(0, 1, math.nan)], score=math.nan)))
    assert only_nan.words() == [(None, None, "not a number", "a")]
    assert only_nan.texts("attrib-probability") == ["not a number"]


@pytest.mark.parametrize(
    ("score", "title"),
    [
        (123.4, "+123"),
        (-1234567, "-1.23e+06"),
        (-0.0, "+0.00"),
        (0.99996, "+1.00"),
        (-3.14159e-7, "-3.14e-07"),
    ],
)
def test_three_significant_digits(score, title):
    assert Reader(render_html("a", result([(0, 1, score)]))).words()[0][2] == title


def test_entries_may_come_in_any_order_and_empty_ones_show_nothing():
    reader = Reader(render_html("a b", result([(2, 3, 1.0), (0, 0, 5.0), (0, 1, -1.0)], residual=0.0)))
    assert [word for *_, word in reader.words()] == ["a", "b"]
    assert reader.texts("attrib-text") == ["a b"]
    # What shows nowhere still counts: 1 + 5 - 1.
    assert reader.texts("attrib-sum") == ["words +5.00 rest +0.00 = logit +5.00"]


def test_the_sum_up_to_the_logit():
    given = result([(0, 1, 2.0), (2, 3, -0.5)], special_score=0.25, residual=-1.0)
    assert Reader(render_html("a b", given)).texts("attrib-sum") == [
        "words +1.50 special tokens +0.250 rest -1.00 = logit +0.750"
    ]


def test_every_part_of_the_sum_says_what_it_is():
    def meanings(given):
        elements = Reader(render_html("", given)).elements
        return {e["text"].rsplit(" ", 1)[0]: e["attrs"]["title"] for e in elements if "title" in e["attrs"]}

    found = meanings(result([], special_score=0.25, residual=-1.0))
    assert list(found) == ["words", "special tokens", "rest", "= logit"]
    assert "no token" in found["rest"]
    assert "[CLS]" in found["special tokens"]
    assert "above the other's" in meanings(result([], residual=1.0, contrast="Sports"))["= logit difference"]


def test_contrast_names_both_labels():
    given = result([(0, 1, 2.0)], contrast="Sports", residual=0.5)
    reader = Reader(render_html("a", given))
    assert reader.texts("attrib-note") == ["Why Business, not Sports"]
    assert reader.texts("attrib-legend") == ["for Businessfor Sports"]
    assert reader.texts("attrib-sum") == ["words +2.00 rest +0.500 = logit difference +2.50"]


@pytest.mark.parametrize("asked", [{}, {"target": "Business"}, {"label": "World", "target": "Business"}])
def test_a_label_against_itself_is_not_why(asked):
    reader = Reader(render_html("a", result([(0, 1, 0.0)], contrast="Business") | asked))
    assert reader.texts("attrib-note") == ["Why not Business? It is Business: no score says why"]


def test_another_target_than_the_label_is_named():
    reader = Reader(render_html("a", result([(0, 1, 2.0)], target="Sports")))
    assert reader.texts("attrib-note") == ["What speaks for Sports"]
    assert reader.texts("attrib-legend") == ["for Sportsagainst"]
    assert Reader(render_html("a", result([(0, 1, 2.0)], target="Business"))).texts("attrib-note") == []


def test_pairs_show_each_text_with_its_own_words():
    given = result([(0, 3, 1.0)])
    given["attributions"][0]["sequence"] = "text"
    given["attributions"] += [{"start": 0, "end": 4, "score": -2.0, "sequence": "text_pair"}]
    reader = Reader(render_html({"text": "one", "text_pair": "zwei drei"}, given))
    assert reader.texts("attrib-text") == ["one", "zwei drei"]
    assert reader.texts("attrib-note") == ["Text", "Text pair"]
    assert [(style, word) for _, style, _, word in reader.words()] == [
        ("--a:0.50", "one"),
        ("--a:1.00", "zwei"),
    ]
    with pytest.raises(ValueError, match="'text_pair', but the text has text"):
        render_html("one", given)


def test_a_bar_only_for_probabilities():
    def bars(score):
        return [
            e["attrs"]["style"]
            for e in Reader(render_html("a", result([], score=score))).elements
            if e["attrs"].get("style", "").startswith("width")
        ]

    assert bars(0.987) == ["width:98.7%"]
    assert bars(1.0) == ["width:100.0%"]
    assert bars(3.2) == bars(-0.1) == []
    assert Reader(render_html("a", result([], score=3.2))).texts("attrib-probability") == ["+3.20"]


@pytest.mark.parametrize("spans", [[(0, 3)], [(-1, 1)], [(1, 0)], [(0, 2), (1, 2)]])
def test_spans_that_do_not_fit_the_text_raise(spans):
    with pytest.raises(ValueError, match="its text of 2 characters"):
        render_html("ab", result([(start, end, 1.0) for start, end in spans]))


@pytest.mark.parametrize("max_score", [0, -1.0, math.nan])
def test_a_scale_that_is_none_raises(max_score):
    with pytest.raises(ValueError, match="max_score"):
        render_html("a", result([(0, 1, 1.0)]), max_score=max_score)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_text_acts_wherever_it_stands(hostile):
    fragment = render_html(
        {"text": hostile, "text_pair": hostile[::-1]},
        word_result(hostile, label=hostile, target=hostile + "2", contrast=hostile + "3", special_score=1.0),
    )
    reader = check_inert(fragment, FRAGMENT_TAGS)
    assert reader.texts("attrib-text") == [shown(hostile), shown(hostile[::-1])]
    assert reader.texts("attrib-label") == [shown(hostile)]
    assert f"Why {shown(hostile)}2, not {shown(hostile)}3" in reader.texts("attrib-note")

    sections = [(hostile, fragment), fragment, hostile]
    page = check_inert(render_page(hostile, sections, introduction=hostile), PAGE_TAGS)
    assert page.texts("title") == page.texts("h1") == page.texts("h2") == page.texts("lead") == [shown(hostile)]
    assert page.texts("attrib-text") == 2 * reader.texts("attrib-text")
    # A plain string is no fragment: it is shown as text.
    assert page.texts("section")[2].strip() == shown(hostile)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_direction_marks_stay_in_their_element(hostile):
    reader = Reader(render_page(hostile, [(hostile, render_html("a", word_result("a", label=hostile)))]))
    holders = [e for e in reader.elements if shown(hostile) in e["text"]]
    innermost = [e for e in holders if e["tag"] in ("bdi", "title")]
    # The title, h1, h2, label and legend: each text in a bdi (the title stands in no page).
    assert [e["tag"] for e in innermost] == ["title", "bdi", "bdi", "bdi", "bdi"]
    texts = [e for e in reader.elements if e["attrs"].get("class") == "attrib-text"]
    assert all(e["attrs"]["dir"] == "auto" for e in texts)
    assert re.search(r"\.attrib-text\{[^}]*unicode-bidi:plaintext", reader.texts("style")[0])


def test_random_texts_come_back_whole():
    generator = random.Random(7)
    pieces = [
        *"ab <>&\"'\t\n\x00\x85/=;#",
        "\ud800",
        "é",
        "e\u0301",
        "👩\u200d👩",
        "我",
        "ש",
        "ن",
        "\u202e",
        "&lt;",
        "<b>",
    ]
    for number in range(400):
        text = "".join(generator.choices(pieces, k=generator.randint(0, 30)))
        cuts = sorted(generator.sample(range(len(text) + 1), k=min(len(text) + 1, generator.randint(0, 6))))
        spans = list(zip(cuts[::2], cuts[1::2]))
        given = result([(start, end, generator.gauss(0, 1)) for start, end in spans])
        reader = check_inert(render_html(text, given), FRAGMENT_TAGS)
        assert reader.texts("attrib-text") == [shown(text)], number
        assert [word for *_, word in reader.words()] == [shown(text[start:end]) for start, end in spans]


def test_every_level_of_aggregation_renders():
    text = " A 👩\u200d👩 day.\n\tSo it goes "
    offsets = [(0, 2), (2, 6), (3, 6), (3, 6), (6, 10), (10, 11), (11, 12), (12, 23), (0, 0)]
    for level in ("word", "token", "sentence"):
        entries = aggregate(text, offsets, [1.0] * len(offsets), level)
        reader = Reader(render_html(text, {"label": "x", "score": 1, "attributions": entries, "residual": 0}))
        assert reader.texts("attrib-text") == [text]
        assert reader.texts("attrib-sum") == ["words +9.00 rest +0.00 = logit +9.00"]


def test_fragments_show_in_notebooks_and_templates():
    fragment = render_html("a < b", word_result("a < b"))
    assert isinstance(fragment, HTMLFragment)
    assert isinstance(fragment, str)
    assert fragment._repr_html_() == fragment.__html__() == fragment
    assert "a < b" not in fragment


def test_a_page_is_a_whole_document_with_one_style_for_all_fragments():
    fragments = [render_html(text, word_result(text)) for text in ("one", "two", "three")]
    page = render_page("Why?", [("First", fragments[0]), *fragments[1:]])
    reader = check_inert(page, PAGE_TAGS)
    assert page.startswith("<!DOCTYPE html>\n<html lang=")
    metas = [e["attrs"] for e in reader.elements if e["tag"] == "meta"]
    assert {"charset": "utf-8"} in metas
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in metas
    assert reader.texts("attrib-text") == ["one", "two", "three"]
    assert reader.texts("h2") == ["First"]
    own_styles = Reader(fragments[0]).texts("style")
    assert [style for style in reader.texts("style") if style in own_styles] == own_styles
    assert check_inert(render_page("Nothing", []), PAGE_TAGS).texts("h1") == ["Nothing"]
    assert check_inert(render_page("Nothing", []), PAGE_TAGS).texts("p") == []


def test_words_stand_on_the_grid_on_which_browsers_place_them():
    """Of what stands in a line, none may be a fraction of 1/64 px off: rounded to pixels, words would jump."""
    style = Reader(render_html("a", word_result("a"))).texts("style")[0]
    (line,) = re.findall(r"\.attrib-text\{[^}]*line-height:([\d.]+);", style)
    (padding,) = re.findall(r"\.attrib-for,\.attrib-against\{[^}]*padding-block:([\d.]+)em;", style)
    for zoom in (1, 1.25, 1.5, 1.75, 2, 2.5, 3):
        for length in (line, padding):
            assert float(length) * 16 * zoom * 64 % 1 == 0, (length, zoom)
    assert float(line) * 16 % 1 == 0, "lines of whole pixels"


def test_paper_is_light_and_no_heading_stands_alone_at_its_foot():
    styles = "".join(Reader(render_page("a", [render_html("a", word_result("a"))])).texts("style"))
    assert set(re.findall(r"@media ([^{]*)\{", styles)) == {"screen and (prefers-color-scheme:dark)", "print"}
    assert "section{break-inside:avoid}" in styles


def luminance(color):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_keeps_the_contrast_of_wcag_aa_in_light_and_dark():
    style = Reader(render_html("a", word_result("a"))).texts("style")[0]
    palettes = re.findall(r"\.attrib-view\{(--[^}]*)\}", style)
    assert len(palettes) == 2
    light_of_ink = []
    for palette in palettes:
        values = dict(item.strip().split(":") for item in palette.split(";"))
        # The dark palette must not lean on the light one.
        assert set(values) == {
            "--ink",
            "--soft",
            "--card",
            "--line",
            "--for",
            "--against",
            "--depth",
            "color-scheme",
        }
        ink, soft, card = (tuple(bytes.fromhex(values[name][1:])) for name in ("--ink", "--soft", "--card"))
        light_of_ink.append(luminance(ink))
        assert contrast(soft, card) >= 4.5
        for name in ("--for", "--against"):
            tone = [int(part) for part in values[name].split(",")]
            # The highlight is painted over the card with this alpha: see the background in the style.
            for strength in (0, 0.25, 0.5, 0.75, 1):
                alpha = strength * float(values["--depth"])
                ground = [alpha * t + (1 - alpha) * c for t, c in zip(tone, card)]
                assert contrast(ink, ground) >= 4.5
            assert contrast(tone, card) >= 3, "the underline is a graphic: 3 is enough"
    assert light_of_ink[0] < 0.1
    assert light_of_ink[1] > 0.5
    assert "background:rgba(var(--tone),calc(var(--a)*var(--depth)))" in style


def test_signs_differ_by_line_style_as_well_as_color():
    style = Reader(render_html("a", word_result("a"))).texts("style")[0]
    assert re.search(r"\.attrib-for\{[^}]*text-decoration-style:solid", style)
    assert re.search(r"\.attrib-against\{[^}]*text-decoration-style:dotted", style)


def test_a_text_of_100_000_words_is_fast():
    text = "word & " * 50_000
    given = word_result(text)
    began = time.process_time()
    fragment = render_html(text, given)
    assert time.process_time() - began < 3
    assert fragment.count("<span ") > 100_000
