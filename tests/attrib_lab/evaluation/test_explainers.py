"""Explainers: called alike, seeded alike, and what one gets wrong costs its own texts only."""

import random
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from attrib_lab.evaluation.classifiers import EvaluatedClassifier, load_classifier
from attrib_lab.evaluation.explainers import explain_batch, select_explainers
from attrib_lab.evaluation.texts import encode_rows
from attrib_lab.terminal.errors import UserError
from modeling_attrib import list_attribution_methods


TEXTS = ["the striker said the goal was new", "stocks of the old bank", "profit", "match match match"]


@pytest.fixture(scope="module")
def classifier(classifier_folder):
    return load_classifier(classifier_folder)


@pytest.fixture(scope="module")
def texts(classifier):
    return encode_rows([{"text": text} for text in TEXTS], classifier.tokenizer)


@pytest.fixture
def plug_in(monkeypatch, tmp_path):
    """A module `plugged` in the working folder, with the given source."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(source, classifier):
        sys.modules.pop("plugged", None)
        (tmp_path / "plugged.py").write_text(source)
        return select_explainers("plugged:explain", classifier)[0]

    yield write
    sys.modules.pop("plugged", None)


def test_own_method_explains_the_given_label(classifier, texts):
    """Scores of a padded batch are those of each text alone, for the label asked for and not the predicted one."""
    (lrp,) = select_explainers("lrp", classifier)
    targets = [0, 1, 1, 0]
    found = explain_batch(lrp, classifier, texts, targets, seed=0)
    for text, target, explanation in zip(texts, targets, found):
        ids = torch.tensor([text.ids])
        with torch.no_grad():
            expected = classifier.model(input_ids=ids, attribution_target=target, attribution_method="lrp")
        np.testing.assert_allclose(explanation.scores, expected.attributions[0], atol=1e-6)


def test_names(classifier):
    cheap = [method["name"] for method in list_attribution_methods() if method["cost"] < 3]
    without_head = [name for name in cheap if name != "expnet"]
    assert [e.name for e in select_explainers("cheap", classifier)] == without_head != cheap
    with_head = EvaluatedClassifier(SimpleNamespace(expnet=torch.nn.Linear(1, 1)), classifier.tokenizer, explains=True)
    assert [e.name for e in select_explainers("cheap", with_head)] == cheap
    assert [e.name for e in select_explainers("random, lrp,random", classifier)] == ["random", "lrp"]
    assert select_explainers("lrp", classifier)[0].source.startswith("Ali et al. 2022")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("lrq", "unknown method 'lrq'.* Did you mean 'lrp'"),
        (" , ", "names no method"),
        ("no_such_module:f", "no_such_module cannot be imported"),
        ("plugged:explian", "no function 'explian'. Did you mean 'explain'"),
        ("plugged:CONSTANT", "no function 'CONSTANT'"),
    ],
)
def test_names_that_mean_nothing(classifier, plug_in, names, message):
    plug_in("CONSTANT = 3\ndef explain(model, batch): ...", classifier)
    with pytest.raises(UserError, match=message):
        select_explainers(names, classifier)


def test_broken_plug_in_module(classifier, plug_in):
    with pytest.raises(UserError, match="cannot be imported: division by zero"):
        plug_in("1 / 0", classifier)


@pytest.mark.parametrize("call", ["sys.exit()", "sys.exit(3)", "raise SystemExit('usage: ...')"])
def test_a_plug_in_that_ends_the_program(classifier, plug_in, texts, call):
    with pytest.raises(UserError, match="plug-in 'plugged:explain': plugged cannot be imported: it ends the program"):
        plug_in(f"import sys\n{call}", classifier)
    explainer = plug_in(f"import sys\ndef explain(model, batch): {call}", classifier)
    (found,) = explain_batch(explainer, classifier, texts[:1], [0], seed=0)
    assert found.reason.startswith("raised SystemExit: ")


def test_stock_model_says_what_it_can_do(stock_folder, texts, plug_in):
    stock = load_classifier(stock_folder)
    for names in ("lrp", "cheap"):
        with pytest.raises(UserError, match=r"need.* a model that train.py left, not a BertForSequenceClassification"):
            select_explainers(names, stock)
    source = "def explain(model, batch): return batch['input_ids'] * batch['attribution_target'][:, None]"
    found = explain_batch(plug_in(source, stock), stock, texts[:2], [2, 1], seed=0)
    assert [list(e.scores) for e in found] == [[2 * i for i in texts[0].ids], list(texts[1].ids)]


def test_a_plug_in_that_raises_loses_only_its_own_texts(classifier, texts, plug_in):
    source = """
def explain(model, batch):
    if (batch["input_ids"] == {bad}).any():
        raise KeyError("no\\x1b[31m entry")
    return batch["input_ids"].float().numpy()
"""
    bad = texts[1].ids[1]
    found = explain_batch(plug_in(source.format(bad=bad), classifier), classifier, texts, [0] * 4, seed=0)
    assert [e.reason for e in found] == [None, "raised KeyError: 'no\\x1b[31m entry'", None, None]
    assert list(found[2].scores) == list(texts[2].ids)


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ("batch['input_ids'].float() * (batch['input_ids'] != 3) / 0", "not finite"),
        ("[[float('nan')] * batch['input_ids'].shape[1]] * len(batch['input_ids'])", "not finite"),
        ("batch['input_ids'][:, 1:]", r"raised ValueError: scores of shape \(1, \d\), not"),
        ("None", "raised"),
        ("'scores'", "raised"),
    ],
)
def test_a_plug_in_that_returns_nonsense(classifier, texts, plug_in, result, reason):
    explainer = plug_in(f"def explain(model, batch): return {result}", classifier)
    found = explain_batch(explainer, classifier, texts, [0] * 4, seed=0)
    assert all(e.scores is None for e in found)
    for explanation in found:
        assert re.search(reason, explanation.reason)


def test_nan_at_special_tokens_and_padding_is_no_fault(classifier, texts, plug_in):
    source = """
def explain(model, batch):
    ids = batch["input_ids"]
    return ids.float().masked_fill((ids == 2) | (ids == 3) | (ids == 0), float("nan"))
"""
    found = explain_batch(plug_in(source, classifier), classifier, texts, [0] * 4, seed=0)
    assert list(found[1].scores) == [0.0, *texts[1].ids[1:-1], 0.0]


def test_a_plug_in_leaves_no_trace(classifier, texts, plug_in):
    source = """
import random, numpy, torch
def explain(model, batch):
    model.train()
    output = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], output_attributions=False)
    output.logits.sum().backward()
    batch["input_ids"].zero_()
    shape = batch["input_ids"].shape
    return random.random() + numpy.random.rand(*shape) + torch.rand(shape).numpy()
"""
    explainer = plug_in(source, classifier)
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    state = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    first = explain_batch(explainer, classifier, texts, [0] * 4, seed=0)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state[1:]
    assert not classifier.model.training
    assert all(parameter.grad is None for parameter in classifier.model.parameters())
    # Seeded by seed and texts: not by what ran before.
    torch.rand(3)
    random.random()
    assert explain_batch(explainer, classifier, texts, [0] * 4, seed=0) == first
    assert explain_batch(explainer, classifier, texts, [0] * 4, seed=1) != first
    assert explain_batch(explainer, classifier, texts[:1], [0], seed=0)[0].scores is not None


def test_a_changed_plug_in_is_another_one(classifier, plug_in):
    before = plug_in("def explain(model, batch): return 1", classifier).fingerprint
    assert plug_in("def explain(model, batch): return 2", classifier).fingerprint != before
