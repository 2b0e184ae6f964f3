"""Masked fine-tuning: texts with tokens replaced by [MASK] belong to what the model has learned from."""

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import (
    DataCollatorWithPadding,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from ..terminal.errors import UserError
from .row_trainer import RowTrainer


class MaskingCollator:
    """Pads a batch and masks some of its texts, so that perturbation by [MASK] is in distribution afterwards.

    Of each batch a share of the texts is drawn; for each of them a rate r ~ U(0, 1), and each of its tokens becomes
    [MASK] with probability r. Special tokens and labels stay (Madsen, Reddy and Chandar 2024, "Faithfulness Measurable
    Masked Language Models", who mask half of each batch; Bhalla, Srinivas and Lakkaraju 2023, "Verifiable Feature
    Attributions").

    What is masked depends on seed, epoch and the batch alone, not on a generator's history: a run that goes on from a
    checkpoint masks what the uninterrupted one would have masked.

    Args:
        tokenizer: of the model.
        share: of the texts of a batch, 0 to 1; a fraction of a text is rounded up or down at random.
        seed: of the run.
        pad: from rows to a batch; by default to the longest of them.

    Raises:
        UserError: if the tokenizer has no [MASK] token.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        share: float,
        seed: int,
        pad: Callable[[list[dict[str, Any]]], dict[str, torch.Tensor]] | None = None,
    ) -> None:
        if tokenizer.mask_token_id is None:
            raise UserError("masked_training: this backbone's tokenizer has no [MASK] token; leave the key out.")
        self.share = share
        self.seed = seed
        self.epoch = 0
        self._mask = tokenizer.mask_token_id
        # An unknown word is a word of the text, though its token counts as special.
        self._kept = sorted(set(tokenizer.all_special_ids) - {tokenizer.unk_token_id})
        self._pad = pad or DataCollatorWithPadding(tokenizer)

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """The padded batch of tokenized texts (`input_ids`, `labels` ...), which are left as they are."""
        content = zlib.crc32(repr([feature["input_ids"] for feature in features]).encode())
        generator = np.random.default_rng([self.seed, self.epoch, content])
        count = int(self.share * len(features) + generator.random())
        features = list(features)
        for index in generator.permutation(len(features))[:count]:
            features[index] = features[index] | {"input_ids": self._masked(features[index]["input_ids"], generator)}
        return self._pad(features)

    def _masked(self, ids: list[int], generator: np.random.Generator) -> list[int]:
        rate = generator.random()
        chosen = (generator.random(len(ids)) < rate) & ~np.isin(ids, self._kept)
        return np.where(chosen, self._mask, ids).tolist()


class MaskedTrainer(RowTrainer):
    """A `RowTrainer` whose training batches are masked by `masking`; it evaluates and predicts on whole texts."""

    def __init__(self, *arguments: Any, masking: MaskingCollator, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._masking = masking
        self.add_callback(_EpochTeller(masking))

    def get_train_dataloader(self) -> DataLoader:
        """Batches of the training data, masked."""
        whole, self.data_collator = self.data_collator, self._masking
        try:
            return super().get_train_dataloader()
        finally:
            self.data_collator = whole


class _EpochTeller(TrainerCallback):
    """Tells the collator the epoch, before the first of its batches is made: each epoch masks anew."""

    def __init__(self, masking: MaskingCollator) -> None:
        self._masking = masking

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._masking.epoch = int(state.epoch or 0)
