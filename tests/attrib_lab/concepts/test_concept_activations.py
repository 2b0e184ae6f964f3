"""What is read at a layer, against eager attention, finite differences and figures by hand."""

import numpy as np
import pytest
import torch
from planted import LAYERS, OTHER, WIDTH, build_model, build_tokenizer, write_sentences
from transformers import GPT2Config, GPT2ForSequenceClassification

from attrib_lab.concepts.activations import LayerReader, concept_scores
from modeling_attrib import AttribForSequenceClassification


TEXTS = [*write_sentences(3, 0.3, seed=0), "c1 w1 w2", "w5"]


def test_scores_by_hand():
    """a = (3, 4), |a| = 5; D = (1, 0) and (2, -2): scores a·D·|a|/|D|."""
    attention = torch.tensor([[3.0, 4.0, 9.0]])
    derivatives = torch.tensor([[[1.0, 2.0, 0.0], [0.0, -2.0, 0.0], [7.0, 7.0, 7.0]]])
    words = torch.tensor([[True, True, False]])
    scores = concept_scores(attention, derivatives, words)
    root = 8**0.5
    expected = [[15.0, 3 * 2 * 5 / root, 0.0], [0.0, -4 * 2 * 5 / root, 0.0], [0.0, 0.0, 0.0]]
    torch.testing.assert_close(scores, torch.tensor([expected]))


@pytest.mark.parametrize("layer", range(LAYERS))
def test_activations_are_the_layers_input_at_the_texts_own_tokens(layer):
    model, tokenizer = build_model(), build_tokenizer()
    found = LayerReader(model, tokenizer, layer).activations(TEXTS, "")
    for text, states in zip(TEXTS, found):
        with torch.no_grad():
            encoded = tokenizer(text, return_tensors="pt")
            hidden = model.backbone(**encoded, output_hidden_states=True).hidden_states[layer]
        np.testing.assert_allclose(states, hidden[0, 1:-1].numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("layer", range(LAYERS))
def test_scores_are_attention_times_a_finite_difference(pooling, layer):
    """One text at a time, in float64, from the eager attention matrix and a logit that is really moved."""
    vectors = np.random.default_rng(0).normal(size=(3, WIDTH))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    tokenizer = build_tokenizer()
    means = LayerReader(build_model(pooling), tokenizer, layer).scores(TEXTS, vectors, "")
    assert means.shape == (5, 2, 3)
    model = build_model(pooling, "eager").double()
    for text, rows in zip(TEXTS, means):
        encoded = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            matrix = model.backbone(**encoded, output_attentions=True).attentions[layer][0].mean(dim=0)
        attention = (matrix[0] if pooling == "cls" else matrix.mean(dim=0))[1:-1].numpy()
        for (label, place), mean in np.ndenumerate(rows):
            vector = vectors[place]
            slopes = np.array([_slope(model, encoded, layer, t, vector, label) for t in range(1, len(attention) + 1)])
            scores = attention * slopes * np.linalg.norm(attention) / np.linalg.norm(slopes)
            assert mean == pytest.approx(scores.mean(), rel=1e-3, abs=1e-7)


def test_a_decoders_own_head_finds_the_last_token_of_each_text_of_a_batch():
    """By its own padding, which need not be the tokenizer's; nor need the tokenizer pad on the right."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    tokenizer.padding_side = "left"
    size = {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": 4, "pad_token_id": 1}
    original = GPT2ForSequenceClassification(GPT2Config(vocab_size=len(tokenizer), **size))
    for parameter in original.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    reader = LayerReader(AttribForSequenceClassification.from_classifier(original), tokenizer, 1)
    vectors = np.eye(WIDTH)[:3]
    alone = np.concatenate([reader.scores([text], vectors, "") for text in TEXTS])
    np.testing.assert_allclose(reader.scores(TEXTS, vectors, ""), alone, rtol=1e-3, atol=1e-6)


def _slope(model, encoded, layer, token, vector, label, step=1e-4):
    """(y(h + step·v at one token) − y(h − step·v)) / (2·step)."""

    def moved(amount):
        shift = torch.from_numpy(vector) * amount

        def push(module, args):
            hidden = args[0].clone()
            hidden[0, token] += shift
            return (hidden, *args[1:])

        handle = model.backbone.encoder.layer[layer].register_forward_pre_hook(push)
        with torch.no_grad():
            logits = model(**encoded, output_attributions=False).logits
        handle.remove()
        return logits[0, label].item()

    return (moved(step) - moved(-step)) / (2 * step)


def test_texts_without_a_word_and_long_ones(capsys):
    texts = ["", " ".join(OTHER), "w1"]  # 60 words, of which the model reads 30
    reader = LayerReader(build_model(), build_tokenizer(), 1)
    assert [len(states) for states in reader.activations(texts, "")] == [0, 30, 1]
    means = reader.scores(texts, np.eye(WIDTH)[:2], "")
    assert not means[0].any()
    assert np.abs(means[1:]).min() > 0


def test_nothing_is_left_behind():
    model = build_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    LayerReader(model, build_tokenizer(), 1).scores(TEXTS, np.eye(WIDTH)[:1], "")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
