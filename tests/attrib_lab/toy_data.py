"""A tiny encoder with a real tokenizer, and a toy data set that it learns in seconds."""

import csv
import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast


WORDS = {
    "sports": ["goal", "match", "striker", "coach", "league"],
    "business": ["stocks", "profit", "merger", "bank", "shares"],
}
FILLER = ["the", "a", "of", "on", "today", "said", "with", "after", "new", "old"]


def write_backbone(folder: Path, positions: int = 64) -> Path:
    """Save a random two-layer BERT of width 32, which reads `positions` tokens, and a WordPiece tokenizer of words."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: i for i, word in enumerate(special + FILLER + WORDS["sports"] + WORDS["business"])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=positions, **names)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=positions,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def write_csv(path: Path, rows: int, seed: int) -> Path:
    """Texts of ten words in which two words carry the label, which is a string."""
    generator = random.Random(seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for row in range(rows):
            label = list(WORDS)[row % 2]
            words = generator.choices(FILLER, k=8) + generator.choices(WORDS[label], k=2)
            generator.shuffle(words)
            writer.writerow([" ".join(words), label])
    return path


def write_recipe(folder: Path, backbone: Path, **top: object) -> Path:
    """A recipe over toy data in `folder`; its path."""
    write_csv(folder / "train.csv", 160, 0)
    write_csv(folder / "test.csv", 40, 1)
    write_csv(folder / "validation.csv", 20, 2)
    lines = [
        f"model: {{backbone: {backbone}, max_length: 64}}",
        f"data: {{train: {folder / 'train.csv'}, validation: {folder / 'validation.csv'},"
        f" test: {folder / 'test.csv'}, explained_examples: 4}}",
        # By loss: twenty rows are classified well long before the model knows its words.
        "training: {num_train_epochs: 8, per_device_train_batch_size: 8, learning_rate: 2.0e-3, use_cpu: true,"
        " metric_for_best_model: eval_loss, greater_is_better: false}",
        f"output_dir: {folder / 'out'}",
        "seed: 3",
    ] + [f"{key}: {value}" for key, value in top.items()]
    path = folder / "recipe.yaml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
