"""Stability: edits that keep the meaning, words that stay together, and the distance by hand."""

import math

import numpy as np
import pytest
from linear_model import word_tokenizer
from tokenizers import normalizers

from attrib_lab.evaluation import stability as stability_module
from attrib_lab.evaluation.perturbation import Perturbation
from attrib_lab.evaluation.perturbation_runner import PerturbationRunner
from attrib_lab.evaluation.stability import (
    rank_distance,
    stability,
    swap_contractions,
    swap_final_stop,
    swap_quotes,
    swap_synonyms,
)
from attrib_lab.evaluation.texts import encode_text


TOKENIZER = word_tokenizer()
TOKENS = Perturbation.of(TOKENIZER)


def measure(explain, source=("a b c d",), tokenizer=TOKENIZER):
    """Stability of an explainer, a function from a text to the scores of its words."""

    def encoded(sources, target):
        texts = [encode_text(one, tokenizer) for one in sources]
        return [(text, scores_of(text, explain)) for text in texts]

    ((text, scores),) = encoded([source], 1)
    (result,) = PerturbationRunner(None).run([stability(text, scores, 1, TOKENS, explain=encoded)])
    return result


def scores_of(text, explain):
    words = explain(text)
    return np.array([9.0 if word is None else words[word] / text.words.count(word) for word in text.words])


def words_of(text):
    return [text.source[sequence][start:end] for sequence, start, end in text.word_spans]


@pytest.fixture
def one_edit(monkeypatch):
    """Set a single edit, a function from text to text."""
    return lambda edit: monkeypatch.setattr(stability_module, "EDITS", (edit,))


def test_the_distance_by_hand():
    # Ranks 3, 1, 2 and 3, 2, 1: 1 - 6 * (0 + 1 + 1) / (3 * 8) = 0.5.
    assert rank_distance([0.9, 0.1, 0.5], [0.8, 0.3, 0.2]) == pytest.approx(0.5)
    assert rank_distance([1, 2, 3], [10, 20, 30]) == pytest.approx(0)
    assert rank_distance([1, 2, 3], [3, 2, 1]) == pytest.approx(2)
    for before, after in (
        ([1, 2], [1, 2]), ([1, 1, 1], [1, 2, 3]), ([1, 1, 1], [1, 1, 1]), ([1, 2, math.nan], [1, 2, 3]),
        ([1, 2, 3], [math.nan] * 3), ([1, 2, 3], [math.inf] * 3), ([1, 2], [1, 1]),
    ):  # fmt: skip
        assert math.isnan(rank_distance(before, after))


def test_an_order_that_is_lost_is_as_far_as_one_that_has_nothing_to_do_with_it():
    assert rank_distance([1, 2, 3], [5, 5, 5]) == 1.0
    assert rank_distance([1, 2, 3, 4], [2, 4, 1, 3]) == pytest.approx(1.0)  # Spearman's correlation is 0


def test_an_edit_after_which_all_scores_are_the_same_counts(monkeypatch):
    """Of two edits one keeps the order and one loses it: (0 + 1) / 2."""
    edits = (lambda text: text.replace("b", "e"), lambda text: text.replace("c", "e"))
    monkeypatch.setattr(stability_module, "EDITS", edits)
    result = measure(lambda text: [1.0] * 4 if "c" not in words_of(text) else list(range(4)))
    assert result.value == pytest.approx(0.5)


def test_an_explanation_that_belongs_to_the_words_is_stable(one_edit):
    one_edit(lambda text: text.replace("b", "e"))
    scores = {"a": 3.0, "b": 1.0, "e": 1.0, "c": 2.0, "d": -1.0}
    assert measure(lambda text: [scores[word] for word in words_of(text)]).value == pytest.approx(0)


def test_an_explanation_that_turns_round_is_not(one_edit):
    one_edit(lambda text: text.replace("b", "e"))
    # a, b, c, d have ranks 1 2 3 4 before the edit and 4 3 2 1 after it.
    result = measure(lambda text: [(-1) ** ("e" in words_of(text)) * place for place in range(4)])
    assert result.value == pytest.approx(2)


def test_words_that_come_and_go_are_left_out(one_edit):
    # "a b" becomes one word, "ab": c, d and e are compared, and stay in their order although their places changed.
    one_edit(lambda text: text.replace("a b", "ab"))
    order = {"a": 7.0, "b": -7.0, "ab": 0.0, "c": 1.0, "d": 2.0, "e": 3.0}
    result = measure(lambda text: [order[word] for word in words_of(text)], ("a b c d e",))
    assert result.value == pytest.approx(0)


def test_a_word_is_the_sum_of_its_tokens(one_edit):
    # bx is two tokens and b one; only the sum is the same.
    one_edit(lambda text: text.replace("bx", "b"))
    scores = {"a": 3.0, "bx": 2.0, "b": 2.0, "c": 1.0}
    assert measure(lambda text: [scores[word] for word in words_of(text)], ("a bx c",)).value == pytest.approx(0)


def test_both_texts_of_a_pair_are_edited(one_edit):
    one_edit(lambda text: text.replace("b", "e"))
    seen = []

    def explain(text):
        seen.append(text.source)
        return list(range(len(text.word_spans)))

    assert measure(explain, ("a b", "b c")).value == pytest.approx(0)
    assert ("a e", "e c") in seen


def test_an_edit_that_the_model_does_not_see_does_not_count(one_edit):
    one_edit(str.lower)
    blind = word_tokenizer()
    blind.backend_tokenizer.normalizer = normalizers.Lowercase()
    result = measure(lambda text: list(range(len(text.word_spans))), ("A B c",), blind)
    assert str(result) == "no edit changes what the model reads"


def test_what_cannot_be_compared_says_why(one_edit):
    one_edit(lambda text: text.replace("b", "e"))
    assert str(measure(lambda text: [1.0] * 4)) == "too few different scores to compare"
    assert str(measure(lambda text: [math.nan] * 4)) == "scores are not finite"
    assert str(measure(lambda text: [1.0, 2.0], ("c d",))) == "no edit changes what the model reads"


def test_edits_keep_the_meaning():
    assert swap_synonyms("A Film, often big. FILMS!") == "A Movie, frequently large. MOVIES!"
    assert swap_synonyms(swap_synonyms("the whole film")) == "the whole film"
    assert swap_synonyms("filmic") == "filmic"
    assert swap_synonyms("It took a while.") == "It took a while."  # a noun here, so "whilst" would be no English
    assert swap_contractions("I do n't, you don't, he isn’t") == "I do not, you do not, he is not"
    assert swap_contractions("Do not; they were not") == "Don't; they weren't"
    assert swap_contractions("can't won't nothing") == "can't won't nothing"
    assert swap_quotes("it's “so”") == 'it’s "so"'
    assert [swap_final_stop(text) for text in ("a", "a.", "a .", "a...", "a!", "")] == [
        "a.",
        "a",
        "a",
        "a...",
        "a!",
        "",
    ]
