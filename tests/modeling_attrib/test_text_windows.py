"""Windows of long texts: the tokenizer's own, every token once, each at its own place."""

import pytest
from pipelines import build, total
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, ByT5Tokenizer, PreTrainedTokenizerFast

from modeling_attrib.text_windows import tokenize


WORDS = " ".join(f"word{number}" for number in range(300))
TEXTS = {"text": [WORDS], "second": ["Is this about oil?", WORDS], "first": [WORDS, "Is this about oil?"]}


@pytest.fixture
def tokenizer(minilm_folder):
    return AutoTokenizer.from_pretrained(minilm_folder)


@pytest.fixture(scope="module")
def byte_tokenizer():
    """A token a byte, and no special tokens around a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<pad>": 0} | {char: number for number, char in enumerate(alphabet, start=1)}
    inner = Tokenizer(models.BPE(vocabulary, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", model_max_length=10)


@pytest.mark.parametrize("overlap", [0, 7, 64])
@pytest.mark.parametrize("name", TEXTS)
def test_windows_are_the_tokenizers_own(tokenizer, name, overlap):
    found = tokenize(tokenizer, TEXTS[name], {}, 150, overlap)
    strategy = "only_second" if name == "second" else "only_first"
    expected = tokenizer(
        *TEXTS[name], truncation=strategy, max_length=150, stride=overlap, return_overflowing_tokens=True
    )
    assert len(found.windows) > 3
    for column in ("input_ids", "attention_mask", "token_type_ids"):
        assert [window.inputs[column] for window in found.windows] == expected[column]
    for window in found.windows:
        assert [found.tokens[place].id for place in window.places] == window.inputs["input_ids"]
    assert sum(found.shares()) == pytest.approx(1)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", TEXTS)
def test_every_token_has_its_own_place_whichever_side_is_cut(tokenizer, name, side):
    tokenizer.truncation_side = side
    found = tokenize(tokenizer, TEXTS[name], {}, 150, 20)
    covered = {place for window in found.windows for place in window.places}
    assert covered == set(range(len(found.tokens)))
    pieces = [
        found.texts[token.sequence][token.start : token.end] for token in found.tokens if token.sequence is not None
    ]
    assert "".join(pieces) == "".join(found.texts).replace(" ", "")
    assert [token.id for token in found.tokens] == tokenizer(*TEXTS[name], verbose=False)["input_ids"]


def test_a_pipeline_that_cuts_on_the_left_names_the_same_words(minilm_folder):
    left, right = build(minilm_folder), build(minilm_folder)
    left.tokenizer.truncation_side = "left"
    for text in (" ".join(f"w{number}" for number in range(700)), {"text": "Oil?", "text_pair": WORDS}):
        one, other = left(text, overlap=100), right(text, overlap=100)
        assert one == other


def test_bytes_of_one_character_stay_apart_at_a_windows_edge(byte_tokenizer):
    text = "ab👍🏽👍🏽cd"  # tokens with the same offsets; an edge falls among them
    found = tokenize(byte_tokenizer, [text], {}, 10, 3)
    assert [token.id for token in found.tokens] == byte_tokenizer(text)["input_ids"]
    assert len(found.windows) == 3
    assert [window.places for window in found.windows] == [[*range(10)], [*range(7, 17)], [*range(14, 20)]]


def test_a_text_without_a_token_among_others(byte_tokenizer):
    pipe = build(byte_tokenizer)
    pipe.tokenizer.model_max_length = 12
    results = pipe(["", "ab", "", "a longer text"], batch_size=3, function_to_apply="none")
    assert results[0] == results[2]
    for result in results:
        assert total(result) == pytest.approx(result["score"], abs=1e-4)


@pytest.mark.parametrize("text", ["", "Oil falls", WORDS])
def test_padding_that_was_asked_for_makes_no_window(tokenizer, text):
    found = tokenize(tokenizer, [text], {"padding": "max_length", "max_length": 2000}, 150, 20)
    plain = tokenize(tokenizer, [text], {}, 150, 20)
    assert found == plain


@pytest.mark.parametrize("arguments", [{"return_offsets_mapping": False}, {"return_overflowing_tokens": True}])
def test_arguments_that_change_the_answers_form_change_nothing(tokenizer, arguments):
    assert tokenize(tokenizer, [WORDS], arguments, 150, 20) == tokenize(tokenizer, [WORDS], {}, 150, 20)


@pytest.mark.parametrize("arguments", [{"max_length": 9}, {"max_length": 9, "truncation": None}])
def test_a_length_alone_cuts_as_tokenizers_do(tokenizer, arguments):
    for side in ("left", "right"):
        tokenizer.truncation_side = side
        found = tokenize(tokenizer, [WORDS], arguments, 150, 20)
        assert [token.id for token in found.tokens] == tokenizer(WORDS, truncation=True, max_length=9)["input_ids"]
        assert len(found.windows) == 1


def test_padding_to_a_length_cuts_nothing(tokenizer):
    found = tokenize(tokenizer, [WORDS], {"max_length": 9, "padding": "max_length"}, 150, 20)
    assert found == tokenize(tokenizer, [WORDS], {}, 150, 20)


@pytest.mark.parametrize("arguments", [{"truncation": True}, {"truncation": "only_first", "padding": "max_length"}])
def test_a_text_is_cut_to_what_the_model_reads_where_the_tokenizer_knows_no_length(tokenizer, arguments):
    expected = tokenize(tokenizer, [WORDS], arguments | {"max_length": 150}, 150, 20)
    tokenizer.model_max_length = int(1e30)
    assert tokenize(tokenizer, [WORDS], arguments, 150, 20) == expected
    assert len(expected.tokens) == 150


def test_a_tokenizer_that_does_not_know_where_its_tokens_are_is_refused():
    with pytest.raises(ValueError, match="need a fast tokenizer"):
        tokenize(ByT5Tokenizer(), ["Oil falls"], {}, 150, 20)
