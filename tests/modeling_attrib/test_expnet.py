"""ExpNet: what it reads against naive attention matrices, what it answers, and that it travels with the model."""

import json
import math
import weakref

import numpy as np
import pytest
import torch
import transformers
from architectures import ARCHITECTURES, LABELS, LAYERS, CallCounter, build, with_kernels
from architectures import batch as make_batch
from torch.nn import functional as F

from modeling_attrib import AttribForSequenceClassification, expnet, list_attribution_methods
from modeling_attrib.expnet import read_features
from modeling_attrib.tracing import example_inputs, graph_inputs, trace_attributions


KERNELS = [pytest.param(name, kernel, id=f"{name}-{kernel}") for name, kernel in with_kernels(ARCHITECTURES)]
FLOAT32_INSIDE = ("llama", "t5", "t5-gated", "modernbert")
LEFT = ["roberta", "xlm-roberta", "camembert", "mpnet", "deberta-v2", "modernbert", "t5"]
BATCHES = [pytest.param((7, 11, 9), "right", id="right"), pytest.param((8, 8), "right", id="full")]


@torch.no_grad()
def explain(model, inputs=None, **arguments):
    return model(**(inputs or make_batch()), attribution_method="expnet", **arguments)


@torch.no_grad()
def naive_features(name, inputs):
    """The definition, number by number, from the eager twin's matrices: one (tokens, F) array a text, real tokens."""
    attentions = build(name, "eager").backbone(**inputs, output_attentions=True).attentions
    assert len(attentions) == LAYERS
    texts = []
    for row, mask in enumerate(inputs["attention_mask"]):
        real = mask.nonzero().flatten().tolist()
        rows = []
        for i in real:
            values = []
            for attention in attentions:
                for a in attention[row].double().tolist():
                    received = sum(a[q][i] for q in real) / len(real)
                    values += [a[real[0]][i], a[i][real[0]], received, a[i][i]]
            rows.append([math.log(len(real) * value + 1e-3) for value in values] + [math.log(len(real) + 1e-3)])
        texts.append(np.array(rows))
    return texts


@torch.no_grad()
def assert_features(name, kernel, inputs):
    model = build(name, kernel)
    logits, features = read_features(model, inputs)
    assert features.shape == (*inputs["input_ids"].shape, 4 * LAYERS * 4 + 1)
    tolerance = 1e-4 if name in FLOAT32_INSIDE else 1e-8
    for row, expected in enumerate(naive_features(name, inputs)):
        found = features[row][inputs["attention_mask"][row].bool()]
        np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=tolerance)
        assert np.ptp(expected) > 1
    torch.testing.assert_close(logits, model(**inputs).logits, rtol=0, atol=tolerance)


# What it reads ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kernel"), KERNELS)
@pytest.mark.parametrize(("lengths", "side"), BATCHES)
def test_features_equal_the_definition(name, kernel, lengths, side):
    assert_features(name, kernel, make_batch(lengths, side))


@pytest.mark.parametrize(("name", "kernel"), with_kernels(LEFT))
def test_the_first_token_is_the_first_real_one(name, kernel):
    assert_features(name, kernel, make_batch(side="left"))


def test_the_mean_attention_that_a_token_gives_is_one_number_a_text():
    """Which is why one input stands for it: rows of A sum to 1, whatever the head."""
    inputs = make_batch()
    for attention in build("bert", "eager").backbone(**inputs, output_attentions=True).attentions:
        for row, mask in zip(attention, inputs["attention_mask"].bool()):
            given = row[:, mask][..., mask].mean(dim=-1)
            torch.testing.assert_close(given, torch.full_like(given, 1 / int(mask.sum())))


@pytest.mark.parametrize("name", ["bert", "roberta", "modernbert", "llama"])
@pytest.mark.parametrize(
    ("matrices", "shapes"),
    [(8, [(2, 4), (2, 4), (1, 4)]), (3, [(1, 3), (1, 1)] * 5), (0, [(1, 1)] * 20)],
    ids=["texts", "heads", "head"],
)
def test_attention_is_written_out_a_few_heads_at_a_time(name, matrices, shapes, monkeypatch):
    model, inputs = build(name, "sdpa"), make_batch((7, 11, 9, 4, 6))
    whole = read_features(model, inputs)
    read = []
    monkeypatch.setattr(expnet, "_ENTRIES_AT_ONCE", matrices * 11 * 11)
    monkeypatch.setattr(
        expnet, "_read_pattern", lambda a, *rest, own=expnet._read_pattern: read.append(a) or own(a, *rest)
    )
    parts = read_features(model, inputs)
    assert [tuple(a.shape[:2]) for a in read] == shapes * LAYERS
    for one, other in zip(whole, parts):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


# In transformers 4 an eager layer returns its own matrix, which lives until the next one is there.
@pytest.mark.parametrize("kernel", ["sdpa", "eager"] if transformers.__version__ >= "5" else ["sdpa"])
def test_no_matrix_outlives_its_layer(kernel, monkeypatch):
    alive = []

    def read(attention, *rest, own=expnet._read_pattern):
        assert [matrix for matrix in alive if matrix() is not None] == []
        alive.append(weakref.ref(attention))
        return own(attention, *rest)

    monkeypatch.setattr(expnet, "_read_pattern", read)
    explain(build("bert", kernel))
    assert len(alive) == LAYERS


def test_one_forward_pass_without_the_kernel_beside_it():
    model = build("bert", "sdpa")
    with CallCounter() as counter:
        explain(model, attribution_target="all")
    assert counter.calls[F.embedding] == 3  # words, positions, types: once each
    assert counter.calls.get(torch.Tensor.softmax) == LAYERS
    assert F.scaled_dot_product_attention not in counter.calls


@torch.no_grad()
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_states_are_what_enters_each_layer(name):
    model, inputs = build(name, attribution_head_reads="states"), make_batch()
    logits, features = read_features(model, inputs)
    states = model.backbone(**inputs, output_hidden_states=True).hidden_states
    torch.testing.assert_close(features, torch.cat(states[:LAYERS], dim=-1).to(features.dtype), rtol=0, atol=1e-12)
    assert model.expnet.hidden.in_features == features.shape[-1]
    torch.testing.assert_close(logits, model(**inputs).logits, rtol=0, atol=1e-4)


def test_states_leave_attention_to_its_kernel():
    model = build("bert", "sdpa", attribution_head_reads="states")
    with CallCounter() as counter:
        explain(model, attribution_target="all")
    assert counter.calls[F.scaled_dot_product_attention] == LAYERS
    assert torch.Tensor.softmax not in counter.calls


# What it answers --------------------------------------------------------------------------------------------


def test_the_scores_are_those_of_the_network():
    model, inputs = build("bert"), make_batch()
    weights = {name: weight.detach().numpy() for name, weight in model.expnet.named_parameters()}
    every = explain(model, inputs, attribution_target="all")
    for row, features in enumerate(naive_features("bert", inputs)):
        hidden = np.maximum(features @ weights["hidden.weight"].T + weights["hidden.bias"], 0)
        narrow = np.maximum(hidden @ weights["narrow.weight"].T + weights["narrow.bias"], 0)
        expected = (narrow @ weights["score.weight"].T + weights["score.bias"]).T
        found = every.attributions[row][:, inputs["attention_mask"][row].bool()]
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-6)
    residual = every.logits - every.attributions.sum(dim=-1)
    torch.testing.assert_close(every.attribution_residual, residual)


def test_a_head_with_labels_speaks_for_the_target_and_against_the_contrast():
    model = build("bert")
    every = explain(model, attribution_target="all").attributions
    contrasted = explain(model, attribution_target=2, attribution_contrast=0).attributions
    torch.testing.assert_close(contrasted, every[:, 2] - every[:, 0])
    rows = explain(model, attribution_target="all", attribution_contrast=1).attributions
    torch.testing.assert_close(rows, every - every[:, 1:2])
    assert (every[:, 0] - every[:, 1]).abs().max() > 0.1


def test_a_head_of_importance_is_blind_to_labels():
    model = build("bert", attribution_head="importance")
    assert model.expnet.score.out_features == 1
    plain = explain(model).attributions
    every = explain(model, attribution_target="all").attributions
    assert every.shape == (3, LABELS, 11)
    assert all(torch.equal(every[:, label], plain) for label in range(LABELS))
    assert torch.equal(explain(model, attribution_target=2, attribution_contrast=0).attributions, plain)
    assert plain.abs().max() > 0.1


def test_without_a_head_it_says_how_to_get_one():
    model = build("bert", attribution_head="none")
    assert model.expnet is None
    with pytest.raises(ValueError, match=r"no trained expnet head; train one with train\.py"):
        explain(model)


def test_an_unknown_head_is_refused():
    with pytest.raises(ValueError, match="attribution_head='words' is unknown: use one of none, importance, labels"):
        build("bert", attribution_head="words")
    with pytest.raises(ValueError, match="attribution_head_reads='words' is unknown: use one of attention, states"):
        build("bert", attribution_head_reads="words")


def test_adjusted_features_keep_their_logits():
    model = build("bert", "sdpa", feature_adjustment="attribution")
    expected = model(**make_batch(), output_attributions=False).logits.detach()
    torch.testing.assert_close(explain(model).logits, expected, rtol=0, atol=1e-10)


def test_the_catalogue_says_what_it_costs():
    entry = next(entry for entry in list_attribution_methods() if entry["name"] == "expnet")
    assert (entry["cost"], entry["needs_attention"], entry["conservative"]) == (1, True, False)


# Elsewhere --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reads", ["attention", "states"])
@pytest.mark.parametrize("head", ["importance", "labels"])
def test_the_head_is_saved_with_the_model(head, reads, tmp_path):
    model = build("bert", dtype=torch.float32, attribution_head=head, attribution_head_reads=reads)
    model.save_pretrained(tmp_path)
    again = AttribForSequenceClassification.from_pretrained(tmp_path)
    assert (again.config.attribution_head, again.config.attribution_head_reads) == (head, reads)
    assert torch.equal(explain(again).attributions, explain(model).attributions)
    assert (tmp_path / "expnet.py").is_file()


def test_a_folder_from_before_there_were_heads_loads(tmp_path):
    model = build("bert", dtype=torch.float32, attribution_head="none")
    model.save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    assert (content.pop("attribution_head"), content.pop("attribution_head_reads")) == ("none", "attention")
    (tmp_path / "config.json").write_text(json.dumps(content))
    again, report = AttribForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert again.config.attribution_head == "none"


HEADS = [("importance", "attention"), ("labels", "attention"), ("labels", "states")]


@pytest.mark.skipif(transformers.__version__ < "5", reason="graphs are recorded with transformers 5")
@pytest.mark.parametrize(("head", "reads"), HEADS)
def test_it_is_recorded_as_a_graph(head, reads):
    model = build("bert", attribution_head=head, attribution_head_reads=reads, attribution_method="expnet")
    names = graph_inputs(model)
    graph = trace_attributions(model, names)
    inputs = example_inputs(names) | make_batch((7, 11, 9, 4), seed=4)
    inputs |= {"attribution_target": torch.tensor([-1, 0, 2, 1]), "attribution_contrast": torch.tensor([-1, 2, -1, 0])}
    inputs["token_type_ids"] = torch.zeros_like(inputs["input_ids"])
    logits, scores, explained = graph(*(inputs[name] for name in names))
    every = explain(model, make_batch((7, 11, 9, 4), seed=4), attribution_target="all").attributions
    rows = torch.arange(4)
    expected = every[rows, explained]
    if head == "labels":
        expected[1] -= every[1, 2]
        expected[3] -= every[3, 0]
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-9)
    assert explained.tolist() == [int(logits[0].argmax()), 0, 2, 1]
