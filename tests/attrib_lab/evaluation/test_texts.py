"""Rows of data as the model reads them: words, pairs, rationales, and what is refused."""

import pytest
from linear_model import IDS, word_tokenizer

from attrib_lab.evaluation.texts import (
    EncodedText,
    batches_of,
    encode_rows,
    encode_text,
    mean_rationale_share,
    text_from_ids,
)
from attrib_lab.terminal.errors import UserError


TOKENIZER = word_tokenizer()


def test_tokens_of_one_word_stay_together():
    (text,) = encode_rows([{"text": "a bx c", "label": 1}], TOKENIZER, label="label")
    assert text.ids == tuple(IDS[word] for word in ("[CLS]", "a", "b", "##x", "c", "[SEP]"))
    assert text.special == (True, False, False, False, False, True)
    assert text.words == (None, 0, 1, 1, 2, None)
    assert text.word_spans == ((0, 0, 1), (0, 2, 4), (0, 5, 6))
    assert (text.label, text.rationale, text.types, text.truncated) == (1, None, (), False)


def test_words_are_those_of_the_text_and_not_of_the_tokenizer():
    # The tokenizer cuts "a'b" into three pieces, the reader sees one word.
    (text,) = encode_rows([{"text": "a'b c"}], TOKENIZER)
    assert text.words == (None, 0, 0, 0, 1, None)


def test_a_pair_has_its_own_words_and_types():
    (text,) = encode_rows([{"text": "a b", "pair": "c"}], TOKENIZER, text_pair="pair")
    assert text.words == (None, 0, 1, None, 2, None)
    assert text.word_spans == ((0, 0, 1), (0, 2, 3), (1, 0, 1))
    assert text.types == (0, 0, 0, 0, 1, 1)
    assert text.source == ("a b", "c")


def test_what_looks_like_a_special_token_in_a_text_is_text():
    (text,) = encode_rows([{"text": "a [SEP] b"}], TOKENIZER)
    assert text.special[0]
    assert text.special[-1]
    assert not any(text.special[1:-1])


def test_keys_tell_rows_and_texts_apart():
    rows = [{"text": "a"}, {"text": "a"}, {"text": "b"}]
    keys = [text.key for text in encode_rows(rows, TOKENIZER)]
    assert [key.split("-")[0] for key in keys] == ["0", "1", "2"]
    digests = [key.split("-")[1] for key in keys]
    assert digests[0] == digests[1] != digests[2]
    assert len(digests[0]) == 8
    assert digests[0] == "ca978112"  # sha256 of "a"


def test_rationale_of_words_and_of_characters():
    by_word = {"text": ["a", "bx", "c"], "why": [0, 1, 0]}
    by_character = {"text": "a bx c", "why": [[3, 4]]}  # touches the second token of bx alone
    first, second = (encode_rows([row], TOKENIZER, rationale="why")[0] for row in (by_word, by_character))
    assert first.rationale == (False, False, True, True, False, False)
    assert second.rationale == (False, False, False, True, False, False)


def test_a_rationale_ends_where_it_ends_and_speaks_of_the_first_text():
    (text,) = encode_rows(
        [{"text": "a'b", "pair": "c d", "why": [[0, 1]]}], TOKENIZER, text_pair="pair", rationale="why"
    )
    assert text.rationale == (False, True, False, False, False, False, False, False)


def test_a_rationale_that_nobody_gave_is_none_and_an_empty_one_is_not():
    rows = [{"text": ["a", "b"], "why": why} for why in (None, [], [0, 0], [1, 0])]
    texts = encode_rows(rows, TOKENIZER, rationale="why")
    assert [text.rationale for text in texts[:3]] == [None, None, (False,) * 4]
    # Only the last text has marks: one of two tokens.
    assert mean_rationale_share(texts) == 0.5
    assert mean_rationale_share(texts[:3]) is None


def test_long_texts_are_cut_and_say_so():
    long, short = encode_rows([{"text": "a b c d e"}, {"text": "a b"}], TOKENIZER, max_length=4)
    assert long.ids == tuple(IDS[word] for word in ("[CLS]", "a", "b", "[SEP]"))
    assert (long.truncated, short.truncated) == (True, False)


def test_an_empty_text_is_only_special_tokens():
    text = encode_text(("",), TOKENIZER)
    assert text.special == (True, True)
    assert text.words == (None, None)


def test_ids_alone():
    text = text_from_ids([2, 5, 1, 3], TOKENIZER, label=1)
    assert text.special == (True, False, False, True)  # [UNK] in a text is text
    assert text.words == (None, 0, 1, None)


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        ({"text": "a"}, {"text": "txt"}, "no column 'txt'; it has text. Did you mean 'text'?"),
        ({"text": 3}, {}, "row 0: 'text' holds int, not a text"),
        ({"text": None}, {}, "row 0: 'text' holds NoneType"),
        ({"text": ["a", "b"], "why": [1]}, {"rationale": "why"}, "one 0 or 1 for each of the text's 2 words"),
        ({"text": ["a", "b"], "why": 1}, {"rationale": "why"}, "one 0 or 1 for each of the text's 2 words"),
        ({"text": ["a", "b"], "why": 0}, {"rationale": "why"}, "one 0 or 1 for each of the text's 2 words"),
        ({"text": ["a", "b"], "why": "10"}, {"rationale": "why"}, "one 0 or 1 for each of the text's 2 words"),
        ({"text": "a b", "why": 0.5}, {"rationale": "why"}, "[start, end] pairs of characters"),
        ({"text": "a b", "why": [1, 0]}, {"rationale": "why"}, "[start, end] pairs of characters"),
    ],
)
def test_what_is_refused(row, options, message):
    with pytest.raises(UserError) as error:
        encode_rows([row], TOKENIZER, **options)
    assert message in str(error.value)


def test_batches_depend_on_the_texts_alone():
    def text(number, length):
        return EncodedText(str(number), (7,) * length, (False,) * length, (0,) * length)

    texts = [text(number, length) for number, length in enumerate([3, 500, 4, 300, 3, 400, 2000])]
    batches = batches_of(texts, batch_size=2, tokens=1024)
    assert batches == [[6], [1, 5], [3, 2], [0, 4]]  # 2 × 500 tokens fit into 1024
    assert batches_of(texts, batch_size=1, tokens=1024) == [[6], [1], [5], [3], [2], [0], [4]]
