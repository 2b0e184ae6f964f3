"""Classifiers: ours and transformers' own, read from folders, and what they read of texts."""

import json
import shutil

import pytest
import torch

from attrib_lab.evaluation.classifiers import load_classifier
from attrib_lab.evaluation.texts import encode_rows
from attrib_lab.terminal.errors import UserError


@pytest.mark.parametrize(("folder", "explains"), [("classifier_folder", True), ("stock_folder", False)])
def test_batches_give_what_texts_alone_give(folder, explains, request):
    classifier = load_classifier(request.getfixturevalue(folder))
    assert classifier.explains is explains
    assert classifier.token_limit == 64
    rows = [{"a": "goal match", "b": "the bank"}, {"a": "stocks of the old bank fell", "b": ""}]
    classifier.tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    texts = encode_rows(rows, classifier.tokenizer, text="a", text_pair="b")
    batch = classifier.collate(texts)
    assert batch["token_type_ids"][0].tolist() == [*texts[0].types, *[0] * (len(texts[1].ids) - len(texts[0].ids))]
    with torch.no_grad():
        together = classifier.forward(batch)
        for text, row in zip(texts, together):
            torch.testing.assert_close(classifier.forward(classifier.collate([text]))[0], row)
        # The pair's types are read: without them it is another text.
        without = {name: value for name, value in classifier.collate(texts[:1]).items() if name != "token_type_ids"}
        assert not torch.allclose(classifier.forward(without)[0], together[0])


def test_plain_texts_need_no_types(classifier_folder):
    classifier = load_classifier(classifier_folder)
    texts = encode_rows([{"text": "goal"}], classifier.tokenizer)
    assert set(classifier.collate(texts)) == {"input_ids", "attention_mask"}


def test_the_fingerprint_is_of_weights_configuration_and_tokenizer(classifier_folder, tmp_path):
    classifier = load_classifier(classifier_folder)
    before = classifier.fingerprint()
    assert load_classifier(classifier_folder).fingerprint() == before
    with torch.no_grad():
        classifier.model.classifier.bias[0] += 1e-6
    assert classifier.fingerprint() != before
    other = tmp_path / "other"
    shutil.copytree(classifier_folder, other)
    assert load_classifier(other).fingerprint() == before  # a folder's name says nothing
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"pooling": "cls"}))
    assert load_classifier(other).fingerprint() != before


def test_the_fingerprint_is_of_scalars_and_strided_weights_too(stock_folder):
    classifier = load_classifier(stock_folder)
    classifier.model.register_buffer("temperature", torch.tensor(1.0))
    classifier.model.register_buffer("turned", torch.arange(6.0).view(2, 3).T)
    before = classifier.fingerprint()
    classifier.model.turned = classifier.model.turned.contiguous()  # the same numbers
    assert classifier.fingerprint() == before
    classifier.model.temperature += 1
    assert classifier.fingerprint() != before


@pytest.mark.parametrize("folder", ["classifier_folder", "stock_folder"])
@pytest.mark.parametrize("problem", ["regression", "multi_label_classification"])
def test_heads_that_choose_no_single_label_are_refused(folder, problem, request, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(request.getfixturevalue(folder), other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"problem_type": problem}))
    with pytest.raises(UserError, match=f"chooses one of two or more labels; here problem_type is '{problem}'"):
        load_classifier(other)


def test_folders_without_a_classifier(backbone_folder, tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        load_classifier(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"there is no config.json"):
        load_classifier(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        load_classifier(tmp_path)
    with pytest.raises(UserError, match=r"do not fit a classifier: missing keys \(classifier"):
        load_classifier(backbone_folder)  # an encoder without a head
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="no sequence classifier can be loaded"):
        load_classifier(tmp_path)
