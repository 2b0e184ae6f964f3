"""The classifier under evaluation: a model folder, ours or a stock one, and how it reads a batch of texts."""

import hashlib
import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerBase

from modeling_attrib import AttribConfig
from modeling_attrib.backbone_parts import padding_id, token_limit

from ..models.model_folder import load_trained_model
from ..terminal.errors import UserError, first_line
from .padding import pad_rows
from .perturbation_runner import check_choice
from .texts import EncodedText


Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class EvaluatedClassifier:
    """A sequence classifier in evaluation mode and its tokenizer.

    Attributes:
        explains: whether its forward returns attributions (a model of this project).
    """

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    explains: bool

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.model.parameters()).device

    @property
    def padding_id(self) -> int:
        """What fills short texts of a batch, behind an attention mask of 0."""
        return padding_id(self.model.config, self.tokenizer)

    @property
    def filler_id(self) -> int:
        """What stands for an absent token: [MASK], else [UNK], else padding."""
        for token in (self.tokenizer.mask_token_id, self.tokenizer.unk_token_id):
            if token is not None:
                return token
        return self.padding_id

    @property
    def labels(self) -> list[str]:
        """Names of its labels, by index."""
        names = self.model.config.id2label
        return [str(names[index]) for index in sorted(names)]

    @property
    def token_limit(self) -> int:
        """The longest text that it reads, special tokens included."""
        backbone = self.model.backbone if self.explains else self.model  # a stock one's has a name of its own
        return token_limit(self.model.config, backbone, self.tokenizer)

    def collate(self, texts: Sequence[EncodedText]) -> Batch:
        """What the model reads of texts, (texts, longest) each: right-padded input_ids, attention_mask, and
        token_type_ids where any differ from 0 and the model takes them."""
        takes_types = "token_type_ids" in inspect.signature(self.model.forward).parameters
        batch = pad_rows(texts, self.padding_id, takes_types)
        return {name: value.to(self.device) for name, value in batch.items()}

    def forward(self, batch: Batch) -> torch.Tensor:
        """Logits (texts, labels) of a plain forward pass, with a graph where gradients are on."""
        return self.model(**batch, **({"output_attributions": False} if self.explains else {})).logits

    def fingerprint(self) -> str:
        """A hash of weights, configuration and tokenizer: what every figure depends on."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())  # a buffer may be a scalar
        config = {key: value for key, value in self.model.config.to_dict().items() if not key.startswith("_")}
        digest.update(json.dumps(config, sort_keys=True, default=str).encode())
        digest.update(json.dumps(sorted(self.tokenizer.get_vocab().items())).encode())
        return digest.hexdigest()[:16]


def load_classifier(folder: Path) -> EvaluatedClassifier:
    """Read a model folder: what `train.py` left, or any sequence classifier of transformers (whose code is its own).

    Raises:
        UserError: for a folder without a complete classifier and its tokenizer, or one that does not choose one of its
            labels.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        config = {}
    # A folder that cannot be read is refused, with the reason, by the reader of our own ones.
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind is None or kind == AttribConfig.model_type:
        trained = load_trained_model(folder)
        check_choice(trained.model.config)
        return EvaluatedClassifier(trained.model, trained.tokenizer, explains=True)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, SafetensorError) as error:
        raise UserError(f"{folder}: no sequence classifier can be loaded: {first_line(error)}") from None
    if loading["missing_keys"]:
        raise UserError(
            f"{folder}: the weights do not fit a classifier: missing keys ({min(loading['missing_keys'])})."
        )
    check_choice(model.config)
    if getattr(model.config, "pad_token_id", None) is None:  # decoders look for it to find a text's last token
        model.config.pad_token_id = tokenizer.pad_token_id
    return EvaluatedClassifier(model.eval(), tokenizer, explains=False)
