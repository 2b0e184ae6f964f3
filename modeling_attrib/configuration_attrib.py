"""Configuration of an attribution-returning classifier: any encoder, a head, and how to explain it."""

import inspect
from collections.abc import Iterable
from typing import Any, ClassVar

from transformers import AutoConfig, PretrainedConfig


ATTRIB_VERSION = "0.1.0"  # here only: setup.cfg reads it from this line, and every saved config.json names it
CLASSIFIER_HEADS = ("linear", "original")
POOLINGS = ("mean", "cls", "last")
FEATURE_ADJUSTMENTS = ("none", "attribution")
ATTRIBUTION_HEADS = ("none", "importance", "labels")
HEAD_INPUTS = ("attention", "states")


class AttribConfig(PretrainedConfig):
    """Configuration of `AttribForSequenceClassification`.

    Args:
        backbone_config: configuration of the encoder: any `PretrainedConfig` that `AutoModel` knows, or its
            dictionary (with `model_type`). For an original head, that of the whole classifier.
        classifier_head: `"linear"`, or `"original"`, a finished classifier's own head (see `from_classifier`).
        pooling: how token states become one text vector: `"mean"`, `"cls"` or `"last"`. Over the real tokens, from
            the first or from the last of them, for decoders. Of an original head, which tokens it reads.
        normalize_features: scale the text vector to length 1 before a linear head reads it, as SetFit can.
        classifier_dropout: dropout on the text vector while training.
        attribution_method: default method of `forward`; see `list_attribution_methods()`.
        attribution_options: options of that method, e.g. `{"orientation": "query"}` for
            `attention_gradient`.
        attribution_head: the trained head that the method `expnet` needs: `"none"`, `"importance"` (one score a token,
            learned from human rationales) or `"labels"` (one for each label, learned from a slower method).
        attribution_head_reads: what that head reads of each token: `"attention"`, its attention pattern in every layer
            (Mihaila 2026), or `"states"`, what enters every layer there.
        feature_adjustment: what the head reads: `"none"`, the pooled states, or `"attribution"`, adjusted features.
            These are Song's, LayerNorm(sum_i softmax(alpha / temperature)_i H_i), where alpha is the attention
            attribution of eq. 3 (Song 2026, eq. 3-5).
        feature_adjustment_temperature: temperature of that softmax over the tokens; > 0.
        feature_adjustment_layers: layers whose attention and gradients make alpha: `"last"`, `"all"` or a
            list of layer indices.
        feature_adjustment_differentiable: train through alpha as well (a double backward; needs an attention
            kernel that has one: `attn_implementation="eager"`).
        contrastive_weight: weight of the supervised contrastive loss on the text vectors; 0 switches it off.
        contrastive_temperature: temperature of the contrastive loss; > 0.
        kwargs: the usual `PretrainedConfig` arguments (`id2label`, `label2id`, `num_labels`, `problem_type` ...).

    Attributes:
        attrib_version: version of the code that saved the file read; None if nothing was read, or older code saved it.

    Raises:
        ValueError: for an unknown `pooling`, `attribution_head`, `attribution_head_reads` or `feature_adjustment`, a
            temperature that is not positive, or an `id2label` and a `label2id` that disagree.
    """

    model_type = "attrib"
    sub_configs: ClassVar = {"backbone_config": AutoConfig}
    keys_to_ignore_at_inference: ClassVar = ["attributions", "attribution_target", "attribution_residual"]

    def __init__(
        self,
        backbone_config: PretrainedConfig | dict[str, Any] | None = None,
        classifier_head: str = "linear",
        pooling: str = "mean",
        normalize_features: bool = False,
        classifier_dropout: float = 0.1,
        attribution_method: str = "damped_lrp",
        attribution_options: dict[str, Any] | None = None,
        attribution_head: str = "none",
        attribution_head_reads: str = "attention",
        feature_adjustment: str = "none",
        feature_adjustment_temperature: float = 1.0,
        feature_adjustment_layers: str | list[int] = "last",
        feature_adjustment_differentiable: bool = False,
        contrastive_weight: float = 0.0,
        contrastive_temperature: float = 0.1,
        **kwargs: Any,
    ) -> None:
        if classifier_head not in CLASSIFIER_HEADS:
            raise ValueError(
                f"classifier_head={classifier_head!r} is unknown: use one of {', '.join(CLASSIFIER_HEADS)}."
            )
        if classifier_head == "original" and (feature_adjustment != "none" or contrastive_weight or normalize_features):
            raise ValueError(
                "an original head is kept as it is: no feature_adjustment, contrastive_weight or normalize_features."
            )
        if pooling not in POOLINGS:
            raise ValueError(f"pooling={pooling!r} is unknown: use one of {', '.join(POOLINGS)}.")
        if attribution_head not in ATTRIBUTION_HEADS:
            raise ValueError(
                f"attribution_head={attribution_head!r} is unknown: use one of {', '.join(ATTRIBUTION_HEADS)}."
            )
        if attribution_head_reads not in HEAD_INPUTS:
            raise ValueError(
                f"attribution_head_reads={attribution_head_reads!r} is unknown: use one of {', '.join(HEAD_INPUTS)}."
            )
        if feature_adjustment not in FEATURE_ADJUSTMENTS:
            raise ValueError(
                f"feature_adjustment={feature_adjustment!r} is unknown: use one of {', '.join(FEATURE_ADJUSTMENTS)}."
            )
        if not feature_adjustment_temperature > 0 or not contrastive_temperature > 0:
            raise ValueError("feature_adjustment_temperature and contrastive_temperature must be positive.")
        if isinstance(backbone_config, dict):
            backbone_config = AutoConfig.for_model(**backbone_config)
        # Set before super().__init__(): it hands attn_implementation down to the sub-configurations it finds.
        self.backbone_config = backbone_config
        self.classifier_head = classifier_head
        self.pooling = pooling
        self.normalize_features = normalize_features
        self.classifier_dropout = classifier_dropout
        self.attribution_method = attribution_method
        self.attribution_options = dict(attribution_options or {})
        self.attribution_head = attribution_head
        self.attribution_head_reads = attribution_head_reads
        self.feature_adjustment = feature_adjustment
        self.feature_adjustment_temperature = feature_adjustment_temperature
        self.feature_adjustment_layers = feature_adjustment_layers
        self.feature_adjustment_differentiable = feature_adjustment_differentiable
        self.contrastive_weight = contrastive_weight
        self.contrastive_temperature = contrastive_temperature
        self.attrib_version: str | None = kwargs.pop("attrib_version", None)
        # register_for_auto_class writes one auto_map entry only, and a model re-saved from a bundle must stay
        # loadable by every Auto class: so the maps are always ours, whatever the loaded file said.
        kwargs.pop("auto_map", None)
        kwargs.pop("custom_pipelines", None)
        names, indices = kwargs.get("id2label"), kwargs.pop("label2id", None)
        if names and indices and _indices_of(names) != {name: int(index) for name, index in indices.items()}:
            raise ValueError(f"id2label and label2id disagree, which would mix labels up: {names} and {indices}.")
        if indices and not names:
            kwargs["id2label"] = _names_of(indices)
        super().__init__(**kwargs)
        self.auto_map = {
            "AutoConfig": "configuration_attrib.AttribConfig",
            "AutoModel": "modeling_attrib.AttribForSequenceClassification",
            "AutoModelForSequenceClassification": "modeling_attrib.AttribForSequenceClassification",
        }
        # transformers looks tasks up by the name given: an alias that is not here would get the stock pipeline.
        self.custom_pipelines = {
            task: {
                "impl": "pipeline_attrib.AttribTextClassificationPipeline",
                "pt": ["AutoModelForSequenceClassification"],
                "type": "text",
            }
            for task in ("text-classification", "sentiment-analysis")
        }

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets `id2label` and `label2id` together: they say the same, whichever is set.

        Raises:
            ValueError: for a `label2id` whose indices are not 0 to one less than its length, each once.
        """
        if name == "label2id" and value and value != _indices_of(getattr(self, "id2label", None) or {}):
            self.id2label = _names_of(value)
            return
        super().__setattr__(name, value)
        if name == "id2label" and value:
            super().__setattr__("label2id", _indices_of(value))

    def get_text_config(self, *args: Any, **kwargs: Any) -> PretrainedConfig:
        """The backbone's text configuration: vocabulary, hidden size and layers live there."""
        if self.backbone_config is None:
            return self
        return self.backbone_config.get_text_config(*args, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        """Serialisable dictionary: with the version of this code, without the local path of the backbone."""
        output = super().to_dict() | {"attrib_version": ATTRIB_VERSION}
        if isinstance(output.get("backbone_config"), dict):
            output["backbone_config"].pop("_name_or_path", None)
        return output


def check_argument_names(names: Iterable[str], taker: str) -> None:
    """Refuse what `AttribConfig` would take and keep as an attribute that nothing reads.

    Args:
        taker: the function they were given to, for the message.

    Raises:
        TypeError: as Python's own for an unknown argument, with the name that was probably meant.
    """
    own = list(inspect.signature(AttribConfig.__init__).parameters)[2:-1]
    inherited = PretrainedConfig()
    for name in names:
        if name not in own and not hasattr(inherited, name):
            meant = [known for known in own if name in known]
            hint = f"; did you mean {' or '.join(meant)}?" if meant else f"; AttribConfig takes {', '.join(own)}."
            raise TypeError(f"{taker} has no argument {name!r}{hint}")


def _indices_of(names: dict[int | str, str]) -> dict[str, int]:
    """id2label -> label2id."""
    return {name: int(index) for index, name in names.items()}


def _names_of(indices: dict[str, int | str]) -> dict[int, str]:
    """label2id -> id2label."""
    names = {int(index): name for name, index in indices.items()}
    if sorted(names) != list(range(len(indices))):
        raise ValueError(f"label2id={indices}: its indices must be 0 to {len(indices) - 1}, each once.")
    return dict(sorted(names.items()))


AttribConfig.register_for_auto_class()
