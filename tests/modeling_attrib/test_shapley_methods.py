"""Closed-form Shapley values against all coalitions, and the matrices that the games are played on."""

import itertools
import math

import pytest
import torch
from architectures import LABELS, build, explicit, with_kernels
from architectures import batch as make_batch

from modeling_attrib.shapley_methods import GAMES, shapley_values


KERNELS = [
    pytest.param(name, kernel, id=f"{name}-{kernel}")
    for name, kernel in with_kernels(["bert", "deberta-v2", "modernbert", "t5", "llama"])
]
FLOAT32_INSIDE = ("llama", "t5", "modernbert")


def worth(game, matrix, reading, coalition):
    """v(S), from the definitions."""
    if game == "cls":
        return sum(reading[row] * matrix[row][i] for i in coalition for row in range(len(matrix)))
    if len(coalition) == 1:
        return matrix[coalition[0]][coalition[0]]
    pairs = [(matrix[i][j], matrix[j][i]) for i, j in itertools.combinations(coalition, 2)]
    return sum(one + other if game == "mutual" else max(one, other) for one, other in pairs)


def brute_force(game, matrix, reading):
    """Shapley values of one text's tokens: what each adds to every coalition of the others, weighted."""
    matrix, reading = matrix.tolist(), reading.tolist()
    n = len(matrix)
    values = []
    for player in range(n):
        others = [i for i in range(n) if i != player]
        total = 0.0
        for size in range(n):
            weight = math.factorial(size) * math.factorial(n - size - 1) / math.factorial(n)
            for coalition in itertools.combinations(others, size):
                together = tuple(sorted((*coalition, player)))
                total += weight * (worth(game, matrix, reading, together) - worth(game, matrix, reading, coalition))
        values.append(total)
    return torch.tensor(values, dtype=torch.float64)


@torch.no_grad()
def play(model, inputs, game, gradient):
    options = {"game": game, "gradient": gradient}
    return model(
        **inputs, attribution_method="attention_shapley", attribution_options=options, attribution_target="all"
    ).attributions


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("n", range(1, 7))
def test_closed_form_equals_all_coalitions(game, n):
    generator = torch.Generator().manual_seed(n)
    matrix = torch.randn(3, n, n, generator=generator, dtype=torch.float64)  # of either sign: games promise nothing
    reading = torch.rand(3, n, generator=generator, dtype=torch.float64)
    found = shapley_values(matrix, torch.ones(3, n), reading, game)
    for row in range(3):
        expected = brute_force(game, matrix[row], reading[row])
        torch.testing.assert_close(found[row], expected, rtol=0, atol=1e-13)
        everyone = worth(game, matrix[row].tolist(), reading[row].tolist(), tuple(range(n)))
        assert found[row].sum().item() == pytest.approx(everyone, abs=1e-12)  # efficiency


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("real", [[0, 1, 2], [2, 3, 4], [1], [0, 4]], ids=str)
def test_padding_does_not_play(game, real):
    generator = torch.Generator().manual_seed(0)
    matrix = torch.rand(1, 5, 5, generator=generator, dtype=torch.float64)
    mask = torch.zeros(1, 5)
    mask[0, real] = 1
    reading = torch.rand(1, 5, generator=generator, dtype=torch.float64) * mask
    found = shapley_values(matrix, mask, reading, game)[0]
    expected = brute_force(game, matrix[0][real][:, real], reading[0, real])
    torch.testing.assert_close(found[real], expected, rtol=0, atol=1e-13)
    assert (found[mask[0] == 0] == 0).all()


def test_a_text_of_padding_alone_has_no_players():
    matrix = torch.rand(1, 3, 3)
    for game in GAMES:
        assert shapley_values(matrix, torch.zeros(1, 3), torch.zeros(1, 3), game).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(("name", "kernel"), KERNELS)
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_model_plays_on_the_mean_of_layers_and_heads(name, kernel, pooling):
    lengths = (5, 6, 2)
    model, inputs = build(name, kernel, pooling=pooling), make_batch(lengths)
    choices = list(itertools.product(GAMES, (True, False)))
    found = {choice: play(model, inputs, *choice) for choice in choices}
    for row, n in enumerate(lengths):
        alone = {key: value[row : row + 1, :n] for key, value in inputs.items()}
        attentions, _, logits, reading = explicit(name, alone, pooling=pooling)
        for label, (game, gradient) in itertools.product(range(LABELS), choices):
            slopes = torch.autograd.grad(logits[0, label], attentions, retain_graph=True)
            weights = [slope.clamp(min=0) if gradient else torch.ones_like(slope) for slope in slopes]
            kept = [(attention.detach() * weight)[0] for attention, weight in zip(attentions, weights)]
            matrix = torch.stack(kept).double().mean(dim=(0, 1))
            expected = brute_force(game, matrix, reading[0])
            tolerance = (5e-5 if name in FLOAT32_INSIDE else 1e-10) * expected.abs().max().item()
            scores = found[game, gradient][row, label]
            torch.testing.assert_close(scores[:n], expected, rtol=0, atol=tolerance)
            assert (scores[n:] == 0).all()


def test_the_cls_game_of_plain_attention_knows_no_target():
    """The scores are the head's rows of A, the same for every target; each row sums to 1."""
    model = build("bert")
    found = play(model, make_batch(), "cls", False)
    assert torch.equal(found[:, :1].expand_as(found), found)
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(3, LABELS).double())


@pytest.mark.parametrize("options", [{"game": "CLS"}, {"game": None}, {"gradient": "no"}, {"gradient": 1}], ids=str)
def test_impossible_options_are_refused(options):
    with (
        torch.no_grad(),
        pytest.raises(ValueError, match=r"game=.*gradient=.*: use game cls, mutual, max_mutual and"),
    ):
        build()(**make_batch(), attribution_method="attention_shapley", attribution_options=options)
