"""Every method on an XLA device against the same weights on a CPU."""

import functools
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from architectures import batch, build

from modeling_attrib import list_attribution_methods


torch_xla = pytest.importorskip("torch_xla", reason="XLA's device: make test-xla")
metrics = pytest.importorskip("torch_xla.debug.metrics")

METHODS = [method["name"] for method in list_attribution_methods()]
PADDING_ID = 1  # what `batch` pads with
TOLERANCE = 1e-5  # of the largest value, or of 1 where all are smaller; of a residual, see `compare`

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
    for name in ("logits", "attributions"):
        error = (found[name] - expected[name]).abs().max()
        assert error <= TOLERANCE * expected[name].abs().max().clamp(min=1.0), name
    # A residual is what a sum leaves of the logit, and the error of a sum is in proportion to its terms' sizes, not to
    # what is left once they cancel (Higham 2002, § 4.2). attcat's do: float32 on a CPU misses float64's residual by
    # 1.5e-5 of its own size (ModernBERT), which XLA cannot better, and by 2.5e-6 of the scores' at most.
    terms = expected["attributions"].abs().sum(dim=-1).clamp(min=1.0)  # of each text and label
    residuals = (found["attribution_residual"] - expected["attribution_residual"]).abs()
    assert (residuals <= TOLERANCE * terms).all(), "attribution_residual"
    padding = inputs["attention_mask"] == 0
    assert not found["attributions"].movedim(-1, 1)[padding].any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("name", "kernel", "pooling"), CASES)
def test_every_method_agrees_with_the_cpu(name, kernel, pooling, method):
    compare(*twins(name, kernel, pooling), batch(), attribution_method=method, **REQUESTS["contrast"])


@pytest.mark.parametrize("request_name", ["predicted", "target", "all"])
@pytest.mark.parametrize("method", ["damped_lrp", "attention_gradient", "integrated_gradients"])
def test_every_request_agrees_with_the_cpu(method, request_name):
    compare(*twins("bert", "sdpa", "mean"), batch(side="left"), attribution_method=method, **REQUESTS[request_name])


def test_adjusted_features_agree_with_the_cpu():
    model, twin = twins("bert", "sdpa", "mean", feature_adjustment="attribution")
    compare(model, twin, batch(), attribution_method="lrp")


def test_loss_and_gradients_agree_with_the_cpu():
    model, twin = twins("bert", "eager", "mean", feature_adjustment="attribution", contrastive_weight=0.5)
    labels = torch.tensor([1, 0, 1])
    outputs = [
        model(**batch(), labels=labels, output_attributions=True),
        twin(**on_device(batch()), labels=labels.to(torch_xla.device()), output_attributions=True),
    ]
    for output in outputs:
        output.loss.backward()
    torch_xla.sync()
    torch.testing.assert_close(outputs[1].loss.cpu(), outputs[0].loss, rtol=0, atol=TOLERANCE)
    for parameter, other in zip(model.parameters(), twin.parameters()):
        assert (parameter.grad is None) is (other.grad is None)
        if parameter.grad is not None:
            size = max(1.0, float(parameter.grad.abs().max()))
            torch.testing.assert_close(other.grad.cpu(), parameter.grad, rtol=0, atol=TOLERANCE * size)


@pytest.mark.parametrize(("method", "most"), [("damped_lrp", 2), ("integrated_gradients", 5), ("random", 4)])
def test_a_shape_is_compiled_once(method, most):
    """Other texts, targets and contrasts of the same shape compile nothing more."""
    twin = twins("bert", "sdpa", "mean")[1]
    shape = (6, 13, 12, 13)  # of no other test
    metrics.clear_all()
    target, contrast = torch.tensor([0, 1, 2, 0]), torch.tensor([1, 2, 0, 1])
    answer(
        twin,
        on_device(batch(shape)),
        attribution_method=method,
        attribution_target=target,
        attribution_contrast=contrast,
    )
    assert 1 <= metrics.metric_data("CompileTime")[0] <= most
    metrics.clear_all()
    target, contrast = contrast, torch.tensor([2, 0, 1, 0])
    inputs = on_device(batch((13, 4, 9, 11), seed=5))
    answer(twin, inputs, attribution_method=method, attribution_target=target, attribution_contrast=contrast)
    assert metrics.metric_data("CompileTime") is None


def test_tied_weights_stay_one_tensor():
    table, *others = [
        p
        for n, p in twins("t5", "sdpa", "mean")[1].named_parameters(remove_duplicate=False)
        if "embed" in n or "shared" in n
    ]
    assert others
    assert all(other is table for other in others)


def test_compiling_is_left_to_the_device():
    with pytest.raises(ValueError, match="XLA device compiles"):
        twins("bert", "sdpa", "mean")[1].compile_attributions()


LATE = """
import torch
torch.ones(1, requires_grad=True).sum().backward()
import sys
import torch_xla
sys.path[:0] = sys.argv[1:]
from architectures import build
build("bert", "sdpa", torch.float32).to(torch_xla.device())
"""


def test_a_device_that_autograd_does_not_know_is_refused():
    tests = Path(__file__).parents[1]
    paths = [str(tests / "modeling_attrib"), str(tests.parent)]
    done = subprocess.run([sys.executable, "-c", LATE, *paths], capture_output=True, text=True, check=False)
    assert done.stderr.strip().splitlines()[-1].startswith("ValueError: autograd does not know the XLA device")
    assert "Call torch_xla.device() at the start of the program" in done.stderr
