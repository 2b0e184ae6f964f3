"""How a text's vector is read from its tokens' states."""

import torch


def pooling_weights(mask: torch.Tensor, pooling: str, dtype: torch.dtype) -> torch.Tensor:
    """How much is read of each token: (batch, tokens), rows sum to 1, 0 at padding.

    Args:
        mask: (batch, tokens), 1 at real tokens, wherever padding stands.
        pooling: `"mean"`, `"cls"` (the first real token) or `"last"`.
    """
    real = mask.long()  # whole numbers: bfloat16, which counts to 256, would take several tokens for the last
    if pooling == "mean":
        share = real.to(torch.promote_types(dtype, torch.float32)) / real.sum(dim=-1, keepdim=True).clamp(min=1)
        return share.to(dtype)
    positions = real.cumsum(dim=-1)
    chosen = 1 if pooling == "cls" else positions[:, -1:]  # of the real ones: padding may be left
    return ((positions == chosen) & (real > 0)).to(dtype)


def weighted_sum(hidden: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(batch, tokens, width) and (batch, tokens) -> (batch, width)."""
    return (weights.unsqueeze(-1) * hidden).sum(dim=1)
