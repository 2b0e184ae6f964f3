"""Frozen attention against autograd: the values' gradient is Aᵀ·g for any mask, range and number of labels."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F

from modeling_attrib.frozen_functions import can_freeze_attention, frozen_attention


TEXTS, HEADS, TOKENS, WIDTH = 2, 3, 9, 4


def masks():
    keys = torch.ones(TEXTS, 1, 1, TOKENS, dtype=torch.bool)
    keys[0, ..., 6:] = False  # right padding
    keys[1, ..., :2] = False  # left padding
    near = (torch.arange(TOKENS).unsqueeze(0) - torch.arange(TOKENS).unsqueeze(1)).abs() <= 2
    generator = torch.Generator().manual_seed(3)
    bias = torch.randn(1, HEADS, TOKENS, TOKENS, generator=generator, dtype=torch.float64)
    lowest = torch.zeros(keys.shape, dtype=torch.float64).masked_fill(~keys, torch.finfo(torch.float64).min)
    return {
        "none": None,
        "keys": keys,
        "keys-expanded": keys.expand(-1, 1, TOKENS, -1),
        "window": near,
        "window-and-keys": near & keys,
        "bias-per-head": bias,
        "bias-and-keys": bias.expand(TEXTS, -1, -1, -1) + lowest,
    }


def tensors(scale=1.0, key_heads=HEADS, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)

    def draw(heads):  # laid out as layers make them: (batch, tokens, heads, width) in memory
        return torch.randn(TEXTS, TOKENS, heads, WIDTH, generator=generator, dtype=torch.float64).transpose(1, 2)

    query, key, value, gradient = draw(HEADS), draw(key_heads), draw(key_heads), draw(HEADS)
    return [t.to(dtype) for t in (scale * query, scale * key, value, gradient)]


def gradients(function, query, key, value, gradient, *args, **kw):
    value = value.clone().requires_grad_()
    query, key = query.clone().requires_grad_(), key.clone().requires_grad_()
    output = function(query, key, value, *args, **kw)
    return output.detach(), torch.autograd.grad(output, [value, query, key], gradient, allow_unused=True)


def compare(question, mask=None, **kw):
    output, (found, *others) = gradients(frozen_attention, *question, mask, **kw)
    expected_output, (expected, *_) = gradients(F.scaled_dot_product_attention, *question, mask, **kw)
    assert torch.equal(output, expected_output)
    assert others == [None, None]
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("mask", masks())
def test_any_mask(mask):
    compare(tensors(), masks()[mask])


@pytest.mark.parametrize("scale", [None, 1.0, 0.1])
def test_any_scale(scale):
    compare(tensors(), scale=scale)


def test_decoders():
    compare(tensors(), is_causal=True)
    compare(tensors(key_heads=1), enable_gqa=True, is_causal=True)


@pytest.mark.parametrize("spread", [3.0, 6.0, 8.0, 12.0])
def test_scores_from_gentle_to_beyond_the_range_of_exponentials(spread):
    compare(tensors(spread))
    query, key, value, gradient = tensors(spread, dtype=torch.float32)
    _, (found, *_) = gradients(frozen_attention, query, key, value, gradient)
    exact = [t.double() for t in (query, key, value, gradient)]
    _, (expected, *_) = gradients(F.scaled_dot_product_attention, *exact)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("order", [(0, 1, 3, 2), (1, 2, 3, 0), (3, 2, 1, 0)])
def test_gradients_laid_out_in_any_order(order):
    query, key, value, gradient = tensors()
    back = sorted(range(4), key=order.__getitem__)
    compare([query, key, value, gradient.permute(order).contiguous().permute(back)])


@pytest.mark.parametrize("mask", ["none", "keys", "window-and-keys", "bias-per-head"])
def test_several_labels_go_back_together(mask):
    query, key, value, _ = tensors()
    generator = torch.Generator().manual_seed(5)
    several = torch.randn(4, *value.shape, generator=generator, dtype=torch.float64)
    value.requires_grad_()
    output = frozen_attention(query, key, value, masks()[mask])
    found = torch.vmap(lambda g: torch.autograd.grad(output, value, g, retain_graph=True)[0])(several)
    expected = [torch.autograd.grad(output, value, g, retain_graph=True)[0] for g in several]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-12, atol=1e-14)


def recorded_gradient(question, mask):
    """The values' gradient by a graph that was recorded on other numbers."""

    def explain(query, key, value, gradient):
        value = value.detach().requires_grad_()
        with torch.enable_grad():
            output = frozen_attention(query, key, value, mask)
        return torch.autograd.grad(output, value, gradient)[0]

    return make_fx(explain)(*tensors(dtype=question[0].dtype))(*question)


@pytest.mark.parametrize("spread", [1.0, 6.0, 12.0, 40.0])
@pytest.mark.parametrize("mask", masks())
def test_a_recorded_graph_takes_any_range(mask, spread):
    question = tensors(spread)
    _, (expected, *_) = gradients(F.scaled_dot_product_attention, *question, masks()[mask])
    torch.testing.assert_close(recorded_gradient(question, masks()[mask]), expected, rtol=1e-10, atol=1e-12)


def test_a_recorded_graph_in_bfloat16_is_as_good_as_its_numbers():
    query, key, value, gradient = tensors(3.0)
    mask = masks()["keys"]
    rounded = [t.bfloat16() for t in (query, key, value, gradient)]
    _, (expected, *_) = gradients(F.scaled_dot_product_attention, *(t.double() for t in rounded), mask)
    found = recorded_gradient(rounded, mask).double()
    assert (found - expected).abs().max() <= 0.01 * expected.abs().max()


def test_a_text_without_a_real_token_spoils_no_other():
    question = tensors()
    mask = torch.ones(TEXTS, 1, 1, TOKENS, dtype=torch.bool)
    mask[0] = False
    found = recorded_gradient(question, mask)
    _, (expected, *_) = gradients(F.scaled_dot_product_attention, *question)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-10, atol=1e-12)
    assert torch.equal(found[0], torch.zeros_like(found[0]))


def test_what_the_kernel_does_not_take():
    query, key, value, _ = tensors()
    assert can_freeze_attention(query, key, value, None, 0.0)
    assert not can_freeze_attention(query, key, value, None, 0.1)
    assert not can_freeze_attention(query, key, value[..., :2], None, 0.0)
    assert not can_freeze_attention(query.half(), key.half(), value.half(), None, 0.0)
    assert not can_freeze_attention(query[:, :, :0], key, value, None, 0.0)
    assert not can_freeze_attention(query, key[:, :1], value[:, :1], None)  # torch broadcasts, the kernel crashes
    assert not can_freeze_attention(query, key[:1], value[:1], None)
    assert not can_freeze_attention(query[:1], key, value, None)
    assert can_freeze_attention(query, key[:, :1], value[:, :1], None, enable_gqa=True)
    assert not can_freeze_attention(query, key, value.float(), None)  # autocast leaves such mixtures
    assert not can_freeze_attention(query, key, value, masks()["keys"], is_causal=True)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        assert not can_freeze_attention(query, key, value, None)
    assert not can_freeze_attention(query, key, value, torch.zeros(TOKENS, TOKENS), 0.0)  # of another type


def test_no_tokens_by_tokens_matrix_is_kept():
    query, key, value, _ = tensors()
    value.requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t.numel()), t)[1], lambda t: t):
        frozen_attention(query, key, value)
    assert max(kept) <= TEXTS * HEADS * TOKENS * WIDTH
