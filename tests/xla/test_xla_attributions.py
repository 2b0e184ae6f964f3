"""Every method on an XLA device against the same weights on a CPU."""

import functools

import pytest
import torch
from architectures import batch, build

from modeling_attrib import list_attribution_methods


torch_xla = pytest.importorskip("torch_xla", reason="XLA's device: make test-xla")
metrics = pytest.importorskip("torch_xla.debug.metrics")

METHODS = [method["name"] for method in list_attribution_methods()]
PADDING_ID = 1  # what `batch` pads with
TOLERANCE = 1e-5  # of a text's largest score, or of 1 where all are smaller

CASES = [
    pytest.param(*case, id="-".join(case))
    for case in (
        ("bert", "sdpa", "mean"),
        ("bert", "eager", "cls"),
        ("roberta", "sdpa", "cls"),
        ("modernbert", "sdpa", "mean"),
        ("deberta-v2", "eager", "mean"),
        ("t5", "sdpa", "mean"),
        ("t5-gated", "eager", "cls"),
        ("llama", "sdpa", "last"),
        ("llama", "eager", "mean"),
    )
]
REQUESTS = {
    "predicted": {},
    "target": {"attribution_target": 1},
    "contrast": {"attribution_target": torch.tensor([2, 0, 1]), "attribution_contrast": 1},
    "all": {"attribution_target": "all"},
}


@functools.lru_cache(maxsize=1)
def twins(name, kernel, pooling, **config):
    """The same classifier on the CPU and on the device."""
    found = [build(name, kernel, torch.float32, pooling=pooling, **config) for _ in range(2)]
    for model in found:
        model.config.get_text_config().pad_token_id = PADDING_ID  # integrated gradients' baseline
    return found[0], found[1].to(torch_xla.device())


def on_device(inputs):
    return {name: value.to(torch_xla.device()) for name, value in inputs.items()}


def answer(model, inputs, **arguments):
    with torch.no_grad():
        output = model(**inputs, **arguments)
    torch_xla.sync()
    return {name: value.cpu() for name, value in output.items()}


def compare(model, twin, inputs, **arguments):
    expected, found = answer(model, inputs, **arguments), answer(twin, on_device(inputs), **arguments)
    assert found.keys() == expected.keys()
    assert torch.equal(found["attribution_target"], expected["attribution_target"])
    for name in ("logits", "attributions", "attribution_residual"):
        size = expected[name].abs().max().clamp(min=1.0)
        assert (found[name] - expected[name]).abs().max() <= TOLERANCE * size, name
    padding = inputs["attention_mask"] == 0
    assert not found["attributions"].movedim(-1, 1)[padding].any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("name", "kernel", "pooling"), CASES)
def test_every_method_agrees_with_the_cpu(name, kernel, pooling, method):
    compare(*twins(name, kernel, pooling), batch(), attribution_method=method, **REQUESTS["contrast"])
