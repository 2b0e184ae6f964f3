"""What is removed, in which order, and what stands in its place."""

import numpy as np
import pytest
from linear_model import IDS, plain_text, word_tokenizer

from attrib_lab.evaluation.perturbation import Perturbation, counts_at, rank_units, units_of
from attrib_lab.evaluation.perturbation_runner import NotMeasurable
from attrib_lab.terminal.errors import UserError


TOKENIZER = word_tokenizer()
WORDS = plain_text("a ##x b", words=(None, 0, 0, 1, None))


def ids(words):
    return tuple(IDS[word] for word in words.split())


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("mask", "[CLS] a [MASK] c [SEP]"), ("unk", "[CLS] a [UNK] c [SEP]"), ("delete", "[CLS] a c [SEP]")],
)
def test_each_kind(kind, expected):
    perturbed = Perturbation.of(TOKENIZER, kind).without(plain_text("a b c"), [(2,)])
    assert perturbed.ids == ids(expected)
    assert perturbed.types == ()


def test_token_types_follow_their_tokens():
    text = plain_text("a b c", types=(0, 0, 0, 1, 1))
    assert Perturbation.of(TOKENIZER, "delete").without(text, [(2,)]).types == (0, 0, 1, 1)
    assert Perturbation.of(TOKENIZER, "mask").without(text, [(2,)]).types == (0, 0, 0, 1, 1)


def test_tokens_are_ranked_by_signed_score_and_special_ones_not_at_all():
    scores = np.array([9.0, -2.0, 0.5, 1.0, -9.0])
    text, tokens = plain_text("a b c"), Perturbation.of(TOKENIZER)
    assert rank_units(text, scores, tokens) == [(3,), (2,), (1,)]
    assert rank_units(text, scores, tokens, special_tokens=True) == [(0,), (3,), (2,), (1,), (4,)]
    assert rank_units(text, scores, tokens, ascending_magnitude=True) == [(2,), (3,), (1,)]


def test_the_score_of_a_word_is_the_sum_of_its_tokens():
    # The strongest token, b, loses to a + ##x.
    scores = np.array([0.0, 2.0, 2.0, 3.0, 0.0])
    assert rank_units(WORDS, scores, Perturbation.of(TOKENIZER, unit="word")) == [(1, 2), (3,)]
    assert rank_units(WORDS, scores, Perturbation.of(TOKENIZER)) == [(3,), (1,), (2,)]
    assert units_of(WORDS, Perturbation.of(TOKENIZER, unit="word"), special_tokens=True) == [(0,), (1, 2), (3,), (4,)]


def test_of_equal_scores_the_first_token_comes_first():
    assert rank_units(plain_text("a b c"), np.zeros(5), Perturbation.of(TOKENIZER)) == [(1,), (2,), (3,)]


def test_fractions_round_up_in_floating_point():
    assert counts_at((0.0, 0.01, 0.5, 1.0), 5) == [0, 1, 3, 5]
    assert counts_at((3 * 0.1,), 10) == [4]  # as numpy.linspace(0, 1, 11) and ceil give it


@pytest.mark.parametrize(
    ("words", "scores", "reason"),
    [
        ("", [0, 0], "only special tokens"),
        ("a", [0, 1, 0], "only one token"),
        ("a b", [0, np.nan, 1, 0], "scores are not finite"),
        ("a b", [0, np.inf, 1, 0], "scores are not finite"),
    ],
)
def test_what_cannot_be_ranked_says_why(words, scores, reason):
    with pytest.raises(NotMeasurable, match=f"^{reason}$"):
        rank_units(plain_text(words), np.array(scores), Perturbation.of(TOKENIZER))


def test_one_word_of_two_tokens_cannot_be_ranked_by_words():
    text = plain_text("a ##x", words=(None, 0, 0, None))
    with pytest.raises(NotMeasurable, match=r"^only one word$"):
        rank_units(text, np.zeros(4), Perturbation.of(TOKENIZER, unit="word"))


def test_a_wrong_number_of_scores_is_no_measurement():
    with pytest.raises(ValueError, match=r"scores have shape \(3,\); 0-00000000 has 4 tokens"):
        rank_units(plain_text("a b"), np.zeros(3), Perturbation.of(TOKENIZER))


def test_a_text_without_special_tokens_cannot_be_deleted():
    text = plain_text("a b")
    bare = type(text)(key="0", ids=text.ids[1:-1], special=(False, False), words=(0, 1))
    with pytest.raises(NotMeasurable, match=r"^nothing is left"):
        Perturbation.of(TOKENIZER, "delete").without(bare, [(0,), (1,)])


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"mask_token": None}, "mask", "this tokenizer has no mask token: remove in another way"),
        ({"eos_token": "[UNK]"}, "unk", "this tokenizer's unk token, [UNK], also begins, ends or pads texts"),
        ({}, "pad", "perturbation 'pad' of 'token': there is mask, unk, delete of token or word"),
    ],
)
def test_a_tokenizer_that_lacks_the_token_ends_in_one_sentence(changes, kind, message):
    with pytest.raises(UserError) as error:
        Perturbation.of(word_tokenizer(**changes), kind)
    assert message in str(error.value)
