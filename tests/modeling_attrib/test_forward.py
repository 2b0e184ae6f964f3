"""Every argument of forward: targets, contrasts, losses, modes, padding, and errors that say what is wrong."""

import math

import pytest
import torch
from architectures import ARCHITECTURES, LABELS, build
from architectures import batch as make_batch
from transformers.modeling_outputs import BaseModelOutput

from modeling_attrib import list_attribution_methods


CATALOGUE = list_attribution_methods()
METHODS = [method["name"] for method in CATALOGUE]
LINEAR = [  # in the logits
    *("lrp", "lrp_ah", "lrp_ah_ln", "attn_lrp", "damped_lrp", "gradient_x_input"),
    *("attention_gradient", "attcat", "integrated_gradients"),
]
BATCH = 3


@pytest.fixture(scope="module")
def model():
    return build("bert")


@torch.no_grad()
def explain(model, inputs=None, **arguments):
    return model(**(inputs or make_batch()), output_attributions=True, **arguments)


def assert_near(actual, expected, tolerance=1e-12):
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


# Targets and contrasts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_rows_of_all_equal_single_targets(model, method):
    every = explain(model, attribution_method=method, attribution_target="all")
    assert every.attributions.shape == (BATCH, LABELS, 11)
    assert every.attribution_target.tolist() == [[0, 1, 2]] * BATCH
    for label in range(LABELS):
        for target in (label, torch.full((BATCH,), label), torch.tensor(label, dtype=torch.int32)):
            single = explain(model, attribution_method=method, attribution_target=target)
            assert single.attribution_target.tolist() == [label] * BATCH
            assert_near(single.attributions, every.attributions[:, label])
            assert_near(single.attribution_residual, every.attribution_residual[:, label])


@pytest.mark.parametrize("method", METHODS)
def test_the_predicted_label_is_the_default_target(model, method):
    inputs = make_batch(seed=0)
    chosen = explain(model, inputs, attribution_method=method)
    predicted = chosen.logits.argmax(dim=-1)
    assert len(set(predicted.tolist())) > 1  # else a constant would do
    assert torch.equal(chosen.attribution_target, predicted)
    every = explain(model, inputs, attribution_method=method, attribution_target="all")
    assert_near(chosen.attributions, every.attributions[torch.arange(BATCH), predicted])


@pytest.mark.parametrize("method", METHODS)
def test_each_text_has_its_own_target_and_contrast(model, method):
    targets, contrasts = torch.tensor([2, 0, 1]), torch.tensor([0, 1, 2])
    question = {"attribution_target": targets, "attribution_contrast": contrasts}
    mixed = explain(model, attribution_method=method, **question)
    assert torch.equal(mixed.attribution_target, targets)
    for row in range(BATCH):
        alone = {key: value[row : row + 1] for key, value in (make_batch() | question).items()}
        single = explain(model, alone, attribution_method=method)
        assert_near(mixed.attributions[row], single.attributions[0], 1e-10)
        assert_near(mixed.attribution_residual[row], single.attribution_residual[0], 1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_scores_change_with_the_text_and_with_nothing_else(model, method):
    inputs = make_batch()
    before = explain(model, inputs, attribution_method=method).attributions
    inputs["input_ids"][1, 3] = inputs["input_ids"][1, 3] % 100 + 7
    inputs["input_ids"][0, 7:] = 99  # padding
    after = explain(model, inputs, attribution_method=method, attribution_target=None).attributions
    changed = (after - before).abs()[1]
    assert (changed > 1e-6).any()
    assert_near(after[[0, 2]], before[[0, 2]], 1e-10)


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry["name"])
def test_the_cost_is_what_is_run(model, entry, monkeypatch):
    """Passes through the backbone, counted in texts: a batch of several steps is several passes."""
    forwards, backwards = [], []
    handle = model.backbone.register_forward_pre_hook(
        lambda _, args, kwargs: forwards.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    explain(model, attribution_method=entry["name"])  # what is found out about a model first, is found out once
    forwards.clear()
    go_back = torch.autograd.grad

    def grad(outputs, inputs, *args, **kwargs):
        backwards.append(forwards[-1])
        return go_back(outputs, inputs, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(torch.autograd, "grad", grad)
        explain(model, attribution_method=entry["name"])
    handle.remove()
    if entry["name"] in ("attention_last", "rollout", "attention_gradient", "attcat"):
        backwards = backwards[: int(entry["cost"]) - 1]  # Aᵀ·x of one layer's attention is no pass
    assert sum(forwards) + sum(backwards) == entry["cost"] * BATCH


@pytest.mark.parametrize("method", LINEAR)
def test_a_contrast_is_the_difference_of_two_explanations(model, method):
    every = explain(model, attribution_method=method, attribution_target="all")
    contrasted = explain(model, attribution_method=method, attribution_target=2, attribution_contrast=0)
    assert_near(contrasted.attributions, every.attributions[:, 2] - every.attributions[:, 0], 1e-10)
    objective = every.logits[:, 2] - every.logits[:, 0]
    assert_near(contrasted.attribution_residual, objective - contrasted.attributions.sum(dim=-1))
    assert contrasted.attribution_target.tolist() == [2] * BATCH
    rows = explain(model, attribution_method=method, attribution_target="all", attribution_contrast=0)
    assert_near(rows.attributions, every.attributions - every.attributions[:, :1], 1e-10)
    assert_near(rows.attribution_residual, every.logits - every.logits[:, :1] - rows.attributions.sum(dim=-1))


def test_a_contrast_alone_is_set_against_the_predicted_label(model):
    output = model(**make_batch(), labels=torch.tensor([0, 1, 2]), attribution_contrast=1)
    expected = explain(model, attribution_target=output.logits.argmax(dim=-1), attribution_contrast=1)
    assert_near(output.attributions, expected.attributions)


# Losses and what is returned --------------------------------------------------------------------------------


def test_single_label_loss(model):
    labels = torch.tensor([2, 0, 1])
    output = build()(**make_batch(), labels=labels)
    probabilities = [[math.exp(value) for value in row] for row in output.logits.tolist()]
    by_hand = -sum(math.log(row[label] / sum(row)) for row, label in zip(probabilities, labels)) / BATCH
    assert output.loss.item() == pytest.approx(by_hand, rel=1e-6)
    assert output.attributions is None


@pytest.mark.parametrize("named", [True, False], ids=["configured", "from-float-labels"])
def test_multi_label_loss(named):
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    labels = labels.long() if named else labels
    model = build(problem_type="multi_label_classification" if named else None)
    output = model(**make_batch(), labels=labels)
    p = 1 / (1 + (-output.logits).exp())
    by_hand = -(labels * p.log() + (1 - labels) * (1 - p).log()).mean()
    assert_near(output.loss, by_hand)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64], ids=str)
def test_regression_loss(dtype):
    labels = torch.tensor([1, -2, 0], dtype=dtype)
    output = build(num_labels=1)(**make_batch(), labels=labels)
    by_hand = sum((output.logits[row, 0] - labels[row]) ** 2 for row in range(BATCH)) / BATCH
    assert_near(output.loss, by_hand)
    assert output.attributions is None


@pytest.mark.parametrize(
    ("training", "arguments", "expected"),
    [
        (False, {}, True),
        (False, {"labels": torch.tensor([0, 1, 2])}, False),
        (True, {}, False),
        (True, {"labels": torch.tensor([0, 1, 2])}, False),
        (True, {"labels": torch.tensor([0, 1, 2]), "output_attributions": True}, True),
        (False, {"labels": torch.tensor([0, 1, 2]), "output_attributions": True}, True),
        (False, {"output_attributions": False}, False),
        (False, {"output_attributions": False, "attribution_target": 1}, False),
        (False, {"labels": torch.tensor([0, 1, 2]), "attribution_target": 1}, True),
        (False, {"labels": torch.tensor([0, 1, 2]), "attribution_method": "saliency"}, True),
        (False, {"labels": torch.tensor([0, 1, 2]), "attribution_contrast": 0}, True),
    ],
    ids=lambda value: "+".join(value) or "plain" if isinstance(value, dict) else str(value),
)
def test_when_attributions_are_returned(training, arguments, expected):
    output = build().train(training)(**make_batch(), **arguments)
    fields = (output.attributions, output.attribution_target, output.attribution_residual)
    assert [field is not None for field in fields] == [expected] * 3
    assert (output.loss is not None) == ("labels" in arguments)
    assert output.logits.shape == (BATCH, LABELS)


def test_tuples(model):
    named = explain(model)
    unnamed = explain(model, return_dict=False)
    assert isinstance(unnamed, tuple)
    assert [torch.equal(*pair) for pair in zip(unnamed, named.to_tuple(), strict=True)] == [True] * 4
    labelled = model(**make_batch(), labels=torch.tensor([0, 1, 2]), return_dict=False)
    assert [value.shape for value in labelled] == [(), (BATCH, LABELS)]


# States and attention weights of the backbone -----------------------------------------------------------------


@pytest.mark.parametrize("feature_adjustment", ["none", "attribution"])
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_states_and_attentions_are_the_backbones(mode, feature_adjustment):
    model = build("bert", "eager", feature_adjustment=feature_adjustment)
    with mode():
        found = model(**make_batch(), output_hidden_states=True, output_attentions=True)
        plain = model(**make_batch())
        expected = model.backbone(**make_batch(), output_hidden_states=True, output_attentions=True)
    assert [state.shape for state in found.hidden_states] == [(BATCH, 11, 32)] * 3
    for name in ("hidden_states", "attentions"):
        for layer, other in zip(found[name], expected[name], strict=True):
            assert_near(layer, other)
            assert layer.requires_grad == other.requires_grad
    assert plain.hidden_states is plain.attentions is None
    assert_near(found.logits, plain.logits)
    assert_near(found.attributions, plain.attributions)


def test_states_are_of_the_pass_that_the_loss_comes_from():
    model = build("bert", classifier_dropout=0.0).train()
    torch.manual_seed(0)
    found = model(**make_batch(), labels=torch.tensor([0, 1, 2]), output_hidden_states=True)
    read = found.hidden_states[-1].mul(model.token_weights(make_batch()).unsqueeze(-1)).sum(dim=1)
    assert_near(model.classifier(read), found.logits)
    assert found.attributions is None
    (gradient,) = torch.autograd.grad(found.loss, found.hidden_states[0])
    assert gradient.abs().sum() > 0


def test_the_configuration_may_ask_for_states():
    model = build("bert", output_hidden_states=True)
    assert len(explain(model).hidden_states) == 3
    assert explain(model, output_hidden_states=False).hidden_states is None
    assert len(explain(model, return_dict=False)) == 5


@pytest.mark.parametrize("attentions", [None, (), (None, None)])
def test_attention_weights_that_a_kernel_keeps_to_itself_are_refused(attentions):
    # What sdpa does: transformers 5 leaves them out, 4 falls back to eager attention in some models.
    model = build("bert", "eager")
    model.backbone.register_forward_hook(
        lambda module, inputs, output: BaseModelOutput(output.last_hidden_state, attentions=attentions)
    )
    with pytest.raises(ValueError, match="load the model with attn_implementation='eager'"):
        explain(model, output_attentions=True)
    assert explain(model).attributions.abs().sum() > 0


def test_options_of_the_configuration_belong_to_its_method():
    configured = build(attribution_method="attention_gradient", attribution_options={"orientation": "query"})
    plain = build()
    query = explain(plain, attribution_method="attention_gradient", attribution_options={"orientation": "query"})
    key = explain(plain, attribution_method="attention_gradient")
    assert not torch.allclose(query.attributions, key.attributions)
    assert_near(explain(configured).attributions, query.attributions)
    assert_near(explain(configured, attribution_method="attention_gradient").attributions, query.attributions)
    assert_near(explain(configured, attribution_options={}).attributions, key.attributions)
    assert_near(explain(configured, attribution_method="damped_lrp").attributions, explain(plain).attributions)


# Inputs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bert", "distilbert", "deberta-v2", "modernbert", "t5", "llama"])
@pytest.mark.parametrize("method", ["lrp", "gradient_x_input", "attention_gradient", "gae", "integrated_gradients"])
def test_embeddings_instead_of_ids(name, method):
    model, inputs = build(name), make_batch()
    expected = explain(model, inputs, attribution_method=method)
    embeddings = model.get_input_embeddings()(inputs["input_ids"]).detach()
    given = {"inputs_embeds": embeddings, "attention_mask": inputs["attention_mask"]}
    output = explain(model, given, attribution_method=method)
    assert_near(output.logits, expected.logits)
    assert_near(output.attributions, expected.attributions)
    assert not embeddings.requires_grad


def test_token_types_and_positions_reach_the_backbone(model):
    inputs = make_batch((11, 11, 11))
    plain = explain(model, inputs)
    ids = inputs["input_ids"]
    zero = {"token_type_ids": torch.zeros_like(ids), "position_ids": torch.arange(11).expand(BATCH, -1)}
    assert_near(explain(model, inputs | zero).attributions, plain.attributions)
    for changed in ({"token_type_ids": ids % 2}, {"position_ids": zero["position_ids"].flip(1)}):
        assert (explain(model, inputs | changed).attributions - plain.attributions).abs().max() > 1e-3
    backwards = {name: value.flip(1) for name, value in (inputs | zero).items()}
    assert_near(explain(model, backwards).attributions, plain.attributions.flip(1), 1e-10)


def test_arguments_that_a_backbone_lacks_are_dropped():
    model, inputs = build("distilbert"), make_batch()
    types = {"token_type_ids": torch.ones_like(inputs["input_ids"])}
    assert torch.equal(explain(model, inputs | types).attributions, explain(model, inputs).attributions)


def test_without_a_mask_every_token_is_real(model):
    inputs = make_batch((11, 11, 11))
    bare = explain(model, {"input_ids": inputs["input_ids"]})
    for dtype in (torch.long, torch.bool, torch.float64):
        masked = explain(model, inputs | {"attention_mask": inputs["attention_mask"].to(dtype)})
        assert_near(masked.attributions, bare.attributions)


# Modes of autograd ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_mode_of_autograd_gives_the_same_numbers(name):
    model = build(name)
    for method in METHODS:
        outputs = []
        for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
            with mode():
                outputs.append(model(**make_batch(), attribution_method=method, attribution_target="all"))
        for output in outputs:
            assert not output.attributions.requires_grad
            assert not output.attribution_residual.requires_grad
            assert_near(output.logits, outputs[0].logits)
            assert_near(output.attributions, outputs[0].attributions, 1e-10)
        assert [output.logits.requires_grad for output in outputs] == [True, False, False]


@pytest.mark.parametrize("method", METHODS)
def test_logits_keep_their_true_graph(model, method):
    inputs = make_batch()
    own = {name: weight for name, weight in model.named_parameters() if not name.startswith("expnet.")}
    hidden = model.backbone(**inputs).last_hidden_state  # the stock pass, by hand
    mask = inputs["attention_mask"][..., None]
    logits = model.classifier((hidden * mask).sum(dim=1) / mask.sum(dim=1))
    output = model(**inputs, attribution_method=method, labels=torch.tensor([0, 2, 1]))
    assert_near(output.logits, logits)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 2, 1]))
    for actual, expected in ((output.logits.pow(2).sum(), logits.pow(2).sum()), (output.loss, loss)):
        found, truth = (torch.autograd.grad(y, list(own.values()), retain_graph=True) for y in (actual, expected))
        for name, one, other in zip(own, found, truth, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9, msg=name)


# Padding ----------------------------------------------------------------------------------------------------


LEFT = ["roberta", "xlm-roberta", "camembert", "mpnet", "deberta-v2", "modernbert", "t5", "llama"]  # relative, or by id
ROUNDED = ("t5", "t5-gated", "llama", "modernbert")  # compute norms or rotations in float32, whatever the weights are


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "side"), [(name, "right") for name in ARCHITECTURES] + [(name, "left") for name in LEFT], ids=str
)
def test_a_padded_batch_equals_its_texts_alone(name, side, dtype):
    model, lengths = build(name, dtype=dtype), (7, 11, 9)
    inputs = make_batch(lengths, side=side)
    mask = inputs["attention_mask"].bool()
    for method in METHODS:
        together = explain(model, inputs, attribution_method=method, attribution_target="all")
        padding = ~mask[:, None].expand_as(together.attributions)
        assert (together.attributions[padding] == 0).all(), method
        assert (together.attributions[~padding] != 0).any(), method
        for row in range(len(lengths)):
            alone = {key: value[row : row + 1, mask[row]] for key, value in inputs.items()}
            single = explain(model, alone, attribution_method=method, attribution_target="all")
            scale = max(1.0, single.attributions.abs().max().item())
            tolerance = scale * (1e-9 if dtype == torch.float64 and name not in ROUNDED else 1e-5)
            assert_near(together.logits[row], single.logits[0], tolerance)
            assert_near(together.attributions[row][:, mask[row]], single.attributions[0], tolerance)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(("pooling", "place"), [("cls", 0), ("last", -1)])
def test_one_token_pooling_reads_a_real_token(pooling, place, side):
    model, inputs = build("roberta", pooling=pooling), make_batch(side=side)
    hidden = model.backbone(**inputs).last_hidden_state
    mask = inputs["attention_mask"].bool()
    read = torch.stack([hidden[row, mask[row]][place] for row in range(BATCH)])
    assert_near(explain(model, inputs).logits, model.classifier(read).detach())


@pytest.mark.parametrize("name", ["bert", "t5", "llama"])
def test_an_empty_batch_gives_empty_results(name):
    model, empty = build(name), {key: value[:0] for key, value in make_batch().items()}
    for method in METHODS:
        for target, shape in ((None, (0,)), (1, (0,)), ("all", (0, LABELS))):
            output = explain(model, empty, attribution_method=method, attribution_target=target)
            assert output.logits.shape == (0, LABELS)
            assert output.attributions.shape == (*shape, 11)
            assert output.attribution_target.shape == output.attribution_residual.shape == shape


# Errors and the catalogue -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attribution_target": 3}, r"attribution_target=3 is not a label: this model has labels 0 to 2"),
        ({"attribution_target": -1}, r"attribution_target=-1 is not a label"),
        ({"attribution_target": torch.tensor([0, 1, 9])}, r"attribution_target=.* is not a label"),
        ({"attribution_target": torch.tensor([0, 1])}, r"attribution_target has shape \(2,\).*\(3,\)"),
        ({"attribution_target": torch.zeros(3, 1, dtype=torch.long)}, r"attribution_target has shape \(3, 1\)"),
        ({"attribution_target": 1.0}, r"attribution_target holds label indices, not torch\.float32"),
        ({"attribution_target": torch.tensor([0.0, 1.0, 2.0])}, r"attribution_target holds label indices"),
        ({"attribution_target": True}, r"attribution_target holds label indices, not torch\.bool"),
        ({"attribution_target": "each"}, r"attribution_target='each': use None, a label index, a tensor or 'all'"),
        ({"attribution_contrast": 3}, r"attribution_contrast=3 is not a label"),
        ({"attribution_contrast": "all"}, r"attribution_contrast"),
        ({"attribution_contrast": 0.5}, r"attribution_contrast holds label indices"),
        ({"attribution_method": "lpr"}, r"unknown attribution method 'lpr'; there are: .*lrp"),
        ({"attribution_options": {"layers": 1}}, r"attribution method 'damped_lrp' has no option 'layers'"),
        ({"attention_mask": torch.ones(3, 10)}, r"attention_mask has shape \(3, 10\); expected \(3, 11\)"),
        ({"attention_mask": torch.ones(3, 1, 11, 11)}, r"attention_mask has shape \(3, 1, 11, 11\)"),
        ({"input_ids": None}, r"either input_ids or inputs_embeds"),
        ({"inputs_embeds": torch.zeros(3, 11, 32)}, r"either input_ids or inputs_embeds"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_errors_say_what_is_wrong(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        explain(model, make_batch() | arguments)


def test_the_catalogue_of_methods():
    fields = {"name": str, "paper": str, "cost": (int, float), "signed": bool, "needs_attention": bool}
    for method in CATALOGUE:
        assert all(isinstance(method[field], kind) for field, kind in fields.items()), method
        assert method["cost"] >= 1
    promised = {*LINEAR, "saliency", "grad_sam", "gae", "rollout", "attention_last", "attention_shapley", "random"}
    assert promised <= set(METHODS)
    assert len(METHODS) == len(set(METHODS))
    CATALOGUE[0]["name"] = "changed"  # a caller's copy
    assert list_attribution_methods()[0]["name"] == METHODS[0]


@pytest.mark.parametrize("entry", list_attribution_methods(), ids=lambda entry: entry["name"])
def test_signs_are_what_the_catalogue_says(model, entry):
    scores = explain(model, attribution_method=entry["name"], attribution_target="all").attributions
    assert bool((scores < 0).any()) == entry["signed"]
    assert (scores > 0).any()
