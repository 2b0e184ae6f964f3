"""Methods of gradients and attention, written out on what transformers itself returns of a pass."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from tests.conformance.cases import BASELINE, LABELS, Case, Inputs, word_tables


@dataclass(frozen=True)
class Returned:
    """What the bare backbone returns: attention (texts, heads, tokens, tokens) and states of each layer; the head's
    logits of it, and how much it reads of each token (texts, tokens)."""

    attentions: tuple[torch.Tensor, ...]
    states: tuple[torch.Tensor, ...]
    logits: torch.Tensor
    reading: torch.Tensor

    def is_whole(self) -> bool:
        """Whether there is attention among all tokens for every layer, and the states that entered it."""
        texts, tokens = self.reading.shape
        square = [a is not None and a.dim() == 4 and a.shape[2:] == (tokens, tokens) for a in self.attentions]
        if all(square) and any(bool((a < 0).any()) for a in self.attentions):
            return False  # SqueezeBERT returns scores before their softmax
        placed = [state.shape[:2] == (texts, tokens) for state in self.states]
        if not (square and all(square) and len(placed) == len(square) + 1 and all(placed)):
            return False
        through = (*self.attentions, *self.states[:-1])  # XLNet returns copies
        if not all(tensor.requires_grad for tensor in through):  # of HRM's layers outside autograd
            return False
        gradients = torch.autograd.grad(self.logits.sum(), through, retain_graph=True, allow_unused=True)
        return all(gradient is not None for gradient in gradients)

    def gradient_times_state(self, states: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        """For each state, (texts, labels, tokens)."""
        columns = [torch.autograd.grad(self.logits[:, k].sum(), states, retain_graph=True) for k in range(LABELS)]
        return [
            torch.stack([(gradients[i] * state).sum(dim=-1) for gradients in columns], dim=1)
            for i, state in enumerate(states)
        ]


def naive_pass(case: Case, inputs: Inputs, **returned: bool) -> Returned:
    """Of the bare backbone, and of pooling and head as they are defined; for texts without padding."""
    accepted = inspect.signature(case.bare.forward).parameters
    inputs = {name: value for name, value in inputs.items() if name in accepted}
    output = case.bare(**inputs, **returned, **({"use_cache": False} if "use_cache" in accepted else {}))
    last = output.last_hidden_state
    tokens = last.shape[1]
    weights = {
        "mean": torch.full((tokens,), 1 / tokens, dtype=last.dtype),
        "cls": F.one_hot(torch.tensor(0), tokens),
        "last": F.one_hot(torch.tensor(tokens - 1), tokens),
    }
    reading = weights[case.model.config.pooling].to(last).expand(last.shape[:2])
    logits = case.model.classifier((last * reading[..., None]).sum(dim=1))
    return Returned(output.get("attentions") or (), output.get("hidden_states") or (), logits, reading)


def attention_last(returned: Returned) -> torch.Tensor:
    """(texts, labels, tokens), as all of these."""
    last = returned.attentions[-1].mean(dim=1).to(returned.reading)
    return torch.einsum("bi,bij->bj", returned.reading, last)[:, None].expand(-1, LABELS, -1)


def gradient_x_input(returned: Returned) -> torch.Tensor:
    return returned.gradient_times_state(returned.states[:1])[0]


def attcat(returned: Returned) -> torch.Tensor:
    products = returned.gradient_times_state(returned.states[:-1])
    return sum(a.sum(dim=(1, 2))[:, None].to(p) * p for a, p in zip(returned.attentions, products))


def gae(returned: Returned) -> torch.Tensor:
    columns = []
    for label in range(LABELS):
        gradients = torch.autograd.grad(returned.logits[:, label].sum(), returned.attentions, retain_graph=True)
        relevance = torch.eye(returned.reading.shape[1]).to(returned.reading)
        for attention, gradient in zip(returned.attentions, gradients):
            relevance = relevance + (attention * gradient).relu().mean(dim=1).to(relevance) @ relevance
        columns.append(torch.einsum("bi,bij->bj", returned.reading, relevance))
    return torch.stack(columns, dim=1)


@torch.no_grad()
def path_integral(case: Case, inputs: Inputs, width: float) -> torch.Tensor:
    """Σ of integrated gradients from `BASELINE` on, by differences: (texts, labels). Two steps, Gauss-Legendre rule."""

    def logits(share: float) -> torch.Tensor:
        def go(table: nn.Module, given: tuple[torch.Tensor, ...], words: torch.Tensor) -> torch.Tensor:
            return table.forward(torch.full_like(given[0], BASELINE)).lerp(words, share)

        handles = [table.register_forward_hook(go) for table in word_tables(case.bare)]
        try:
            return naive_pass(case, inputs).logits
        finally:
            for handle in handles:
                handle.remove()

    nodes = (0.5 - 3**-0.5 / 2, 0.5 + 3**-0.5 / 2)
    return sum((logits(node + width) - logits(node - width)) / (2 * width) for node in nodes) / 2


NAIVE: dict[str, Callable[[Returned], torch.Tensor]] = {
    function.__name__: function for function in (gradient_x_input, attention_last, attcat, gae)
}
