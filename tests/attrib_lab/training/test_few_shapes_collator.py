"""Training batches of few shapes: what is added counts in no loss and is nobody's prediction."""

import json

import pytest
from toy_data import write_backbone, write_recipe
from transformers import AutoTokenizer, DataCollatorWithPadding

from attrib_lab.recipes.loading import load_recipe
from attrib_lab.training import classifier
from attrib_lab.training.few_shapes_collator import FewShapesCollator
from attrib_lab.training.row_trainer import ROW


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return write_backbone(tmp_path_factory.mktemp("backbone"))


def test_rows_and_tokens_are_added(backbone):
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    collate = FewShapesCollator(DataCollatorWithPadding(tokenizer), tokenizer, (8, 4), max_length=64)
    rows = [{"input_ids": [2, 7, 8, 3], "attention_mask": [1] * 4, "labels": n % 2, ROW: 10 + n} for n in range(6)]
    batch = collate(rows)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (8, 16)
    assert batch["labels"].tolist() == [0, 1, 0, 1, 0, 1, -100, -100]
    assert batch[ROW].tolist() == [10, 11, 12, 13, 14, 15, 10, 10]
    assert batch["attention_mask"].sum(dim=1).tolist() == [4] * 8
    assert (batch["input_ids"][:, 4:] == tokenizer.pad_token_id).all()
    assert len(collate(rows[:3])["labels"]) == 4  # the smaller of both full batches


WITHOUT_DROPOUT = (
    "{model_type: bert, tokenizer: %s, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 4, "
    "intermediate_size: 64, hidden_dropout_prob: 0.0, attention_probs_dropout_prob: 0.0}"
)


@pytest.mark.parametrize(
    "options",
    [[], ["--feature_adjustment", "attribution", "--contrastive_weight", "0.5"], ["--masked_training", "0.5"]],
    ids=["plain", "contrastive", "masked"],
)
def test_a_run_learns_the_same_from_few_shapes(tmp_path, backbone, monkeypatch, options):
    """150 rows in batches of 16, 40 test rows in batches of 32: the last batches are not full."""
    recipe = write_recipe(tmp_path, backbone)
    options = [*options, "--backbone", WITHOUT_DROPOUT % backbone, "--classifier_dropout", "0.0"]
    options += ["--train_rows", "150", "--per_device_train_batch_size", "16", "--per_device_eval_batch_size", "32"]
    options += ["--logging_steps", "1", "--num_train_epochs", "1"]
    plain = history(classifier.train(load_recipe(str(recipe), [*options, "--output_dir", str(tmp_path / "plain")])))
    shapes = set()

    class Watched(FewShapesCollator):
        def __call__(self, rows):
            batch = super().__call__(rows)
            shapes.add(tuple(batch["input_ids"].shape))
            return batch

    monkeypatch.setattr(classifier, "is_xla", lambda device: True)
    monkeypatch.setattr(classifier, "FewShapesCollator", Watched)
    few = history(classifier.train(load_recipe(str(recipe), [*options, "--output_dir", str(tmp_path / "few")])))
    assert shapes == {(16, 16), (32, 16)}
    assert few == pytest.approx(plain, abs=1e-4)


def history(folder) -> list[float]:
    """Every loss that was logged, and how the test went."""
    metrics = json.loads((folder / "metrics.json").read_text())
    logged = [value for entry in metrics["history"] for key, value in entry.items() if key in ("loss", "eval_loss")]
    assert len(logged) == 12  # ten steps; the validation after them, and once more of the model that is kept
    return [*logged, *metrics["test"].values()]
