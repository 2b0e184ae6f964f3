"""Training batches of few shapes, for devices that compile a graph for each."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from modeling_attrib.xla_devices import pad_to_few_shapes


_NOT_COUNTED = -100  # what torch's cross-entropy, and ours, leave out


class FewShapesCollator:
    """Pads what `collate` makes of rows: tokens to few lengths, and the last, incomplete batch to a full one.

    The rows that are added repeat the first one and carry no label, so that no loss counts them; and its number, by
    which predictions find their row (`row_trainer.py`), so that they are taken for what they are.

    Args:
        collate: from rows to a batch with `labels`.
        tokenizer: of the model.
        batch_sizes: rows of a full batch, in training and in evaluation.
        max_length: of a text, in tokens.
    """

    def __init__(
        self,
        collate: Callable[[list[dict[str, Any]]], dict[str, torch.Tensor]],
        tokenizer: PreTrainedTokenizerBase,
        batch_sizes: Sequence[int],
        max_length: int,
    ) -> None:
        self._collate = collate
        self._padding_id = tokenizer.pad_token_id
        self._batch_sizes = sorted(batch_sizes)
        self._max_length = max_length

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """The batch of these rows, which are not more than a full batch has."""
        full = next(size for size in self._batch_sizes if size >= len(rows))
        batch = pad_to_few_shapes(self._collate(rows), full, self._padding_id, self._max_length)
        batch["labels"][len(rows) :] = _NOT_COUNTED
        return batch
