"""onnxruntime's fused attention, worked out in torch: right where float32 can tell, and never wrong where it cannot."""

import pytest
import torch
from torch.nn import functional as F

from attrib_lab.exporting.onnx_attention import OnnxruntimeAttention


def multi_head_attention(name, inputs, attributes, **_):
    """The operator on (batch, tokens, heads * width)."""
    assert name == "com.microsoft::MultiHeadAttention"
    query, key, value = (tensor.unflatten(2, (attributes["num_heads"], -1)).transpose(1, 2) for tensor in inputs)
    scores = attributes["scale"] * query @ key.transpose(-1, -2)
    return (scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)


@pytest.fixture(autouse=True)
def operator(monkeypatch):
    monkeypatch.setattr(torch.onnx.ops, "symbolic", multi_head_attention)


def attend(size):
    """Output and the values' gradient of both, with queries and keys of this size; the second text has padding."""
    torch.manual_seed(0)
    query, key, value, gradient = torch.randn(4, 2, 3, 7, 8)
    query, key = size * query, size * key
    mask = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])[:, None, None, :]
    found = []
    for kernel in (OnnxruntimeAttention(), torch.no_grad()):
        leaf = value.clone().requires_grad_()
        with torch.enable_grad() if not isinstance(kernel, OnnxruntimeAttention) else kernel:
            output = F.scaled_dot_product_attention(query, key, leaf, mask)
        found.append((output.detach(), torch.autograd.grad(output, leaf, gradient)[0]))
    return found


@pytest.mark.parametrize("size", [0.1, 1.0, 5.0])  # peaks of 70 above the mean score are those of trained encoders
def test_it_is_attention(size):
    (output, gradient), (expected, expected_gradient) = attend(size)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-5, rtol=1e-5)


def test_a_softmax_too_peaked_for_float32_gives_nan_and_no_wrong_gradient():
    (output, gradient), (expected, expected_gradient) = attend(14.0)
    torch.testing.assert_close(output, expected, atol=1e-4, rtol=1e-4)
    assert gradient.isnan().any()
    known = ~gradient.isnan()
    torch.testing.assert_close(gradient[known], expected_gradient[known], atol=1e-3, rtol=1e-3)
