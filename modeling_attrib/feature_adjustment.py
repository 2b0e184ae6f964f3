"""Song 2026, H̃: a head that reads each token as much as an attribution says that it decides."""

import contextlib
from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
from torch import nn
from transformers.utils import ModelOutput

from .activation_capture import ActivationCapture, check_layers, start_of_graph
from .attention_gradient import combine_attention_and_gradient, select_layers
from .attention_records import AttentionRecorder, ExplicitAttention
from .attribution_methods import ExplainableClassifier, Inputs
from .backbone_parts import find_parts
from .half_precision import GradientScale, at_least_float32
from .pooling import weighted_sum


class AdjustingClassifier(ExplainableClassifier, Protocol):
    """What is asked of a classifier whose head reads adjusted features."""

    adjusted_norm: nn.LayerNorm | None
    classifier: nn.Linear

    def plain_weights(self, inputs: Inputs) -> torch.Tensor: ...

    def run_backbone(self, inputs: Inputs, returned: Sequence[str] = ()) -> Any: ...


def encode_and_weigh(
    classifier: AdjustingClassifier, inputs: Inputs, returned: Sequence[str] = ()
) -> tuple[Any, torch.Tensor]:
    """The backbone's output, and softmax(α/τ), how much the head reads of each token's last state: (batch, tokens).

    Args:
        returned: what of the backbone's output is asked for beside its last states.
    """
    assert classifier.adjusted_norm is not None, "its features are not adjusted"
    # alpha needs y, and y needs the adjusted features: y⁰, read with plain pooling, breaks the circle.
    config = classifier.config
    training = torch.is_grad_enabled()
    through_alpha = training and config.feature_adjustment_differentiable
    layers = select_layers(config.feature_adjustment_layers, classifier.num_layers)
    with torch.inference_mode(False), torch.enable_grad():
        inputs = outside_inference_mode(inputs)
        given, words = start_of_graph(classifier, inputs)
        capture = ActivationCapture(list(find_parts(classifier.backbone).layers))
        kernel = ExplicitAttention() if through_alpha else contextlib.nullcontext()
        with words, AttentionRecorder() as recorder, kernel, capture:
            encoded = classifier.run_backbone(inputs | given, returned)
        check_layers(classifier, capture.values, inputs)
        hidden = encoded.last_hidden_state
        pooling = classifier.plain_weights(inputs)
        winning = classifier.classifier(classifier.adjusted_norm(weighted_sum(hidden, pooling))).amax(dim=-1)
        states = [capture.values[layer] for layer in layers]
        scale = GradientScale(winning, pooling)
        gradients = torch.autograd.grad(
            scale.enlarge(winning).sum(), states, retain_graph=training, create_graph=through_alpha
        )
        records = recorder.layers(classifier, inputs)
        with contextlib.nullcontext() if through_alpha else torch.no_grad():
            mask = inputs["attention_mask"]
            alpha = sum(
                combine_attention_and_gradient(records[layer], scale.restore(gradient), state, mask)
                for layer, gradient, state in zip(layers, gradients, states)
            )
            scores = at_least_float32(cast(torch.Tensor, alpha)) / config.feature_adjustment_temperature
            weights = scores.masked_fill(~mask.bool(), -torch.inf).softmax(dim=-1).nan_to_num().to(hidden.dtype)
    return (encoded, weights) if training else (_detached(encoded), weights.detach())


def outside_inference_mode(inputs: Inputs) -> Inputs:
    """Copies of inference-mode tensors that autograd may use."""
    return {name: value.clone() if value.is_inference() else value for name, value in inputs.items()}


def _detached(encoded: ModelOutput) -> ModelOutput:
    for name, value in encoded.items():
        encoded[name] = value.detach() if isinstance(value, torch.Tensor) else tuple(part.detach() for part in value)
    return encoded
