"""Quantised layers that pass no gradient: what needs none still works, what needs one says so."""

import copy

import pytest
import torch
from architectures import batch, build
from pipelines import build as build_pipeline
from torch import nn

from modeling_attrib import list_attribution_methods


FORWARD_ONLY = ("attention_last", "rollout", "expnet", "random")
BACKWARD = [method["name"] for method in list_attribution_methods() if method["name"] not in FORWARD_ONLY]


def quantise(model: nn.Module, layers: object = None) -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(model, layers or {nn.Linear}, dtype=torch.qint8)


@pytest.fixture(scope="module")
def models() -> tuple[nn.Module, nn.Module]:
    model = build("bert", dtype=torch.float32)
    return model, quantise(model)


def test_logits_are_the_floating_ones_to_rounding(models):
    model, quantised = models
    for gradients in (False, True):
        with torch.set_grad_enabled(gradients):
            found, expected = (m(**batch(), output_attributions=False).logits for m in (quantised, model))
        torch.testing.assert_close(found, expected, rtol=0.05, atol=0.1)
    none = {name: value[:0] for name, value in batch().items()}
    assert quantised(**none, output_attributions=False).logits.shape == (0, 3)


@pytest.mark.parametrize("name", FORWARD_ONLY)
def test_methods_of_one_forward_pass_work(models, name):
    model, quantised = models
    found, expected = (m(**batch(), attribution_method=name).attributions for m in (quantised, model))
    assert torch.corrcoef(torch.stack([found.flatten(), expected.flatten()]))[0, 1] > 0.99


def test_shapley_values_of_attention_alone_work(models):
    options = {"attribution_method": "attention_shapley", "attribution_options": {"gradient": False}}
    model, quantised = models
    found, expected = (m(**batch(), **options).attributions for m in (quantised, model))
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("name", BACKWARD)
def test_methods_with_a_backward_pass_are_refused(models, name, gradients):
    options = {"baseline": "zero"} if name == "integrated_gradients" else {}
    with torch.set_grad_enabled(gradients), pytest.raises(ValueError, match="passes no gradient"):
        models[1](**batch(), attribution_method=name, attribution_options=options)


@pytest.mark.parametrize("layer", ["backbone.encoder.layer.1.output.dense", "classifier"])
def test_one_quantised_layer_is_enough_and_named(layer):
    with pytest.raises(ValueError, match=f"{layer} .*quantised.* passes no gradient"):
        quantise(build("bert", dtype=torch.float32), {layer})(**batch())


def test_adjusted_features_need_gradients_for_the_logits_too():
    model = quantise(build("bert", dtype=torch.float32, feature_adjustment="attribution"))
    with pytest.raises(ValueError, match="passes no gradient"):
        model(**batch(), output_attributions=False)


def test_the_model_it_was_made_from_still_explains(models):
    model = copy.deepcopy(models[0])
    assert model(**batch()).attributions.abs().sum() > 0


def test_the_pipeline_labels_and_refuses(minilm_folder):
    pipe = build_pipeline(minilm_folder)
    pipe.model = quantise(pipe.model)
    assert pipe("Oil falls", attributions=False)[0]["score"] > 0
    assert pipe("Oil falls", method="attention_last")[0]["attributions"]
    with pytest.raises(ValueError, match="passes no gradient"):
        pipe("Oil falls")


def quantise_everything(model: nn.Module) -> nn.Module:
    """No parameter is left: norms without weights, tables and matrices packed."""
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.weight = module.bias = None
    packed = torch.ao.quantization.float_qparams_weight_only_qconfig
    layers = {nn.Linear: torch.ao.quantization.default_dynamic_qconfig, nn.Embedding: packed}
    return torch.ao.quantization.quantize_dynamic(model, layers)


def with_types(**inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """As a tokenizer gives them: a packed table of types does not read what the backbone itself fills in."""
    return inputs | {"token_type_ids": torch.zeros_like(inputs["input_ids"])}


@pytest.mark.parametrize("name", [*FORWARD_ONLY, *BACKWARD])
def test_a_model_that_is_quantised_altogether(name):
    model = build("bert", dtype=torch.float32)
    whole, inputs = quantise_everything(model), with_types(**batch())
    assert not list(whole.parameters())
    options = {"baseline": "zero"} if name == "integrated_gradients" else {}
    if name in FORWARD_ONLY:
        assert whole(**inputs, attribution_method=name).attributions.abs().sum() > 0
    else:
        with pytest.raises(ValueError, match="passes no gradient"):
            whole(**inputs, attribution_method=name, attribution_options=options)
    assert whole(**inputs, output_attributions=False).logits.isfinite().all()


# Layers of others -----------------------------------------------------------------------------------------------


class Packed(nn.Module):
    """A layer as GPTQ and bitsandbytes have them: a matrix of whole numbers, in a parameter or a buffer."""

    def __init__(self, layer: nn.Linear, gradient: str, kept_as: str) -> None:
        super().__init__()
        scale = layer.weight.detach().abs().amax(dim=1, keepdim=True) / 127
        numbers = (layer.weight.detach() / scale).round().to(torch.int8)
        if kept_as == "parameter":
            self.weight = nn.Parameter(numbers, requires_grad=False)
        else:
            self.register_buffer("qweight", numbers)
        self.scale, self.bias, self.gradient = scale, layer.bias, gradient

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        weight = self.weight if hasattr(self, "weight") else self.qweight
        if self.gradient == "none":
            states = states.detach()
        elif self.gradient == "of rounding":  # whole numbers times whole numbers: rounding has the slope 0
            step = states.detach().abs().amax(dim=-1, keepdim=True) / 127
            states = (states / step).round() * step
        return states @ (weight * self.scale).T + self.bias


def packed(gradient: str, kept_as: str) -> nn.Module:
    model = build("bert", dtype=torch.float32)
    output = model.backbone.encoder.layer[1].output
    output.dense = Packed(output.dense, gradient, kept_as)
    return model


@pytest.mark.parametrize("kept_as", ["parameter", "buffer"])
@pytest.mark.parametrize("gradient", ["none", "of rounding"])
@pytest.mark.parametrize("name", ["lrp", "gradient_x_input", "attention_gradient", "gae"])
def test_a_packed_layer_that_passes_no_gradient_is_named(name, gradient, kept_as):
    model = packed(gradient, kept_as)
    with pytest.raises(ValueError, match=r"layer\.1\.output\.dense \(Packed, quantised\) passes no gradient"):
        model(**batch(), attribution_method=name)
    assert model(**batch(), attribution_method="rollout").attributions.abs().sum() > 0


@pytest.mark.parametrize("kept_as", ["parameter", "buffer"])
@pytest.mark.parametrize("name", ["lrp", "damped_lrp", "gradient_x_input", "attention_gradient"])
def test_a_packed_layer_that_passes_its_gradient_is_explained(name, kept_as):
    model = packed("its own", kept_as)
    found = model(**batch(), attribution_method=name).attributions
    layer = model.backbone.encoder.layer[1].output.dense
    weight = (layer.weight if kept_as == "parameter" else layer.qweight) * layer.scale
    same = build("bert", dtype=torch.float32)
    with torch.no_grad():
        same.backbone.encoder.layer[1].output.dense.weight.copy_(weight)
    torch.testing.assert_close(found, same(**batch(), attribution_method=name).attributions)


class Ternary(torch.Tensor):
    """A weight of a tensor type of its own, as torchao has them, that stops gradients."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is nn.functional.linear:
            states, weight, bias = args
            return func(states.detach(), weight.as_subclass(torch.Tensor).detach(), bias)
        return super().__torch_function__(func, types, args, kwargs)


def test_a_weight_of_its_own_type_that_stops_gradients_is_named():
    model = build("bert", dtype=torch.float32)
    layer = model.backbone.encoder.layer[0].output.dense
    layer.weight = nn.Parameter(layer.weight.detach().as_subclass(Ternary), requires_grad=False)
    with pytest.raises(ValueError, match=r"layer\.0\.output\.dense \(Linear, quantised\) passes no gradient"):
        model(**batch(), attribution_method="gradient_x_input")
    assert model(**batch(), attribution_method="rollout").attributions.abs().sum() > 0
