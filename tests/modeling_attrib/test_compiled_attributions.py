"""Compiled attributions: asked like the ordinary ones, equal to them, and never stale."""

import copy

import pytest
import torch
import transformers
from architectures import batch, build
from test_model_structure import CHANGES, adapted

from modeling_attrib import AttribForSequenceClassification
from modeling_attrib.compiled_attributions import CompiledAttributions, _state


pytestmark = pytest.mark.skipif(transformers.__version__ < "5", reason="graphs are recorded with transformers 5")


TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def models():
    """A model and its compiled twin; one compilation, half a minute, for the whole module."""
    model = build("bert", dtype=torch.float32)
    return model, copy.deepcopy(model).compile_attributions()


def answers(model, lengths, **question):
    with torch.inference_mode():
        return model(**batch(lengths), output_attributions=True, **question)


@pytest.fixture
def calls(monkeypatch):
    """Counts the calls that the compiled graph answers."""
    counted = []
    explain = CompiledAttributions.explain
    monkeypatch.setattr(CompiledAttributions, "explain", lambda *a: (counted.append(1), explain(*a))[1])
    return counted


@pytest.mark.parametrize("lengths", [(1,), (4,), (7, 11, 9), (2, 2)])
@pytest.mark.parametrize(
    "question",
    [{}, {"attribution_target": 1}, {"attribution_target": 2, "attribution_contrast": 0}, {"attribution_contrast": 1}],
)
def test_equals_the_ordinary_answer(models, calls, lengths, question):
    plain, compiled = models
    expected, found = answers(plain, lengths, **question), answers(compiled, lengths, **question)
    assert len(calls) == 1
    assert list(found) == list(expected)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], **TOLERANCE)


def test_types_that_are_left_out_are_no_zeros_to_a_model_that_reads_them(monkeypatch, calls):
    """GPT-2 adds the embedding of word 0 for type 0, and none without types."""
    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", lambda program, **options: program.module())
    monkeypatch.setattr(torch._inductor, "aoti_load_package", lambda package: package)
    config = transformers.GPT2Config(vocab_size=120, n_embd=32, n_layer=1, n_head=4, pad_token_id=0)
    model = AttribForSequenceClassification.from_backbone(config, num_labels=3)
    torch.nn.init.normal_(model.backbone.wte.weight)
    expected = answers(model, (7, 4))
    model.compile_attributions()
    torch.testing.assert_close(answers(model, (7, 4)).logits, expected.logits, **TOLERANCE)
    assert not calls
    with torch.inference_mode():
        model(**batch((7, 4)), token_type_ids=torch.ones(2, 7, dtype=torch.long))
    assert len(calls) == 1


def test_one_target_a_text(models, calls):
    plain, compiled = models
    question = {"attribution_target": torch.tensor([2, 0, 1])}
    expected, found = answers(plain, (7, 11, 9), **question), answers(compiled, (7, 11, 9), **question)
    torch.testing.assert_close(found.attributions, expected.attributions, **TOLERANCE)
    assert len(calls) == 1


@pytest.mark.parametrize("question", [{"attribution_target": "all"}, {"attribution_method": "attn_lrp"}])
def test_other_questions_go_the_ordinary_way(models, calls, question):
    plain, compiled = models
    expected, found = answers(plain, (7, 9), **question), answers(compiled, (7, 9), **question)
    assert torch.equal(found.attributions, expected.attributions)
    assert not calls


@pytest.mark.parametrize("target", [7, -2, "World", torch.tensor([0])])
def test_no_label_is_refused(models, target):
    with pytest.raises(ValueError, match="attribution_target"):
        answers(models[1], (4, 3), attribution_target=target)


def test_copies_do_not_share_it(models):
    assert copy.deepcopy(models[1])._compiled is None


@pytest.mark.slow
def test_changed_weights_are_compiled_again():
    model = build("bert", dtype=torch.float32).compile_attributions()
    with torch.no_grad():
        model.classifier.weight.mul_(-2)
    found = answers(model, (5, 3))
    expected = answers(copy.deepcopy(model), (5, 3))
    torch.testing.assert_close(found.attributions, expected.attributions, **TOLERANCE)
    torch.testing.assert_close(found.logits, expected.logits, **TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", ["an adapter switched off", "a hook that doubles", "a swapped module without parameters"]
)
def test_a_changed_structure_is_compiled_again(change):
    model = adapted(dtype=torch.float32).compile_attributions()
    if change == "a hook that doubles":
        model.classifier.register_forward_hook(lambda module, args, output: 2 * output)
    else:
        CHANGES[change](model)
    found, stale = answers(model, (5, 3)), answers(adapted(dtype=torch.float32), (5, 3))
    expected = answers(copy.deepcopy(model), (5, 3))
    torch.testing.assert_close(found.attributions, expected.attributions, **TOLERANCE)
    torch.testing.assert_close(found.logits, expected.logits, **TOLERANCE)
    assert (found.logits - stale.logits).abs().max() > 1e-2


@pytest.mark.slow
def test_what_cannot_be_compiled_any_more_goes_the_ordinary_way():
    model = build("bert", dtype=torch.float32).compile_attributions()
    model.config.attribution_method = "integrated_gradients"
    with pytest.warns(UserWarning, match="not compiled any more"):
        found = answers(model, (5, 3))
    expected = answers(copy.deepcopy(model), (5, 3))
    assert torch.equal(found.attributions, expected.attributions)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_structure_is_noticed(change):
    model = adapted(dtype=torch.float32)
    model.backbone.encoder.mask = torch.ones(2)
    before = _state(model)
    CHANGES[change](model)
    assert _state(model) != before


def test_a_changed_configuration_is_noticed():
    model = build("bert", dtype=torch.float32, feature_adjustment="attribution")
    before = _state(model)
    model.config.feature_adjustment_temperature = 0.5
    assert _state(model) != before


def test_low_precision_is_refused():
    with pytest.raises(ValueError, match="float32 or float64"):
        build("bert", dtype=torch.bfloat16).compile_attributions()
