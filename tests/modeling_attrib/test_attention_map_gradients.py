"""Methods that read ∂y/∂A, against their papers' formulas on the eager twin, text by text in float64."""

import pytest
import torch
from architectures import ARCHITECTURES, LABELS, LAYERS, build, explicit, with_kernels
from architectures import batch as make_batch

from modeling_attrib.attention_map_gradients import fold_attention_gradients
from modeling_attrib.attribution_methods import AttributionRequest


EXPLICIT = [name for name in ARCHITECTURES if not name.startswith("bert-")]
KERNELS = [pytest.param(name, kernel, id=f"{name}-{kernel}") for name, kernel in with_kernels(EXPLICIT)]
POOLED = with_kernels(["bert", "albert", "deberta-v2", "llama"])
FLOAT32_INSIDE = ("llama", "t5", "t5-gated", "modernbert")  # softmax, norms or rotations computed in float32


def texts(lengths):
    """A padded batch, and its texts alone."""
    inputs = make_batch(lengths)
    return inputs, [{key: value[row : row + 1, :n] for key, value in inputs.items()} for row, n in enumerate(lengths)]


@torch.no_grad()
def explain(model, inputs, method, **options):
    return model(
        **inputs, attribution_method=method, attribution_options=options, attribution_target="all"
    ).attributions


def grad_sam(attentions, hidden, logit, reading):
    gradients = torch.autograd.grad(logit, attentions, retain_graph=True)
    scores = [0.0] * reading.shape[1]
    for attention, gradient in zip(attentions, gradients):
        for a_head, g_head in zip(attention[0].tolist(), gradient[0].tolist()):
            for i, (a_row, g_row) in enumerate(zip(a_head, g_head)):
                scores[i] += sum(a * max(g, 0.0) for a, g in zip(a_row, g_row))
    return torch.tensor(scores, dtype=torch.float64)


def gae(attentions, hidden, logit, reading):
    gradients = torch.autograd.grad(logit, attentions, retain_graph=True)
    relevance = torch.eye(reading.shape[1], dtype=torch.float64)
    for attention, gradient in zip(attentions, gradients):  # the first layer first, as printed
        mean = (gradient * attention.detach())[0].double().clamp(min=0).mean(dim=0)
        relevance = relevance + mean @ relevance
    return reading[0] @ relevance


def attcat(attentions, hidden, logit, reading):
    """Σ_l E_h(α_h) · (∂y/∂h ⊙ h): α_h of a token is the mean attention that queries pay to it."""
    gradients = torch.autograd.grad(logit, hidden, retain_graph=True)
    scores = torch.zeros(reading.shape[1], dtype=torch.float64)
    for attention, state, gradient in zip(attentions, hidden, gradients):
        for token in range(len(scores)):
            paid = attention[0, :, :, token].detach().double().mean()
            scores[token] += paid * torch.dot(gradient[0, token], state[0, token].detach())
    heads = attentions[0].shape[1]
    return scores * heads * len(scores)  # ours sums where the paper's code takes means


REFERENCES = {"grad_sam": grad_sam, "gae": gae, "attcat": attcat}


def assert_equal_references(name, kernel, lengths, **config):
    model = build(name, kernel, **config)
    inputs, alone = texts(lengths)
    actual = {method: explain(model, inputs, method) for method in REFERENCES}
    tolerance = 5e-5 if name in FLOAT32_INSIDE else 1e-10
    for row, text in enumerate(alone):
        attentions, hidden, logits, reading = explicit(name, text, **config)
        for method, reference in REFERENCES.items():
            for label in range(LABELS):
                expected = reference(attentions, hidden, logits[0, label], reading)
                found = actual[method][row, label, : lengths[row]]
                torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * expected.abs().max().item())
                assert expected.abs().max() > 1e-3
            assert (actual[method][row, :, lengths[row] :] == 0).all()


@pytest.mark.parametrize(("name", "kernel"), KERNELS)
@pytest.mark.parametrize("lengths", [(4, 7), (5,)], ids=["padded", "full"])  # full: masks and kernels differ
def test_methods_equal_their_papers_formulas(name, kernel, lengths):
    assert_equal_references(name, kernel, lengths)


@pytest.mark.parametrize(("name", "kernel"), POOLED)
@pytest.mark.parametrize("pooling", ["cls", "last"])
def test_methods_equal_their_papers_formulas_for_each_pooling(name, kernel, pooling):
    assert_equal_references(name, kernel, (4, 7), pooling=pooling)


@pytest.mark.parametrize("name", ["bert", "t5"])  # T5 looks words up in another module than its table is in
def test_frozen_weights_change_nothing(name):
    model, inputs = build(name), make_batch()
    before = {method: explain(model, inputs, method) for method in REFERENCES}
    model.requires_grad_(False)
    for method, expected in before.items():  # to rounding: a position bias that is trained has a kernel of its own
        scale = expected.abs().max().item()
        torch.testing.assert_close(explain(model, inputs, method), expected, rtol=0, atol=1e-12 * scale)


# The fold ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_layers_come_from_the_last_to_the_first_with_their_own_gradients(kernel):
    model, inputs = build("bert", kernel), make_batch()
    request = AttributionRequest(target=torch.tensor([2, 0, 1]), contrast=torch.tensor([0, 1, 2]))
    with torch.enable_grad():
        logits, (seen,) = fold_attention_gradients(
            model,
            inputs,
            request,
            model.token_weights(inputs),
            lambda layers, attention, gradient: [*layers, (attention, gradient)],
            [],
        )
    attentions, _, expected_logits, _ = explicit("bert", inputs)
    objective = request.objective(expected_logits).sum()
    gradients = torch.autograd.grad(objective, attentions)
    torch.testing.assert_close(logits, expected_logits.detach())
    assert len(seen) == LAYERS
    for (attention, gradient), expected, slope in zip(seen, reversed(attentions), reversed(gradients), strict=True):
        assert not attention.requires_grad
        assert not gradient.requires_grad
        torch.testing.assert_close(attention, expected.detach(), rtol=0, atol=1e-12)
        torch.testing.assert_close(gradient, slope, rtol=0, atol=1e-12)


def test_an_error_on_the_way_back_leaves_nothing_hooked():
    model, inputs = build("bert"), make_batch()

    def fail(*_):
        raise RuntimeError("broken on purpose")

    with torch.enable_grad(), pytest.raises(RuntimeError, match="broken on purpose"):
        fold_attention_gradients(model, inputs, AttributionRequest(), model.token_weights(inputs), fail, None)
    assert torch._C._len_torch_function_stack() == 0
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_pre_hooks for module in model.modules())
