"""Layers that torch has quantised pass no gradient: what needs none still works, what needs one says so."""

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
