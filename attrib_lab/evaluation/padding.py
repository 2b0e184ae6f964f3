"""Token rows of different lengths as one batch: padded on the right, behind an attention mask of 0."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch


class TokenRow(Protocol):
    """Token ids and token type ids of one text; types are empty where all are 0."""

    @property
    def ids(self) -> Sequence[int]: ...

    @property
    def types(self) -> Sequence[int]: ...


def pad_rows(rows: Sequence[TokenRow], padding: int, takes_types: bool = True) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask`, (rows, longest), and `token_type_ids` where any differ from 0.

    Args:
        padding: the id that fills short rows; see `padding_id` of `modeling_attrib`.
        takes_types: whether the model takes token type ids.
    """
    shape = (len(rows), max(len(row.ids) for row in rows))
    inputs = {"input_ids": np.full(shape, padding), "attention_mask": np.zeros(shape, dtype=np.int64)}
    if takes_types and any(any(row.types) for row in rows):
        inputs["token_type_ids"] = np.zeros(shape, dtype=np.int64)
    for number, row in enumerate(rows):
        inputs["input_ids"][number, : len(row.ids)] = row.ids
        inputs["attention_mask"][number, : len(row.ids)] = 1
        if "token_type_ids" in inputs:
            inputs["token_type_ids"][number, : len(row.types)] = row.types
    return {name: torch.from_numpy(values) for name, values in inputs.items()}
