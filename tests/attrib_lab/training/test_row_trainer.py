"""Each prediction finds its row, and each row is read once an epoch, whatever orders and processes do."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from toy_data import FILLER, write_backbone
from transformers import AutoTokenizer, DataCollatorWithPadding, EvalPrediction, TrainingArguments

from attrib_lab.training.row_trainer import LABEL_NAMES, ROW, RowTrainer, paired_labels
from modeling_attrib import AttribForSequenceClassification


ROWS = 21  # the last batch is incomplete


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return write_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def rows(backbone):
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(FILLER, generator.integers(1, 20))) for _ in range(ROWS)]
    encoded = AutoTokenizer.from_pretrained(backbone)(texts)
    return Dataset.from_dict(dict(encoded) | {"labels": [number % 2 for number in range(ROWS)], ROW: range(ROWS)})


@pytest.fixture
def build(tmp_path, backbone, rows):
    def trainer(**options):
        torch.manual_seed(0)
        tokenizer = AutoTokenizer.from_pretrained(backbone)
        arguments = TrainingArguments(
            str(tmp_path), use_cpu=True, label_names=LABEL_NAMES, seed=3, report_to="none",
            per_device_train_batch_size=4, per_device_eval_batch_size=4, **options,
        )  # fmt: skip
        return RowTrainer(
            AttribForSequenceClassification.from_backbone(backbone, num_labels=2), arguments, train_dataset=rows,
            processing_class=tokenizer, data_collator=DataCollatorWithPadding(tokenizer),
        )  # fmt: skip

    return trainer


@pytest.mark.parametrize("strategy", ["group_by_length", "random", "sequential"])
@pytest.mark.parametrize("drop_last", [False, True])
def test_predictions_are_in_the_order_of_the_rows(build, rows, strategy, drop_last):
    trainer = build(train_sampling_strategy=strategy, dataloader_drop_last=drop_last)
    logits, metrics = trainer.predict_rows(rows)
    model = trainer.model.eval()
    for number, row in enumerate(rows):
        with torch.no_grad():
            alone = model(torch.tensor([row["input_ids"]]), output_attributions=False).logits[0]
        np.testing.assert_allclose(logits[number], alone, atol=1e-5)
    assert metrics["test_loss"] > 0
    assert trainer.args.dataloader_drop_last is drop_last


def test_a_row_without_a_prediction_is_noticed(build, rows, monkeypatch):
    trainer = build()
    predict = trainer.predict
    monkeypatch.setattr(trainer, "predict", lambda given, **options: predict(given.select(range(20)), **options))
    with pytest.raises(RuntimeError, match="20 of 21 rows have a prediction"):
        trainer.predict_rows(rows)


def test_a_row_that_came_twice_counts_once():
    logits = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    predicted, labels = paired_labels(EvalPrediction(logits, (np.array([1, 0, 0, 1]), np.array([2, 0, 1, 2]))))
    assert predicted.tolist() == [0, 1, 1]
    assert labels.tolist() == [0, 0, 1]


def test_the_order_of_an_epoch_hangs_on_seed_and_epoch_alone(build):
    """Processes whose generators have gone apart, and a resumed run, must all draw the same order."""
    trainer = build(train_sampling_strategy="group_by_length")
    sampler = trainer._get_train_sampler()
    first = list(sampler)
    assert sorted(first) == list(range(ROWS))
    torch.rand(5)  # as dropout does, more on one process than on another
    assert list(build(train_sampling_strategy="group_by_length")._get_train_sampler()) == first
    assert list(sampler) == first
    trainer.state.epoch = 1.0
    second = list(sampler)
    assert sorted(second) == list(range(ROWS))
    assert second != first
    trainer.args.seed = 4
    assert list(trainer._get_train_sampler()) not in (first, second)


def test_rows_of_like_length_are_together(build, rows):
    order = list(build(train_sampling_strategy="group_by_length")._get_train_sampler())
    lengths = [len(rows[number]["input_ids"]) for number in order]
    spread = [np.ptp(lengths[place : place + 4]) for place in range(4, 20, 4)]
    shuffled = np.random.default_rng(0).permutation(lengths)
    assert np.mean(spread) < np.mean([np.ptp(shuffled[place : place + 4]) for place in range(4, 20, 4)])
