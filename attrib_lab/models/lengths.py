"""How many tokens of a text a model reads."""

from transformers import PreTrainedTokenizerBase

from modeling_attrib import AttribForSequenceClassification
from modeling_attrib.backbone_parts import token_limit

from ..terminal.errors import UserError


def check_max_length(
    max_length: int, model: AttribForSequenceClassification, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Refuse a recipe's `model.max_length` that the model cannot read.

    Raises:
        UserError: with the longest that it can.
    """
    longest = token_limit(model.config, model.backbone, tokenizer)
    if not 0 < max_length <= longest:
        raise UserError(f"model.max_length={max_length}: this backbone reads 1 to {longest} tokens.")
