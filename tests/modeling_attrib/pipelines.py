"""A small pipeline for tests: a random BERT behind MiniLM's real tokenizer."""

from pathlib import Path

import torch
from transformers import AutoTokenizer, BertConfig

from modeling_attrib import AttribConfig, AttribForSequenceClassification, AttribTextClassificationPipeline


LABELS = ["World", "Sports", "Business", "Sci/Tech"]
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


def build(
    tokenizer: object, seed: int = 0, labels: list[str] = LABELS, **config: object
) -> AttribTextClassificationPipeline:
    """`tokenizer`: one, or the folder that it is loaded from."""
    torch.manual_seed(seed)
    names = dict(enumerate(labels))
    config = {"id2label": names, "label2id": {v: k for k, v in names.items()}} | config
    model = AttribForSequenceClassification(AttribConfig(backbone_config=BertConfig(**SIZE), **config)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer) if isinstance(tokenizer, (str, Path)) else tokenizer
    return AttribTextClassificationPipeline(model=model, tokenizer=tokenizer, device="cpu")


def total(result: dict) -> float:
    """What a result's parts add up to: words, special tokens, and what no token accounts for."""
    words = [entry for entry in result["attributions"] if not entry.get("special")]
    return sum(entry["score"] for entry in words) + result["special_score"] + result["residual"]
