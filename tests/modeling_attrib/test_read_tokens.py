"""Work behind the last attention product for the token that the head reads alone: the same answers, or not done."""

import contextlib
import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import transformers
from architectures import (
    ACTIVATIONS,
    ARCHITECTURES,
    LABELS,
    LAYERS,
    OTHERS,
    POST_NORM,
    REFUSED,
    RULES,
    SIZE,
    build,
    randomise,
    with_kernels,
    zero_biases,
)
from architectures import batch as make_batch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import BertConfig, DebertaV2Config

from modeling_attrib import AttribConfig, AttribForSequenceClassification


def case(names):
    return [pytest.param(name, kernel, id=f"{name}-{kernel}") for name, kernel in with_kernels(names)]


def padded_on_both_sides():
    """Texts of 7 and 9 tokens padded right, 8 and 9 padded left, and one of 11 that fills its row."""
    right, left = make_batch((7, 11, 9)), make_batch((8, 11, 9), side="left", seed=2)
    return {name: torch.cat([right[name], left[name][::2]]) for name in right}


@torch.no_grad()
def explain(model, inputs=None, **arguments):
    return model(**(inputs or padded_on_both_sides()), output_attributions=True, **arguments)


@pytest.fixture
def everywhere(monkeypatch):
    """Explains with all tokens computed."""

    def explain_everywhere(*args, **arguments):
        with monkeypatch.context() as patch:
            patch.setattr(AttribForSequenceClassification, "reads_one_token", lambda _: False)
            return explain(*args, **arguments)

    return explain_everywhere


def assert_same(found, expected, tolerance=1e-10):
    for name in ("logits", "attributions", "attribution_residual"):
        torch.testing.assert_close(found[name], expected[name], rtol=tolerance, atol=tolerance)
    assert torch.equal(found.attribution_target, expected.attribution_target)


# The same answers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["cls", "last"])
@pytest.mark.parametrize(("name", "kernel"), case(ARCHITECTURES))
def test_equals_the_computation_of_all_tokens(name, kernel, pooling, everywhere):
    # Llama's eager softmax computes in float32, where float64's lowest number, its mask, is -inf: padding that sees
    # nothing is NaN, and so are the logits beside it, pruned or not. As a float32 model it has no NaN, but products of
    # fewer rows round otherwise.
    dtype, tolerance = (torch.float32, 1e-4) if (name, kernel) == ("llama", "eager") else (torch.float64, 1e-10)
    model = build(name, kernel, dtype=dtype, pooling=pooling)
    assert model.reads_one_token()
    for method in RULES:
        question = {"attribution_method": method, "attribution_target": "all"}
        assert_same(explain(model, **question), everywhere(model, **question), tolerance)
    question = {"attribution_target": 2, "attribution_contrast": 0}
    assert_same(explain(model, **question), everywhere(model, **question), tolerance)


@pytest.mark.parametrize("family", OTHERS)
def test_any_other_family_answers_the_same_or_is_refused_for_its_reason(family, everywhere):
    config = AttribConfig(backbone_config=getattr(transformers, f"{family}Config")(**OTHERS[family]), pooling="last")
    question = {"inputs": make_batch(), "attribution_method": "lrp_ah"}
    refused = pytest.raises(ValueError, match=REFUSED[family]) if family in REFUSED else contextlib.nullcontext()
    with refused:
        model = AttribForSequenceClassification(config).double().eval()
        randomise(model)
        expected = everywhere(model, **question)
    if family not in REFUSED:
        assert model.reads_one_token()
        assert_same(explain(model, **question), expected, 1e-10)


@pytest.mark.parametrize("pooling", ["cls", "last"])
def test_llama_with_eager_attention_in_float64(pooling, everywhere):
    model = build("llama", "eager", pooling=pooling)
    assert_same(explain(model, make_batch()), everywhere(model, make_batch()))


@pytest.mark.parametrize("pooling", ["cls", "last"])
@pytest.mark.parametrize("name", [*POST_NORM, *ACTIVATIONS, "modernbert", "t5", "t5-gated"])
def test_without_biases_lrp_sums_to_every_logit(name, pooling):
    model = build(name, pooling=pooling)
    zero_biases(model)
    output = explain(model, attribution_method="lrp", attribution_target="all")
    torch.testing.assert_close(output.attributions.sum(dim=-1), output.logits, rtol=1e-9, atol=1e-12)
    assert output.logits.abs().min() > 1e-4


def test_texts_of_padding_alone_and_of_one_token(everywhere):
    model, inputs = build("bert", pooling="last"), make_batch((1, 1, 1))
    inputs["attention_mask"][1] = 0
    assert_same(explain(model, inputs, attribution_target="all"), everywhere(model, inputs, attribution_target="all"))


# The work ---------------------------------------------------------------------------------------------------


class LinearWork(TorchDispatchMode):
    """Multiplications in matrix products of two axes, which those of linear layers become, forward and backward."""

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
            first, second = args[-2:]
            self.total += first.shape[0] * first.shape[1] * second.shape[1]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize(("method", "projections_back"), [("lrp", 1), ("damped_lrp", 1), ("attn_lrp", 3)])
def test_one_token_of_the_last_layer_is_computed(method, projections_back, kernel):
    model, inputs = build("bert", kernel, pooling="cls"), make_batch((7, 11, 9))
    explain(model, inputs)  # finds out that it may
    with LinearWork() as work:
        explain(model, inputs, attribution_method=method)
    texts, tokens, width, inner = 3, 33, SIZE["hidden_size"], SIZE["intermediate_size"]
    behind = width**2 + 2 * width * inner
    projections = (3 + projections_back) * width**2
    head = 2 * texts * width * LABELS
    assert work.total == LAYERS * tokens * projections + 2 * ((LAYERS - 1) * tokens + texts) * behind + head


@pytest.mark.parametrize("arguments", [{"pooling": "mean"}, {"pooling": "cls", "feature_adjustment": "attribution"}])
def test_heads_that_read_all_tokens(arguments):
    assert not build("bert", **arguments).reads_one_token()


def test_not_in_training_mode():
    model = build("bert", pooling="cls").train()
    assert not model.reads_one_token()
    assert model.eval().reads_one_token()


def test_a_batch_norm_that_learns_never_sees_what_was_not_computed():
    model = build("bert", pooling="cls")
    norm = nn.BatchNorm1d(SIZE["hidden_size"]).double()  # in training mode, unlike the rest
    output = model.backbone.encoder.layer[-1].output
    model.backbone.encoder.layer[-1].output = AcrossTexts(output, norm)
    explain(model, attribution_method="lrp_ah")
    assert norm.running_mean.isfinite().all()
    assert not model.reads_one_token()


# Backbones that mix tokens behind the last attention product ------------------------------------------------------


class Mixing(nn.Module):
    """A layer's output block that adds a share of the neighbours' states."""

    def __init__(self, block, share):
        super().__init__()
        self.block, self.share = block, share

    def forward(self, *args):
        states = self.block(*args)
        return states + self.share * states.roll(1, dims=1)


class AcrossTexts(nn.Module):
    """A layer's output block with a batch norm behind it."""

    def __init__(self, block, norm):
        super().__init__()
        self.block, self.norm = block, norm

    def forward(self, *args):
        return self.norm(self.block(*args).transpose(1, 2)).transpose(1, 2)


def mix(model, share=0.3):
    model.backbone.encoder.layer[-1].output = Mixing(model.backbone.encoder.layer[-1].output, share)


def test_a_convolution_of_what_came_before(everywhere):
    """DeBERTa's stands behind the first layer, which is the last here, but reads what that layer was given."""
    config = DebertaV2Config(**SIZE | {"num_hidden_layers": 1}, conv_kernel_size=3, conv_act="gelu", pos_att_type=[])
    model = AttribForSequenceClassification(AttribConfig(backbone_config=config, pooling="cls", num_labels=LABELS))
    model = model.double().eval()
    randomise(model)
    assert model.reads_one_token()
    assert_same(explain(model), everywhere(model))


def test_mixing_is_found_and_all_tokens_are_computed(everywhere, monkeypatch):
    model = build("bert", pooling="cls")
    mix(model)
    expected = {method: everywhere(model, attribution_method=method) for method in RULES}
    for method in RULES:
        assert_same(explain(model, attribution_method=method), expected[method])
    assert not model.reads_one_token()
    monkeypatch.setattr(model, "reads_one_token", lambda: True)  # what it guards against
    assert (explain(model).logits - expected["lrp"].logits).abs().max() > 1e-3


def test_mixing_that_begins_with_weight_0_is_found():
    model = build("bert", pooling="cls")
    mix(model, share=0.0)
    assert not model.reads_one_token()


def test_mixing_that_comes_later_is_found():
    model = build("bert", pooling="cls")
    assert model.reads_one_token()
    mix(model)
    assert not model.reads_one_token()


def test_as_many_tokens_as_there_are_positions():
    config = BertConfig(**SIZE, max_position_embeddings=6)
    model = AttribForSequenceClassification.from_backbone(config, pooling="cls", num_labels=LABELS)
    assert model.reads_one_token()
    mix(model)
    assert not model.reads_one_token()


def test_values_projected_behind_the_softmax_are_found():
    model = build("bert", "eager", pooling="cls")
    attention = model.backbone.encoder.layer[-1].attention.self

    def attend_late(hidden_states, *_, **__):
        read = [_split(F.linear(hidden_states, m.weight, m.bias)) for m in (attention.query, attention.key)]
        probabilities = (read[0] @ read[1].transpose(-1, -2)).softmax(dim=-1)
        value = _split(F.linear(hidden_states, attention.value.weight, attention.value.bias))
        return (probabilities @ value).transpose(1, 2).flatten(2), probabilities

    attention.forward = attend_late
    assert not model.reads_one_token()


def _split(states):
    return states.unflatten(-1, (SIZE["num_attention_heads"], -1)).transpose(1, 2)


# Nothing stays ----------------------------------------------------------------------------------------------


def test_finding_out_leaves_every_tensor(everywhere):
    model = build("bert", pooling="cls")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected = everywhere(model)
    state = torch.get_rng_state()
    assert model.reads_one_token()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert_same(explain(model), expected)


def test_two_threads_of_one_model(everywhere):
    model = build("bert", pooling="cls")
    methods = ("lrp", "attn_lrp") * 4
    expected = {method: everywhere(model, attribution_method=method) for method in methods}
    model._mixes_tokens = None  # all find out at once
    with ThreadPoolExecutor(len(methods)) as pool:
        for method, found in zip(methods, pool.map(lambda name: explain(model, attribution_method=name), methods)):
            assert_same(found, expected[method])


def test_copies_answer_for_themselves():
    model = build("bert", pooling="cls")
    assert model.reads_one_token()
    copied = copy.deepcopy(model)
    mix(copied)
    assert model.reads_one_token()
    assert not copied.reads_one_token()
