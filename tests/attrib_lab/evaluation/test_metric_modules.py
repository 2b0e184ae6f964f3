"""Each metric as a module of `evaluate`, loaded by path without a network, on values worked out by hand."""

import math
import socket
from pathlib import Path

import evaluate
import numpy as np
import pytest
import torch
from linear_model import IDS, LinearClassifier, word_tokenizer

import attrib_lab
from attrib_lab.evaluation.examples import measure_ids, measure_masks, measure_pairs
from attrib_lab.evaluation.metrics import METRICS


FOLDER = Path(attrib_lab.__file__).parent / "metrics"
TOKENIZER = word_tokenizer()
MODEL = LinearClassifier({"a": 2.0, "b": 1.0, "[UNK]": 0.5, "[MASK]": -0.5})


def no_network(*arguments):
    raise AssertionError("asked for a connection")


@pytest.fixture(autouse=True, scope="module")
def offline(tmp_path_factory):
    """No connection; and what `evaluate` keeps of its input goes to a folder of this test's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", no_network)
        patch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path_factory.mktemp("evaluate"))
        yield


def load(name):
    return evaluate.load(str(FOLDER / name))


def ids(words):
    return [IDS[word] for word in words.split()]


def p(logit):
    return 1 / (1 + math.exp(-logit))


def test_there_is_a_module_for_every_metric():
    assert sorted(folder.name for folder in FOLDER.iterdir() if not folder.name.startswith("_")) == sorted(METRICS)


# "[CLS] a b [SEP]" has the logit 3 for label 1, which the model predicts; a goes before b.
AREA = 0.05 * p(2) + 0.05 * p(3) + 0.1 * (p(3.5) + p(3.5) + p(4) * 3 + p(3.5) * 2 + p(3) * 2)
EXPECTED = {
    # [UNK] weighs 0.5: of [CLS] a b [SEP] (scores 0, 2, 1, -1) 0, 1, 1, 2, 2, 2, 3, 3, 4, 4, 4 tokens are put back.
    "auac": AREA,
    # By ascending magnitude [CLS], b, [SEP], a become 0.5: logits 3, 3.5, 3, 3.5, 2.
    "au_mse": 0.1 * (0.25 + 0.25 + 0 + 0 + 0 + 0.25 + 0.25 + 1 + 1) + 0.05 * 1,
    # Each of the five fractions is one token of two.
    "comprehensiveness": p(3) - p(0.5),
    "sufficiency": p(3) - p(1.5),
    "aopc": (5 * (p(3) - p(1)) + 5 * (p(3) - p(0))) / 10,
    "log_odds": math.log(p(0.5) / p(3)),
    "normalized_aopc": 1.0,  # a first is the better of the two orders
    # Two tokens have rates 1 and 0: a goes, or b does.
    "soft_comprehensiveness": p(3) - p(1),
    "soft_sufficiency": p(3) - p(2),
    "conservation_error": 1 / 3,  # the scores add up to 2
}


@pytest.mark.parametrize("name", EXPECTED)
def test_metrics_that_ask_the_model(name):
    result = load(name).compute(
        predictions=[[0.0, 2.0, 1.0, -1.0]], references=[ids("[CLS] a b [SEP]")], model=MODEL, tokenizer=TOKENIZER
    )
    assert result[name] == pytest.approx(EXPECTED[name])
    assert (result["texts"], result["skipped"]) == (1, {})
    if METRICS[name].fractions:
        assert len(result["curve"]) == len(METRICS[name].fractions)


PLAUSIBLE = {"auprc": 0.6625, "token_f1": 0.5, "iou_f1": 2 / 3}


@pytest.mark.parametrize("name", PLAUSIBLE)
def test_metrics_that_ask_people(name):
    # Two of five tokens are marked, so two are chosen: 0.9 and 0.5.
    scores, mask = [0.9, 0.1, 0.5, 0.2, 0.3], [1, 1, 0, 0, 0]
    assert load(name).compute(predictions=[scores], references=[mask])[name] == pytest.approx(PLAUSIBLE[name])
    result = load(name).compute(predictions=[scores, [1.0, 2.0]], references=[mask, [0, 0]])
    assert result == {name: pytest.approx(PLAUSIBLE[name]), "texts": 1, "skipped": {"no rationale": 1}}


def test_the_examples_say_what_comes_out():
    for name, expected in PLAUSIBLE.items():
        said = load(name).inputs_description.split(f'>>> result["{name}"]')[1].split()[0]
        assert float(said) == pytest.approx(expected)


def test_iou_f1_is_the_mean_of_the_texts_and_says_so():
    """One run that matches one of two marked ones, and two of which one matches the only one: F1 2/3 each. The F1 of
    mean precision 3/4 and mean recall 3/4 would be 3/4."""
    scores, masks = [[1.0, 0.0, 0.0], [1.0, 0.0, 1.0]], [[1, 0, 1], [1, 0, 0]]
    result = load("iou_f1").compute(predictions=scores, references=masks, threshold=0.5)
    assert result["iou_f1"] == pytest.approx(2 / 3)
    assert "mean of the texts' F1" in load("iou_f1").description


def test_stability():
    result = load("stability").compute(predictions=[[0.9, 0.1, 0.5], [1.0]], references=[[0.8, 0.3, 0.2], [1.0]])
    assert result == {
        "stability": pytest.approx(0.5),
        "texts": 1,
        "skipped": {"too few different scores to compare": 1},
    }


def test_aopc_is_the_papers_times_eleven_tenths_and_says_so():
    """Equation 12: the sum of the drops from k = 0, the whole text, to L, divided by L + 1."""
    result = load("aopc").compute(
        predictions=[[0.0, 2.0, 1.0, -1.0]], references=[ids("[CLS] a b [SEP]")], model=MODEL, tokenizer=TOKENIZER
    )
    drops = [0.0] + [p(3) - p(1)] * 5 + [p(3) - p(0)] * 5
    assert result["aopc"] == pytest.approx(1.1 * sum(drops) / len(drops))
    assert "divide the same sum by 11" in load("aopc").description


def test_padding_labels_and_texts_that_cannot_be_measured():
    # Left and right padding; the second text has label 0, the third nothing to rank.
    rows = [ids("[PAD] [CLS] a b [SEP] [PAD]"), ids("[CLS] a b [SEP] [PAD] [PAD]"), ids("[CLS] a [SEP]")]
    scores = [[7.0, 0.0, 2.0, 1.0, -1.0, 7.0], [0.0, 2.0, 1.0, -1.0, 7.0, 7.0], [1.0, 2.0, 3.0]]
    result = load("auac").compute(
        predictions=scores, references=rows, model=MODEL, tokenizer=TOKENIZER, labels=[1, 0, 1]
    )
    assert result["auac"] == pytest.approx((AREA + 1 - AREA) / 2)
    assert (result["texts"], result["skipped"]) == (2, {"only one token": 1})


def test_options_reach_the_metric():
    def compute(**options):
        row = [ids("[CLS] a b [SEP]")]
        scores = [[0.0, 2.0, 1.0, -1.0]]
        name = "comprehensiveness"
        return load(name).compute(predictions=scores, references=row, model=MODEL, tokenizer=TOKENIZER, **options)[name]

    assert compute(perturbation="delete") == pytest.approx(p(3) - p(1))
    assert compute(fractions=(1.0,)) == pytest.approx(p(3) - p(-1))
    assert compute(targets=[0]) == pytest.approx(p(0.5) - p(3))


def test_the_old_name_of_the_perturbation_works_for_a_release():
    given = {"predictions": [[0.0, 2.0, 1.0, -1.0]], "references": [ids("[CLS] a b [SEP]")]}
    with pytest.warns(FutureWarning, match="removal= is called perturbation= now"):
        result = load("comprehensiveness").compute(**given, model=MODEL, tokenizer=TOKENIZER, removal="delete")
    assert result["comprehensiveness"] == pytest.approx(p(3) - p(1))


def test_scores_that_do_not_fit_their_text_are_refused():
    with pytest.raises(ValueError, match="example 0: 1 scores for 3 tokens"):
        load("auac").compute(predictions=[[1.0]], references=[[2, 5, 3]], model=MODEL, tokenizer=TOKENIZER)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": [1]}, "1 labels for 2 texts"),
        ({"labels": [1, 0, 1]}, "3 labels for 2 texts"),
        ({"targets": [1]}, "1 targets for 2 texts"),
        ({"targets": [1, 0, 1]}, "3 targets for 2 texts"),
        ({"labels": [1, -1]}, "example 1: labels holds -1; the model has the labels 0 to 1"),
        ({"targets": [2, 0]}, "example 0: targets holds 2; the model has the labels 0 to 1"),
        ({"scores": [[0.0, 2.0, 1.0, -1.0]]}, "1 rows of scores for 2 texts"),
    ],
)
def test_labels_and_targets_that_do_not_fit_are_refused(options, message):
    given = {"scores": [[0.0, 2.0, 1.0, -1.0]] * 2, "ids": [ids("[CLS] a b [SEP]")] * 2} | options
    with pytest.raises(ValueError, match=message):
        measure_ids("auac", **given, model=MODEL, tokenizer=TOKENIZER)


def test_labels_as_tensors_and_arrays_are_labels():
    rows, scores = [ids("[CLS] a b [SEP]")], [[0.0, 2.0, 1.0, -1.0]]
    for label in (torch.tensor([1]), np.array([1])):
        found = measure_ids("auac", scores, rows, MODEL, TOKENIZER, labels=label, targets=label)
        assert found["auac"] == pytest.approx(AREA)


@pytest.mark.parametrize("name", PLAUSIBLE)
@pytest.mark.parametrize("mask", [[-100, 1, 0, 0, -100], [2, 0, 0, 0, 0], [0.5, 1, 0, 0, 0]])
def test_masks_that_are_not_of_zeros_and_ones_are_refused(name, mask):
    with pytest.raises(ValueError, match=f"example 0: the mask holds {mask[0]}; it must hold a 0 or 1"):
        measure_masks(name, [[0.9, 0.1, 0.5, 0.2, 0.3]], [mask])


def test_masks_and_edits_without_scores_are_refused():
    with pytest.raises(ValueError, match="1 rows of scores for 2 texts"):
        measure_masks("auprc", [[1.0, 2.0]], [[0, 1], [0, 1]])
    with pytest.raises(ValueError, match="1 rows of scores before the edit for 2 texts"):
        measure_pairs([[1.0, 2.0]], [[1.0, 2.0]] * 2)


def test_nothing_measured_is_no_number():
    result = load("auprc").compute(predictions=[[1.0, 2.0]], references=[[0, 0]])
    assert math.isnan(result["auprc"])
    assert result["texts"] == 0


def test_each_module_says_what_it_is():
    for name in METRICS:
        module = load(name)
        assert module.description.strip()
        assert module.citation.strip().startswith("@")
        assert "Args:" in module.inputs_description
        assert f'evaluate.load("attrib_lab/metrics/{name}")' in module.inputs_description
