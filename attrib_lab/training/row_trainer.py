"""A Trainer that knows the rows: which one each prediction belongs to, and each read once an epoch."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import DataLoader, Sampler
from transformers import EvalPrediction, Trainer
from transformers.trainer_pt_utils import LengthGroupedSampler


ROW = "row"  # the column with each row's number, 0 to rows - 1
LABEL_NAMES = ["labels", ROW]  # for `TrainingArguments`: what comes back with each prediction


class RowTrainer(Trainer):
    """A Trainer whose data sets have a column `ROW`, and whose arguments have `label_names=LABEL_NAMES`.

    A sampler, several processes and a last incomplete batch all decide on the order in which predictions come back;
    so each brings the number of its row along, and nothing is matched by position.
    """

    def predict_rows(self, rows: Dataset, prefix: str = "test") -> tuple[np.ndarray, dict[str, float]]:
        """Logits (rows, labels) in the order of `rows`, and the metrics.

        Raises:
            RuntimeError: if a row was not predicted.
        """
        found = self.predict(rows, metric_key_prefix=prefix)
        numbers, first = np.unique(found.label_ids[1], return_index=True)
        if not np.array_equal(numbers, np.arange(len(rows))):
            raise RuntimeError(f"{len(numbers)} of {len(rows)} rows have a prediction.")
        return found.predictions[first], found.metrics

    def compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        """The Trainer's loss; the model does not see the rows' numbers."""
        seen = {name: value for name, value in inputs.items() if name != ROW}
        return super().compute_loss(model, seen, *arguments, **options)

    def get_eval_dataloader(self, *arguments: Any, **options: Any) -> DataLoader:
        """Every row of the evaluation data."""
        with self._every_row():
            return super().get_eval_dataloader(*arguments, **options)

    def get_test_dataloader(self, *arguments: Any, **options: Any) -> DataLoader:
        """Every row of the test data."""
        with self._every_row():
            return super().get_test_dataloader(*arguments, **options)

    @contextlib.contextmanager
    def _every_row(self) -> Iterator[None]:
        """The Trainer drops the last incomplete batch of an evaluation too; that is meant for training."""
        dropped, self.args.dataloader_drop_last = self.args.dataloader_drop_last, False
        try:
            yield
        finally:
            self.args.dataloader_drop_last = dropped

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        sampler = super()._get_train_sampler(train_dataset)
        if isinstance(sampler, LengthGroupedSampler):
            return _EpochSampler(sampler, self.args.seed, lambda: int(self.state.epoch or 0))
        return sampler


class _EpochSampler(LengthGroupedSampler):
    """Rows of like length together, in an order that seed and epoch alone decide.

    The Trainer's own sampler draws from the process's generator, which dropout moves on: from the second epoch on each
    process of a CPU would draw an order of its own, so that rows are read twice or never, and a resumed run would read
    other batches than the uninterrupted one.
    """

    def __init__(self, grouped: LengthGroupedSampler, seed: int, epoch: Callable[[], int]) -> None:
        super().__init__(grouped.batch_size, lengths=grouped.lengths)
        self._seed, self._epoch = seed, epoch

    def __iter__(self) -> Iterator[int]:
        drawn = np.random.default_rng([self._seed, self._epoch()]).integers(2**63)
        self.generator = torch.Generator().manual_seed(int(drawn))
        return super().__iter__()


def paired_labels(prediction: EvalPrediction) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and true label index of each row, (rows,) each; of a row that came twice, once."""
    labels, numbers = prediction.label_ids
    _, first = np.unique(numbers, return_index=True)
    return prediction.predictions[first].argmax(axis=-1), labels[first]
