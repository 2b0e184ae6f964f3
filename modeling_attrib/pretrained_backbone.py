"""Encoders to build a classifier on: which Auto class gives one, and what is not one."""

import copy
import inspect
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding, PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING, MODEL_MAPPING

from .configuration_attrib import AttribConfig


def load_backbone(
    backbone: str, attn_implementation: str | None, dtype: torch.dtype
) -> tuple[PreTrainedModel, PretrainedConfig]:
    """The pretrained encoder of a Hub id or folder, and its configuration as it lies there.

    Raises:
        ValueError: for a finished classifier, and for an encoder-decoder whose encoder does not come by itself.
    """
    options = {} if attn_implementation is None else {"attn_implementation": attn_implementation}
    config = AutoConfig.from_pretrained(backbone, **options)
    _refuse_finished_classifier(backbone, config)
    factory, arguments = backbone_factory(config)
    return factory.from_pretrained(backbone, config=config, dtype=dtype, **arguments, **options), config


def fresh_backbone(
    config: PretrainedConfig, attn_implementation: str | None, dtype: torch.dtype
) -> tuple[PreTrainedModel, PretrainedConfig]:
    """An encoder with fresh weights, and its configuration: a copy, since the one given may be another model's."""
    options = {} if attn_implementation is None else {"attn_implementation": attn_implementation}
    config = copy.deepcopy(config)
    factory, arguments = backbone_factory(config)
    return factory.from_config(config, **arguments, **options).to(dtype), config


def backbone_factory(config: PretrainedConfig) -> tuple[Any, dict[str, Any]]:
    """The Auto class for this backbone, and the arguments that leave out an unused pooler.

    Raises:
        ValueError: for a configuration that is a classifier's, or that no single encoder belongs to.
    """
    if config.model_type == AttribConfig.model_type:
        raise ValueError("this is a classifier's configuration: give its backbone_config.")
    factory: Any
    model_class: Any
    # By type, not by config.is_encoder_decoder: building T5's encoder turns that flag off in the configuration.
    if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING:
        factory, model_class = AutoModelForTextEncoding, MODEL_FOR_TEXT_ENCODING_MAPPING[type(config)]
    else:
        if config.is_encoder_decoder:
            raise ValueError(
                f"{type(config).__name__}: an encoder-decoder whose encoder transformers does not offer by itself; "
                "attributions would read the decoder too. Choose an encoder (T5's is one that comes by itself)."
            )
        factory = AutoModel
        models: Any = MODEL_MAPPING  # whose `get` is annotated for pairs of classes
        model_class = models.get(type(config), None)
        if isinstance(model_class, tuple) and not config.architectures:
            names = " or ".join(repr(each.__name__) for each in model_class)
            raise ValueError(f"{type(config).__name__} stands for several models: set architectures to [{names}].")
    has_pooler = model_class is not None and "add_pooling_layer" in inspect.signature(model_class.__init__).parameters
    return factory, {"add_pooling_layer": False} if has_pooler else {}


def _refuse_finished_classifier(backbone: str, config: PretrainedConfig) -> None:
    """Its trained head would be dropped, and a fresh one answer at random."""
    if config.model_type == AttribConfig.model_type:
        raise ValueError(
            f"{backbone} is a finished classifier: load it with from_pretrained, which keeps its head. (For a new head "
            "on its encoder alone: from_pretrained(...).backbone.save_pretrained(FOLDER), then from_backbone(FOLDER).)"
        )
    heads = [name for name in config.architectures or [] if name.endswith("ForSequenceClassification")]
    if heads:
        raise ValueError(
            f"{backbone} is a finished classifier ({heads[0]}): from_classifier keeps its head and explains it; "
            "from_backbone would answer with a fresh one. (For a new head on its encoder alone: "
            "AutoModel.from_pretrained(...).save_pretrained(FOLDER), then from_backbone(FOLDER).)"
        )
