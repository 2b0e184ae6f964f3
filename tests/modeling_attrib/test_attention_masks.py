"""Masks of padding are one row a text; whatever else bars queries from keys stays what it is."""

import pytest
import torch
import transformers
from architectures import ARCHITECTURES, batch, build
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from modeling_attrib.attention_masks import FiniteScores, QuerylessMasks, common_to_queries


pytestmark = pytest.mark.skipif(transformers.__version__ < "5", reason="transformers 4 expands masks itself")


class SeenMasks(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.masks = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is F.scaled_dot_product_attention:
            self.masks.append(args[3] if len(args) > 3 else (kwargs or {}).get("attn_mask"))
        return func(*args, **(kwargs or {}))


def masks_of(name, mode):
    model = build(name, "sdpa", dtype=torch.float32)
    with torch.no_grad(), mode, SeenMasks() as seen:
        states = model.backbone(**batch((7, 11, 9))).last_hidden_state
    return seen.masks, states


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "electra", "albert", "modernbert", "t5", "llama"])
def test_masks_are_what_they_were(name):
    assert name in ARCHITECTURES
    plain, expected = masks_of(name, torch.overrides.BaseTorchFunctionMode())
    known, states = masks_of(name, QuerylessMasks())
    assert torch.equal(states, expected)
    for before, after in zip(plain, known, strict=True):
        assert torch.equal(before, after)
        row = common_to_queries(after)
        assert torch.equal(row.expand_as(before), before)
    bars_padding_alone = name not in ("modernbert", "t5", "llama")
    assert all((common_to_queries(mask).shape[2] == 1) == bars_padding_alone for mask in known[-1:])


def test_what_is_not_known_to_be_true_is_computed():
    row = torch.tensor([True, False, True, True, True])
    with QuerylessMasks():
        positions = torch.arange(5)[:, None]
        later = (positions + 0 >= 1) & row[None]
        earlier = (positions + (-1) >= 0) & row[None]
        every = (positions + 2 >= 0) & row[None]
        negative = (torch.arange(-2, 3)[:, None] >= 0) & row[None]
    for mask, first in ((later, 1), (earlier, 1), (every, 0), (negative, 2)):
        assert torch.equal(mask, (torch.arange(5) >= first)[:, None] & row[None])
    assert common_to_queries(every).shape == (1, 5)
    assert common_to_queries(later).shape == (5, 5)


def test_what_was_written_to_is_not_known_any_more():
    row = torch.tensor([True, False, True])
    with QuerylessMasks():
        window = row.new_ones((3, 3))
        window[0, 2] = False
        numbers = torch.tensor([5, 6, 7]).new_ones((3, 1)) & torch.tensor([[5, 6, 7]])
        assert torch.equal(window & row, torch.tensor([[True, False, False], [True, False, True], [True, False, True]]))
    assert numbers[0].tolist() == [1, 0, 1]


@pytest.mark.parametrize("computed", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("scored", [torch.float32, torch.float64], ids=str)
def test_a_query_that_sees_nothing_gives_numbers_whatever_a_softmax_narrows_or_widens(scored, computed):
    scores = torch.full((1, 1, 2, 3), torch.finfo(torch.float64).min, dtype=torch.float64).to(scored)
    scores[..., 0, 1] = 1.0
    with FiniteScores():
        shares = scores.softmax(dim=-1, dtype=computed)
    assert shares.dtype == computed
    expected = torch.tensor([[0.0, 1.0, 0.0], [1 / 3] * 3], dtype=computed)
    torch.testing.assert_close(shares[0, 0], expected)
