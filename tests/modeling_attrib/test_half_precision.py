"""Half precision and autocast: sums, norms and products that 16 bits would spoil."""

import copy

import pytest
import torch
from architectures import SIZE, build
from architectures import batch as make_batch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import BertConfig

from modeling_attrib import AttribConfig, AttribForSequenceClassification
from modeling_attrib.backbone_parts import find_parts
from modeling_attrib.contrastive import supervised_contrastive_loss
from modeling_attrib.frozen_functions import can_freeze_attention
from modeling_attrib.half_precision import GradientScale
from modeling_attrib.propagation_rules import PropagationRules


HALF = [torch.bfloat16, torch.float16]


def values(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("size", [1e-3, 400.0])
def test_a_root_mean_square_has_the_slope_of_the_norm_itself(dtype, size):
    """In float16 the square of 400 is infinite, and torch's own epsilon is float32's."""
    norm, x = nn.RMSNorm(8), (size * values(3, 8)).to(dtype)
    norm.to(dtype)
    rules = PropagationRules(find_parts(build().backbone), 1, norm_std="frozen")
    x.requires_grad_()
    with rules:
        y = norm(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(y, norm(x))
    torch.testing.assert_close(slope.double(), (norm(x.detach()).double() / x.detach().double()), rtol=2e-2, atol=0)


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_autocast_does_not_narrow_the_contrastive_loss(dtype):
    features, labels = values(12, 32), torch.arange(12) % 3
    with torch.autocast("cpu", dtype):
        narrowed = supervised_contrastive_loss(features, labels, 0.1)
    torch.testing.assert_close(narrowed, supervised_contrastive_loss(features, labels, 0.1), rtol=1e-6, atol=1e-6)


def test_what_autocast_would_narrow_does_not_reach_the_kernel():
    query = values(2, 4, 9, 8)
    assert can_freeze_attention(query, query, query, None)
    with torch.autocast("cpu", torch.bfloat16):
        assert not can_freeze_attention(query, query, query, None)
        narrow = query.bfloat16()
        assert can_freeze_attention(narrow, narrow, narrow, None)


class TypesOfNorms(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.native_layer_norm.default:
            self.seen.append([a.dtype for a in args if isinstance(a, torch.Tensor)])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16], ids=str)
def test_a_gpu_autocasts_the_frozen_norm_like_the_plain_one(weights):
    """The rule calls torch's inner function, with the statistics: autocast must know that one too. No GPU is needed."""
    with FakeTensorMode(), torch.no_grad():
        hidden, weight = (
            torch.empty(3, 8, device="cuda", dtype=torch.bfloat16),
            torch.ones(8, device="cuda").to(weights),
        )
        torch.set_autocast_enabled("cuda", True)  # torch.autocast itself would look for a GPU
        try:
            with TypesOfNorms() as norms:
                F.layer_norm(hidden, [8], weight, weight)
                torch.native_layer_norm(hidden, [8], weight, weight, 1e-5)
        finally:
            torch.set_autocast_enabled("cuda", False)
    assert norms.seen == [[torch.float32] * 3] * 2


def test_only_float16_goes_back_enlarged():
    weights = torch.tensor([[0.25] * 4, [1.0, 0.0, 0.0, 0.0]])
    logits = torch.tensor([[2.0], [3.0]], dtype=torch.float16)
    scale = GradientScale(logits, weights)
    assert torch.equal(scale.enlarge(logits), torch.tensor([[8.0], [3.0]]))
    gradient = torch.full((2, 4, 5), 6e-8, dtype=torch.float16)
    assert torch.equal(scale.restore(gradient)[0], gradient[0].float() / 4)
    assert torch.equal(scale.restore(gradient)[1], gradient[1].float())
    for dtype in (torch.bfloat16, torch.float32):
        scale = GradientScale(logits.to(dtype), weights)
        assert scale.enlarge(logits) is logits
        assert scale.restore(gradient) is gradient


def test_a_text_without_a_token_and_a_very_long_one_have_finite_factors():
    logits = torch.ones(2, 1, dtype=torch.float16)
    weights = torch.zeros(2, 10)
    weights[1] = 1e-7
    assert GradientScale(logits, weights).enlarge(logits).half().isfinite().all()


READ_FROM_ATTENTION = ("gae", "rollout", "grad_sam", "attention_shapley", "attention_last", "attcat")


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_scores_of_a_long_text_are_told_apart_in_16_bits(dtype, kernel):
    """In bfloat16 1/n + 1/n² is 1/n: of 496 tokens' scores by gae, four were left. The reference is float64."""
    torch.manual_seed(0)
    backbone = BertConfig(**SIZE, initializer_range=0.3)
    config = AttribConfig(backbone_config=backbone, num_labels=3, attn_implementation=kernel)
    narrow = AttribForSequenceClassification(config).to(dtype).eval()
    exact = copy.deepcopy(narrow).double()
    inputs = make_batch((400,))
    for method in READ_FROM_ATTENTION:
        with torch.no_grad():
            found, expected = (
                m(**inputs, attribution_method=method, attribution_target=1).attributions[0] for m in (narrow, exact)
            )
        assert torch.corrcoef(torch.stack([found.double(), expected]))[0, 1] > 0.99, method
        assert len(found.unique()) > 100, method
