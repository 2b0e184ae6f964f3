"""Transformers made of attention blocks alone: the kind of model that conservative propagation was published on."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


class AttentionOnlyConfig(PretrainedConfig):
    """Configuration of `AttentionOnlyModel`.

    Args:
        vocab_size, pad_token_id: of the tokenizer.
        hidden_size: width of the token states; a multiple of `num_attention_heads`.
        num_hidden_layers: number of attention blocks (three in Ali et al. 2022).
        max_position_embeddings: tokens of the longest text.
        hidden_dropout_prob, attention_probs_dropout_prob: dropout while training.
        layer_norm_eps: added to the variance by every LayerNorm.
        initializer_range: standard deviation of fresh weights.

    Raises:
        ValueError: if the heads do not divide the width.
    """

    model_type = "attention_only"

    def __init__(
        self,
        vocab_size: int = 30522,
        pad_token_id: int | None = 0,
        hidden_size: int = 256,
        num_hidden_layers: int = 3,
        num_attention_heads: int = 8,
        max_position_embeddings: int = 128,
        hidden_dropout_prob: float = 0.1,
        attention_probs_dropout_prob: float = 0.1,
        layer_norm_eps: float = 1e-12,
        initializer_range: float = 0.02,
        **kwargs: Any,
    ) -> None:
        if hidden_size % num_attention_heads:
            raise ValueError(f"hidden_size={hidden_size} is no multiple of num_attention_heads={num_attention_heads}.")
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.max_position_embeddings = max_position_embeddings
        self.hidden_dropout_prob = hidden_dropout_prob
        self.attention_probs_dropout_prob = attention_probs_dropout_prob
        self.layer_norm_eps = layer_norm_eps
        self.initializer_range = initializer_range
        super().__init__(pad_token_id=pad_token_id, **kwargs)


class Embeddings(nn.Module):
    """Word plus position embeddings, and a LayerNorm."""

    def __init__(self, config: AttentionOnlyConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, words: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) word embeddings -> states of the same shape; padding takes up no positions."""
        positions = (attention_mask.long().cumsum(dim=1) - 1).clamp(min=0)
        return self.dropout(self.norm(words + self.position_embeddings(positions)))


class AttentionBlock(nn.Module):
    """LayerNorm(h + W·attention(h)), and no feed-forward network behind it."""

    def __init__(self, config: AttentionOnlyConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.attention_dropout = config.attention_probs_dropout_prob
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)

    def forward(self, hidden: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> the same shape; `bias` (batch, 1, 1, tokens) is added to the attention scores."""
        query, key, value = (
            projection(hidden).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.query, self.key, self.value)
        )
        dropout = self.attention_dropout if self.training else 0.0
        context = F.scaled_dot_product_attention(query, key, value, bias, dropout_p=dropout)
        return self.norm(hidden + self.dropout(self.output(context.transpose(1, 2).flatten(2))))


class AttentionOnlyModel(PreTrainedModel):
    """Embeddings and a stack of attention blocks (Ali et al. 2022, section 5: three of them, on SST-2 and IMDB)."""

    config_class = AttentionOnlyConfig
    base_model_prefix = "attention_only"
    _supports_sdpa = True

    def __init__(self, config: AttentionOnlyConfig) -> None:
        super().__init__(config)
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(AttentionBlock(config) for _ in range(config.num_hidden_layers))
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """The table of word embeddings."""
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the table of word embeddings."""
        self.embeddings.word_embeddings = value

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutput | tuple[torch.Tensor]:
        """Token states (batch, tokens, width) of ids (batch, tokens), or of word embeddings in their place."""
        words = self.embeddings.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        if attention_mask is None:
            attention_mask = torch.ones(words.shape[:2], dtype=torch.long, device=words.device)
        hidden = self.embeddings(words, attention_mask)
        # Not -inf: a text without a real token would become NaN.
        lowest = torch.finfo(hidden.dtype).min
        bias = torch.zeros_like(hidden[..., 0]).masked_fill(~attention_mask.bool(), lowest)[:, None, None, :]
        for layer in self.layers:
            hidden = layer(hidden, bias)
        output = BaseModelOutput(last_hidden_state=hidden)
        return output if return_dict is None or return_dict else output.to_tuple()


AutoConfig.register(AttentionOnlyConfig.model_type, AttentionOnlyConfig)
AutoModel.register(AttentionOnlyConfig, AttentionOnlyModel)
