"""The classifier that every candidate explains, as a folder that any transformers release reads, and its texts."""

import random
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import BertConfig, BertModel, BertPreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.models.bert import modeling_bert


LABELS = 4
OURS = "ours"  # inside a workload's folder: the same weights as this project's model


class MeanPooledBertForSequenceClassification(BertPreTrainedModel):
    """BERT, the mean of the real tokens' states and a linear head: transformers alone, no explanation."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        # Looked up when built: LXT puts its own class in this place.
        self.bert = modeling_bert.BertModel(config, add_pooling_layer=False)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
    ) -> SequenceClassifierOutput:
        """Logits (batch, labels) of token ids or word embeddings; all tokens are real if there is no mask."""
        if attention_mask is None:
            shape = input_ids.shape if inputs_embeds is None else inputs_embeds.shape[:2]
            attention_mask = torch.ones(shape, dtype=torch.long, device=self.device)
        states = self.bert(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        real = attention_mask.to(states.last_hidden_state.dtype)
        pooled = (real.unsqueeze(-1) * states.last_hidden_state).sum(dim=1) / real.sum(dim=-1, keepdim=True)
        return SequenceClassifierOutput(logits=self.classifier(pooled), hidden_states=states.hidden_states)


@dataclass(frozen=True)
class Batch:
    """Texts and what the tokenizer makes of them: no padding, every row of the same length."""

    texts: list[str]
    inputs: dict[str, torch.Tensor]


@dataclass(frozen=True)
class Workload:
    """A loaded classifier with its tokenizer; `folder` also holds the same weights for this project's model."""

    folder: Path
    model: MeanPooledBertForSequenceClassification
    tokenizer: PreTrainedTokenizerBase

    @classmethod
    def load(cls, folder: Path) -> "Workload":
        """Read what `prepare_workload` wrote."""
        model = MeanPooledBertForSequenceClassification.from_pretrained(folder).eval()
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "tokenizer.json"),
            model_max_length=model.config.max_position_embeddings,
            model_input_names=["input_ids", "token_type_ids", "attention_mask"],
            **{f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")},
        )
        return cls(folder, model, tokenizer)

    def batch(self, texts: int, tokens: int) -> Batch:
        """`texts` texts of random English words, each of exactly `tokens` tokens with [CLS] and [SEP]."""
        vocabulary = self.tokenizer.get_vocab()
        words = sorted(word for word in vocabulary if len(word) > 2 and word.isascii() and word.isalpha())
        draw = random.Random(texts * 10_000 + tokens)
        drawn = [" ".join(draw.choices(words, k=tokens - 2)) for _ in range(texts)]
        inputs = dict(self.tokenizer(drawn, return_tensors="pt"))
        if inputs["input_ids"].shape != (texts, tokens):
            raise ValueError(f"the tokenizer made {tuple(inputs['input_ids'].shape)}, not {(texts, tokens)}.")
        return Batch(drawn, inputs)


def prepare_workload(folder: Path, backbone: str, tokens: int) -> None:
    """Write one classifier into `folder`, for transformers alone and, in `ours`, for this project.

    Its weights are the backbone's own; its position table is repeated where it does not reach as far as `tokens`.

    Args:
        folder: is made.
        backbone: a BERT-like encoder, as Hub id or folder.
        tokens: the longest text to come.

    Raises:
        UserError: if the backbone cannot be had or is not a BERT.
    """
    from transformers import AutoConfig, AutoTokenizer

    from attrib_lab.models.backbones import resolve_backbone
    from attrib_lab.terminal.errors import UserError
    from modeling_attrib import AttribForSequenceClassification

    source = resolve_backbone(backbone)
    config = AutoConfig.from_pretrained(source)
    if config.model_type != "bert":
        raise UserError(f"backbone {backbone!r} is a {config.model_type}; the candidates are compared on a BERT.")
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(source)
    if tokens > config.max_position_embeddings:
        encoder = BertModel.from_pretrained(source, add_pooling_layer=False)
        _repeat_positions(encoder, tokens)
        tokenizer.model_max_length = tokens
        source, config = folder / "backbone", encoder.config
        encoder.save_pretrained(source)
    ours = AttribForSequenceClassification.from_backbone(str(source), num_labels=LABELS)
    config.num_labels = LABELS
    plain = MeanPooledBertForSequenceClassification(config)
    plain.bert.load_state_dict(ours.backbone.state_dict())
    plain.classifier.load_state_dict(ours.classifier.state_dict())
    for model, place in ((plain, folder), (ours, folder / OURS)):
        model.save_pretrained(place)
        tokenizer.save_pretrained(place)


def _repeat_positions(encoder: BertModel, tokens: int) -> None:
    embeddings = encoder.embeddings
    table = embeddings.position_embeddings.weight.data
    repeated = table.repeat(-(-tokens // len(table)), 1)[:tokens]
    embeddings.position_embeddings = nn.Embedding.from_pretrained(repeated)
    embeddings.register_buffer("position_ids", torch.arange(tokens).unsqueeze(0), persistent=False)
    embeddings.register_buffer("token_type_ids", torch.zeros(1, tokens, dtype=torch.long), persistent=False)
    encoder.config.max_position_embeddings = tokens
