"""A sequence classifier around any encoder that returns logits and signed per-token attributions from one call."""

import contextlib
import copy
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PretrainedConfig, PreTrainedModel

from .attention_map_gradients import gae  # noqa: F401 - what it registers
from .attention_masks import FiniteScores
from .attention_methods import rollout  # noqa: F401 - what it registers
from .attribution_methods import AttributionMethod, AttributionRequest, Inputs, get_attribution_method
from .backbone_checks import BackboneChecks
from .backbone_parts import attention_kernel, find_parts, is_causal
from .classifier_output import AttribSequenceClassifierOutput, ExplainedFields, explained_fields
from .compiled_attributions import CompiledAttributions
from .configuration_attrib import AttribConfig, check_argument_names
from .expnet import build_expnet
from .feature_adjustment import encode_and_weigh, outside_inference_mode
from .half_precision import at_least_float32
from .integrated_gradients import integrated_gradients  # noqa: F401 - what it registers
from .losses import classification_loss
from .original_classifier import fresh_classifier, head_weights, load_classifier, stock_classifier, tokens_read
from .pooling import pooling_weights, weighted_sum
from .pretrained_backbone import backbone_factory, fresh_backbone, load_backbone
from .random_scores import random  # noqa: F401 - what it registers
from .setfit_classifier import is_setfit, setfit_encoder, setfit_head
from .shapley_methods import attention_shapley  # noqa: F401 - what it registers
from .xla_devices import check_autograd, is_xla


if TYPE_CHECKING:
    # Never run. Loading and saving remote code looks for import lines only: the first line ships the pipeline beside
    # this file, the others are there because transformers 4 copies from a folder only what this file names itself.
    from .activation_capture import ActivationCapture  # noqa: F401
    from .attention_gradient import select_layers  # noqa: F401
    from .attention_records import AttentionRecorder  # noqa: F401
    from .conservation import unaccounted_relevance  # noqa: F401
    from .contrastive import supervised_contrastive_loss  # noqa: F401
    from .frozen_functions import rescale  # noqa: F401
    from .gradient_flow import layer_without_gradient  # noqa: F401
    from .html_attrib import render_html  # noqa: F401
    from .model_structure import structure_of  # noqa: F401
    from .onnx_attrib import OnnxAttributions  # noqa: F401
    from .pipeline_attrib import AttribTextClassificationPipeline  # noqa: F401
    from .propagation_methods import propagate  # noqa: F401
    from .propagation_rules import PropagationRules  # noqa: F401
    from .sample_inputs import sample_inputs  # noqa: F401
    from .stand_ins import StandIns  # noqa: F401
    from .text_inference import TextInference  # noqa: F401
    from .text_spans import aggregate  # noqa: F401
    from .text_windows import tokenize  # noqa: F401
    from .tracing import trace_attributions  # noqa: F401
    from .untouched import Untouched  # noqa: F401
    from .word_places import word_out_of_place  # noqa: F401


_LABELS = ("num_labels", "id2label")  # which an adapter's files do not say


class AttribPreTrainedModel(PreTrainedModel):
    """Loading, saving and initialisation; weights of the backbone are its own class's business."""

    config: AttribConfig
    config_class = AttribConfig
    base_model_prefix = "backbone"
    supports_gradient_checkpointing = True
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = True  # the backbone's own class says what it has
    _supports_attention_backend = True


class AttribForSequenceClassification(AttribPreTrainedModel):
    """Encoder, pooling and a linear head; `forward` also explains its decision token by token.

    Build one from a pretrained encoder with `from_backbone`, load a trained one with `from_pretrained`.
    """

    accepts_loss_kwargs = False  # else Trainer multiplies the logged loss by accumulation steps and processes

    def __init__(self, config: AttribConfig) -> None:
        super().__init__(config)
        if config.backbone_config is None:
            raise ValueError("AttribConfig needs a backbone_config; or use from_backbone('name or folder').")
        self.num_labels = cast(int, config.num_labels)
        self.original: PreTrainedModel | None = None
        if config.classifier_head == "original":
            # transformers 4 takes weights that do not start with this prefix for those of a backbone alone.
            self.base_model_prefix = "original"
            self._hold(fresh_classifier(config.backbone_config))
        else:
            factory, arguments = backbone_factory(config.backbone_config)
            self.backbone = factory.from_config(config.backbone_config, **arguments)
        width = getattr(config.get_text_config(), "hidden_size", None)
        if width is None:
            name = type(config.backbone_config).__name__
            raise ValueError(f"{name} does not say how wide token states are (hidden_size): it is not supported.")
        # In this order: an optimiser's checkpoint knows weights by their number.
        self.adjusted_norm = nn.LayerNorm(width) if config.feature_adjustment == "attribution" else None
        if self.original is None:
            self.dropout = nn.Dropout(config.classifier_dropout)
            self.classifier = nn.Linear(width, self.num_labels)
        self.expnet = build_expnet(config)
        self._compiled: CompiledAttributions | None = None
        self._checks = BackboneChecks()
        self.backbone_arguments = frozenset(inspect.signature((self.original or self.backbone).forward).parameters)
        if "attention_mask" not in self.backbone_arguments:
            raise ValueError(
                f"{type(self.backbone).__name__} takes no attention_mask: it would read padding as text, and logits "
                "would depend on it; this backbone is not supported."
            )
        self.post_init()

    def _hold(self, original: PreTrainedModel) -> None:
        """Take a classifier with its configuration: there is one, so that what is set in it is read and saved."""
        self.original, self.config.backbone_config = original, original.config

    def __getattr__(self, name: str) -> Any:
        """The backbone of an original classifier is a part of that; it has no second name among the weights."""
        original = self.__dict__["_modules"].get("original") if name == "backbone" else None
        if original is not None:
            return original.base_model
        return super().__getattr__(name)

    @property
    def device(self) -> torch.device:
        """Where the weights are; the host, for layers that keep theirs out of sight, as torch's quantised ones do."""
        return next((tensor.device for tensor in chain(self.parameters(), self.buffers())), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """The first weight's type of floating point; float32 where none is in sight."""
        return next((weight.dtype for weight in self.parameters() if weight.is_floating_point()), torch.float32)

    # torch declares four ways of calling it; ours takes whichever and passes it on.
    def to(self, *arguments: Any, **options: Any) -> "AttribForSequenceClassification":  # type: ignore[override]
        """As torch's. Weights that are one tensor stay one on an XLA device too, where torch would copy them apart.

        Raises:
            ValueError: for an XLA device that autograd does not know, saying what to do.
        """
        super().to(*arguments, **options)
        if is_xla(self.device):
            check_autograd(self.device)
            self.tie_weights()
        return self

    @classmethod
    def from_backbone(
        cls,
        backbone: str | PretrainedConfig,
        *,
        pooling: str | None = None,
        attn_implementation: str | None = None,
        dtype: torch.dtype = torch.float32,
        **config_arguments: Any,
    ) -> "AttribForSequenceClassification":
        """A classifier with a fresh head on a pretrained encoder, or on a fresh one.

        Args:
            backbone: Hub id or folder of any model that `AutoModel` loads (encoder-decoders: their encoder); or a
                configuration, for an encoder with fresh weights.
            pooling: "mean", "cls" or "last"; by default "last" for decoders, else "mean".
            attn_implementation: passed on to the backbone; unset lets it choose.
            dtype: type of all weights.
            config_arguments: anything that `AttribConfig` takes (`num_labels`, `id2label`, `feature_adjustment` ...).

        Returns:
            The classifier, in evaluation mode like every `from_pretrained`.

        Raises:
            ValueError: for a finished classifier, whose head would be lost; naming the part, if the attribution rules
                cannot find their way in this backbone, or if the configured method needs a rule for every part and a
                check shows that some part has none.
            TypeError: for an argument that nothing reads.
        """
        check_argument_names(config_arguments, "from_backbone")
        if config_arguments.get("classifier_head", "linear") != "linear":
            raise ValueError("from_backbone makes a fresh linear head: from_classifier keeps an original one.")
        if isinstance(backbone, PretrainedConfig):
            encoder, backbone_config = fresh_backbone(backbone, attn_implementation, dtype)
        else:
            encoder, backbone_config = load_backbone(backbone, attn_implementation, dtype)
        find_parts(encoder)
        config = AttribConfig(
            backbone_config=backbone_config,
            pooling=pooling or ("last" if is_causal(encoder) else "mean"),
            attn_implementation=attention_kernel(encoder),
            **config_arguments,
        )
        model = cls(config).to(dtype)
        model.backbone = encoder
        model.eval()
        if model.device.type == "meta":  # without numbers yet: found out once it explains
            return model
        with model.examined(get_attribution_method(config.attribution_method)):
            return model

    @classmethod
    def from_classifier(
        cls,
        classifier: "str | PreTrainedModel | nn.Module",
        *,
        attn_implementation: str | None = None,
        dtype: torch.dtype = torch.float32,
        **config_arguments: Any,
    ) -> "AttribForSequenceClassification":
        """A finished classifier of transformers' own, which explains itself from now on.

        Its weights and its head stay as they are: the logits are the same. Labels and problem type come along.

        Args:
            classifier: Hub id or folder of any model that `AutoModelForSequenceClassification` loads, or of an adapter
                for one (with peft installed); or such a model object, which is held, not copied; or peft's model,
                whose adapter is merged in a copy; or a `CrossEncoder` of sentence-transformers; or a SetFit model,
                whose encoder and linear head are copied.
            attn_implementation, dtype: as in `from_backbone`; a model object keeps its own.
            config_arguments: what `AttribConfig` takes of attribution methods; for an adapter `num_labels` or
                `id2label` too, which its files do not say.

        Returns:
            The classifier, in evaluation mode.

        Raises:
            ValueError: for a model without a trained head or of another kind, with the door that takes it; naming the
                part, if the attribution rules cannot find their way in it; and as `from_backbone`.
            TypeError: for an argument that nothing reads.
        """
        check_argument_names(config_arguments, "from_classifier")
        if is_setfit(classifier):
            return cls._from_setfit(classifier, **config_arguments)
        unread = [name for name in config_arguments if not name.startswith("attribution_") and name not in _LABELS]
        if unread:
            raise ValueError(f"an original head is kept as it is, problem type and labels too: no {unread[0]}.")
        labels: dict[str, Any] = {name: config_arguments.pop(name) for name in _LABELS if name in config_arguments}
        if isinstance(classifier, str):
            classifier = load_classifier(classifier, attn_implementation, dtype, labels)
        elif labels:
            raise ValueError("a classifier's labels come along: set them in its own configuration.")
        original = stock_classifier(classifier).eval()
        find_parts(original.base_model, original)
        config = AttribConfig(
            backbone_config=copy.deepcopy(original.config),
            classifier_head="original",
            attn_implementation=attention_kernel(original.base_model),
            id2label=original.config.id2label,
            problem_type=original.config.problem_type,
            **config_arguments,
        )
        with torch.device("meta"):  # weights that are replaced by the classifier's own
            model = cls(config)
        model._hold(original)
        model.expnet = build_expnet(config)
        if model.expnet is not None:
            model.expnet.to(original.device, original.dtype)
        model.eval()
        config.pooling = tokens_read(model)
        with model.examined(get_attribution_method(config.attribution_method)):
            return model

    @classmethod
    def _from_setfit(cls, classifier: Any, **config_arguments: Any) -> "AttribForSequenceClassification":
        encoder, pooling, normalised = setfit_encoder(classifier)
        weight, bias, names, problem_type = setfit_head(classifier)
        config = AttribConfig(
            backbone_config=copy.deepcopy(encoder.config),
            pooling=pooling,
            normalize_features=normalised,
            attn_implementation=attention_kernel(encoder),
            id2label=dict(enumerate(names)),
            problem_type=problem_type,
            **config_arguments,
        )
        model = cls(config).to(encoder.device, encoder.dtype)
        own = model.backbone.state_dict().keys()  # an unused pooler stays behind
        model.backbone.load_state_dict({name: value for name, value in encoder.state_dict().items() if name in own})
        model.classifier.load_state_dict({"weight": weight, "bias": bias})
        model.eval()
        with model.examined(get_attribution_method(config.attribution_method)):
            return model

    @property
    def num_layers(self) -> int:
        """Number of encoder layers, that is of attention products in one forward pass."""
        return self.config.get_text_config().num_hidden_layers

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_attributions: bool | None = None,
        attribution_target: int | str | torch.Tensor | None = None,
        attribution_contrast: int | torch.Tensor | None = None,
        attribution_method: str | None = None,
        attribution_options: dict[str, Any] | None = None,
        return_dict: bool | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> AttribSequenceClassifierOutput | tuple[torch.Tensor, ...]:
        """Classify, and say which tokens speak for and against the decision.

        Under `torch.no_grad()` or `torch.inference_mode()` logits and attributions come from one pass. Where
        gradients are on, the logits (and the loss) come with their ordinary graph from a pass of their own.

        Args:
            input_ids: (batch, tokens); or `inputs_embeds`, (batch, tokens, width).
            attention_mask: (batch, tokens), 1 at real tokens; all real if absent.
            token_type_ids, position_ids: passed on to backbones that take them.
            labels: (batch,) label indices, (batch, labels) floats for multi-label, (batch,) floats for regression.
            output_attributions: None explains unless labels are given or the model is in training mode; naming a
                target, a contrast or a method asks for it too.
            attribution_target: label to explain: None (the predicted one), an index, a (batch,) tensor, or `"all"`.
            attribution_contrast: explain y_target − y_contrast: why the one and not the other. Where both are one
                label, as for a text predicted the contrast, there is nothing to explain: gradients and relevance are 0.
            attribution_method: a name of `list_attribution_methods()`; by default the configuration's.
            attribution_options: the method's options; by default the configuration's, if the method is too.
            output_hidden_states, output_attentions: return the backbone's states and attention weights too, of the
                pass that the logits come from; an explanation then costs a pass more. By default the configuration's.

        Raises:
            ValueError: for an unknown method, option or label, a mask that is not (batch, tokens), attention weights
                of a kernel that does not give them, or layers that pass no gradient to a method that needs it.
        """
        inputs = self._gather_inputs(input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        if output_attributions is None:
            questions = (attribution_target, attribution_contrast, attribution_method)
            asked = any(question is not None for question in questions)
            output_attributions = asked or (labels is None and not self.training)
        returned = self._returned_states(output_hidden_states, output_attentions)
        if not len(inputs["attention_mask"]):
            every_label = attribution_target == "all"
            return self._output(return_dict, **self._answer_no_texts(inputs, output_attributions, every_label))
        plain: dict[str, Any] = {}
        if labels is not None or torch.is_grad_enabled() or not output_attributions or returned:
            plain = self._plain_pass(inputs, labels, returned)
        if not output_attributions:
            return self._output(return_dict, **plain)
        request = AttributionRequest(attribution_target, attribution_contrast)
        explained = self._explained_pass(inputs, request, attribution_method, attribution_options, plain.get("logits"))
        return self._output(return_dict, **explained | plain)

    def compile_attributions(self) -> "AttribForSequenceClassification":
        """Compile the configured attribution method, forward and backward pass, into one graph for this machine.

        Takes a minute or so, and a C++ compiler. Whether it pays depends on the processor: on one with AVX2 alone it
        did for single texts of 64 tokens, and cost more from 128 on. From then on `forward` runs the graph where it
        can: in evaluation mode, without gradients or labels, for one target per text; everything else goes the
        ordinary way. Sizes stay dynamic. Weights that were replaced or written to are noticed and compiled again, and
        so are other modules, hooks, adapters and attributes (see `structure_of`); after writes through `.data`, call
        this again. Keeps a second copy of the weights.

        Returns:
            The model itself.

        Raises:
            ValueError: in training mode, if the graph cannot be compiled, or if it answers differently.
        """
        self._compiled = CompiledAttributions(self)
        return self

    def choose_attribution_method(
        self, name: str | None = None, options: dict[str, Any] | None = None
    ) -> tuple[AttributionMethod, dict[str, Any]]:
        """The method and its options that `forward` uses when asked for these; the configuration's by default.

        Raises:
            ValueError: for an unknown method, or an option that it does not have.
        """
        method = get_attribution_method(name or self.config.attribution_method)
        if options is None:
            options = self.config.attribution_options if method.name == self.config.attribution_method else {}
        method.check_options(options)
        return method, options

    @contextlib.contextmanager
    def examined(self, method: AttributionMethod) -> Iterator[None]:
        """Context to explain in by `method`: the model was found fit for it, and is not changed meanwhile.

        Raises:
            ValueError: with the reason and the methods that remain, if the method would explain this model wrongly.
        """
        with self._checks.same_model(self):
            self._checks.refuse(self, method)
            yield

    # What attribution methods ask of a classifier --------------------------------------------------------------

    def encode(self, inputs: Inputs) -> torch.Tensor:
        """Token states (batch, tokens, width)."""
        return self.run_backbone(inputs).last_hidden_state

    def classify(self, inputs: Inputs, weights: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (batch, labels); `weights` (batch, tokens) fixes how much a linear head reads of each token.

        Raises:
            ValueError: naming the layer, if gradients are on and some layer passes none.
        """
        if torch.is_grad_enabled():
            self._checks.refuse_without_gradient(self)
        if self.original is not None:
            return self._run(self.original, inputs).logits
        if weights is not None:
            return self._read(self.encode(inputs), weights)[1]
        encoded, weights = self._encode_and_weigh(inputs)
        return self._read(encoded.last_hidden_state, weights)[1]

    def token_weights(self, inputs: Inputs) -> torch.Tensor:
        """How much the head reads of each token: (batch, tokens), rows sum to 1, 0 at padding."""
        if self.adjusted_norm is None:
            return self.plain_weights(inputs)
        return self._encode_and_weigh(inputs)[1].detach()

    def reads_one_token(self) -> bool:
        """Whether the logits depend on one token alone of what stands behind the last attention product.

        The head's part is in the configuration. The backbone's is found out on a few tokens. Never in training mode:
        a batch norm would learn from tokens that were not computed.
        """
        if self.config.pooling == "mean" or self.adjusted_norm is not None:
            return False
        return not (any(m.training for m in self.backbone.modules()) or self._checks.mixes_tokens(self))

    def lays_out_texts_first(self) -> bool:
        """Whether token states are (batch, tokens, width), not (tokens, batch, width) as XLNet's: of as many texts as
        tokens, shapes do not tell."""
        return self._checks.lays_out_texts_first(self)

    # Inside ----------------------------------------------------------------------------------------------------

    def _gather_inputs(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        token_type_ids: torch.Tensor | None,
        position_ids: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
    ) -> Inputs:
        given = input_ids if inputs_embeds is None else inputs_embeds
        if given is None or not (input_ids is None or inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds.")
        shape = given.shape[:2]
        if attention_mask is None:
            attention_mask = torch.ones(shape, dtype=torch.long, device=given.device)
        if attention_mask.shape != shape:
            raise ValueError(f"attention_mask has shape {tuple(attention_mask.shape)}; expected {tuple(shape)}.")
        inputs = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            "position_ids": position_ids,
            "inputs_embeds": inputs_embeds,
        }
        accepted = self.backbone_arguments
        return {name: value for name, value in inputs.items() if value is not None and name in accepted}

    def _returned_states(self, hidden_states: bool | None, attentions: bool | None) -> list[str]:
        """What of the backbone's output is returned: as the call says, or else the configuration."""
        asked = {"hidden_states": hidden_states, "attentions": attentions}
        return [name for name, on in asked.items() if (getattr(self.config, f"output_{name}") if on is None else on)]

    def run_backbone(self, inputs: Inputs, returned: Sequence[str] = ()) -> Any:
        """The backbone's `ModelOutput`: its token states (batch, tokens, width), and what else is `returned`."""
        output = self._run(self.backbone, inputs, returned)
        if "last_hidden_state" not in output:
            raise ValueError(f"{type(self.backbone).__name__} returns no token states (last_hidden_state) to classify.")
        self._check_states(output.last_hidden_state, inputs)
        return output

    def _run(self, part: nn.Module, inputs: Inputs, returned: Sequence[str] = ()) -> Any:
        extra = {"use_cache": False} if "use_cache" in self.backbone_arguments else {}
        extra |= {f"output_{name}": True for name in returned}
        with FiniteScores() if self.dtype == torch.float64 else contextlib.nullcontext():
            output = part(**inputs, **extra, return_dict=True)
        for name in returned:
            layers = output.get(name)
            if not layers or any(layer is None for layer in layers):
                hint = ": load the model with attn_implementation='eager'." if name == "attentions" else "."
                raise ValueError(f"{type(self.backbone).__name__} does not return {name} as it is loaded{hint}")
        return output

    def _check_states(self, states: torch.Tensor, inputs: Inputs) -> None:
        expected = (*inputs["attention_mask"].shape, self.config.get_text_config().hidden_size)
        if tuple(states.shape) != expected:
            raise ValueError(
                f"{type(self.backbone).__name__}: its token states have shape {tuple(states.shape)}, and by its "
                f"configuration they would have {expected}; this backbone is not supported."
            )

    def _encode_and_weigh(self, inputs: Inputs, returned: Sequence[str] = ()) -> tuple[Any, torch.Tensor]:
        """The backbone's output and how much the head reads of each token's last state (batch, tokens)."""
        if self.adjusted_norm is None:
            return self.run_backbone(inputs, returned), self.plain_weights(inputs)
        self._checks.refuse_without_gradient(self)
        if self.training and self._recomputes():
            raise ValueError("feature_adjustment needs the gradients that gradient checkpointing drops: switch it off.")
        return encode_and_weigh(self, inputs, returned)

    def _recomputes(self) -> bool:
        """Whether gradient checkpointing is on: it runs layers again in the backward pass, out of the rules' sight."""
        return any(getattr(module, "gradient_checkpointing", False) for module in self.backbone.modules())

    def plain_weights(self, inputs: Inputs) -> torch.Tensor:
        """How much the head reads of each token by its pooling, features adjusted or not: (batch, tokens)."""
        if self.original is not None:
            return head_weights(self.original, inputs, self.config.pooling, self.dtype)
        weight = self.classifier.weight  # a method, where torch has quantised the layer
        dtype = weight.dtype if isinstance(weight, torch.Tensor) else self.dtype
        return pooling_weights(inputs["attention_mask"], self.config.pooling, dtype)

    def _read(self, hidden: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Text vectors (batch, width) and logits (batch, labels) of weighted token states."""
        features = weighted_sum(hidden, weights)
        if self.adjusted_norm is not None:
            features = self.adjusted_norm(features)
        if self.config.normalize_features:
            features = F.normalize(features, dim=-1)
        return features, self.classifier(self.dropout(features))

    def _plain_pass(self, inputs: Inputs, labels: torch.Tensor | None, returned: Sequence[str]) -> dict[str, Any]:
        """Loss, logits and the backbone's states that are returned, with their ordinary graph."""
        if self.original is not None:
            encoded = self._run(self.original, inputs, returned)
            features, logits = None, encoded.logits
        else:
            encoded, weights = self._encode_and_weigh(inputs, returned)
            features, logits = self._read(encoded.last_hidden_state, weights)
        loss = None if labels is None else classification_loss(self.config, features, logits, labels)
        return {"loss": loss, "logits": logits} | {name: encoded[name] for name in returned}

    def _explained_pass(
        self,
        inputs: Inputs,
        request: AttributionRequest,
        method: str | None,
        options: dict[str, Any] | None,
        plain_logits: torch.Tensor | None,
    ) -> ExplainedFields:
        """Logits and explanation, by the compiled graph where it can answer; `plain_logits` if a pass gave them."""
        if plain_logits is None and self._compiled is not None:
            takes = self._compiled.takes(self, inputs, request, method, options)
            answer = self._compiled.explain(self, inputs, request) if takes else None
            if answer is not None:
                return answer
        if self.training and self._recomputes():
            raise ValueError("gradient checkpointing recomputes without the rules: explain in evaluation mode.")
        if request.target is None and plain_logits is not None:
            # Dropout makes two passes differ in training: explain the label that the returned logits predict.
            request = replace(request, target=plain_logits.detach().argmax(dim=-1))
        return self._explain(inputs, request, method, options)

    def _output(self, return_dict: bool | None, **values: Any) -> AttribSequenceClassifierOutput | tuple[Any, ...]:
        output = AttribSequenceClassifierOutput(**values)
        use_dict = self.config.return_dict if return_dict is None else return_dict
        return output if use_dict else output.to_tuple()

    @torch.compiler.disable  # a compiler sees neither the rules nor the graph inside
    def _explain(
        self, inputs: Inputs, request: AttributionRequest, name: str | None, options: dict[str, Any] | None
    ) -> ExplainedFields:
        method, options = self.choose_attribution_method(name, options)
        with self.examined(method), torch.inference_mode(False), torch.enable_grad():
            inputs = outside_inference_mode(inputs)
            logits, scores = method.function(self, inputs, request, **options)
        with torch.no_grad():
            padding = ~inputs["attention_mask"].bool().unsqueeze(1)
            scores = at_least_float32(scores).masked_fill(padding, 0.0)
            target = request.resolve(logits)
            if not isinstance(request.target, str):
                scores, target = scores.squeeze(1), target.squeeze(1)
            return explained_fields(logits, scores, target, request.resolve_contrast(logits))

    def _answer_no_texts(self, inputs: Inputs, explain: bool, every_label: bool) -> dict[str, torch.Tensor]:
        """Logits and explanation of an empty batch, which encoders cannot reshape."""
        logits = torch.zeros(0, self.num_labels, dtype=self.dtype, device=self.device)
        if not explain:
            return {"logits": logits}
        rows = (0, self.num_labels) if every_label else (0,)
        return {
            "logits": logits,
            "attributions": logits.new_zeros(*rows, inputs["attention_mask"].shape[1]),
            "attribution_target": torch.zeros(rows, dtype=torch.long, device=logits.device),
            "attribution_residual": logits.new_zeros(rows),
        }


AttribForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
