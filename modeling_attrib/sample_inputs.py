"""A few tokens to run a model on when something is to be found out about it."""

from itertools import count
from math import gcd

import torch

from .attribution_methods import ExplainableClassifier, Inputs
from .backbone_parts import position_limit


_WORDS = 4096  # of the vocabulary: more than any check reads


def sample_inputs(classifier: ExplainableClassifier, texts: int, tokens: int, different: bool = False) -> Inputs:
    """Texts of ordinary words, as far as positions allow, all real; `different` has another word in each place.

    No special tokens, unless there are no two other ones: some models number positions by them.
    """
    tokens = min(tokens, position_limit(classifier.config, classifier.backbone) or tokens)
    config = classifier.config.get_text_config()
    special = {
        number
        for name, value in vars(config).items()
        if name.endswith(("token_id", "_index"))
        for number in (value if isinstance(value, (list, tuple)) else (value,))
    }
    size = config.vocab_size
    step = next(number for number in count(7) if gcd(number, size) == 1)  # so that no word comes twice
    numbers = [number * step % size for number in range(1, min(size, _WORDS) + 1)]
    words = [number for number in numbers if number not in special]
    words = words if len(words) > 1 else numbers
    start = len(words) // 2 if different else 0
    chosen = [words[(start + place) % len(words)] for place in range(texts * tokens)]
    ids = torch.tensor(chosen, device=_device(classifier)).view(texts, tokens)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if "token_type_ids" in classifier.backbone_arguments:  # as tokenizers give them: some embeddings need them whole
        kinds = getattr(config, "type_vocab_sizes", None)  # TAPAS gives each token several types
        inputs["token_type_ids"] = ids.new_zeros(*ids.shape, len(kinds)) if kinds else torch.zeros_like(ids)
    return inputs


def _device(classifier: ExplainableClassifier) -> torch.device | int | str:
    """Where the model computes: of one whose weights accelerate keeps elsewhere, a hook knows."""
    if classifier.device.type != "meta":
        return classifier.device
    hooks = (getattr(module, "_hf_hook", None) for module in classifier.modules())
    devices = (getattr(hook, "execution_device", None) for hook in hooks)
    return next((device for device in devices if device is not None), classifier.device)
