"""Spans of the original text: hand-computed cuts, real tokenizers' offsets, and laws under fuzzing."""

import json
import math
import random
import time
from itertools import pairwise

import numpy as np
import pytest
from tokenizer_families import FAMILIES, JOINING, tokenizer_of

from modeling_attrib.text_spans import aggregate, sentence_spans, sum_scores, word_spans


FAMILY = "👨\u200d👩\u200d👧\u200d👦"
SCOTLAND = "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"

TEXTS = [
    "",
    " ",
    "\t\n\u3000\xa0",
    "the the the, the!",
    "Stocks\trally  as\n\noil falls 3.14% to $1,000.50.",
    "caf\u00e9 cafe\u0301 na\u00efve nai\u0308ve",
    f"ok {FAMILY}👍🏽❤\ufe0f1\ufe0f\u20e32\ufe0f\u20e3🇫🇷🇩🇪{SCOTLAND} done",
    "我爱北京。カタカナも한국어 단어",
    "صباح الخير، كيف حالك؟ ٣٫١٤",
    "שלום עולם! צה״ל",
    "नमस्ते दुनिया। कैसे हो?",
    "a\x00b \x00 c\x07",
    "Don't stop. It's l’homme (e.g. Mr. X) in the U.S. Senate…",
    "\u202eabc\u202c \u2067def\u2069 \ufeffx\u200by",
]


def words(text):
    return [text[start:end] for start, end in word_spans(text)]


def sentences(text):
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t\n\xa0\u3000\x00", []),
        ("Hello, world!", ["Hello", ",", "world", "!"]),
        ("don't l’homme rock'n'roll", ["don't", "l’homme", "rock'n'roll"]),
        ("'tis the dogs' \"x\"", ["'", "tis", "the", "dogs", "'", '"', "x", '"']),
        ("3.14 1,000.50 v2. 5, .5", ["3.14", "1,000.50", "v2", ".", "5", ",", ".", "5"]),
        ("v.5 1.x", ["v", ".", "5", "1", ".", "x"]),
        ("foo_bar well-known a@b.c", ["foo_bar", "well", "-", "known", "a", "@", "b", ".", "c"]),
        ("a\tb\xa0c\u3000d\u2028e", ["a", "b", "c", "d", "e"]),
        ("cafe\u0301 caf\u00e9", ["cafe\u0301", "caf\u00e9"]),
        ("नमस्ते दुनिया।", ["नमस्ते", "दुनिया", "।"]),
        ("可\u200d以", ["可\u200d", "以"]),
        ("می\u200cخواهم ٣٫١٤", ["می\u200cخواهم", "٣٫١٤"]),
        ("צה״ל שלום", ["צה״ל", "שלום"]),
        ("我爱ABC。", ["我", "爱", "ABC", "。"]),
        ("が\u30ab\u3099ﾊﾟー", ["が", "\u30ab\u3099", "ﾊﾟ", "ー"]),
        ("한국어 단어", ["한국어", "단어"]),
        ("\U00031350\U00020000", ["\U00031350", "\U00020000"]),  # an ideograph newer than Python 3.10
        (f"a{FAMILY}b", ["a", FAMILY, "b"]),
        (f"{FAMILY}{FAMILY}", [FAMILY, FAMILY]),
        ("👍🏽👍👍🏿", ["👍🏽", "👍", "👍🏿"]),
        ("❤\ufe0f\u200d🔥🙂\u200d↔\ufe0f", ["❤\ufe0f\u200d🔥", "🙂\u200d↔\ufe0f"]),
        ("12\ufe0f\u20e33\u20e3#\ufe0f\u20e3", ["1", "2\ufe0f\u20e3", "3\u20e3", "#\ufe0f\u20e3"]),
        ("🇫🇷🇩🇪🇺", ["🇫🇷", "🇩🇪", "🇺"]),
        (SCOTLAND + "🏳\ufe0f\u200d🌈", [SCOTLAND, "🏳\ufe0f\u200d🌈"]),
        ("ℹ\ufe0finfo", ["ℹ\ufe0f", "info"]),
        ("a\x00b\x07c", ["a", "b", "c"]),
        ("x\ud800y\ud83d\ude00", ["x", "\ud800", "y", "\ud83d", "\ude00"]),
        ("a\u202eb\u202c\ufeffc\u200bd", ["a", "b", "c", "d"]),
        ("\u0301 a", ["\u0301", "a"]),
        ("a+b=c €5", ["a", "+", "b", "=", "c", "€", "5"]),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n \t", []),
        ("One. Two! Three? Four… Five", ["One.", "Two!", "Three?", "Four…", "Five"]),
        ("Pi is 3.14. Version 2.0.1 is out.", ["Pi is 3.14.", "Version 2.0.1 is out."]),
        ("The U.S. Senate met. He left.", ["The U.S. Senate met.", "He left."]),
        ("I live in the U.S. The end.", ["I live in the U.S.", "The end."]),
        ("Mr. Smith and Dr. Jones met, e.g. Ann.", ["Mr. Smith and Dr. Jones met, e.g. Ann."]),
        ("J. K. Rowling wrote. Good.", ["J. K. Rowling wrote.", "Good."]),
        ("No. See No. 5 on Jan. 3.", ["No.", "See No. 5 on Jan. 3."]),
        ("Apple Inc. CEO spoke. Apple Inc. The rest.", ["Apple Inc. CEO spoke.", "Apple Inc.", "The rest."]),
        (
            '"Why?" she asked. "Go." Then (he left.) Yes',
            ['"Why?" she asked.', '"Go."', "Then (he left.)", "Yes"],
        ),
        ("« Bonjour ! » dit-il. Il sort.", ["« Bonjour ! » dit-il.", "Il sort."]),
        ("Er sagte: „Ja.“ Dann ging er.", ["Er sagte: „Ja.“", "Dann ging er."]),
        ("Well... maybe. Wait... What?!", ["Well... maybe.", "Wait...", "What?!"]),
        ("good film. i like it. wow", ["good film.", "i like it.", "wow"]),
        ("it is good . it works .", ["it is good .", "it works ."]),
        ("1. First. 2. Second.", ["1. First.", "2. Second."]),
        ("Title\n\nBody one\r\nBody two\u2028Last", ["Title", "Body one", "Body two", "Last"]),
        (
            "他说。「好！」然后走了？是３．１４．对",
            ["他说。", "「好！」", "然后走了？", "是３．１４．", "对"],
        ),
        ("كيف حالك؟ أنا بخير. شكرا۔ نعم", ["كيف حالك؟", "أنا بخير.", "شكرا۔", "نعم"]),
        ("नमस्ते। कैसे हो?", ["नमस्ते।", "कैसे हो?"]),
        ("a.b!c", ["a.b!c"]),
        ("\x00. \ud800", ["\x00.", "\ud800"]),
    ],
)
def test_sentences(text, expected):
    assert sentences(text) == expected


def test_each_byte_piece_of_an_emoji_counts_once():
    text = "so 😀!"
    offsets = [(0, 2), (2, 4), (3, 4), (3, 4), (4, 5)]
    scores = [1.0, 0.25, 0.5, -2.0, 4.0]
    assert aggregate(text, offsets, scores, "word") == [
        {"word": "so", "start": 0, "end": 2, "score": 1.0},
        {"word": "😀", "start": 3, "end": 4, "score": -1.25},
        {"word": "!", "start": 4, "end": 5, "score": 4.0},
    ]
    assert aggregate(text, offsets, scores, "token") == [
        {"word": "so", "start": 0, "end": 2, "score": 1.0},
        {"word": "😀", "start": 3, "end": 4, "score": 0.25},
        {"word": "", "start": 4, "end": 4, "score": 0.5},
        {"word": "", "start": 4, "end": 4, "score": -2.0},
        {"word": "!", "start": 4, "end": 5, "score": 4.0},
    ]


def test_word_pieces_merge_and_repeated_words_stay_apart():
    assert aggregate("going going", [(0, 2), (2, 5), (6, 11)], [1, 2, 4], "word") == [
        {"word": "going", "start": 0, "end": 5, "score": 3.0},
        {"word": "going", "start": 6, "end": 11, "score": 4.0},
    ]


def test_a_token_over_several_words_merges_them_in_a_chain():
    # "a b" is one token, and so is "b c": all three words hang together, "d" does not.
    assert aggregate("a b c d", [(0, 3), (2, 5), (6, 7)], [1, 2, 4], "word") == [
        {"word": "a b c", "start": 0, "end": 5, "score": 3.0},
        {"word": "d", "start": 6, "end": 7, "score": 4.0},
    ]


def test_a_token_that_reaches_into_a_word_shows_the_whole_word():
    assert aggregate("unbelievable", [(2, 5)], [1.5], "word") == [
        {"word": "unbelievable", "start": 0, "end": 12, "score": 1.5}
    ]


def test_wordless_tokens_give_their_score_to_the_next_word_and_at_the_end_to_the_previous():
    text = " hi \x00 yo  "
    offsets = [(0, 1), (0, 3), (0, 0), (4, 5), (5, 8), (8, 10), (10, 10)]
    entries = aggregate(text, offsets, [1, 2, 4, 8, 16, 32, 64], "word")
    assert entries == [
        {"word": "hi", "start": 1, "end": 3, "score": 3.0},
        {"word": "yo", "start": 6, "end": 8, "score": 124.0},
    ]


def test_an_empty_span_inside_a_word_belongs_to_the_next_token():
    entries = aggregate("abc def", [(0, 3), (1, 1), (4, 7)], [1, 2, 4], "word")
    assert [(entry["word"], entry["score"]) for entry in entries] == [("abc", 1.0), ("def", 6.0)]


def test_words_come_in_text_order_whatever_the_order_of_the_tokens():
    entries = aggregate("abc def", [(4, 7), (0, 2), (2, 3)], [1, 2, 4], "word")
    assert [(entry["word"], entry["score"]) for entry in entries] == [("abc", 6.0), ("def", 1.0)]


@pytest.mark.parametrize("level", ["word", "token", "sentence"])
def test_arrays_give_plain_numbers(level):
    offsets, scores = np.array([[0, 2], [2, 4]]), np.array([0.5, 0.25], dtype=np.float32)
    entries = aggregate("ab c", offsets, scores, level)
    assert json.loads(json.dumps(entries)) == entries


def test_tokens_keep_their_whitespace_only_where_they_are_nothing_else():
    assert aggregate(" a\t\nb", [(0, 2), (2, 4), (4, 5), (0, 0)], [1, 2, 4, 8], "token") == [
        {"word": "a", "start": 1, "end": 2, "score": 1.0},
        {"word": "\t\n", "start": 2, "end": 4, "score": 2.0},
        {"word": "b", "start": 4, "end": 5, "score": 4.0},
        {"word": "", "start": 5, "end": 5, "score": 8.0},
    ]


def test_a_sentence_sums_its_words_and_a_crossing_word_counts_where_it_starts():
    text = "Go now. Stay here.\nEnd"
    # The second token covers "now. Stay": its group starts in the first sentence.
    offsets = [(0, 2), (3, 12), (12, 17), (17, 18), (19, 22)]
    assert aggregate(text, offsets, [1, 2, 4, 8, 16], "sentence") == [
        {"word": "Go now.", "start": 0, "end": 7, "score": 3.0},
        {"word": "Stay here.", "start": 8, "end": 18, "score": 12.0},
        {"word": "End", "start": 19, "end": 22, "score": 16.0},
    ]


@pytest.mark.parametrize("level", ["word", "sentence"])
@pytest.mark.parametrize("text", ["", "   ", "\x00"])
def test_a_text_without_words_keeps_only_a_score_that_is_not_zero(level, text):
    offsets = [(0, len(text))] * 2
    assert aggregate(text, offsets, [0.5, 0.25], level) == [{"word": "", "start": 0, "end": 0, "score": 0.75}]
    assert aggregate(text, offsets, [0.0, 0.0], level) == []
    assert aggregate(text, [], [], level) == []


def test_words_without_a_token_give_no_entry():
    assert [entry["word"] for entry in aggregate("one two three", [(4, 7)], [1.0], "word")] == ["two"]


def test_sums_are_exactly_rounded():
    # Added one after the other these give 0.0.
    assert aggregate("abc", [(0, 1), (1, 2), (2, 3)], [1e16, 1.0, -1e16], "word")[0]["score"] == 1.0


def test_scores_beyond_floats_do_not_raise():
    inf = math.inf
    assert math.isnan(aggregate("ab", [(0, 1), (1, 2)], [inf, -inf], "word")[0]["score"])
    assert math.isnan(aggregate("ab", [(0, 1), (1, 2)], [math.nan, 1.0], "sentence")[0]["score"])
    assert sum_scores([1e308, 1e308]) == inf


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match=r"'line'.*word, token, sentence"):
        aggregate("a", [(0, 1)], [1.0], "line")
    with pytest.raises(ValueError, match="2 offsets for 1 scores"):
        aggregate("a", [(0, 1), (0, 1)], [1.0], "word")
    for offset in [(0, 2), (1, 0), (-1, 1)]:
        with pytest.raises(ValueError, match="does not lie in a text of 1 characters"):
            aggregate("a", [offset], [1.0], "token")


def check_laws(text, offsets, scores, level):
    """What must hold of any text, tokenizer and level."""
    entries = aggregate(text, offsets, scores, level)
    end = 0
    for entry in entries:
        assert entry["word"] == text[entry["start"] : entry["end"]]
        assert end <= entry["start"] <= entry["end"]
        end = entry["end"]
        bare = entry["word"].strip()
        assert entry["word"] == bare or (level == "token" and not bare)
    total = math.fsum(entry["score"] for entry in entries)
    assert math.isclose(total, math.fsum(scores), rel_tol=1e-12, abs_tol=1e-9)
    if level == "token":
        assert [entry["score"] for entry in entries] == list(scores)
    return entries


def reference_groups(text, offsets):
    """Words joined by common tokens, found by spreading labels until nothing changes."""
    spans = word_spans(text)
    covers = [{i for i, (s, e) in enumerate(spans) if s < end and e > start} for start, end in offsets]
    covers = [cover for (start, end), cover in zip(offsets, covers) if start < end and cover]
    label = {word: word for cover in covers for word in cover}
    changed = True
    while changed:
        changed = False
        for cover in covers:
            low = min(label[word] for word in cover)
            changed |= any(label[word] != low for word in cover)
            label.update(dict.fromkeys(cover, low))
    members = {}
    for word, low in label.items():
        members.setdefault(low, []).append(word)
    return sorted((spans[min(group)][0], spans[max(group)][1]) for group in members.values())


def random_texts(count, seed):
    generator = random.Random(seed)
    pieces = [
        *"ab Z9.,'!?\n\t\x00-_(\"",
        "\ud800",
        "\u0301",
        "\u200d",
        "\ufe0f",
        "\u20e3",
        "🏽",
        "👩",
        "🇫",
        "我",
        "カ",
    ]
    pieces += [
        "。",
        "؟",
        "ש",
        "ن",
        "क",
        "\u094d",
        "\u3000",
        "\xa0",
        "\u202e",
        "é",
        " the ",
        "Mr. ",
        "U.S. ",
        "3.1",
    ]
    return ["".join(generator.choices(pieces, k=generator.randint(0, 40))) for _ in range(count)]


def test_words_cover_all_but_separators_and_sentences_all_but_whitespace():
    separators = set("\x00\u202e\u202c\u2067\u2069\ufeff\u200b\x07")
    for text in TEXTS + random_texts(1500, seed=1):
        for spans, ignored in ((word_spans(text), separators), (sentence_spans(text), set())):
            covered = [position for start, end in spans for position in range(start, end)]
            assert all(start < end for start, end in spans)
            assert covered == sorted(set(covered))
            left = set(range(len(text))) - set(covered)
            assert all(text[position].isspace() or text[position] in ignored for position in left)
        assert not any(char.isspace() or char in separators for word in words(text) for char in word)
        assert all(sentence == sentence.strip() for sentence in sentences(text))


def test_laws_hold_for_any_offsets():
    generator = random.Random(2)
    for text in random_texts(1500, seed=3):
        cuts = sorted(generator.choices(range(len(text) + 1), k=generator.randint(0, 20)))
        offsets = []
        for start, end in pairwise(cuts):
            offsets += [(start, end)] * generator.choice([1, 1, 1, 3])
            if generator.random() < 0.3:
                offsets.append(generator.choice([(0, 0), (end, min(len(text), end + 2)), (start, start)]))
        scores = [generator.gauss(0, 1) for _ in offsets]
        found = check_laws(text, offsets, scores, "word")
        expected = reference_groups(text, offsets)
        if expected:
            assert [(entry["start"], entry["end"]) for entry in found] == expected
        check_laws(text, offsets, scores, "token")
        check_laws(text, offsets, scores, "sentence")


def offsets_of(family, text):
    return tokenizer_of(family)(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]


@pytest.mark.parametrize("family", FAMILIES)
def test_laws_hold_for_real_tokenizers(family):
    generator = random.Random(4)
    fuzzed = [text for text in random_texts(300, seed=5) if "\ud800" not in text]  # no tokenizer takes one
    for text in TEXTS + fuzzed:
        offsets = offsets_of(family, text)
        scores = [generator.gauss(0, 1) for _ in offsets]
        for level in ("word", "token", "sentence"):
            check_laws(text, offsets, scores, level)
        found = [(e["start"], e["end"]) for e in aggregate(text, offsets, scores, "word")]
        assert found == reference_groups(text, offsets) or not reference_groups(text, offsets)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in JOINING])
def test_real_tokenizers_give_the_same_words(family):
    text = "The  stocks rally, don't\tthey? Café: 3.14% — oil naïve hello"
    offsets = offsets_of(family, text)
    assert len(offsets) > len(words(text)), "the tokenizer must cut words for this test to mean anything"
    entries = aggregate(text, offsets, [1.0] * len(offsets), "word")
    assert [entry["word"] for entry in entries] == words(text)
    assert sum(entry["score"] for entry in entries) == len(offsets)


def test_byte_level_emoji_is_one_word_with_all_its_pieces():
    text = f"ok {FAMILY} 👍🏽"
    offsets = offsets_of("byte-level-bare", text)
    entries = aggregate(text, offsets, [1.0] * len(offsets), "word")
    assert [entry["word"] for entry in entries] == ["ok", FAMILY, "👍🏽"]
    # Family: four emoji of 4 bytes, three joiners of 3; thumb and tone: 4 bytes each; no merges for them.
    # The blank before is a piece of its own, which goes to the word that follows.
    assert [entry["score"] for entry in entries] == [2.0, 26.0, 9.0]


@pytest.mark.parametrize(
    "text",
    [
        "word, " * 40000,
        "a" * 200000,
        "1.1" * 60000,
        "U.S. " * 30000,
        "." * 40000,
        "👩\u200d" * 60000,
        "! ) " * 40000,
        "\n" * 40000,
        " " * 40000,
        ('."' + " " * 3) * 30000,
        "1. " * 40000,
    ],
    ids=lambda text: repr(text[:6]),
)
def test_time_is_linear(text):
    began = time.process_time()
    word_spans(text)
    sentence_spans(text)
    assert time.process_time() - began < 3  # seconds; a quadratic scan takes many more


def test_aggregating_a_long_text_is_fast():
    text = "word, " * 25_000
    offsets = [(i + shift, i + shift + 2) for i in range(0, len(text), 6) for shift in (0, 2)]
    began = time.process_time()
    entries = aggregate(text, offsets, [0.5] * len(offsets), "word")
    assert time.process_time() - began < 3
    assert len(entries) == 25_000
    assert {entry["score"] for entry in entries} == {1.0}
