"""Propagation rules: conserved where they must be, equal to a naive reference, and loud where they find nothing."""

import math

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
from transformers import AttentionInterface, AutoModel, BertConfig
from transformers.masking_utils import AttentionMaskInterface, eager_mask

from modeling_attrib import AttribConfig, AttribForSequenceClassification
from modeling_attrib.backbone_parts import find_parts
from modeling_attrib.conservation import unaccounted_relevance
from modeling_attrib.propagation_rules import PropagationRules


def case(names):
    return [pytest.param(name, kernel, id=f"{name}-{kernel}") for name, kernel in with_kernels(names)]


@torch.no_grad()
def explain(model, inputs=None, **arguments):
    return model(**(inputs or make_batch()), output_attributions=True, **arguments)


# Conservation -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kernel"), case([*POST_NORM, *ACTIVATIONS, "modernbert", "t5", "t5-gated"]))
def test_without_biases_lrp_sums_to_every_logit(name, kernel):
    model = build(name, kernel)
    zero_biases(model)
    output = explain(model, attribution_method="lrp", attribution_target="all")
    assert output.logits.abs().min() > 1e-3, "a logit near 0 would make the comparison empty"
    torch.testing.assert_close(output.attributions.sum(dim=-1), output.logits, rtol=1e-9, atol=0)


@pytest.mark.parametrize(("name", "kernel"), case(["llama"]))
def test_without_biases_lrp_sums_to_every_logit_of_a_decoder(name, kernel):
    model = build(name, kernel)  # its RMSNorm computes in float32, whatever the weights are
    zero_biases(model)
    output = explain(model, attribution_method="lrp", attribution_target="all")
    torch.testing.assert_close(output.attributions.sum(dim=-1), output.logits, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["bert", *ACTIVATIONS])
def test_activations_near_zero_keep_their_share(name):
    model = build(name)
    zero_biases(model)
    with torch.no_grad():
        for layer in model.backbone.encoder.layer:  # u is about a millionth, where f(u)/u as written would lose digits
            layer.intermediate.dense.weight.mul_(1e-6)
            layer.output.dense.weight.mul_(1e6)
    output = explain(model, attribution_method="lrp", attribution_target="all")
    torch.testing.assert_close(output.attributions.sum(dim=-1), output.logits, rtol=1e-9, atol=0)


UNACCOUNTED = dict.fromkeys(("Bloom", "ConvBert"), "of the relevance unaccounted for")  # a part has no rule


@pytest.mark.parametrize("family", OTHERS)
def test_any_other_family_conserves_or_is_refused_for_its_reason(family, tmp_path):
    """Wrong numbers without a word are the one thing that must not happen. (Texts of one length: ConvBert and
    Nystromformer let padding into the logits, and what padding holds is not attributed.)"""
    torch.manual_seed(0)  # the head of the check
    encoder = AutoModel.from_config(getattr(transformers, f"{family}Config")(**OTHERS[family]))
    randomise(encoder)
    encoder.save_pretrained(tmp_path)
    reason = (REFUSED | UNACCOUNTED).get(family)
    if reason:
        with pytest.raises(ValueError, match=reason):
            AttribForSequenceClassification.from_backbone(str(tmp_path), num_labels=LABELS)
        return
    model = AttribForSequenceClassification.from_backbone(str(tmp_path), num_labels=LABELS).double()
    randomise(model)
    zero_biases(model)
    output = explain(model, make_batch((11, 11, 11)), attribution_method="lrp", attribution_target="all")
    torch.testing.assert_close(output.attributions.sum(dim=-1), output.logits, rtol=0, atol=1e-5)


def test_ordinary_gradients_do_not_conserve():
    """The conservation tests can fail: without the rules the sums are far from the logits."""
    model = build("bert", "sdpa")
    zero_biases(model)
    for method in ("gradient_x_input", "lrp_ah", "lrp_ah_ln", "attn_lrp"):
        output = explain(model, attribution_method=method, attribution_target="all")
        gap = (output.attributions.sum(dim=-1) - output.logits).abs() / output.logits.abs()
        assert gap.max() > 0.05, method


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_attributions_and_residual_add_up_to_the_logit(name):
    model = build(name)
    for method in (*RULES, "gradient_x_input"):
        output = explain(model, attribution_method=method, attribution_target="all")
        total = output.attributions.sum(dim=-1) + output.attribution_residual
        torch.testing.assert_close(total, output.logits, rtol=1e-9, atol=1e-12)


# An independent reference: BERT, step by step from its weights ----------------------------------------------------


def _shrink(tensor, factor):
    """`tensor` whose gradient is multiplied by `factor`, spelled out with detach."""
    return factor * tensor + (1 - factor) * tensor.detach()


def _norm(x, module, frozen):
    mean = x.mean(dim=-1, keepdim=True)
    std = ((x - mean) ** 2).mean(dim=-1, keepdim=True).add(module.eps).sqrt()
    return (x - mean) / (std.detach() if frozen else std) * module.weight + module.bias


def _gelu(u, frozen):
    slope = 0.5 * (1 + torch.erf(u / math.sqrt(2)))
    return u * (slope.detach() if frozen else slope)


def _linear(x, module):
    return x @ module.weight.T + module.bias


def _split_heads(x, heads):
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


def _attention(x, layer, mask, heads, rule):
    read = layer.attention.self
    query, key, value = (_split_heads(_linear(x, m), heads) for m in (read.query, read.key, read.value))
    if rule == "split":
        query, key, value = _shrink(query, 0.25), _shrink(key, 0.25), _shrink(value, 0.5)
    if rule == "damped":
        value = _shrink(value, 0.5)
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    scores = scores.masked_fill(mask[:, None, None, :] == 0, -math.inf)
    probabilities = scores.exp() / scores.exp().sum(dim=-1, keepdim=True)
    if rule in ("frozen", "damped"):
        probabilities = probabilities.detach()
    return (probabilities @ value).transpose(1, 2).flatten(2)


def reference(model, inputs, attention, frozen_norm, secant):
    """Logits, and the states that relevance may be read at (embeddings, then every layer's output), with everything
    that is frozen detached by hand."""
    bert, ids, mask = model.backbone, inputs["input_ids"], inputs["attention_mask"]
    table = bert.embeddings
    types = inputs.get("token_type_ids", torch.zeros_like(ids))
    positions = torch.arange(ids.shape[1])
    word, place, kind = table.word_embeddings, table.position_embeddings, table.token_type_embeddings
    leaf = (word.weight[ids] + place.weight[positions] + kind.weight[types]).detach()
    if frozen_norm:  # read before the first norm, which is linear then
        leaf = leaf.requires_grad_()
        x = _norm(leaf, table.LayerNorm, True)
    else:
        x = leaf = _norm(leaf, table.LayerNorm, False).detach().requires_grad_()
    states = [leaf]
    for layer in bert.encoder.layer:
        mixed = _attention(x, layer, mask, bert.config.num_attention_heads, attention)
        mixed = _linear(mixed, layer.attention.output.dense)
        x = _norm(x + mixed, layer.attention.output.LayerNorm, frozen_norm)
        inner = _gelu(_linear(x, layer.intermediate.dense), secant)
        x = _norm(x + _linear(inner, layer.output.dense), layer.output.LayerNorm, frozen_norm)
        states.append(x)
    if model.config.pooling == "cls":
        features = x[:, 0]
    else:
        features = (x * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
    return _linear(features, model.classifier), states


REFERENCES = {
    "lrp": ("frozen", True, True),
    "lrp_ah": ("frozen", False, False),
    "lrp_ah_ln": ("frozen", True, False),
    "attn_lrp": ("split", True, True),
    "damped_lrp": ("damped", True, True),
    "gradient_x_input": (None, False, False),
    "saliency": (None, False, False),
}


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("method", REFERENCES)
def test_bert_equals_a_naive_reference(method, pooling, kernel):
    model = build("bert", kernel, pooling=pooling)
    inputs = make_batch() | {"token_type_ids": make_batch()["input_ids"] % 2}
    output = explain(model, inputs, attribution_method=method, attribution_target="all")
    logits, states = reference(model, inputs, *REFERENCES[method])
    states = states[: 2 if method == "damped_lrp" else 1]
    expected = []
    for label in range(LABELS):
        gradients = torch.autograd.grad(logits[:, label].sum(), states, retain_graph=True)
        if method == "saliency":
            expected.append(gradients[0].norm(dim=-1))
        else:
            expected.append(sum((g * x).sum(dim=-1) for g, x in zip(gradients, states)) / len(states))
    expected = torch.stack(expected, dim=1).detach() * inputs["attention_mask"][:, None]
    torch.testing.assert_close(output.logits, logits.detach(), rtol=0, atol=1e-10)
    torch.testing.assert_close(output.attributions, expected, rtol=0, atol=1e-10)
    assert expected.abs().max() > 0.1


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_residual_of_lrp_is_what_the_biases_hold(pooling):
    model = build("bert", "sdpa", pooling=pooling)
    inputs = make_batch()
    output = explain(model, inputs, attribution_method="lrp", attribution_target="all")
    logits, _ = reference(model, inputs, *REFERENCES["lrp"])
    named = model.named_parameters()
    biases = [parameter for name, parameter in named if name.endswith(".bias") and not name.startswith("expnet.")]
    assert len(biases) == 2 + 8 * LAYERS  # embedding norm and head; six projections and two norms in each layer
    for row in range(len(logits)):
        for label in range(LABELS):
            gradients = torch.autograd.grad(logits[row, label], biases, retain_graph=True, allow_unused=True)
            shares = [(bias * gradient).sum() for bias, gradient in zip(biases, gradients) if gradient is not None]
            assert len(shares) == len(biases) - 2 * LAYERS  # queries and keys are frozen
            held = torch.stack(shares).sum().detach()
            torch.testing.assert_close(output.attribution_residual[row, label], held, rtol=0, atol=1e-10)


# Forward values ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kernel"), case(ARCHITECTURES))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_rules_leave_every_bit_of_the_logits(name, kernel, dtype, monkeypatch):
    model, inputs = build(name, kernel, dtype), make_batch()
    monkeypatch.setattr(model, "reads_one_token", lambda: False)  # products of fewer rows round otherwise
    with torch.no_grad():
        plain = model(**inputs, output_attributions=False).logits
    changed = [rule for rule in RULES if not torch.equal(explain(model, inputs, attribution_method=rule).logits, plain)]
    assert not changed


# Rules that meet nothing ------------------------------------------------------------------------------------


def test_an_activation_without_a_rule_is_named():
    config = BertConfig(**SIZE, hidden_act="mish")
    model = AttribForSequenceClassification(AttribConfig(backbone_config=config)).eval()
    for method in ("lrp", "attn_lrp"):
        with pytest.raises(ValueError, match=r"encoder\.layer\.0\.intermediate\.intermediate_act_fn.*Mish"):
            explain(model, attribution_method=method)
    assert explain(model, attribution_method="lrp_ah_ln").attributions.abs().sum() > 0  # what the message proposes


def hidden_softmax(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **kwargs):
    """Attention that calls neither softmax nor the fused function."""
    key, value = (x.repeat_interleave(module.num_key_value_groups, dim=1) for x in (key, value))
    weights = (query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]) + attention_mask).exp()
    weights = weights / weights.sum(dim=-1, keepdim=True)
    return (weights @ value).transpose(1, 2).contiguous(), weights


@pytest.fixture
def hidden_kernel():
    AttentionInterface.register("hidden_softmax", hidden_softmax)
    AttentionMaskInterface.register("hidden_softmax", eager_mask)
    yield "hidden_softmax"
    del AttentionInterface._global_mapping["hidden_softmax"]
    del AttentionMaskInterface._global_mapping["hidden_softmax"]


def test_attention_hidden_in_a_kernel_is_named(hidden_kernel):
    model, same = build("llama"), build("llama", "eager")
    model.set_attn_implementation(hidden_kernel)
    with torch.no_grad():
        plain = model(**make_batch(), output_attributions=False).logits
    expected = explain(same).logits  # whose softmax computes in float32
    torch.testing.assert_close(plain, expected, rtol=0, atol=1e-5)  # the kernel is right, only out of sight
    reading = ("attention_gradient", "attcat", "attention_last", "rollout", "grad_sam", "gae", "attention_shapley")
    for method in (*RULES, *reading):
        with pytest.raises(ValueError, match=r"0 attention .*'hidden_softmax' hides them.*'sdpa' or 'eager'"):
            explain(model, attribution_method=method)
    for method in ("gradient_x_input", "integrated_gradients"):
        assert explain(model, attribution_method=method).attributions.abs().sum() > 0


class HandWrittenLayerNorm(nn.Module):
    """A LayerNorm that calls no torch norm, and no root that a rule would see."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        centred = x - x.mean(dim=-1, keepdim=True)
        return self.weight * centred * self._scale(centred.pow(2).mean(dim=-1, keepdim=True) + self.eps) + self.bias

    def _scale(self, variance: torch.Tensor) -> torch.Tensor:
        return variance.pow(-0.5)


class RootedLayerNorm(HandWrittenLayerNorm):
    """As DeBERTa's own."""

    def _scale(self, variance: torch.Tensor) -> torch.Tensor:
        return 1 / torch.sqrt(variance)


@pytest.mark.parametrize("method", ["lrp", "lrp_ah_ln", "attn_lrp"])
def test_a_norm_that_the_rule_never_meets_is_named(method):
    model = build("bert")
    output = model.backbone.encoder.layer[1].output
    output.LayerNorm = HandWrittenLayerNorm(output.LayerNorm)
    with pytest.raises(ValueError, match=r"norms: .* met encoder\.layer\.1\.output\.LayerNorm, which"):
        explain(model, attribution_method=method)
    explain(model, attribution_method="lrp_ah")  # has no rule for norms


class RootGate(nn.Module):
    """As Muse Spark's experts weigh their tokens: by the root of something that depends on the text."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sqrt(x.pow(2).mean(dim=-1, keepdim=True) + 1.0)


@pytest.mark.parametrize("method", ["lrp", "lrp_ah_ln"])
def test_a_root_that_nothing_is_divided_by_stands_for_no_norm(method):
    model = build("bert")
    output = model.backbone.encoder.layer[1].output
    output.LayerNorm = HandWrittenLayerNorm(output.LayerNorm)
    output.dense = nn.Sequential(output.dense, RootGate())
    with pytest.raises(ValueError, match=r"norms: .* met encoder\.layer\.1\.output\.LayerNorm"):
        explain(model, attribution_method=method)


@pytest.mark.parametrize(
    ("function", "slope"),
    [
        (lambda x: x / torch.sqrt(x.pow(2).sum(dim=-1, keepdim=True)), 0.2),
        (lambda x: x * (1 / x.pow(2).sum(dim=-1, keepdim=True).sqrt()), 0.2),
        (lambda x: torch.nn.functional.normalize(x, dim=-1), 0.2),
        (lambda x: torch.nn.functional.normalize(x, p=1.0, dim=-1), 1 / 7),
        (lambda x: torch.sqrt(4 * x.pow(2)), 2.0),
    ],
    ids=["quotient", "inverse", "normalize", "normalize-1", "no-norm"],
)
def test_a_length_is_constant_where_something_is_divided_by_it(function, slope):
    x = torch.tensor([[3.0, 4.0]], requires_grad=True)
    with PropagationRules(find_parts(build("bert").backbone), LAYERS, norm_std="frozen"):
        y = function(x)
    torch.testing.assert_close(y.detach(), function(x).detach())
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, torch.full_like(x, slope))


@pytest.mark.parametrize("method", ["lrp", "lrp_ah_ln", "attn_lrp", "damped_lrp"])
def test_a_norm_that_is_written_out_with_a_root_is_explained_alike(method):
    model = build("bert")
    expected = explain(model, attribution_method=method).attributions
    output = model.backbone.encoder.layer[1].output
    output.LayerNorm = RootedLayerNorm(output.LayerNorm)
    torch.testing.assert_close(explain(model, attribution_method=method).attributions, expected)


def test_a_backbone_without_a_stack_of_layers_is_refused():
    model = build("bert")
    model.backbone.encoder.layer = nn.Sequential(*model.backbone.encoder.layer)
    for method in (*RULES, "gradient_x_input", "attention_gradient", "gae", "integrated_gradients"):
        with pytest.raises(ValueError, match="BertModel: the stack of layers"):
            explain(model, attribution_method=method)


def test_conservation_of_what_is_not_a_number_is_not_conservation():
    model = build("bert")
    with torch.no_grad():
        model.classifier.weight[1, 0] = torch.nan
    assert math.isnan(unaccounted_relevance(model, make_batch((5, 3))))


def test_conservation_of_nothing():
    model = build("bert")
    torch.nn.init.zeros_(model.classifier.weight)
    torch.nn.init.zeros_(model.classifier.bias)
    assert unaccounted_relevance(model, make_batch((5, 3))) == 0.0
