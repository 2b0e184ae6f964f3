"""captum's methods against sums over all coalitions, one replacement at a time, and completeness."""

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso

from attrib_lab.evaluation.classifiers import load_classifier
from attrib_lab.evaluation.explainers import explain_batch, select_explainers
from attrib_lab.evaluation.texts import encode_rows
from attrib_lab.terminal.errors import UserError


pytest.importorskip("captum", reason="captum is not installed")

ROWS = [{"text": "stocks match of bank", "pair": None}, {"text": "profit", "pair": None}]


@pytest.fixture(scope="module", params=["classifier_folder", "stock_folder"])
def classifier(request):
    loaded = load_classifier(request.getfixturevalue(request.param))
    loaded.model.double()  # so that sums can be compared exactly
    return loaded


@pytest.fixture(scope="module")
def texts(classifier):
    return encode_rows(ROWS, classifier.tokenizer)


def logit(classifier, ids, target):
    with torch.no_grad():
        batch = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        return classifier.forward(batch)[0, target].item()


def kept(text, places, classifier):
    """The ids with [MASK] at every own token that is not in `places`."""
    return [
        token if special or place in places else classifier.tokenizer.mask_token_id
        for place, (token, special) in enumerate(zip(text.ids, text.special))
    ]


def explain(name, classifier, texts, target=1, budget=None):
    (explainer,) = select_explainers(name, classifier, budget)
    found = explain_batch(explainer, classifier, texts, [target] * len(texts), seed=0)
    assert [e.reason for e in found] == [None] * len(texts)
    return [np.array(e.scores) for e in found]


def own_places(text):
    return [place for place, special in enumerate(text.special) if not special]


def test_occlusion_is_one_replacement_at_a_time(classifier, texts):
    for text, scores in zip(texts, explain("occlusion", classifier, texts)):
        whole = logit(classifier, text.ids, 1)
        for place in range(len(text.ids)):
            others = set(own_places(text)) - {place}
            expected = 0.0 if text.special[place] else whole - logit(classifier, kept(text, others, classifier), 1)
            assert scores[place] == pytest.approx(expected, abs=1e-6)


def test_kernel_shap_with_many_samples_is_the_shapley_value(classifier, texts):
    found = explain("kernel_shap", classifier, texts, budget=400)
    for text, scores in zip(texts, found):
        players = own_places(text)
        expected = np.zeros(len(text.ids))
        for player in players:
            others = [p for p in players if p != player]
            for size in range(len(players)):
                weight = math.factorial(size) * math.factorial(len(players) - size - 1) / math.factorial(len(players))
                for group in itertools.combinations(others, size):
                    gain = logit(classifier, kept(text, {*group, player}, classifier), 1)
                    gain -= logit(classifier, kept(text, set(group), classifier), 1)
                    expected[player] += weight * gain
        # Four players: 400 samples hold every coalition, at about the kernel's weights.
        scale = np.abs(expected).max()
        np.testing.assert_allclose(scores, expected, atol=0.1 * scale)
        whole, nothing = logit(classifier, text.ids, 1), logit(classifier, kept(text, set(), classifier), 1)
        assert scores.sum() == pytest.approx(whole - nothing, abs=1e-3 * scale)


def test_integrated_gradients_are_complete(classifier, texts):
    for text, scores in zip(texts, explain("captum_integrated_gradients", classifier, texts, budget=300)):
        nothing = [token if special else classifier.padding_id for token, special in zip(text.ids, text.special)]
        assert scores.sum() == pytest.approx(logit(classifier, text.ids, 1) - logit(classifier, nothing, 1), rel=0.02)
        assert scores[0] == scores[-1] == 0.0


def test_lime_with_many_samples_is_the_weighted_lasso_of_all_coalitions(classifier, texts):
    text, players = texts[0], own_places(texts[0])
    coalitions = np.array(list(itertools.product([0, 1], repeat=len(players))))
    groups = [{player for player, there in zip(players, row) if there} for row in coalitions]
    values = [logit(classifier, kept(text, group, classifier), 1) for group in groups]
    cosines = np.sqrt(coalitions.mean(axis=1))
    weights = np.sqrt(np.exp(-((100 * (1 - cosines)) ** 2) / 25**2))  # as in lime's lime_text.py
    expected = Lasso(alpha=0.01).fit(coalitions, values, sample_weight=weights).coef_
    scores = explain("lime", classifier, texts[:1], budget=1500)[0]
    np.testing.assert_allclose(scores[players], expected, atol=0.1 * np.abs(expected).max())
    assert scores[0] == scores[-1] == 0.0


def test_the_same_call_gets_the_same_scores(classifier, texts):
    first = explain("lime", classifier, texts, budget=10)
    torch.rand(7)
    np.testing.assert_array_equal(explain("lime", classifier, texts, budget=10)[0], first[0])


def test_tokens_of_a_word_share_its_score(minilm_folder):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from attrib_lab.evaluation.classifiers import EvaluatedClassifier

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder)
    model = AutoModelForSequenceClassification.from_pretrained(minilm_folder, num_labels=2).eval()
    classifier = EvaluatedClassifier(model, tokenizer, explains=False)
    (text,) = encode_rows([{"text": "unbelievability wins"}], tokenizer)
    pieces = [place for place, word in enumerate(text.words) if word == 0]
    assert len(pieces) > 1
    for name in ("lime", "kernel_shap"):
        (scores,) = explain(name, classifier, [text], budget=16)
        assert len(set(scores[pieces].tolist())) == 1
    # Shapley values of the words add up to what the text has over nothing, shared among pieces or not.
    whole, nothing = logit(classifier, text.ids, 1), logit(classifier, kept(text, set(), classifier), 1)
    assert scores.sum() == pytest.approx(whole - nothing, rel=1e-3)


def test_sources_say_what_was_spent(classifier):
    assert "25 samples" in select_explainers("lime", classifier)[0].source
    assert "7 steps" in select_explainers("captum_integrated_gradients", classifier, budget=7)[0].source
    assert "7" not in select_explainers("occlusion", classifier, budget=7)[0].source


def test_without_captum_one_sentence(classifier, monkeypatch, capsys):
    from importlib import util

    monkeypatch.setattr(util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install captum"):
        select_explainers("lime", classifier)
    if classifier.explains:
        assert "lime" not in [e.name for e in select_explainers("all", classifier)]
        assert "pip install captum" in capsys.readouterr().out
    else:
        with pytest.raises(UserError, match="nothing to compare"):
            select_explainers("all", classifier)
