"""A classifier whose answers can be worked out by hand: each logit is the sum of one weight per token."""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.modeling_outputs import SequenceClassifierOutput

from attrib_lab.evaluation.texts import EncodedText


VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "d", "e", "##x")
IDS = {word: place for place, word in enumerate(VOCABULARY)}


class LinearClassifier(PreTrainedModel):
    """Label 1 has the logit Σ weights, label 0 has 0; the tokens of `weights` are words of the vocabulary."""

    config_class = PretrainedConfig

    def __init__(self, weights: dict[str, float]) -> None:
        super().__init__(PretrainedConfig(num_labels=2, pad_token_id=0))
        self.table = torch.nn.Embedding(len(VOCABULARY), 2)
        with torch.no_grad():
            self.table.weight.zero_()
            for word, weight in weights.items():
                self.table.weight[IDS[word], 1] = weight
        self.to(torch.float64).eval()

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.table

    def forward(self, input_ids, attention_mask):
        return SequenceClassifierOutput(logits=(self.table(input_ids) * attention_mask[..., None]).sum(dim=1))


def word_tokenizer(**changes: str | None) -> PreTrainedTokenizerFast:
    """A tokenizer of the vocabulary's words; `ax` is read as a ##x. `changes` sets or takes away special tokens."""
    tokenizer = Tokenizer(models.WordPiece(IDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")} | changes
    names = {name: token for name, token in names.items() if token is not None}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=inputs, **names)


def plain_text(tokens: str, **fields: object) -> EncodedText:
    """[CLS], the words of the vocabulary, [SEP]; every token is a word of its own."""
    ids = tuple(IDS[word] for word in ("[CLS]", *tokens.split(), "[SEP]"))
    inner = len(ids) - 2
    fields = {"key": "0-00000000", "words": (None, *range(inner), None)} | fields
    return EncodedText(ids=ids, special=(True, *(False,) * inner, True), **fields)
