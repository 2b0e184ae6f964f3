"""Rationales: passages, marks, thresholds and grades against values computed by hand."""

import numpy as np
import pytest
from toy_data import write_backbone
from transformers import AutoTokenizer

from attrib_lab.evaluation.padding import pad_rows
from attrib_lab.evaluation.texts import encode_rows
from attrib_lab.terminal.errors import UserError
from attrib_lab.trained_heads.rationales import (
    _flatten,
    _mean_f1,
    choose_threshold,
    grade,
    marked_texts,
    mean_token_f1,
    passages,
    rationale_targets,
    standardise,
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return AutoTokenizer.from_pretrained(write_backbone(tmp_path_factory.mktemp("backbone")))


def text(tokenizer, marks):
    words = ["goal", "match", "coach", "league", "bank"][: len(marks)]
    (one,) = encode_rows([{"text": words, "rationale": marks}], tokenizer, rationale="rationale")
    return one


def test_passages_are_cut_with_their_marks():
    rows = [{"words": list("abcde"), "marks": [0, 1, 0, 0, 1], "id": 7}, {"words": ["f"], "marks": [1]}]
    assert list(passages(rows, 2, "words", "marks")) == [
        {"words": ["a", "b"], "marks": [0, 1]},
        {"words": ["c", "d"], "marks": [0, 0]},
        {"words": ["e"], "marks": [1]},
        {"words": ["f"], "marks": [1]},
    ]
    with pytest.raises(UserError, match="passages are cut from lists of words and their marks: 'words' and 'marks'"):
        list(passages([{"words": "a text", "marks": [[0, 1]]}], 2, "words", "marks"))


def test_texts_without_a_mark_are_left_out(tokenizer):
    rows = [{"t": ["goal", "of"], "r": marks} for marks in ([1, 0], [0, 0], None)]
    (one,) = marked_texts(rows, tokenizer, "t", "r", 64)
    assert one.rationale == (False, True, False, False)
    longer = text(tokenizer, [0, 1, 1])
    targets = rationale_targets(pad_rows([one, longer], tokenizer.pad_token_id), [one, longer])
    assert targets[..., 0].tolist() == [[0, 1, 0, 0, 0], [0, 0, 1, 1, 0]]


def test_scores_are_standardised_without_special_tokens(tokenizer):
    (found,) = standardise([np.array([9.0, 1.0, 2.0, 3.0, -9.0])], [text(tokenizer, [1, 0, 0])])
    np.testing.assert_allclose(found, (np.array([9.0, 1.0, 2.0, 3.0, -9.0]) - 2) / np.sqrt(2 / 3), rtol=1e-9)


def test_the_threshold_is_the_best_for_all_tasks_alike(tokenizer):
    """The second task has more texts; counted together it would win with 6, and tasks count alike with 4."""
    marked = text(tokenizer, [1, 0, 0, 0])
    first = [np.array([0.0, 4.5, 1.0, 2.0, 3.0, 0.0])]  # right from above 3 to 4.5
    second = [np.array([0.0, 6.5, 5.0, 1.0, 2.0, 0.0])] * 3  # right above 5; F1 of 2/3 with one token too many
    threshold = choose_threshold([(first, [marked]), (second, [marked] * 3)])
    assert 3 < threshold <= 4.5
    alone = choose_threshold([(second, [marked] * 3)])
    assert 5 < alone <= 6.5


def test_the_threshold_is_searched_by_the_same_f1_that_is_reported(tokenizer):
    generator = np.random.default_rng(0)
    texts = [text(tokenizer, [1, *generator.integers(0, 2, size)]) for size in (2, 4, 3, 4, 1)]
    scores = [generator.normal(size=len(one.ids)) for one in texts]
    chosen = choose_threshold([(scores, texts)])
    own = np.concatenate([values[1:-1] for values in scores])
    every = [mean_token_f1(scores, texts, threshold=value) for value in own]
    assert mean_token_f1(scores, texts, threshold=chosen) >= sorted(every)[-2]  # to choose every token is no candidate
    flat = _flatten(scores, texts)
    assert [_mean_f1(*flat, threshold=value) for value in own] == pytest.approx(every, rel=1e-12)
    assert len(set(every)) > 5


def test_grades_by_hand(tokenizer):
    texts = [text(tokenizer, [1, 1, 0, 0]), text(tokenizer, [0, 1, 0, 0, 0])]
    scores = [np.array([9, 0.9, 0.1, 0.8, 0.2, 9]), np.array([9, 0.4, 0.7, 0.6, 0.1, 0.2, 9])]
    found = grade(scores, texts, 0.5)
    # First: {0, 2} of {0, 1}: F1 1/2. Second: {1, 2} of {1}: 2/3. Together 2 hits of 4 chosen and 3 marked.
    assert found["token_f1"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found["pooled_token_f1"] == pytest.approx(4 / 7)
    assert found["chosen"] == pytest.approx(4 / 9)
    # 35 % of the tokens: one of four, F1 2/3; two of five, F1 2/3.
    assert found["token_f1_at_true_share"] == pytest.approx(2 / 3)
    # Ranks of the marked: 1 and 4 of the first: (1 + 2/4) / 2; 1 of the second.
    assert found["average_precision"] == pytest.approx((0.75 + 1) / 2)
