"""The model of attention blocks alone: what it computes, that propagation conserves on it, and how recipes build it."""

import json
import math

import pytest
import torch
from toy_data import write_backbone, write_recipe
from transformers import AutoConfig, AutoModel

from attrib_lab.models.attention_only import AttentionOnlyConfig, AttentionOnlyModel
from attrib_lab.recipes.loading import load_recipe
from attrib_lab.terminal.errors import UserError
from attrib_lab.training.classifier import train
from modeling_attrib import AttribForSequenceClassification


SIZE = {"hidden_size": 16, "num_attention_heads": 4, "max_position_embeddings": 12, "vocab_size": 50}


def randomise(model, biases=True):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            centre = 1.0 if parameter.dim() == 1 and not name.endswith("bias") else 0.0
            parameter.copy_(centre + 0.3 * noise)
            if name.endswith("bias") and not biases:
                parameter.zero_()


def build(biases=True, **arguments):
    model = AttribForSequenceClassification.from_backbone(
        AttentionOnlyConfig(**SIZE), num_labels=3, pooling="cls", dtype=torch.float64, **arguments
    )
    randomise(model, biases)
    return model


def batch(side="right"):
    generator = torch.Generator().manual_seed(1)
    ids, mask = torch.zeros(3, 9, dtype=torch.long), torch.zeros(3, 9, dtype=torch.long)
    for row, length in enumerate((9, 4, 6)):
        place = slice(0, length) if side == "right" else slice(9 - length, 9)
        ids[row, place] = torch.randint(1, 50, (length,), generator=generator)
        mask[row, place] = 1
    return {"input_ids": ids, "attention_mask": mask}


def norm(x, module):
    mean = x.mean(dim=-1, keepdim=True)
    return (x - mean) / ((x - mean).pow(2).mean(dim=-1, keepdim=True) + module.eps).sqrt() * module.weight + module.bias


def reference(model, ids):
    """One text, (tokens,), step by step: embeddings, and for each block LayerNorm(h + W·attention(h))."""
    hidden = norm(
        model.embeddings.word_embeddings.weight[ids] + model.embeddings.position_embeddings.weight[: len(ids)],
        model.embeddings.norm,
    )
    width = SIZE["hidden_size"] // SIZE["num_attention_heads"]
    for block in model.layers:
        query, key, value = (hidden @ m.weight.T + m.bias for m in (block.query, block.key, block.value))
        heads = []
        for start in range(0, SIZE["hidden_size"], width):
            part = slice(start, start + width)
            weights = (query[:, part] @ key[:, part].T / math.sqrt(width)).softmax(dim=-1)
            heads.append(weights @ value[:, part])
        hidden = norm(hidden + torch.cat(heads, dim=-1) @ block.output.weight.T + block.output.bias, block.norm)
    return hidden


@pytest.mark.parametrize("side", ["right", "left"])
@torch.no_grad()
def test_it_computes_what_its_equations_say(side):
    model = AttentionOnlyModel(AttentionOnlyConfig(**SIZE)).double().eval()
    randomise(model)
    inputs = batch(side)
    states = model(**inputs).last_hidden_state
    for row, mask in enumerate(inputs["attention_mask"].bool()):
        expected = reference(model, inputs["input_ids"][row][mask])
        torch.testing.assert_close(states[row][mask], expected, rtol=1e-12, atol=1e-12)


def test_it_has_no_feed_forward_network():
    blocks = AttentionOnlyModel(AttentionOnlyConfig(**SIZE)).layers
    assert len(blocks) == 3
    for block in blocks:
        assert sum(p.numel() for p in block.parameters()) == 4 * (16 * 16 + 16) + 2 * 16


@pytest.mark.parametrize("method", ["lrp", "lrp_ah_ln"])
@torch.no_grad()
def test_without_biases_lrp_sums_to_every_logit(method):
    """No activation stands between: Ali et al.'s two rules alone conserve here, as published."""
    output = build(biases=False)(**batch(), attribution_method=method, attribution_target="all")
    assert output.logits.abs().min() > 1e-3
    torch.testing.assert_close(output.attributions.sum(dim=-1), output.logits, rtol=1e-9, atol=0)


@torch.no_grad()
def test_other_gradients_do_not_conserve():
    model = build(biases=False)
    for method in ("gradient_x_input", "lrp_ah"):
        output = model(**batch(), attribution_method=method, attribution_target="all")
        gap = (output.attributions.sum(dim=-1) - output.logits).abs() / output.logits.abs()
        assert gap.max() > 0.05, method


@torch.no_grad()
def test_lrp_is_the_path_sum_through_frozen_blocks():
    """Brute force: every block is a matrix once attention and deviations are constants."""
    model = build(biases=False)
    ids = batch()["input_ids"][:1]
    backbone = model.backbone
    words = backbone.embeddings.word_embeddings(ids[0]) + backbone.embeddings.position_embeddings.weight[:9]
    centre = torch.eye(16, dtype=torch.float64) - 1 / 16

    def frozen_norm(x, module):
        std = ((x @ centre).pow(2).mean(dim=-1) + module.eps).sqrt()
        return std, lambda y: (y @ centre) / std[:, None] * module.weight

    _, linear = frozen_norm(words, backbone.embeddings.norm)
    hidden = linear(words)
    parts = torch.zeros(9, 9, 16, dtype=torch.float64)  # [source token, token, width]
    for source in range(9):
        alone = torch.zeros_like(words)
        alone[source] = words[source]
        parts[source] = linear(alone)
    for block in backbone.layers:
        query, key = hidden @ block.query.weight.T, hidden @ block.key.weight.T
        weights = [(query[:, s] @ key[:, s].T / 2).softmax(dim=-1) for s in (slice(i, i + 4) for i in range(0, 16, 4))]

        def attend(y, block=block, weights=weights):
            value = y @ block.value.weight.T
            return (
                torch.cat([w @ value[:, 4 * i : 4 * i + 4] for i, w in enumerate(weights)], -1) @ block.output.weight.T
            )

        _, linear = frozen_norm(hidden + attend(hidden), block.norm)
        hidden = linear(hidden + attend(hidden))
        parts = torch.stack([linear(part + attend(part)) for part in parts])
    expected = (parts[:, 0] @ model.classifier.weight.T).T  # what each token brings to [CLS], read by the head
    output = model(input_ids=ids, attribution_method="lrp", attribution_target="all")
    torch.testing.assert_close(output.attributions[0], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", ["rollout", "attention_last", "attention_gradient", "attn_lrp"])
@torch.no_grad()
def test_padding_changes_nothing(method):
    model = build()
    together = model(**batch(), attribution_method=method)
    for side in ("right", "left"):
        inputs = batch(side)
        output = model(**inputs, attribution_method=method)
        torch.testing.assert_close(output.logits, together.logits, rtol=1e-10, atol=1e-12)
        for row, mask in enumerate(inputs["attention_mask"].bool()):
            alone = model(input_ids=inputs["input_ids"][row][mask][None], attribution_method=method)
            torch.testing.assert_close(output.attributions[row][mask], alone.attributions[0], rtol=1e-9, atol=1e-12)


def test_a_saved_classifier_comes_back(tmp_path):
    model = build().float()
    model.save_pretrained(tmp_path)
    again = AttribForSequenceClassification.from_pretrained(tmp_path)
    assert type(again.backbone) is AttentionOnlyModel
    with torch.no_grad():
        assert torch.equal(again(**batch()).attributions, model(**batch()).attributions)


def test_auto_classes_know_it(tmp_path):
    model = AttentionOnlyModel(AttentionOnlyConfig(**SIZE))
    model.save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is AttentionOnlyConfig
    again = AutoModel.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values()))


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="hidden_size=16 is no multiple of num_attention_heads=3"):
        AttentionOnlyConfig(hidden_size=16, num_attention_heads=3)


# Recipes ----------------------------------------------------------------------------------------------------


def recipe_with(folder, source, **backbone):
    mapping = {"model_type": "attention_only", "tokenizer": str(source), "hidden_size": 32} | backbone
    written = "{" + ", ".join(f"{key}: {value}" for key, value in mapping.items() if value is not None) + "}"
    path = write_recipe(folder, source)
    text = path.read_text().replace(f"backbone: {source}", f"backbone: {written}")
    path.write_text(text.replace("max_length: 64", "max_length: 32"))
    return str(path)


def test_a_recipe_trains_it_from_fresh_weights(tmp_path):
    tokenizer = write_backbone(tmp_path / "backbone")
    folder = train(load_recipe(recipe_with(tmp_path, tokenizer, num_attention_heads=4, max_position_embeddings=32)))
    model = AttribForSequenceClassification.from_pretrained(folder)
    assert model.config.backbone_config.model_type == "attention_only"
    assert model.config.backbone_config.vocab_size == 25  # the tokenizer's
    assert model.config.backbone_config.max_position_embeddings == 32
    assert json.loads((folder / "metrics.json").read_text())["test"]["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ({"model_type": "atention_only"}, "unknown model_type 'atention_only'. Did you mean 'attention_only'"),
        ({"hiden_size": 8}, "attention_only has no 'hiden_size'. Did you mean 'hidden_size'"),
        ({"num_attention_heads": 5}, "hidden_size=32 is no multiple of num_attention_heads=5"),
        ({"tokenizer": None}, "it needs tokenizer: a word"),
        ({"max_position_embeddings": 16}, "model.max_length=32: this backbone reads 1 to 16 tokens"),
    ],
)
def test_a_mistake_is_named(tmp_path, backbone, message):
    tokenizer = write_backbone(tmp_path / "backbone")
    with pytest.raises(UserError, match=message.replace(".", r"\.")):
        train(load_recipe(recipe_with(tmp_path, tokenizer, **backbone)))
