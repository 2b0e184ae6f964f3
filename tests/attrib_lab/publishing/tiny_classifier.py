"""A tiny classifier, and what a training run may leave beside it."""

import json
from pathlib import Path

import torch
import yaml
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

import modeling_attrib
from modeling_attrib import AttribConfig, AttribForSequenceClassification


REPOSITORY = Path(modeling_attrib.__file__).resolve().parents[1]
REPO_ID = "user/tiny-attrib"
TOKEN = "hf_" + "testTEST" * 4  # of the user, on the double of the Hub
HOSTILE = "</td><script>alert(1)</script> `x` | **B** [y](javascript:z) \u202e\ud800\n---\nlicense: evil\n---\n# Owned"
LABELS = ["World", "Sci/Tech", HOSTILE.replace("\ud800", "")]
FIGURES = {"accuracy": 0.9125, "macro_precision": 0.9, "macro_recall": 0.905, "macro_f1": 0.9012, "loss": 0.3}


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "stocks", "oil", "won", "cup", *letters]
    vocabulary = {word: index for index, word in enumerate([*words, *(f"##{letter}" for letter in letters)])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **special)


def edit_json(file: Path, **entries) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | entries), encoding="utf-8")


def tiny_backbone(vocabulary: int) -> BertConfig:
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=512,
    )


def with_large_weights(model: torch.nn.Module) -> torch.nn.Module:
    """The model, far from the usual start, where every score is nearly zero."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def write_trained_model(folder: Path) -> Path:
    """What a training run may leave: a model, its tokenizer, and much that is nobody else's business."""
    tokenizer = tiny_tokenizer()
    names = dict(enumerate(LABELS))
    indices = {name: index for index, name in names.items()}
    config = AttribConfig(backbone_config=tiny_backbone(len(tokenizer)), id2label=names, label2id=indices)
    model = with_large_weights(AttribForSequenceClassification(config))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)  # as a trainer does: now it says is_local
    backbone_entry = json.loads((folder / "config.json").read_text())["backbone_config"]
    edit_json(folder / "config.json", backbone_config=backbone_entry | {"_name_or_path": str(folder)})
    edit_json(folder / "tokenizer_config.json", name_or_path=str(folder), tokenizer_file=str(folder / "tokenizer.json"))
    recipe = {"output_dir": str(folder), "data": {"train": str(folder / "train.parquet"), "test": "owner/news:en@test"}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    metrics = {"rows": {"train": 1200, "validation": 20, "test": 800}, "test": FIGURES, "validation": FIGURES}
    settings = {"backbone": "sentence-transformers/all-MiniLM-L6-v2", "device": "cpu"}
    (folder / "metrics.json").write_text(json.dumps(metrics | {"settings": settings}), encoding="utf-8")
    (folder / "checkpoints").mkdir()
    for name in ("optimizer.pt", "training_args.bin", "checkpoints/scheduler.pt"):
        torch.save({"secret": str(folder)}, folder / name)
    (folder / "taps.py").write_text("raise RuntimeError('an older version of this module')\n", encoding="utf-8")
    return folder


def write_converted_model(folder: Path) -> Path:
    """A finished classifier of transformers' own, which explains itself now."""
    tokenizer = tiny_tokenizer()
    config = tiny_backbone(len(tokenizer))
    config.id2label, config.label2id = {0: "bad", 1: "good"}, {"bad": 0, "good": 1}
    stock = with_large_weights(BertForSequenceClassification(config))
    AttribForSequenceClassification.from_classifier(stock).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
