"""Fitting ExpNet: batches that come back in order, targets against hand-computed values, a head that learns."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from toy_data import FILLER, WORDS, write_backbone
from transformers import AutoTokenizer, GPT2Config, GPT2ForSequenceClassification

from attrib_lab.evaluation.faithfulness import TOP
from attrib_lab.evaluation.padding import pad_rows
from attrib_lab.evaluation.texts import encode_rows
from attrib_lab.trained_heads.distillation import grade_faithfulness, teacher_targets
from attrib_lab.trained_heads.fitting import (
    HeadExamples,
    balanced_cross_entropy,
    fit_head,
    gather_examples,
    head_scores,
    read_in_batches,
)
from modeling_attrib import AttribForSequenceClassification
from modeling_attrib.expnet import ExpNet, read_features


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def model(folder):
    torch.manual_seed(1)
    model = AttribForSequenceClassification.from_backbone(folder, num_labels=2, attribution_head="labels")
    for parameter in model.parameters():  # large enough to tell words apart
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def toy_texts(tokenizer, count, seed=0):
    generator = np.random.default_rng(seed)
    words = [*FILLER, *WORDS["sports"], *WORDS["business"]]
    rows = [{"text": " ".join(generator.choice(words, generator.integers(3, 12)))} for _ in range(count)]
    return encode_rows(rows, tokenizer)


def toy_examples(seed=0, texts=40):
    """Targets are a step of one input: a head that learns nothing is wrong by their variance, 1."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(texts * 8, 5, generator=generator) * torch.tensor([1.0, 20.0, 0.1, 5.0, 1.0]) + 7
    targets = torch.where(features[:, 1:2] > 7, 1.0, -1.0)
    return HeadExamples(features.half(), targets, (8,) * texts)


def test_texts_come_back_in_their_order_and_length(model, tokenizer):
    texts = toy_texts(tokenizer, 40)
    found = read_in_batches(model, tokenizer, texts, lambda read, _: (read["input_ids"], read["attention_mask"]), "ids")
    assert [tuple(ids.tolist()) for ids, _ in found] == [text.ids for text in texts]
    assert all(bool(mask.all()) for _, mask in found)
    assert len({len(text.ids) for text in texts}) > 3


def test_texts_are_filled_with_what_the_model_takes_for_padding(tokenizer):
    torch.manual_seed(0)
    size = {"n_embd": 16, "n_layer": 1, "n_head": 2, "pad_token_id": tokenizer.unk_token_id}
    original = GPT2ForSequenceClassification(GPT2Config(vocab_size=len(tokenizer), **size))
    model, texts = AttribForSequenceClassification.from_classifier(original), toy_texts(tokenizer, 8)

    def read(inputs, _):
        with torch.no_grad():
            return (model(**inputs).attributions,)

    for text, (scores,) in zip(texts, read_in_batches(model, tokenizer, texts, read, "scores")):
        alone = read(pad_rows([text], 0), None)[0][0]
        torch.testing.assert_close(scores, alone, rtol=1e-4, atol=1e-6)


def test_examples_are_what_the_head_reads_of_each_text_alone(model, tokenizer):
    texts = toy_texts(tokenizer, 20)
    examples = gather_examples(model, tokenizer, texts, lambda inputs, _: inputs["input_ids"].unsqueeze(-1), "ids")
    start = 0
    for text, length in zip(texts, examples.lengths, strict=True):
        alone = read_features(model, pad_rows([text], tokenizer.pad_token_id))[1][0]
        rows = slice(start, start + length)
        torch.testing.assert_close(examples.features[rows].float(), alone, rtol=2e-3, atol=2e-3)
        assert examples.targets[rows, 0].tolist() == list(text.ids)
        start += length
    assert start == len(examples.features)


def test_a_head_learns_and_standardisation_ends_in_its_weights():
    torch.manual_seed(0)
    head, train, validation = ExpNet(5, 1), toy_examples(), toy_examples(seed=1)

    def score(candidate):
        return -F.mse_loss(torch.tensor(np.concatenate(head_scores(candidate, validation))), validation.targets).item()

    history = fit_head(
        head, [train, toy_examples(seed=2)], F.mse_loss, epochs=60, learning_rate=5e-3, seed=0, score=score
    )
    assert max(history) > -0.35
    assert not head.training
    assert score(head) == pytest.approx(max(history), abs=1e-6)  # the best epoch's, on raw inputs


def test_each_epoch_that_is_graded_has_its_line(capsys):
    torch.manual_seed(0)
    grades = iter([0.25, 0.5])
    options = {"epochs": 3, "learning_rate": 1e-3, "seed": 0, "stop": 2, "describe": "grade {:.1f}".format}
    fit_head(ExpNet(5, 1), [toy_examples()], F.mse_loss, score=lambda _: next(grades), **options)
    captured = capsys.readouterr()
    assert captured.out.splitlines() == ["epoch 1 of 2: grade 0.2", "epoch 2 of 2: grade 0.5"]
    assert captured.err == ""


def test_equal_seeds_give_equal_heads_and_leave_the_generator_alone():
    heads = []
    for seed in (3, 3, 4):
        torch.manual_seed(0)
        heads.append(ExpNet(5, 1))
        state = torch.get_rng_state()
        fit_head(heads[-1], [toy_examples()], F.mse_loss, epochs=2, learning_rate=1e-2, seed=seed)
        assert torch.equal(state, torch.get_rng_state())
    weights = [head.narrow.weight for head in heads]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_marked_tokens_weigh_as_much_as_the_others():
    targets = torch.tensor([[1.0], [0.0], [0.0], [0.0]])
    loss = balanced_cross_entropy([HeadExamples(torch.zeros(4, 1), targets, (4,))])
    scores = torch.tensor([[0.3], [-1.0], [0.5], [2.0]])
    wrong = [-math.log(1 / (1 + math.exp(-0.3)))] + [-math.log(1 - 1 / (1 + math.exp(-x))) for x in (-1.0, 0.5, 2.0)]
    assert float(loss(scores, targets)) == pytest.approx((3 * wrong[0] + sum(wrong[1:])) / 4, rel=1e-6)


# A teacher's scores -----------------------------------------------------------------------------------------


def test_a_teachers_scores_are_standardised_text_by_text(model, tokenizer):
    texts = toy_texts(tokenizer, 6)
    inputs = pad_rows(texts, tokenizer.pad_token_id)
    found = teacher_targets(model, "lrp")(inputs, texts)
    with torch.no_grad():
        scores = model(**inputs, attribution_method="lrp", attribution_target="all").attributions.double().numpy()
    for row, text in enumerate(texts):
        own = np.flatnonzero(~np.array(text.special))
        for label in range(2):
            values = scores[row, label]
            expected = (values[own] - values[own].mean()) / values[own].std()
            np.testing.assert_allclose(found[row, own, label].numpy(), np.clip(expected, -5, 5), atol=1e-4)
    assert not torch.allclose(found[..., 0], found[..., 1], atol=0.1)


@torch.no_grad()
def test_faithfulness_is_the_fall_of_the_predicted_label(model, tokenizer):
    """One text by hand: mask the tokens of the highest scores, and ask the model again."""
    (text,) = toy_texts(tokenizer, 1, seed=5)
    inputs = pad_rows([text], tokenizer.pad_token_id)
    output = model(**inputs, attribution_method="expnet")
    label, own = int(output.attribution_target), [n for n, special in enumerate(text.special) if not special]
    order = sorted(own, key=lambda place: -float(output.attributions[0, place]))
    falls = []
    for share in TOP:
        ids = inputs["input_ids"].clone()
        ids[0, order[: math.ceil(share * len(own))]] = tokenizer.mask_token_id
        without = model(**inputs | {"input_ids": ids}, output_attributions=False).logits
        falls.append(float(output.logits.softmax(-1)[0, label] - without.softmax(-1)[0, label]))
    found = grade_faithfulness(model, tokenizer, [text], ["expnet"])["expnet"]
    assert found == pytest.approx(np.mean(falls), abs=1e-6)
    assert abs(found) > 1e-4
