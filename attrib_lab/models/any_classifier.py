"""Any classifier by its name: a model of this project, or one of transformers' own that is converted as it is read."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import find_adapter_config_file

from modeling_attrib import AttribConfig, AttribForSequenceClassification
from modeling_attrib.original_classifier import load_classifier

from ..terminal.errors import UserError, first_line
from .model_folder import load_trained_model


_FAULTS = (OSError, ValueError, RuntimeError, TypeError, KeyError, SafetensorError)


@dataclass(frozen=True)
class OpenClassifier:
    """A classifier that explains itself, in evaluation mode, and its tokenizer.

    Attributes:
        converted: the class of transformers that it was converted from; None for a model of this project.
    """

    model: AttribForSequenceClassification
    tokenizer: PreTrainedTokenizerBase
    converted: str | None = None


def open_classifier(name: str, labels: tuple[str, ...] = ()) -> OpenClassifier:
    """The classifier of a folder or Hub id: of this project, of transformers, or an adapter for one.

    Args:
        labels: names of an adapter's labels, in their order, which its files do not say.

    Raises:
        UserError: for what is no classifier, cannot be loaded, or cannot be explained.
    """
    folder = Path(name)
    if folder.is_dir() and (folder / "model_head.pkl").is_file():
        raise UserError(
            f"{name} is a SetFit model, whose head is a pickle, which runs code when it is read. If you trust it, load "
            "it yourself: AttribForSequenceClassification.from_classifier(SetFitModel.from_pretrained(...))."
        )
    adapter = find_adapter_config_file(name)
    if adapter is None and _is_ours(name):
        if folder.is_dir():
            trained = load_trained_model(folder)
            return OpenClassifier(trained.model, trained.tokenizer)
        model = _read(name, lambda: AttribForSequenceClassification.from_pretrained(name).eval())
        return OpenClassifier(model, _read(name, lambda: AutoTokenizer.from_pretrained(name)))
    if labels and adapter is None:
        raise UserError(f"{name} names its labels itself: labels are given for an adapter alone.")
    given = {"id2label": dict(enumerate(labels))} if labels else {}
    stock = _read(name, lambda: load_classifier(name, None, torch.float32, given))
    tokenizer = _read(name, lambda: AutoTokenizer.from_pretrained(_tokenizer_of(name, adapter)))
    if len(tokenizer) <= len(tokenizer.all_special_tokens):  # transformers 5 makes one of nothing where no file is
        raise UserError(f"{name} has no tokenizer: save the one that it was trained with beside it.")
    text_config = stock.config.get_text_config()
    if text_config.pad_token_id is None:  # a decoder's head finds a text's last token by it, and many leave it out
        text_config.pad_token_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    model = _read(name, lambda: AttribForSequenceClassification.from_classifier(stock))
    return OpenClassifier(model, tokenizer, type(stock).__name__)


def _is_ours(name: str) -> bool:
    return _read(name, lambda: AutoConfig.from_pretrained(name)).model_type == AttribConfig.model_type


def _tokenizer_of(name: str, adapter: str | None) -> str:
    """An adapter may have been saved without one: then it is its model's."""
    if adapter is None or (Path(name) / "tokenizer_config.json").is_file():
        return name
    return json.loads(Path(adapter).read_text(encoding="utf-8"))["base_model_name_or_path"]


def _read(name: str, load: Any) -> Any:
    try:
        return load()
    except _FAULTS as error:
        raise UserError(f"{name}: no classifier can be loaded: {first_line(error)}") from None
