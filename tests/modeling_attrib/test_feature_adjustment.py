"""Song's adjusted features: recomputed from matrices, differentiated, trained, saved; the contrastive loss by hand."""

import math

import pytest
import torch
from architectures import LAYERS, build
from architectures import batch as make_batch
from torch.nn import functional as F

from modeling_attrib import AttribForSequenceClassification
from modeling_attrib.contrastive import supervised_contrastive_loss


TARGETS = torch.tensor([0, 2, 1])


def adjusted(name="bert", kernel=None, **config):
    return build(name, kernel, feature_adjustment="attribution", **config)


def layer_norm(x, module):
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.pow(2).mean(dim=-1, keepdim=True) + module.eps).sqrt() * module.weight + module.bias


def plain_weights(mask, pooling):
    if pooling == "mean":
        return mask / mask.sum(dim=1, keepdim=True)
    ends = [0 if pooling == "cls" else int(row.sum()) - 1 for row in mask]
    return F.one_hot(torch.tensor(ends), mask.shape[1]).to(mask)


def expected_weights(config, inputs, layers, temperature):
    """Token weights softmax(alpha / temperature), from the attention matrices of the eager twin; and its states."""
    twin = adjusted(kernel="eager", **config)
    output = twin.backbone(**inputs, output_attentions=True, output_hidden_states=True)
    mask = inputs["attention_mask"].double()
    pooled = (output.last_hidden_state * plain_weights(mask, twin.config.pooling)[..., None]).sum(dim=1)
    first = twin.classifier(layer_norm(pooled, twin.adjusted_norm))
    states = [output.hidden_states[layer] for layer in layers]
    gradients = torch.autograd.grad(first.max(dim=1).values.sum(), states, retain_graph=True)
    alpha = 0
    for layer, h, g in zip(layers, states, gradients):
        read = (output.attentions[layer].sum(dim=1) * mask[:, :, None]).sum(dim=1)  # how much token j is read
        alpha = alpha + read * (g * h).sum(dim=-1)
    powers = (alpha / temperature - (alpha / temperature).max()).exp() * mask
    return (powers / powers.sum(dim=1, keepdim=True)).detach(), output.last_hidden_state, twin


# The forward pass -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize(
    ("layers", "indices"), [("last", [LAYERS - 1]), ("all", list(range(LAYERS))), ([0], [0])], ids=str
)
def test_the_head_reads_weighted_and_normalised_states(layers, indices, pooling, kernel):
    inputs, config = make_batch(), {"pooling": pooling}
    settings = {"feature_adjustment_layers": layers, "feature_adjustment_temperature": 2.5}
    model = adjusted(kernel=kernel, **config, **settings)
    weights, hidden, twin = expected_weights(config, inputs, indices, 2.5)
    features = layer_norm((hidden * weights[..., None]).sum(dim=1), twin.adjusted_norm)
    logits = (features @ twin.classifier.weight.T + twin.classifier.bias).detach()
    with torch.no_grad():
        found = model.token_weights(inputs)
        output = model(**inputs)
    assert (weights - plain_weights(inputs["attention_mask"].double(), "mean")).abs().max() > 0.01
    torch.testing.assert_close(found, weights, rtol=0, atol=1e-9)
    torch.testing.assert_close(output.logits, logits, rtol=0, atol=1e-8)
    assert (found[~inputs["attention_mask"].bool()] == 0).all()


@pytest.mark.parametrize(
    "mode", [torch.enable_grad, torch.no_grad, torch.inference_mode], ids=lambda mode: mode.__name__
)
@pytest.mark.parametrize("arguments", [{}, {"output_attributions": False}, {"labels": TARGETS}], ids="+".join)
def test_every_mode_of_autograd_adjusts_alike(arguments, mode):
    model, inputs = adjusted(), make_batch()
    with torch.no_grad():
        expected = model(**inputs).logits
    with mode():
        copies = {name: value.clone() for name, value in inputs.items()}  # made in the mode, as a tokenizer would
        for given in (inputs, copies):
            torch.testing.assert_close(model(**given, **arguments).logits, expected, rtol=0, atol=1e-12)


def test_a_high_temperature_is_the_mean_and_a_low_one_picks_a_token():
    inputs = make_batch()
    mask = inputs["attention_mask"].double()
    with torch.no_grad():
        flat = adjusted(feature_adjustment_temperature=1e9).token_weights(inputs)
        sharp = adjusted(feature_adjustment_temperature=1e-3).token_weights(inputs)
    torch.testing.assert_close(flat, mask / mask.sum(dim=1, keepdim=True), rtol=0, atol=1e-6)
    assert sharp.max(dim=1).values.min() > 0.99


@pytest.mark.parametrize("name", ["bert", "albert", "t5", "modernbert", "deberta-v2", "llama"])
def test_adjusted_batches_equal_texts_alone(name):
    model, inputs = adjusted(name), make_batch()
    with torch.no_grad():
        together = model(**inputs, attribution_target="all")
        for row, length in enumerate((7, 11, 9)):
            alone = model(**{k: v[row : row + 1, :length] for k, v in inputs.items()}, attribution_target="all")
            torch.testing.assert_close(together.logits[row], alone.logits[0], rtol=0, atol=1e-5)
            found = together.attributions[row, :, :length]
            torch.testing.assert_close(found, alone.attributions[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["bert", "albert", "electra", "deberta-v2", "modernbert", "t5"])
@pytest.mark.parametrize("layers", ["last", "all"])
def test_lrp_conserves_through_the_adjustment(name, layers):
    model = adjusted(name, feature_adjustment_layers=layers)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if parameter_name.endswith("bias"):
                parameter.zero_()
        output = model(**make_batch(), attribution_method="lrp", attribution_target="all")
    assert output.logits.abs().min() > 1e-3
    torch.testing.assert_close(output.attributions.sum(dim=-1), output.logits, rtol=1e-9, atol=0)


# Training ---------------------------------------------------------------------------------------------------


def classifier_parameters(model):
    """Those that a label teaches: ExpNet's head learns apart."""
    return {name: p for name, p in model.named_parameters() if not name.startswith("expnet.")}


def loss_gradients(model, inputs):
    loss = model(**inputs, labels=TARGETS).loss
    trained = classifier_parameters(model)
    return dict(zip(trained, torch.autograd.grad(loss, list(trained.values()))))


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_alpha_is_a_constant_of_the_gradient(kernel):
    inputs = make_batch()
    found = loss_gradients(adjusted(kernel=kernel), inputs)
    weights, hidden, twin = expected_weights({}, inputs, [LAYERS - 1], 1.0)
    logits = twin.classifier(layer_norm((hidden * weights[..., None]).sum(dim=1), twin.adjusted_norm))
    truth = torch.autograd.grad(F.cross_entropy(logits, TARGETS), list(classifier_parameters(twin).values()))
    for (name, gradient), expected in zip(found.items(), truth, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-7, msg=name)
    assert found["backbone.embeddings.word_embeddings.weight"].abs().max() > 1e-4


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("layers", ["last", "all"])
def test_the_gradient_through_alpha_equals_finite_differences(layers, kernel):
    inputs = make_batch()
    settings = {"feature_adjustment_layers": layers, "feature_adjustment_temperature": 2.0}
    model = adjusted(kernel=kernel, feature_adjustment_differentiable=True, **settings)
    gradients = loss_gradients(model, inputs)
    constant = loss_gradients(adjusted(kernel=kernel, **settings), inputs)
    places = (
        "backbone.encoder.layer.0.attention.self.query.weight",
        "backbone.encoder.layer.1.attention.self.key.weight",
        "backbone.encoder.layer.1.output.LayerNorm.weight",
        "backbone.embeddings.word_embeddings.weight",
        "adjusted_norm.weight",
        "classifier.weight",
    )
    parameters = dict(model.named_parameters())
    for name in places:
        gradient = gradients[name].flatten()
        assert torch.isfinite(gradient).all()
        place = int((gradient - constant[name].flatten()).abs().argmax())  # where the path through alpha shows most
        assert abs(gradient[place] - constant[name].flatten()[place]) > 1e-4, name
        entry, step, values = parameters[name].data.view(-1), 1e-5, []
        for move in (1, -2):  # one step up, then one step down
            entry[place] += move * step
            with torch.no_grad():
                logits = model(**inputs, output_attributions=False).logits
                values.append(F.cross_entropy(logits, TARGETS).item())
        entry[place] += step
        slope = (values[0] - values[1]) / (2 * step)
        assert slope == pytest.approx(gradient[place].item(), rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("differentiable", [False, True], ids=["constant-alpha", "through-alpha"])
def test_training_lowers_the_loss(differentiable):
    torch.manual_seed(0)
    model = adjusted(
        dtype=torch.float32, feature_adjustment_differentiable=differentiable, contrastive_weight=0.5
    ).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        output = model(**make_batch((7, 11, 9, 8)), labels=torch.tensor([0, 1, 0, 1]))
        assert output.attributions is None
        optimiser.zero_grad()
        output.loss.backward()
        optimiser.step()
        losses.append(output.loss.item())
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("name", ["bert", "t5"])
def test_a_saved_model_is_the_same_model(name, tmp_path):
    model = adjusted(name, dtype=torch.float32, feature_adjustment_layers=[0], feature_adjustment_temperature=0.7)
    model.save_pretrained(tmp_path)
    again = AttribForSequenceClassification.from_pretrained(tmp_path).eval()
    assert again.config.feature_adjustment_layers == [0]
    with torch.no_grad():
        one, other = (m(**make_batch(), attribution_target="all") for m in (model, again))
    assert torch.equal(one.logits, other.logits)
    assert torch.equal(one.attributions, other.attributions)


def test_impossible_layers_are_refused():
    with pytest.raises(ValueError, match="layers=7: this backbone has layers 0 to 1"):
        adjusted(feature_adjustment_layers=7)(**make_batch())


# The contrastive loss ---------------------------------------------------------------------------------------


def test_contrastive_loss_by_hand():
    lengths = torch.tensor([[1.0], [2.0], [0.5], [3.0]])  # directions only count
    features = lengths * torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-1.0, 0.0]])
    cosine = {(0, 1): 0.6, (0, 2): 0.0, (0, 3): -1.0, (1, 2): 0.8, (1, 3): -0.6, (2, 3): 0.0}

    def similar(i, j):
        return cosine[min(i, j), max(i, j)] / 0.5

    def share(i, j):
        return math.log(math.exp(similar(i, j)) / sum(math.exp(similar(i, k)) for k in range(4) if k != i))

    pairs = -(share(0, 1) + share(1, 0) + share(2, 3) + share(3, 2)) / 4
    assert supervised_contrastive_loss(features, torch.tensor([0, 0, 1, 1]), 0.5).item() == pytest.approx(
        pairs, rel=1e-5
    )
    three = -((share(0, 1) + share(0, 3)) / 2 + (share(1, 0) + share(1, 3)) / 2 + (share(3, 0) + share(3, 1)) / 2) / 3
    assert supervised_contrastive_loss(features, torch.tensor([5, 5, 1, 5]), 0.5).item() == pytest.approx(
        three, rel=1e-5
    )


@pytest.mark.parametrize("count", [1, 2, 4])
def test_contrastive_loss_without_positives_is_zero(count):
    features = torch.randn(count, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = supervised_contrastive_loss(features, torch.arange(count), 0.1)
    assert loss.item() == 0
    loss.backward()
    assert (features.grad == 0).all()


@pytest.mark.parametrize("adjustment", ["none", "attribution"])
def test_the_contrastive_term_is_added_with_its_weight(adjustment):
    inputs, labels = make_batch(), torch.tensor([1, 0, 1])
    config = {"feature_adjustment": adjustment, "contrastive_temperature": 0.3}
    without, with_term = (build(contrastive_weight=weight, **config)(**inputs, labels=labels) for weight in (0.0, 0.25))
    model = build(**config)
    hidden, weights = model.backbone(**inputs).last_hidden_state, model.token_weights(inputs)
    features = (hidden * weights[..., None]).sum(dim=1)
    if adjustment == "attribution":
        features = layer_norm(features, model.adjusted_norm)
    term = supervised_contrastive_loss(features, labels, 0.3).item()
    assert term > 0.01
    assert with_term.loss.item() - without.loss.item() == pytest.approx(0.25 * term, rel=1e-4)
