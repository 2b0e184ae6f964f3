"""A few tokens to run a model on when something is to be found out about it."""

from itertools import islice

import torch
from torch import nn

from .attribution_methods import Inputs
from .backbone_parts import position_limit


def check_inputs(classifier: nn.Module, texts: int, tokens: int, different: bool = False) -> Inputs:
    """Texts of ordinary words, as far as positions allow, all real; `different` has another word in each place.

    No special tokens: some models number positions by them.
    """
    tokens = min(tokens, position_limit(classifier) or tokens)
    config = classifier.config.get_text_config()
    special = {
        number
        for name, value in vars(config).items()
        if name.endswith(("token_id", "_index"))
        for number in (value if isinstance(value, (list, tuple)) else (value,))
    }
    size = config.vocab_size
    words = [number for number in islice((n * 7 % size for n in range(1, size + 1)), 4096) if number not in special]
    words = words or [0]
    count = texts * tokens
    ids = [words[(number + different * 5) % len(words)] for number in range(count)]
    ids = torch.tensor(ids, device=_device(classifier)).view(texts, tokens)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if "token_type_ids" in classifier.backbone_arguments:  # as tokenizers give them: some embeddings need them whole
        inputs["token_type_ids"] = torch.zeros_like(ids)
    return inputs


def _device(classifier: nn.Module) -> torch.device | int | str:
    """Where the model computes: of one whose weights accelerate keeps elsewhere, a hook knows."""
    if classifier.device.type != "meta":
        return classifier.device
    hooks = (getattr(module, "_hf_hook", None) for module in classifier.modules())
    devices = (getattr(hook, "execution_device", None) for hook in hooks)
    return next((device for device in devices if device is not None), classifier.device)
