"""Masked fine-tuning: what is masked, how often, and that evaluation and a resumed run see what they should."""

from collections import Counter

import numpy as np
import pytest
import torch
from datasets import Dataset
from scipy.stats import kstest
from toy_data import WORDS, write_backbone
from transformers import AutoTokenizer, BertConfig, DataCollatorWithPadding, TrainingArguments

from attrib_lab.terminal.errors import UserError
from attrib_lab.training.masking import MaskedTrainer, MaskingCollator
from modeling_attrib import AttribConfig, AttribForSequenceClassification


LENGTH = 400


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return AutoTokenizer.from_pretrained(write_backbone(tmp_path_factory.mktemp("backbone")))


def texts(tokenizer, count, seed=0):
    """Tokenized texts of LENGTH words, known and unknown."""
    generator = np.random.default_rng(seed)
    words = [*WORDS["sports"], *WORDS["business"], "zebra"]
    encoded = tokenizer([" ".join(generator.choice(words, LENGTH)) for _ in range(count)], truncation=False)
    return [
        {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": i} for i, ids in enumerate(encoded.input_ids)
    ]


def masked_shares(tokenizer, features, batch):
    """Share of masked words of each text, and the ids of all masked words' originals."""
    before = torch.tensor([feature["input_ids"] for feature in features])
    masked = batch["input_ids"] == tokenizer.mask_token_id
    assert torch.equal(batch["input_ids"][~masked], before[~masked])
    return masked[:, 1:-1].double().mean(dim=1).numpy(), before[masked]


def test_half_of_each_batch_is_masked_and_nothing_else_changes(tokenizer):
    features = texts(tokenizer, 10)
    kept = [list(feature["input_ids"]) for feature in features]
    batch = MaskingCollator(tokenizer, 0.5, seed=1)(features)
    shares, originals = masked_shares(tokenizer, features, batch)
    assert (shares > 0).sum() == 5
    assert not set(originals.tolist()) & {tokenizer.cls_token_id, tokenizer.sep_token_id}
    assert tokenizer.unk_token_id in originals  # an unknown word is a word
    assert batch["labels"].tolist() == list(range(10))
    assert bool(batch["attention_mask"].all())
    assert [feature["input_ids"] for feature in features] == kept


def test_rates_are_uniform(tokenizer):
    collator = MaskingCollator(tokenizer, 1.0, seed=2)
    rates = []
    features = texts(tokenizer, 8)
    for epoch in range(25):
        collator.epoch = epoch
        rates += masked_shares(tokenizer, features, collator(features))[0].tolist()
    # 200 shares of 400 tokens each: at rate r a share is r ± 0.025, which blurs a uniform distribution by little.
    assert kstest(rates, "uniform").pvalue > 0.01
    assert min(rates) < 0.05
    assert max(rates) > 0.95


def test_every_text_of_a_batch_has_the_same_chance(tokenizer):
    """A batch of three at one half: one text or two, which ones at random, half of all in the long run."""
    collator = MaskingCollator(tokenizer, 0.5, seed=3)
    places, counts = Counter(), Counter()
    features = texts(tokenizer, 3)
    for epoch in range(200):
        collator.epoch = epoch
        chosen = np.flatnonzero(masked_shares(tokenizer, features, collator(features))[0])
        places.update(chosen.tolist())
        counts[len(chosen)] += 1
    assert counts[1] + counts[2] >= 195  # a rate below 1/400 may leave a chosen text whole
    for place in range(3):
        assert places[place] == pytest.approx(100, abs=25)  # ± 3.5 standard deviations of a binomial


def test_padding_is_never_masked(tokenizer):
    features = [
        {"input_ids": ids[:length], "attention_mask": [1] * length, "labels": 0}
        for length, ids in ((5, texts(tokenizer, 1)[0]["input_ids"]), (50, texts(tokenizer, 1, seed=1)[0]["input_ids"]))
    ]
    batch = MaskingCollator(tokenizer, 1.0, seed=4)(features)
    assert batch["input_ids"][0, 5:].tolist() == [tokenizer.pad_token_id] * 45
    assert batch["attention_mask"].sum(dim=1).tolist() == [5, 50]


def test_seed_epoch_and_batch_decide(tokenizer):
    features = texts(tokenizer, 6)
    first = MaskingCollator(tokenizer, 0.5, seed=5)
    ids = first(features)["input_ids"]
    first(texts(tokenizer, 6, seed=9))  # no history
    assert torch.equal(first(features)["input_ids"], ids)
    assert torch.equal(MaskingCollator(tokenizer, 0.5, seed=5)(features)["input_ids"], ids)
    assert not torch.equal(MaskingCollator(tokenizer, 0.5, seed=6)(features)["input_ids"], ids)
    first.epoch = 1
    assert not torch.equal(first(features)["input_ids"], ids)


def test_a_tokenizer_without_mask_is_named(tokenizer):
    bare = AutoTokenizer.from_pretrained(tokenizer.name_or_path, mask_token=None)
    with pytest.raises(UserError, match=r"^masked_training: .* has no \[MASK\] token; leave the key out\.$"):
        MaskingCollator(bare, 0.5, seed=0)


class _Watched(MaskingCollator):
    """Notes the epoch and the masked share of each batch that it makes."""

    def __call__(self, features):
        batch = super().__call__(features)
        masked = (batch["input_ids"] == self._mask).any(dim=1).sum().item()
        self.seen.append((self.epoch, masked))
        return batch


def test_training_is_masked_epoch_by_epoch_and_evaluation_is_not(tokenizer, tmp_path):
    rows = Dataset.from_list([feature | {"labels": i % 2} for i, feature in enumerate(texts(tokenizer, 8))])
    size = {"vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    backbone = BertConfig(**size, intermediate_size=16, max_position_embeddings=512)
    masking = _Watched(tokenizer, 0.5, seed=0)
    masking.seen = []
    trainer = MaskedTrainer(
        model=AttribForSequenceClassification(AttribConfig(backbone_config=backbone, num_labels=2)),
        args=TrainingArguments(
            tmp_path, num_train_epochs=3, per_device_train_batch_size=4, use_cpu=True, report_to="none",
            save_strategy="no", disable_tqdm=True,
        ),
        train_dataset=rows,
        eval_dataset=rows,
        data_collator=DataCollatorWithPadding(tokenizer),
        masking=masking,
    )  # fmt: skip
    trainer.train()
    assert [epoch for epoch, _ in masking.seen] == [0, 0, 1, 1, 2, 2]
    assert sum(masked for _, masked in masking.seen) >= 11  # two of four, six times; a tiny rate may mask nothing
    trainer.evaluate()
    trainer.predict(rows)
    assert len(masking.seen) == 6
    for loader in (trainer.get_eval_dataloader(), trainer.get_test_dataloader(rows)):
        assert not any((batch["input_ids"] == tokenizer.mask_token_id).any() for batch in loader)
