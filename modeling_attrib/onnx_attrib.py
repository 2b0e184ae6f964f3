"""Label and words from an exported ONNX file, through onnxruntime instead of torch."""

import hashlib
import importlib
import json
from typing import Any

import torch

from .attribution_methods import AttributionRequest, ExplainableClassifier
from .classifier_output import AttribSequenceClassifierOutput, explained_fields


class OnnxAttributions:
    """An exported file that is called like the model that it was exported from.

    Args:
        file: path of the ONNX file.
        classifier: that model, in the type that it was exported in.

    Raises:
        ValueError: without onnxruntime, for a file that cannot be loaded, or one that was exported from a model with
            other labels, another method or other weights.
    """

    def __init__(self, file: str, classifier: ExplainableClassifier) -> None:
        try:
            onnxruntime = importlib.import_module("onnxruntime")  # optional: only who asks for it needs it
        except ImportError:
            raise ValueError("an ONNX file runs through onnxruntime: pip install onnxruntime") from None
        try:
            self._session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises a different class for every cause
            raise ValueError(f"{file} cannot be loaded: {(str(error).splitlines() or ['unreadable'])[0]}") from None
        said = {
            key: json.loads(v)
            for key, v in self._session.get_modelmeta().custom_metadata_map.items()
            if "attrib_" in key
        }
        config = classifier.config
        own = {
            "attrib_id2label": {str(index): name for index, name in (config.id2label or {}).items()},
            "attrib_attribution_method": config.attribution_method,
            "attrib_attribution_options": config.attribution_options,
            "attrib_weights": weights_digest(classifier),
        }
        for key, value in own.items():
            if said.get(key) != value:
                name = key.removeprefix("attrib_")
                raise ValueError(
                    f"{file} was exported from another model: its {name} is {said.get(key)!r}, not {value!r}."
                )
        self._inputs = [entry.name for entry in self._session.get_inputs()]
        self._labels = classifier.num_labels
        self._method = (config.attribution_method, config.attribution_options)

    def __call__(
        self,
        output_attributions: bool = True,
        attribution_target: int | str | torch.Tensor | None = None,
        attribution_contrast: int | torch.Tensor | None = None,
        attribution_method: str | None = None,
        attribution_options: dict[str, Any] | None = None,
        **tensors: torch.Tensor,
    ) -> AttribSequenceClassifierOutput:
        """The model's arguments and output, but for methods other than the exported one.

        The file explains one label a run: `attribution_target="all"` runs it once for each.

        Raises:
            ValueError: for another method, or other options, than the file computes, or for no label.
        """
        method, options = self._method
        if attribution_method not in (None, method) or attribution_options not in (None, options):
            raise ValueError(f"this ONNX file computes attribution method {method!r} with options {options} only.")
        if not output_attributions:
            return AttribSequenceClassifierOutput(logits=self._run(tensors)[0])
        request = AttributionRequest(attribution_target, attribution_contrast)
        labels = torch.empty(len(tensors["input_ids"]), self._labels)  # to check what is asked for against, unread
        contrast = request.resolve_contrast(labels)
        targets = [None] if attribution_target is None else request.resolve(labels).unbind(dim=1)
        answers = [self._run(tensors, target, None if contrast is None else contrast.squeeze(1)) for target in targets]
        logits, scores, explained = answers[0]
        if isinstance(attribution_target, str):
            scores, explained = (torch.stack([answer[place] for answer in answers], dim=1) for place in (1, 2))
        return AttribSequenceClassifierOutput(**explained_fields(logits, scores, explained, contrast))

    def _run(
        self,
        tensors: dict[str, torch.Tensor],
        target: torch.Tensor | None = None,
        contrast: torch.Tensor | None = None,
    ) -> list[torch.Tensor]:
        none = torch.full((len(tensors["input_ids"]),), -1)
        asked = {
            "attribution_target": none if target is None else target,
            "attribution_contrast": none if contrast is None else contrast,
        }
        given = {name: value.cpu() for name, value in tensors.items()} | asked
        given.setdefault("token_type_ids", torch.zeros_like(given["input_ids"]))
        given.setdefault("attention_mask", torch.ones_like(given["input_ids"]))
        feed = {name: given[name].long().contiguous().numpy() for name in self._inputs}
        return [torch.from_numpy(value) for value in self._session.run(None, feed)]


def weights_digest(classifier: ExplainableClassifier) -> str:
    """A hash of every weight: what an exported file is known to belong to its model by."""
    digest = hashlib.sha256()
    for name, weight in sorted(classifier.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
