"""Work behind the last attention product for the token that the head reads alone: the same answers, or not done."""

import pytest
import torch
from architectures import (
    ACTIVATIONS,
    ARCHITECTURES,
    LABELS,
    LAYERS,
    POST_NORM,
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
from transformers import AttentionInterface, DebertaV2Config
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from modeling_attrib import AttribConfig, AttribForSequenceClassification


METHODS = (*RULES, "gradient_x_input", "saliency")


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


def assert_same(found, expected):
    for name in ("logits", "attributions", "attribution_residual"):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-10, atol=1e-10)
    assert torch.equal(found.attribution_target, expected.attribution_target)


# The same answers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["cls", "last"])
@pytest.mark.parametrize(("name", "kernel"), case(ARCHITECTURES))
def test_equals_the_computation_of_all_tokens(name, kernel, pooling, everywhere):
    model = build(name, kernel, pooling=pooling)
    assert model.reads_one_token()
    # Llama's eager softmax computes in float32, where float64's lowest number is -inf: padding that sees nothing is NaN.
    inputs = make_batch() if (name, kernel) == ("llama", "eager") else padded_on_both_sides()
    for method in METHODS:
        question = {"attribution_method": method, "attribution_target": "all"}
        assert_same(explain(model, inputs, **question), everywhere(model, inputs, **question))
    question = {"attribution_target": 2, "attribution_contrast": 0}
    assert_same(explain(model, inputs, **question), everywhere(model, inputs, **question))


@pytest.mark.parametrize("pooling", ["cls", "last"])
@pytest.mark.parametrize("name", [*POST_NORM, *ACTIVATIONS, "modernbert", "t5", "t5-gated"])
def test_without_biases_lrp_sums_to_every_logit(name, pooling):
    model = build(name, pooling=pooling)
    zero_biases(model)
    output = explain(model, attribution_target="all")
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
@pytest.mark.parametrize(("method", "projections_back"), [("lrp", 1), ("attn_lrp", 3), ("gradient_x_input", 3)])
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


# Backbones that mix tokens behind the last attention product ------------------------------------------------------


class Mixing(nn.Module):
    """A layer's output block that adds a share of the neighbours' states."""

    def __init__(self, block, share):
        super().__init__()
        self.block, self.share = block, share

    def forward(self, *args):
        states = self.block(*args)
        return states + self.share * states.roll(1, dims=1)


def mix(model, share=0.3):
    model.backbone.encoder.layer[-1].output = Mixing(model.backbone.encoder.layer[-1].output, share)


def deberta_with_a_convolution():
    """Its convolution stands behind the first layer, which is the last here."""
    config = DebertaV2Config(**SIZE | {"num_hidden_layers": 1}, conv_kernel_size=3, conv_act="gelu", pos_att_type=[])
    model = AttribForSequenceClassification(AttribConfig(backbone_config=config, pooling="cls", num_labels=LABELS))
    model = model.double().eval()
    randomise(model)
    return model


def bert_that_mixes():
    model = build("bert", pooling="cls")
    mix(model)
    return model


@pytest.mark.parametrize("make", [bert_that_mixes, deberta_with_a_convolution])
def test_mixing_is_found_and_all_tokens_are_computed(make, everywhere, monkeypatch):
    model = make()
    expected = {method: everywhere(model, attribution_method=method) for method in METHODS}
    for method in METHODS:
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


def two_calls_for_long_texts(module, query, key, value, attention_mask, **kwargs):
    """Fused attention, in two calls of half the heads each where there are more than ten tokens."""
    if query.shape[2] <= 10:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    halves = zip(*(states.chunk(2, dim=1) for states in (query, key, value)))
    outputs = [sdpa_attention_forward(module, *half, attention_mask, **kwargs)[0] for half in halves]
    return torch.cat(outputs, dim=2), None


@pytest.fixture
def changing_kernel():
    AttentionInterface.register("changing", two_calls_for_long_texts)
    AttentionMaskInterface.register("changing", sdpa_mask)
    yield "changing"
    del AttentionInterface._global_mapping["changing"]
    del AttentionMaskInterface._global_mapping["changing"]


@pytest.mark.parametrize("method", ["gradient_x_input", "saliency"])
def test_a_kernel_that_changes_with_the_length(method, changing_kernel):
    model, plain = build("bert", pooling="cls"), build("bert", "sdpa", pooling="cls")
    model.set_attn_implementation(changing_kernel)
    assert model.reads_one_token()  # on texts as short as the probe's
    for lengths in ((10, 4), (11, 4)):
        inputs = make_batch(lengths)
        question = {"attribution_method": method, "attribution_target": "all"}
        assert_same(explain(model, inputs, **question), explain(plain, inputs, **question))


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
