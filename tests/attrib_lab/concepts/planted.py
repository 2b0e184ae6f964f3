"""A classifier that decides by a planted concept, with its tokenizer and sentences."""

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, PreTrainedTokenizerFast

from modeling_attrib import AttribConfig, AttribForSequenceClassification


WIDTH, LAYERS = 16, 2
CONCEPT = [f"c{i}" for i in range(8)]
OTHER = [f"w{i}" for i in range(60)]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Whole words, with [CLS] and [SEP] around a text."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: i for i, word in enumerate(special + CONCEPT + OTHER)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=32, **names)


def build_model(pooling: str = "mean", kernel: str = "sdpa") -> AttribForSequenceClassification:
    """A random BERT whose concept words carry a direction that the head reads as "yes"."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=5 + len(CONCEPT) + len(OTHER), hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=4,
        intermediate_size=24, max_position_embeddings=32,
    )  # fmt: skip
    model = AttribForSequenceClassification(
        AttribConfig(backbone_config=config, pooling=pooling, id2label={0: "no", 1: "yes"}, attn_implementation=kernel)
    ).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.15)
            elif name.endswith("bias"):
                parameter.normal_(0.0, 0.05)
        direction = torch.nn.functional.normalize(torch.randn(WIDTH), dim=0)
        words = model.backbone.embeddings.word_embeddings.weight
        words.normal_(0.0, 0.5)
        words[5 : 5 + len(CONCEPT)] += 2.0 * direction
        model.classifier.weight.copy_(torch.stack([-direction, direction]))
        model.classifier.bias.copy_(torch.tensor([0.75, -0.75]))
    return model


def write_sentences(count: int, concept: float, seed: int, length: int = 8) -> list[str]:
    """Sentences of random words, of which a share are words of the concept."""
    generator = np.random.default_rng(seed)
    return [
        " ".join(str(generator.choice(CONCEPT if generator.random() < concept else OTHER)) for _ in range(length))
        for _ in range(count)
    ]
