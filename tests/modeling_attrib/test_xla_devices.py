"""What XLA devices need, without one: few shapes, and that padding to them changes no result."""

import pipelines
import pytest
import torch
from architectures import DECODERS, build
from architectures import batch as make_batch

from modeling_attrib import text_inference
from modeling_attrib.xla_devices import few_lengths, pad_to_few_shapes


CASES = [("bert", "sdpa"), ("bert", "eager"), ("roberta", "sdpa"), ("modernbert", "sdpa"), ("deberta-v2", "eager")]
CASES += [("t5", "eager"), ("llama", "sdpa")]  # not ModernBERT's eager kernel, whose padding is NaN in float64


@pytest.mark.parametrize(
    ("tokens", "limit", "length"),
    [(1, None, 16), (16, None, 16), (17, None, 32), (65, 512, 128), (65, 100, 100), (100, 100, 100), (5, 12, 12)],
)
def test_lengths_are_few(tokens, limit, length):
    assert few_lengths(tokens, limit) == length


def test_lengths_up_to_a_limit_are_its_logarithm():
    assert sorted({few_lengths(tokens, 500) for tokens in range(1, 501)}) == [16, 32, 64, 128, 256, 500]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_padding_changes_no_result(case, side):
    name, kernel = case
    pooling = "last" if name in DECODERS else "mean"
    model, batch = build(name, kernel, pooling=pooling), make_batch(side=side)
    padded = pad_to_few_shapes(batch, 4, padding_id=1, limit=14)
    assert padded["input_ids"].shape == (4, 14)
    with torch.no_grad():
        plain, wide = model(**batch), model(**padded)
    rows, tokens = batch["input_ids"].shape
    tolerance = {"rtol": 0, "atol": 1e-6 if name in DECODERS else 1e-12}  # Llama's RMSNorm computes in float32
    torch.testing.assert_close(wide.logits[:rows], plain.logits, **tolerance)
    torch.testing.assert_close(wide.attributions[:rows, :tokens], plain.attributions, **tolerance)
    assert not wide.attributions[:, tokens:].any()
    assert torch.equal(wide.logits[rows], wide.logits[0])


TEXTS = [
    "Stocks rally.",
    "The minister said after parliament had passed the budget that it felt like a cup final to her.",
    "A goal, a match, a coach.",
    " ".join(["Shares of the bank fell again on the news from abroad,"] * 60),
    "Chips.",
]


@pytest.mark.parametrize("asked", [{}, {"top_k": None}, {"target": "Sports", "contrast": 0}, {"attributions": False}])
def test_the_pipeline_asks_such_a_device_for_few_shapes_and_answers_the_same(minilm_folder, monkeypatch, asked):
    pipe = pipelines.build(minilm_folder)
    expected = pipe(TEXTS, batch_size=3, **asked)
    shapes = []
    forward = pipe.model.forward
    monkeypatch.setattr(text_inference, "is_xla", lambda device: True)
    monkeypatch.setattr(
        pipe.model, "forward", lambda **given: shapes.append(given["input_ids"].shape) or forward(**given)
    )
    assert_alike(pipe(TEXTS, batch_size=3, **asked), expected)
    assert {tuple(shape) for shape in shapes} <= {(3, length) for length in (16, 32, 64, 128, 256, 512)}


def assert_alike(found, expected):
    """The same structure and words, and numbers to rounding."""
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        found, expected = list(found.values()), list(expected.values())
    if isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected):
            assert_alike(one, other)
    else:
        assert found == (pytest.approx(expected, abs=1e-5) if isinstance(expected, float) else expected)
