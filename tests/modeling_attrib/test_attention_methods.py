"""Attention methods against explicit tokens × tokens matrices, and eq. 3 against numbers worked out by hand."""

import itertools

import pytest
import torch
from architectures import ARCHITECTURES, LABELS, build, explicit, with_kernels
from architectures import batch as make_batch

from modeling_attrib.attention_gradient import combine_attention_and_gradient, select_layers
from modeling_attrib.attention_records import AttentionRecord


EXPLICIT = [name for name in ARCHITECTURES if not name.startswith("bert-")]
KERNELS = [pytest.param(name, kernel, id=f"{name}-{kernel}") for name, kernel in with_kernels(EXPLICIT)]
FLOAT32_INSIDE = ("llama", "t5", "t5-gated", "modernbert")  # softmax, norms or rotations computed in float32


@torch.no_grad()
def explain(model, inputs, method, **options):
    return model(
        **inputs, attribution_method=method, attribution_options=options, attribution_target="all"
    ).attributions


def expected_gradient_scores(attentions, hidden, logits, mask, orientation, reduction, layers):
    """Eq. 3 written with the matrices: (batch, labels, tokens)."""
    mask = mask.double()
    columns = []
    for label in range(LABELS):
        gradients = torch.autograd.grad(logits[:, label].sum(), hidden, retain_graph=True)
        total = 0
        for layer in layers:
            a = attentions[layer].detach().sum(dim=1) * mask[:, :, None] * mask[:, None, :]  # both tokens are real
            g, h = gradients[layer], hidden[layer].detach()
            weight = {"grad_x_hidden": (g * h).sum(dim=-1), "norm": (g * g).sum(dim=-1).sqrt()}.get(reduction)
            if reduction == "vector":
                summed = torch.einsum("bij,bjd->bid" if orientation == "query" else "bij,bid->bjd", a, g)
                total = total + (summed * h).sum(dim=-1)
            elif orientation == "query":
                total = total + torch.einsum("bij,bj->bi", a, weight)
            else:
                total = total + a.sum(dim=1) * weight
        columns.append(total)
    return torch.stack(columns, dim=1)


# Song's eq. 3 -----------------------------------------------------------------------------------------------


LAYER_CHOICES = [("last", [1]), ("all", [0, 1]), (0, [0]), (-2, [0]), ([1, 0], [0, 1]), ([-1, 1], [1])]


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("reduction", ["grad_x_hidden", "norm", "vector"])
@pytest.mark.parametrize("orientation", ["key", "query"])
def test_attention_gradient_equals_explicit_matrices(orientation, reduction, kernel):
    model, inputs = build("bert", kernel), make_batch()
    *parts, _ = explicit("bert", inputs)
    for option, layers in LAYER_CHOICES:
        options = {"orientation": orientation, "reduction": reduction, "layers": option}
        actual = explain(model, inputs, "attention_gradient", **options)
        expected = expected_gradient_scores(*parts, inputs["attention_mask"], orientation, reduction, layers)
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)
        assert expected.abs().max() > 0.1


@pytest.mark.parametrize(("name", "kernel"), KERNELS)
@pytest.mark.parametrize("lengths", [(7, 11, 9), (8, 8)], ids=["padded", "full"])  # full: masks and kernels differ
@pytest.mark.parametrize("orientation", ["key", "query"])
def test_attention_gradient_on_every_architecture(name, kernel, orientation, lengths):
    model, inputs = build(name, kernel), make_batch(lengths)
    *parts, _ = explicit(name, inputs)
    actual = explain(model, inputs, "attention_gradient", orientation=orientation, layers="all")
    expected = expected_gradient_scores(*parts, inputs["attention_mask"], orientation, "grad_x_hidden", [0, 1])
    tolerance = 1e-5 if name in FLOAT32_INSIDE else 1e-10
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance * expected.abs().max().item())


def test_the_orientations_and_reductions_differ():
    model, inputs = build("bert"), make_batch()
    found = [
        explain(model, inputs, "attention_gradient", orientation=orientation, reduction=reduction, layers=layers)
        for orientation, reduction, layers in itertools.product(
            ("key", "query"), ("grad_x_hidden", "norm", "vector"), ("last", "all")
        )
    ]
    for one, other in itertools.combinations(found, 2):
        assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize("padding", [False, True], ids=["full", "padded"])
def test_eq_3_by_hand(padding):
    """Two heads, three tokens, width 2: sum_h A, h and g small enough for a pencil."""
    heads = [
        [[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.5, 0.5, 0.0]],
        [[0.5, 0.5, 0.0], [0.25, 0.25, 0.5], [0.0, 0.0, 1.0]],
    ]
    record = AttentionRecord(probabilities=torch.tensor([heads], dtype=torch.float64))
    # head sum: [[1, .75, .25], [.25, 1.25, .5], [.5, .5, 1]]
    hidden = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]], dtype=torch.float64)
    gradient = torch.tensor([[[2.0, 1.0], [3.0, 4.0], [-1.0, 0.0]]], dtype=torch.float64)
    # g·h = [2, 8, -1], |g| = [√5, 5, 1]
    root = 5**0.5
    if padding:  # the third token neither reads nor is read
        expected = {
            ("query", "grad_x_hidden"): [1 * 2 + 0.75 * 8, 0.25 * 2 + 1.25 * 8, 0],
            ("query", "norm"): [root + 3.75, 0.25 * root + 6.25, 0],
            ("query", "vector"): [2 + 2.25, 2 * (0.25 + 5), 0],
            ("key", "grad_x_hidden"): [1.25 * 2, 2 * 8, 0],
            ("key", "norm"): [1.25 * root, 2 * 5, 0],
            ("key", "vector"): [2 + 0.75, 2 * (0.75 + 5), 0],
        }
    else:
        expected = {
            ("query", "grad_x_hidden"): [2 + 6 - 0.25, 0.5 + 10 - 0.5, 1 + 4 - 1],
            ("query", "norm"): [root + 3.75 + 0.25, 0.25 * root + 6.25 + 0.5, 0.5 * root + 2.5 + 1],
            ("query", "vector"): [2 + 2.25 - 0.25, 2 * (0.25 + 5), (1 + 1.5 - 1) + (0.5 + 2)],
            ("key", "grad_x_hidden"): [1.75 * 2, 2.5 * 8, 1.75 * -1],
            ("key", "norm"): [1.75 * root, 2.5 * 5, 1.75],
            ("key", "vector"): [2 + 0.75 - 0.5, 2 * (0.75 + 5), (0.5 + 1.5 - 1) + (0.25 + 2)],
        }
    mask = torch.tensor([[1, 1, 0 if padding else 1]])
    for (orientation, reduction), numbers in expected.items():
        found = combine_attention_and_gradient(record, gradient, hidden, mask, orientation, reduction)
        assert found[0].tolist() == pytest.approx(numbers), (orientation, reduction)


# Attention alone --------------------------------------------------------------------------------------------


POOLED = [
    pytest.param(name, kernel, pooling, id=f"{name}-{kernel}-{pooling}")
    for name, kernel in with_kernels(["bert", "albert", "deberta-v2", "llama"])
    for pooling in ("mean", "cls", "last")
]


@pytest.mark.parametrize(("name", "kernel", "pooling"), POOLED)
def test_attention_last_and_rollout_equal_matrix_products(name, kernel, pooling):
    model, inputs = build(name, kernel, pooling=pooling), make_batch()
    attentions, _, _, reading = explicit(name, inputs, pooling=pooling)
    means = [attention.detach().mean(dim=1) for attention in attentions]
    identity = torch.eye(reading.shape[1], dtype=torch.float64)
    flow = identity
    for mean in means:  # the first layer is rightmost
        flow = (0.5 * mean + 0.5 * identity) @ flow
    expected = {"attention_last": reading[:, None] @ means[-1], "rollout": reading[:, None] @ flow}
    for method, rows in expected.items():
        actual = explain(model, inputs, method)
        torch.testing.assert_close(actual, rows.expand(-1, LABELS, -1), rtol=0, atol=1e-6 if name == "llama" else 1e-10)
        assert actual.sum(dim=-1).sub(1).abs().max() < 1e-5  # the head reads one whole text


@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
@pytest.mark.parametrize("mask", [None, "boolean", "additive"], ids=str)
def test_products_from_factors_equal_products_with_the_matrix(mask, causal):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    query, key = normal(2, 3, 5, 4), normal(2, 3, 5, 4)
    allowed = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    allowed[0, ..., 3:] = False
    if causal and mask:  # torch takes a mask or is_causal
        allowed &= torch.ones(5, 5, dtype=torch.bool).tril()
    given = {None: None, "boolean": allowed, "additive": torch.zeros(2, 1, 5, 5).double().masked_fill(~allowed, -1e30)}
    is_causal = causal and mask is None
    record = AttentionRecord(query=query, key=key, mask=given[mask], is_causal=is_causal, scale=0.7)
    scores = 0.7 * query @ key.transpose(2, 3)
    if mask:
        scores = scores.masked_fill(~allowed, -torch.inf)
    if causal:
        scores = scores.masked_fill(~torch.ones(5, 5, dtype=torch.bool).tril(), -torch.inf)
    matrix = scores.exp() / scores.exp().sum(dim=-1, keepdim=True)
    torch.testing.assert_close(record.matrix(), matrix)
    from_matrix = AttentionRecord(probabilities=matrix)
    assert record.heads == from_matrix.heads == 3
    for width in (1, 4, 6):  # less than, equal to and no multiple of the width of a head
        x = normal(2, 5, width)
        for one in (record, from_matrix):
            torch.testing.assert_close(one.attend(x), torch.einsum("bhij,bjd->bid", matrix, x))
            torch.testing.assert_close(one.attend_transposed(x), torch.einsum("bhij,bid->bjd", matrix, x))


# Options ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (
            "attention_gradient",
            {"heads": 1},
            r"'attention_gradient' has no option 'heads'; .*orientation, reduction, layers",
        ),
        (
            "attention_gradient",
            {"orientation": "row"},
            r"orientation='row'.*query or key|orientation='row'.*key or query",
        ),
        ("attention_gradient", {"reduction": "sum"}, r"reduction='sum'.*grad_x_hidden, norm, vector"),
        ("attention_gradient", {"layers": 2}, r"layers=2: this backbone has layers 0 to 1"),
        ("attention_gradient", {"layers": -3}, r"layers=-3: this backbone has layers 0 to 1"),
        ("attention_gradient", {"layers": [0, 5]}, r"layers=\[0, 5\]: this backbone has layers 0 to 1"),
        ("attention_gradient", {"layers": []}, r"layers=\[\]: use 'last', 'all' or layer indices"),
        ("attention_gradient", {"layers": "first"}, r"layers='first': use 'last', 'all' or layer indices"),
        ("attention_gradient", {"layers": [0.5]}, r"layers=\[0\.5\]: use 'last', 'all' or layer indices"),
        ("attention_gradient", {"layers": None}, r"layers=None: use 'last', 'all' or layer indices"),
        ("rollout", {"layers": 1}, r"'rollout' has no option 'layers'; it has none"),
        ("attention_last", {"orientation": "key"}, r"'attention_last' has no option 'orientation'"),
    ],
    ids=lambda value: next(iter(value.items())).__repr__() if isinstance(value, dict) else "",
)
def test_impossible_options_are_refused(method, options, message):
    with pytest.raises(ValueError, match=message):
        explain(build(), make_batch(), method, **options)


def test_select_layers():
    assert select_layers("all", 3) == [0, 1, 2]
    assert select_layers("last", 3) == [2]
    assert select_layers(-3, 3) == [0]
    assert select_layers((2, 0, -1), 3) == [0, 2]
