"""The structure of a model: changes with all that decides what it computes, and with nothing else."""

import copy
import gc
import weakref

import pytest
import torch
from architectures import batch as make_batch
from architectures import build
from torch import nn

from modeling_attrib import list_attribution_methods
from modeling_attrib.activation_capture import ActivationCapture
from modeling_attrib.backbone_parts import find_parts
from modeling_attrib.model_structure import structure_of


class Adapter(nn.Module):
    """A low-rank adapter around a linear layer, with the attributes that PEFT's have."""

    def __init__(self, base_layer: nn.Linear) -> None:
        super().__init__()
        self.base_layer = base_layer
        width = base_layer.in_features
        self.lora_A = nn.ModuleDict({name: nn.Linear(width, 2, bias=False).to(base_layer.weight) for name in "xy"})
        self.lora_B = nn.ModuleDict(
            {name: nn.Linear(2, base_layer.out_features).to(base_layer.weight) for name in "xy"}
        )
        self.scaling = {"x": 1.5, "y": 2.0}
        self.merged_adapters = []
        self._active_adapter = ["x"]
        self._disable_adapters = False

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        output = self.base_layer(states)
        for name in () if self._disable_adapters else self._active_adapter:
            output = output + self.lora_B[name](self.lora_A[name](states)) * self.scaling[name]
        return output


def adapted(**config):
    torch.manual_seed(0)
    model = build("bert", **config)
    output = model.backbone.encoder.layer[1].output
    output.dense = Adapter(output.dense)
    return model.eval()


def adapter_of(model):
    return model.backbone.encoder.layer[1].output.dense


def swap_activation(model):
    model.backbone.encoder.layer[0].intermediate.intermediate_act_fn = nn.ReLU()


def override_forward(model):
    model.backbone.encoder.layer[0].output.forward = lambda hidden, residual: hidden


def patch_class(model):
    class Other(type(model.classifier)):
        def forward(self, states):
            return super().forward(states) * 2

    model.classifier.__class__ = Other


def switch_kernel(model):
    model.set_attn_implementation("eager")


CHANGES = {
    "an adapter switched off": lambda model: setattr(adapter_of(model), "_disable_adapters", True),
    "another adapter": lambda model: setattr(adapter_of(model), "_active_adapter", ["y"]),
    "an adapter more": lambda model: adapter_of(model)._active_adapter.append("y"),
    "a merged adapter": lambda model: adapter_of(model).merged_adapters.append("x"),
    "an adapter scaled": lambda model: adapter_of(model).scaling.update(x=3.0),
    "a hook": lambda model: model.classifier.register_forward_hook(lambda *_: None),
    "a hook before": lambda model: model.backbone.register_forward_pre_hook(lambda *_: None),
    "a backward hook": lambda model: model.classifier.register_full_backward_hook(lambda *_: None),
    "a swapped module without parameters": swap_activation,
    "a module of the same class": lambda model: setattr(model, "classifier", copy.deepcopy(model.classifier)),
    "a module left out": lambda model: setattr(model, "dropout", nn.Identity()),
    "forward on an instance": override_forward,
    "another class": patch_class,
    "the attention kernel": switch_kernel,
    "training mode": lambda model: model.classifier.train(),
    "a number": lambda model: setattr(model.backbone.embeddings.LayerNorm, "eps", 0.1),
    "the configuration": lambda model: setattr(model.config, "feature_adjustment_temperature", 0.5),
    "the backbone's configuration": lambda model: setattr(model.config.backbone_config, "is_decoder", True),
    "a tensor that is no buffer": lambda model: model.backbone.encoder.mask.mul_(2),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_with_what_is_computed(change):
    model = adapted()
    model.backbone.encoder.mask = torch.ones(2)
    before = structure_of(model)
    CHANGES[change](model)
    assert structure_of(model) != before


def test_comes_back():
    model = adapted()
    before = structure_of(model)
    adapter_of(model)._disable_adapters = True
    handle = model.classifier.register_forward_hook(lambda *_: None)
    assert structure_of(model) != before
    adapter_of(model)._disable_adapters = False
    handle.remove()
    assert structure_of(model) == before
    assert hash(structure_of(model)) == hash(before)


def test_stays_through_training_saving_and_explaining(tmp_path):
    model = adapted(dtype=torch.float32)
    before = structure_of(model)
    model.train()
    model(**make_batch(), labels=torch.tensor([0, 1, 2])).loss.backward()
    with torch.no_grad():
        model.classifier.weight.add_(1)
    model.eval()
    model.save_pretrained(tmp_path)
    for method in list_attribution_methods():
        model(**make_batch(), attribution_method=method["name"])
    assert structure_of(model) == before


def test_taps_of_an_explanation_under_way_are_not_seen():
    model = build("bert")
    before = structure_of(model)
    with ActivationCapture(list(find_parts(model.backbone).layers)):
        assert structure_of(model) == before


def test_a_module_in_the_place_of_one_that_is_gone_is_another_one():
    """Also where memory gives it the same address."""
    model = build("bert")
    for _ in range(20):
        before = structure_of(model)
        model.dropout = None
        gc.collect()
        model.dropout = nn.Dropout(0.1).eval()
        assert structure_of(model) != before


def test_keeps_no_module_alive():
    model = build("bert")
    structure, gone = structure_of(model), weakref.ref(model.classifier)
    model.classifier = nn.Identity()
    gc.collect()
    assert gone() is None
    assert structure != structure_of(model)
