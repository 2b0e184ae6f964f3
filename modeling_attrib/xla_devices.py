"""What XLA's devices, and so TPUs, need: few shapes of a batch, since each is compiled, and values read in one go.

A padded token is read with weight 0 and scores exactly 0, and each text is read by itself: what a batch is padded to
changes no result but by rounding.
"""

import importlib

import torch
from torch.nn import functional as F


_FEWEST_TOKENS = 16
_TOKENWISE = ("input_ids", "attention_mask", "token_type_ids")


def is_xla(device: torch.device) -> bool:
    """Whether it is an XLA device, which compiles a graph for every shape of a batch that it meets."""
    return device.type == "xla"


def few_lengths(tokens: int, limit: int | None = None) -> int:
    """The length to pad `tokens` to: a power of two from 16 on, or the limit that lies before it."""
    power = max(_FEWEST_TOKENS, 1 << (tokens - 1).bit_length())
    return max(tokens, power if limit is None else min(power, limit))


def pad_to_few_shapes(
    batch: dict[str, torch.Tensor], rows: int, padding_id: int, limit: int | None = None
) -> dict[str, torch.Tensor]:
    """The batch with its tokens padded on the right to one of few lengths, and its first row repeated behind the last.

    Args:
        batch: a tokenizer's tensors, (rows, tokens), with `attention_mask`; others of (rows, ...). Still on the host:
            on the device, padding would be compiled for each shape too.
        rows: how many there will be.
        padding_id: see `backbone_parts.padding_id`.
        limit: tokens that the model's position table has room for.
    """
    tokens = batch["attention_mask"].shape[1]
    missing = few_lengths(tokens, limit) - tokens
    padded = {}
    for name, value in batch.items():
        if name in _TOKENWISE:
            value = F.pad(value, (0, missing), value=padding_id if name == "input_ids" else 0)
        padded[name] = torch.cat([value, value[:1].expand(rows - len(value), *value.shape[1:])])
    return padded


def finish_step(device: torch.device) -> None:
    """Have an XLA device run what it was asked for, as one graph: values read one by one are compiled one by one."""
    if is_xla(device):
        importlib.import_module("torch_xla").sync()


def check_autograd(device: torch.device) -> None:
    """Raise ValueError if autograd cannot go back on an XLA device.

    It counts the devices at the first backward pass of a process; XLA's are there once they were asked for.
    """
    with torch.inference_mode(False), torch.enable_grad():
        one = torch.ones(1, device=device, requires_grad=True)
        try:
            torch.autograd.grad(one.sum(), one)
        except RuntimeError:
            raise ValueError(
                "autograd does not know the XLA device: a backward pass, such as from_backbone's check, ran before the "
                "device was asked for. Call torch_xla.device() at the start of the program."
            ) from None
