"""Types of 16 bits: where they are widened, and how a float16 backward pass stays inside its range."""

import torch


def at_least_float32(tensor: torch.Tensor) -> torch.Tensor:
    """Half precision widened, for softmax, logarithms and sums; float64 stays what it is."""
    return tensor.to(sum_type(tensor))


def sum_type(tensor: torch.Tensor) -> torch.dtype:
    """The type to add up this tensor's numbers in: float32 for those of 16 bits, else its own."""
    return torch.promote_types(tensor.dtype, torch.float32)


class GradientScale:
    """Enlarges float16 logits before their backward pass and restores the gradients behind it; else changes nothing.

    float16 has no number between 0 and 6e-8, and few below 6e-5. A head that reads the mean of n tokens sends each of
    them an n-th of its gradient: of gradient × input over 8,192 tokens nothing was left that resembled it. What the
    head divides by is multiplied by first, as a power of two, which costs no digit; gradients then are as large as
    those of a text of one token, which the model's type has to hold anyway.

    Args:
        objective: (batch, ...), the logits that go back; float16 by weights or by autocast.
        weights: how much the head reads of each token, (batch, tokens).
    """

    def __init__(self, objective: torch.Tensor, weights: torch.Tensor) -> None:
        self._factors = None
        if objective.dtype == torch.float16:
            largest = weights.detach().float().amax(dim=1)
            self._factors = (1 / largest.clamp(min=2.0**-15)).log2().floor().exp2()

    def enlarge(self, objective: torch.Tensor) -> torch.Tensor:
        """What to send back in the place of `objective`, (batch, ...)."""
        if self._factors is None:
            return objective
        return objective.float() * self._factors.view(-1, *[1] * (objective.dim() - 1))

    def restore(self, gradient: torch.Tensor, trailing: int = 2) -> torch.Tensor:
        """The gradient as it is, in float32, where it fits; (..., batch, and `trailing` axes more)."""
        if self._factors is None:
            return gradient
        return gradient.float() / self._factors.view(-1, *[1] * trailing)
