"""Integrated gradients: a plain float64 loop over the way, completeness, and what the baseline keeps."""

import numpy as np
import pytest
import torch
from architectures import ARCHITECTURES, LABELS, SIZE, build, randomise, reading_of, with_kernels
from architectures import batch as make_batch
from transformers import DebertaV2Config

from modeling_attrib import AttribConfig, AttribForSequenceClassification
from modeling_attrib import integrated_gradients as module
from modeling_attrib.integrated_gradients import gauss_legendre


EXPLICIT = [name for name in ARCHITECTURES if not name.startswith("bert-")]
FLOAT32_INSIDE = ("llama", "t5", "t5-gated", "modernbert")  # softmax, norms or rotations computed in float32
SMOOTH = [name for name in EXPLICIT if name not in ("t5", "t5-gated")]  # T5: ReLU kinks, and no norm behind the sums


@torch.no_grad()
def explain(model, inputs=None, target="all", **options):
    return model(
        **(inputs or make_batch()),
        attribution_method="integrated_gradients",
        attribution_options=options,
        attribution_target=target,
    )


def logits_of(model, embeddings, mask):
    """Logits of texts whose word embeddings are these; right-padded, so that positions need no ids."""
    hidden = model.backbone(inputs_embeds=embeddings, attention_mask=mask).last_hidden_state
    return model.classifier((hidden * reading_of(model, mask)[..., None]).sum(dim=1))


def ends_of_the_way(model, inputs, baseline=None):
    """x' and x of right-padded texts without special tokens; padding is the default baseline."""
    baseline = model.backbone.config.pad_token_id if baseline is None else baseline
    table = model.get_input_embeddings().weight.detach()
    text = table[inputs["input_ids"]]
    blank = torch.zeros_like(text) if baseline == "zero" else table[baseline].expand_as(text)
    real = inputs["attention_mask"][..., None].bool()
    return torch.where(real, blank, text), text


def reference(model, inputs, steps, baseline=None):
    """One step, one label and one pass at a time: (batch, labels, tokens)."""
    start, end = ends_of_the_way(model, inputs, baseline)
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    scores = torch.zeros(len(start), LABELS, start.shape[1], dtype=torch.float64)
    for node, weight in zip(nodes, weights):
        point = (start + (node + 1) / 2 * (end - start)).requires_grad_()
        for label in range(LABELS):
            total = logits_of(model, point, inputs["attention_mask"])[:, label].sum()
            (gradient,) = torch.autograd.grad(total, point)
            scores[:, label] += weight / 2 * (gradient * (end - start)).sum(dim=-1)
    return scores


# The rule ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 3, 20, 50, 301])
def test_the_rule_is_gauss_legendre(steps):
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    found, found_weights = gauss_legendre(steps)
    np.testing.assert_allclose(found.numpy(), (nodes + 1) / 2, rtol=0, atol=1e-13)
    np.testing.assert_allclose(found_weights.numpy(), weights / 2, rtol=0, atol=1e-13)


# Against a plain loop ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kernel"), with_kernels(EXPLICIT))
def test_equals_a_plain_loop(name, kernel):
    inputs = make_batch((4, 7))
    expected = reference(build(name, "eager"), inputs, steps=3)
    found = explain(build(name, kernel), inputs, steps=3).attributions
    tolerance = (5e-5 if name in FLOAT32_INSIDE else 1e-10) * expected.abs().max().item()
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def test_embeddings_that_a_backbone_adds_to_in_place():
    """DeBERTa's in transformers 4."""
    config = DebertaV2Config(**SIZE, position_biased_input=True, pad_token_id=0)
    model = AttribForSequenceClassification(AttribConfig(backbone_config=config, num_labels=LABELS)).double().eval()
    randomise(model)
    inputs = make_batch((4, 7))
    found = explain(model, inputs, steps=3).attributions
    torch.testing.assert_close(found, reference(model, inputs, steps=3), rtol=0, atol=1e-10)


@pytest.mark.parametrize("baseline", ["zero", 7])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_equals_a_plain_loop_for_each_baseline_and_pooling(baseline, pooling):
    model, inputs = build("bert", pooling=pooling), make_batch((4, 7))
    found = explain(model, inputs, steps=4, baseline=baseline).attributions
    torch.testing.assert_close(found, reference(model, inputs, 4, baseline), rtol=0, atol=1e-10)


def test_the_padding_token_is_the_default_baseline_and_20_the_default_steps():
    model = build("roberta")
    assert torch.equal(explain(model).attributions, explain(model, steps=20, baseline=1).attributions)


@pytest.mark.parametrize("limit", [1, 25, 70, 10**6])
def test_batches_of_steps_change_nothing_and_stay_within_the_limit(limit, monkeypatch):
    model, inputs = build("bert"), make_batch((7, 11, 9))
    expected = explain(model, inputs, steps=5)
    sizes = []
    handle = model.backbone.register_forward_pre_hook(
        lambda _, args, kwargs: sizes.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    explain(model, inputs, steps=5)  # with another hook the model is checked anew
    sizes.clear()
    monkeypatch.setattr(module, "_TOKENS_AT_ONCE", limit)
    found = explain(model, inputs, steps=5)
    handle.remove()
    torch.testing.assert_close(found.attributions, expected.attributions, rtol=0, atol=1e-12)
    text, *way = sizes
    assert text == 3 * 11
    assert sum(way) == 5 * 3 * 11
    assert max(way) <= max(limit, 11)  # never less than one text


# Completeness -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMOOTH)
def test_scores_sum_to_the_logit_less_the_baselines(name):
    model, inputs = build(name), make_batch((4, 7))
    output = explain(model, inputs, steps=50)
    blank = logits_of(model, ends_of_the_way(model, inputs)[0], inputs["attention_mask"]).detach()
    difference = output.logits - blank
    error = (output.attributions.sum(dim=-1) - difference).abs().max()
    assert error < 0.01 * difference.abs().max()
    torch.testing.assert_close(output.attribution_residual, blank, rtol=0, atol=0.01 * difference.abs().max().item())


@pytest.mark.parametrize("name", ["t5", "t5-gated", "bert-relu"])
def test_the_sum_comes_nearer_with_more_steps(name):
    model, inputs = build(name), make_batch((4, 7))
    blank = logits_of(model, ends_of_the_way(model, inputs)[0], inputs["attention_mask"]).detach()
    errors = [
        (explain(model, inputs, steps=steps).attribution_residual - blank).abs().max() / blank.abs().max()
        for steps in (4, 400)
    ]
    assert errors[0] > 10 * errors[1]
    assert errors[1] < 0.03


def test_completeness_of_a_contrast():
    model, inputs = build("bert"), make_batch((4, 7))
    with torch.no_grad():
        output = model(
            **inputs, attribution_method="integrated_gradients", attribution_target=2, attribution_contrast=0
        )
    blank = logits_of(model, ends_of_the_way(model, inputs)[0], inputs["attention_mask"]).detach()
    expected = (output.logits - blank)[:, 2] - (output.logits - blank)[:, 0]
    torch.testing.assert_close(output.attributions.sum(dim=-1), expected, rtol=0, atol=1e-6)


def test_the_texts_own_label_is_explained_all_the_way():
    """The label is the one predicted for the text, also where the baseline or a point on the way predicts another."""
    model, inputs = build("bert"), make_batch((7, 11, 9), seed=0)
    blank = logits_of(model, ends_of_the_way(model, inputs)[0], inputs["attention_mask"]).detach()
    output = explain(model, inputs, target=None)
    predicted = output.logits.argmax(dim=-1)
    assert (predicted != blank.argmax(dim=-1)).any()  # else the labels could not be mixed up
    assert torch.equal(output.attribution_target, predicted)
    every = explain(model, inputs).attributions
    torch.testing.assert_close(output.attributions, every[torch.arange(3), predicted], rtol=0, atol=1e-12)


def test_adjusted_features_are_read_as_for_the_text():
    """The head's weights of the text are kept on the way: the sum is the logit's difference under these weights."""
    model, inputs = build("bert", feature_adjustment="attribution"), make_batch((4, 7))
    output = explain(model, inputs, steps=50)
    start, _ = ends_of_the_way(model, inputs)
    with torch.no_grad():
        hidden = model.backbone(inputs_embeds=start, attention_mask=inputs["attention_mask"]).last_hidden_state
        features = model.adjusted_norm((hidden * model.token_weights(inputs)[..., None]).sum(dim=1))
        blank = model.classifier(features)
    torch.testing.assert_close(output.attribution_residual, blank, rtol=0, atol=1e-3)


# What the baseline keeps ------------------------------------------------------------------------------------


def special_text():
    inputs = make_batch((7, 11, 9))
    for row, length in enumerate((7, 11, 9)):
        inputs["input_ids"][row, 0], inputs["input_ids"][row, length - 1] = 2, 3
    return inputs


def test_special_tokens_stay_where_the_configuration_names_them():
    model, inputs = build("bert"), special_text()
    everything = explain(model, inputs)
    assert (everything.attributions[:, :, 0] != 0).all()
    listed = explain(model, inputs, special_ids=[2, 3])
    model.config.get_text_config().cls_token_id = 2
    model.config.get_text_config().eos_token_id = [3, 4]
    named = explain(model, inputs)
    special = (inputs["input_ids"] == 2) | (inputs["input_ids"] == 3)
    for output in (named, listed):
        for row in range(3):
            assert (output.attributions[row][:, special[row]] == 0).all()
            assert (output.attributions[row][:, inputs["attention_mask"][row].bool() & ~special[row]] != 0).all()
    assert torch.equal(named.attributions, listed.attributions)
    assert torch.equal(explain(model, inputs, special_ids=[]).attributions, everything.attributions)
    start, end = ends_of_the_way(model, inputs)
    kept = torch.where(special[..., None], end, start)
    blank = logits_of(model, kept, inputs["attention_mask"]).detach()
    torch.testing.assert_close(named.attribution_residual, blank, rtol=0, atol=1e-6)


def test_the_mask_token_as_baseline_needs_a_name():
    model = build("bert")
    with pytest.raises(ValueError, match=r"baseline='mask': .*names no such token; .*tokenizer\.mask_token_id"):
        explain(model, baseline="mask")
    expected = explain(model, baseline=7).attributions
    model.config.get_text_config().mask_token_id = 7
    assert torch.equal(explain(model, baseline="mask").attributions, expected)
    model.config.get_text_config().pad_token_id = None
    with pytest.raises(ValueError, match=r"baseline='pad': .*names no such token"):
        explain(model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, r"steps=0: use a whole number"),
        ({"steps": 2.5}, r"steps=2\.5: use a whole number"),
        ({"steps": True}, r"steps=True: use a whole number"),
        ({"baseline": "blank"}, r"baseline='blank': use 'pad', 'mask', 'zero' or a token id from 0 to 119"),
        ({"baseline": 120}, r"baseline=120: use 'pad'"),
        ({"baseline": -1}, r"baseline=-1: use 'pad'"),
        ({"baseline": None}, r"baseline=None: use 'pad'"),
        ({"baseline": True}, r"baseline=True: use 'pad'"),
        ({"layers": 1}, r"no option 'layers'; it has: steps, baseline, special_ids"),
    ],
    ids=str,
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        explain(build("bert"), **options)


def test_one_row_of_positions_serves_every_text():
    model, inputs = build("bert"), make_batch((7, 7))
    expected = explain(model, inputs)
    found = explain(model, inputs | {"position_ids": torch.arange(7).unsqueeze(0)})
    assert torch.equal(found.attributions, expected.attributions)


def test_half_precision_adds_up_in_float32():
    model = build("bert", dtype=torch.bfloat16)
    exact = explain(build("bert")).attributions
    found = explain(model).attributions
    assert found.dtype == torch.float32  # scores are sums: 8 digits would not hold them
    assert torch.corrcoef(torch.stack([found.double().flatten(), exact.flatten()]))[0, 1] > 0.99
