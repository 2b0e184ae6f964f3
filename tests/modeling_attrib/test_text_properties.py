"""Every word in its place: what holds for any text, tokenizer family, side that is cut or padded, and windows."""

import math
import unicodedata
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from html_reader import FRAGMENT_TAGS, check_inert, shown
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pipelines import build, total
from tokenizer_families import FAMILIES, LINES, tokenizer_of
from transformers import TextClassificationPipeline

from modeling_attrib import AttribTextClassificationPipeline
from modeling_attrib.text_spans import LEVELS
from modeling_attrib.text_windows import DEFAULT_OVERLAP


# The same examples in every run: a test that fails now and then tells nobody anything.
properties = settings(
    derandomize=True,
    deadline=None,
    max_examples=120,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow],
)


HARD = [
    # Marks, ligatures, letters that change their length in lower case; scripts; emoji.
    "e\u0301", "ñ", "ﬁ", "ß", "İ", "क्षि", "한국", "日本", "カ\uff9e", "שלום", "مرحبا",
    "👩\u200d👩\u200d👧", "👍🏽", "🇫🇷", "1\ufe0f\u20e3",
    # What cannot be seen, or is no character.
    "\u200b", "\u200d", "\ufeff", "\u202e", "\x00", "\x07", "\x85", "\u2028", "\xa0", "\xad",
    "\ufffd", "\U0010ffff", "\ufffe", "\n", "\r\n", "\t", "   ",
    # Words with marks inside, and what tokenizers write themselves.
    "don't", "3.14", "...", "[SEP]", "<s>", "</s>", "<pad>", "<unk>",
    "▁", "Ġ", "##a", "superlongword" * 4,
]  # fmt: skip
MARKUP = ["<b>&amp;", "</div>", "<script>", "&lt;", "<!--", "</style>", '"', "'", "<a href='"]
# Zero-width spaces and direction marks: unlike joiners, not part of any word.
INVISIBLE = "\u200b\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
WORDS = sorted({word for line in LINES for word in line.split()})
pieces = [
    st.sampled_from(WORDS),
    st.sampled_from(HARD),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    st.sampled_from(MARKUP),
]


def inputs_of(pieces: list[st.SearchStrategy[str]]) -> st.SearchStrategy[str | dict[str, str]]:
    """Texts and pairs."""
    spaced = st.builds(str.__add__, st.one_of(pieces), st.sampled_from([" ", " ", "", "\n"]))
    texts = st.lists(spaced, max_size=12).map("".join)
    return st.one_of(texts, st.fixed_dictionaries({"text": texts, "text_pair": texts}))


inputs = inputs_of(pieces)


@dataclass(frozen=True)
class Setting:
    """A tokenizer, how it is set, and how much a model reads at once."""

    family: str
    truncation_side: str
    padding_side: str
    limit: int
    overlap: int

    def pipeline(self) -> AttribTextClassificationPipeline:
        pipe = _pipeline(self.family)
        pipe.tokenizer.truncation_side, pipe.tokenizer.padding_side = self.truncation_side, self.padding_side
        pipe.tokenizer.model_max_length = self.limit
        return pipe


sides = st.sampled_from(["left", "right"])
settings_of_any_family = st.builds(
    Setting,
    family=st.sampled_from(FAMILIES),
    truncation_side=sides,
    padding_side=sides,
    limit=st.integers(8, 32),
    overlap=st.one_of(st.just(DEFAULT_OVERLAP), st.integers(0, 6)),
)


@cache
def _pipeline(family: str) -> AttribTextClassificationPipeline:
    return build(tokenizer_of(family))


def texts_of(text: str | dict[str, str]) -> list[str]:
    return [text] if isinstance(text, str) else [text["text"], text["text_pair"]]


def ask(setting: Setting, text: Any, **arguments: Any) -> dict[str, Any] | None:
    """The pipeline's one answer with a logit for its score; None where it says that the text cannot be read so."""
    arguments = {"overlap": setting.overlap, "function_to_apply": "none", "batch_size": 8} | arguments
    if "truncation" not in arguments and windows_of(setting, tokens_of(setting, text)) is None:
        with pytest.raises(ValueError, match=r"no room in|it must be from 0 to"):
            setting.pipeline()(text, **arguments)
        return None
    result = setting.pipeline()(text, **arguments)
    return result if isinstance(text, dict) else result[0]


# An answer found another way: token by token and window by window --------------------------------------------------


def tokens_of(setting: Setting, text: Any) -> list[tuple[int, int | None, int, int]]:
    """Number, text (None: special) and offsets of each token of the uncut text."""
    encoded = setting.pipeline().tokenizer(*texts_of(text), return_offsets_mapping=True, verbose=False)
    offsets = encoded["offset_mapping"]
    return [(*one, *span) for *one, span in zip(encoded["input_ids"], encoded.sequence_ids(0), offsets)]


def windows_of(setting: Setting, tokens: list[tuple]) -> list[list[int]] | None:
    """The tokens of each window, by a walk along the longer text; None where there is no room to walk."""
    count = len(tokens)
    if count <= setting.limit:
        return [list(range(count))]
    of_text = {number: [i for i in range(count) if tokens[i][1] == number] for number in (0, 1)}
    walked = of_text[1] if len(of_text[1]) > len(of_text[0]) else of_text[0]
    kept = [i for i in range(count) if i not in walked]
    room = setting.limit - len(kept)
    overlap = min(setting.overlap, room // 2) if setting.overlap == DEFAULT_OVERLAP else setting.overlap
    if room < 1 or overlap >= room:
        return None
    windows = []
    while True:
        windows.append(sorted(kept + walked[:room]))
        if len(walked) <= room:
            return windows
        walked = walked[room - overlap :]


@torch.no_grad()
def read_windows(
    setting: Setting, text: Any, label: int | None, contrast: int | None
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Logits, scores of all tokens toward a label (the winning one by default), residual: means over the windows."""
    pipe, tokens = setting.pipeline(), tokens_of(setting, text)
    encoded = pipe.tokenizer(*texts_of(text), verbose=False)
    windows = windows_of(setting, tokens)
    sizes = [sum(tokens[i][1] is not None for i in window) for window in windows]
    weights = [size / sum(sizes) if sum(sizes) else 1 / len(sizes) for size in sizes]

    def read(window: list[int], **arguments: Any) -> Any:
        columns = {name: torch.tensor([[column[i] for i in window]]) for name, column in encoded.items()}
        return pipe.model(**columns, **arguments)

    logits = sum(weight * read(window, output_attributions=False).logits[0] for weight, window in zip(weights, windows))
    label = int(logits.argmax()) if label is None else label
    scores, residual = torch.zeros(len(tokens), dtype=torch.float64), 0.0
    for weight, window in zip(weights, windows):
        out = read(window, attribution_target=label, attribution_contrast=contrast)
        for place, score in zip(window, out.attributions[0].tolist()):
            scores[place] += weight * score
        residual += weight * out.attribution_residual.item()
    return logits, scores, residual


def readable(text: str) -> set[int]:
    """Places of the characters that a word must hold: all but white space, controls and invisible marks."""
    return {
        place
        for place, char in enumerate(text)
        if not char.isspace() and unicodedata.category(char) not in ("Cc", "Zs", "Zl", "Zp") and char not in INVISIBLE
    }


def close(value: float) -> Any:
    return pytest.approx(value, abs=2e-4, rel=1e-4)


# What holds ---------------------------------------------------------------------------------------------------------


@given(settings_of_any_family, inputs, st.sampled_from(LEVELS))
@properties
def test_words_are_the_texts_own_in_their_order_and_add_up(setting, text, level):
    result = ask(setting, text, aggregation=level)
    if result is None:
        return
    by_name = {"text": text} if isinstance(text, str) else text
    entries = [entry for entry in result["attributions"] if not entry.get("special")]
    names = [entry.get("sequence", "text") for entry in entries]
    assert names == sorted(names)
    for name, content in by_name.items():
        own = [entry for entry in entries if entry.get("sequence", "text") == name]
        for entry in own:
            assert content[entry["start"] : entry["end"]] == entry["word"]
        assert all(one["end"] <= other["start"] for one, other in pairwise(own))
    assert total(result) == close(result["score"])


@given(settings_of_any_family, inputs)
@properties
def test_every_character_that_is_read_is_in_one_word(setting, text):
    result = ask(setting, text)
    if result is None:
        return
    tokens = tokens_of(setting, text)
    for number, (name, content) in enumerate(zip(("text", "text_pair"), texts_of(text))):
        read = {i for _, sequence, start, end in tokens if sequence == number for i in range(start, end)}
        own = [entry for entry in result["attributions"] if entry.get("sequence", "text") == name]
        named = [place for entry in own for place in range(entry["start"], entry["end"])]
        assert len(named) == len(set(named))
        assert read & readable(content) <= set(named)
        # And nothing is named that the tokenizer has not read any part of.
        assert all(read & set(range(entry["start"], entry["end"])) for entry in own if entry["word"])


told = st.fixed_dictionaries(
    {},
    optional={
        "truncation": st.sampled_from([True, False, "longest_first"]),
        "padding": st.sampled_from([True, "max_length"]),
        "max_length": st.integers(6, 40),
        "add_special_tokens": st.just(False),
        "return_token_type_ids": st.just(True),
        "padding_side": sides,
    },
)


@given(settings_of_any_family, inputs, told)
@properties
def test_what_is_read_at_once_is_answered_as_by_the_stock_pipeline(setting, text, arguments):
    pipe, arguments = setting.pipeline(), arguments | {"verbose": False}
    read = pipe.tokenizer(*texts_of(text), **arguments)
    length = len(read["input_ids"])
    if length == 0 or (length > setting.limit and not arguments.get("truncation")):
        return  # the stock pipeline reads no empty text, and all of a long one at once
    stock = TextClassificationPipeline(model=pipe.model, tokenizer=pipe.tokenizer, device="cpu")
    ours, theirs = pipe(text, aggregation="token", **arguments), stock(text, **arguments)
    ours, theirs = (ours, theirs) if isinstance(text, dict) else (ours[0], theirs[0])
    assert ours["label"] == theirs["label"]
    assert ours["score"] == pytest.approx(theirs["score"], abs=1e-6)
    # The words are those that are left of the text.
    ids = [token for token, is_real in zip(read["input_ids"], read["attention_mask"]) if is_real]
    assert [entry["token"] for entry in ours["attributions"]] == pipe.tokenizer.convert_ids_to_tokens(ids)


questions = st.sampled_from([{}, {"target": 3}, {"target": 2, "contrast": 1}])


@given(settings_of_any_family, inputs, questions)
@properties
def test_scores_are_the_windows_put_together(setting, text, question):
    tokens = tokens_of(setting, text)
    result = ask(setting, text, aggregation="token", **question)
    if result is None or not tokens:
        return
    logits, scores, residual = read_windows(setting, text, question.get("target"), question.get("contrast"))
    assert result["score"] == close(logits.max().item())
    assert [entry["score"] for entry in result["attributions"]] == [close(score) for score in scores.tolist()]
    assert [entry["special"] for entry in result["attributions"]] == [token[1] is None for token in tokens]
    assert result["residual"] == close(residual)
    words = ask(setting, text, **question)
    for number, (name, content) in enumerate(zip(("text", "text_pair"), texts_of(text))):
        own = [entry for entry in words["attributions"] if entry.get("sequence", "text") == name]
        spans = [(start, end) for _, sequence, start, end in tokens if sequence == number]
        given_scores = [score for (_, sequence, *_), score in zip(tokens, scores.tolist()) if sequence == number]
        expected = scores_of_words(content, own, spans, given_scores)
        assert [entry["score"] for entry in own] == [close(score) for score in expected]


def scores_of_words(text: str, words: list[dict], spans: list[tuple], scores: list[float]) -> list[float]:
    """Each token's score to the word that holds a character of it, else to the next token's, or the last."""
    if [word["word"] for word in words] == [""]:
        return [math.fsum(scores)]  # a text without a word
    sums, waiting, last = [0.0] * len(words), 0.0, None
    to_hold = readable(text)
    for (start, end), score in zip(spans, scores):
        places = to_hold & set(range(start, end))
        holders = [i for i, word in enumerate(words) if places & set(range(word["start"], word["end"]))]
        waiting += score
        if places:
            (last,) = holders
            sums[last] += waiting
            waiting = 0.0
    if last is not None:
        sums[last] += waiting
    return sums


@given(settings_of_any_family, st.lists(inputs, min_size=2, max_size=4), st.integers(2, 4))
@settings(properties, max_examples=60)
def test_neighbours_and_batches_change_nothing(setting, several, batch_size):
    alone = {number: ask(setting, text, batch_size=1) for number, text in enumerate(several)}
    alone = {number: result for number, result in alone.items() if result is not None}
    readable = [several[number] for number in alone]
    together = setting.pipeline()(readable, batch_size=batch_size, overlap=setting.overlap, function_to_apply="none")
    for one, other in zip(alone.values(), together, strict=True):
        assert one.keys() == other.keys()
        assert one["label"] == other["label"]
        for key in ("score", "special_score", "residual"):
            assert one[key] == close(other[key])
        for mine, theirs in zip(one["attributions"], other["attributions"], strict=True):
            assert mine | {"score": close(theirs["score"])} == theirs


@given(settings_of_any_family, inputs_of(pieces[-2:]), st.sampled_from(LEVELS), st.booleans())
@properties
def test_html_shows_the_whole_text_and_nothing_in_it_acts(setting, text, level, cut):
    arguments = {"truncation": True, "max_length": 8} if cut else {}  # then some of the text is in no word
    result = ask(setting, text, aggregation=level, **arguments)
    if result is None:
        return
    reader = check_inert(setting.pipeline().render_html(text, result), FRAGMENT_TAGS)
    assert reader.texts("attrib-text") == [shown(content) for content in texts_of(text)]
    words = [shown(entry["word"]) for entry in result["attributions"] if entry["word"]]
    assert [word for *_, word in reader.words()] == words
