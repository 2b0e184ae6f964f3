"""The text-classification pipeline with attributions: label, score, and the words behind them."""

import inspect
import warnings
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Dataset
from transformers import TextClassificationPipeline

from .backbone_parts import padding_id, token_limit
from .html_attrib import HTMLFragment, render_html
from .onnx_attrib import OnnxAttributions
from .text_inference import TextInference, TextPrediction
from .text_spans import LEVELS, aggregate
from .text_windows import DEFAULT_OVERLAP, TokenizedText, tokenize


if TYPE_CHECKING:
    # Never run: transformers 4 copies from a folder only what this file names itself; its siblings need these.
    from .attribution_methods import AttributionRequest  # noqa: F401
    from .classifier_output import AttribSequenceClassifierOutput  # noqa: F401
    from .configuration_attrib import AttribConfig  # noqa: F401
    from .xla_devices import is_xla  # noqa: F401


_STOCK_ARGUMENTS = ("return_all_scores", "function_to_apply", "top_k")
_SEQUENCES = ("text", "text_pair")


class AttribTextClassificationPipeline(TextClassificationPipeline):
    """`pipeline("text-classification")` that also says which words speak for and against each label.

    Everything the stock pipeline accepts (`top_k`, `batch_size`, pairs, generators, `function_to_apply`, tokenizer
    arguments) works and gives the same label and score. A result is the stock one plus:

    * `attributions`: entries `{"word", "start", "end", "score"}` with `text[start:end] == word`; the score is
      signed, toward the entry's label. For pairs also `"sequence"`: `"text"` or `"text_pair"`. At
      `aggregation="token"` also `"token"` and `"special"`: every token in its order, special ones with an empty span.
    * `special_score`: the sum over special tokens ([CLS], [SEP] ...).
    * `residual`: what no token accounts for. Attributions + special_score + residual = the explained logit.
    * `target`, `contrast`: the labels explained, when these were asked for. `label` and `score` stay the prediction's;
      the words then speak for `target` and against `contrast`. If the label explained is the contrast itself, no score
      says why, which is warned of.

    A text longer than the model's limit is read in overlapping windows. Its logits are the windows' mean, weighted
    by their number of tokens; attributions are combined with the same weights, so they still add up to the logit. All
    windows' logits come first, then each window explains the label that they make together.

    Extra arguments, at construction or per call:
        attributions: False returns the stock result.
        aggregation: `"word"` (default), `"token"` or `"sentence"`.
        target: label (name or index) to explain instead of the predicted one; not beside a `top_k` of several labels,
            each of which has words of its own.
        contrast: label (name or index): explain why the target and not this one.
        method, method_options: an attribution method and its options; by default the model's.
        overlap: tokens that neighbouring windows share (default 64).
        onnx_file: at construction only: what `attrib export` wrote for this model; it answers in the model's place,
            through onnxruntime.

    Raises:
        ValueError: for an unknown label, method, aggregation or an impossible overlap; for a contrast that is the
            target, or the only label; for a target beside a `top_k` of several labels; for input that is no text;
            for a pair of which both texts exceed the limit; for a tokenizer without offsets; in training mode.
    """

    model: Any  # an `AttribForSequenceClassification`, of this code or of a folder's copy of it
    tokenizer: Any  # of either kind, fast or slow, and never None here

    def __init__(self, *arguments: Any, onnx_file: str | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.model.eval()  # a model object comes as its Trainer left it: with dropout
        self._onnx = None if onnx_file is None else OnnxAttributions(onnx_file, self.model)

    def __call__(self, inputs: Any, **arguments: Any) -> Any:
        """Classify and explain a text, a pair, or any collection of them.

        Args:
            inputs: a text; a pair `{"text": ..., "text_pair": ...}` (further columns of a row are not read, but that
                the tokenizer's own arguments may stand there); a list or tuple of these; or a generator, an iterator,
                a `datasets.Dataset` or a torch `Dataset`.
            arguments: see the class.

        Returns:
            As the stock pipeline: a list of one result for a text, one result for a pair, a list of them for a list or
            tuple, an iterator that reads on as it is asked for everything else.
        """
        if self.model.training:
            raise ValueError("the model is in training mode, where dropout changes every answer: call model.eval().")
        if isinstance(inputs, (list, tuple)):
            inputs = list(inputs)
            if not inputs:
                return []
        elif hasattr(inputs, "iterrows"):  # a DataFrame, which iterates over the names of its columns
            raise ValueError("a table is no list of texts: give one column of it, e.g. list(table['text']).")
        elif isinstance(inputs, Iterable) and not isinstance(inputs, (str, bytes, Mapping, Dataset)):
            inputs = (row for row in inputs)
        # The stock pipeline keeps batch_size to itself; the windows of one long text are as many texts to the model.
        windows_at_once = arguments.get("batch_size") or self._batch_size or 1
        return super().__call__(inputs, windows_at_once=windows_at_once, **arguments)

    def check_model_type(self, supported_models: Any) -> None:
        """Accept any model whose forward explains (the stock check knows only transformers' own classes)."""
        if not hasattr(self.model, "token_weights"):
            raise ValueError(f"{type(self.model).__name__} does not return attributions.")

    def _sanitize_parameters(
        self,
        attributions: bool | None = None,
        aggregation: str | None = None,
        target: int | str | None = None,
        contrast: int | str | None = None,
        method: str | None = None,
        method_options: dict[str, Any] | None = None,
        overlap: int | None = None,
        windows_at_once: int | None = None,
        **stock: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        self._refuse_misspelt(stock)
        preprocess, forward, postprocess = super()._sanitize_parameters(**stock)
        forward |= postprocess  # which labels the stock result names decides which are explained
        if attributions is not None:
            forward["attributions"] = attributions
        if aggregation is not None:
            if aggregation not in LEVELS:
                raise ValueError(f"aggregation={aggregation!r}: use one of {', '.join(LEVELS)}.")
            postprocess["aggregation"] = aggregation
        if target is not None:
            forward["target"] = postprocess["target"] = self._label_index(target, "target")
        if contrast is not None:
            forward["contrast"] = postprocess["contrast"] = self._label_index(contrast, "contrast")
        if method is not None or method_options is not None:
            # Asked of the model: loaded from a folder, its code and this file may be two copies, with two registries.
            earlier = getattr(self, "_forward_params", {})  # what the constructor was given
            merged = method or earlier.get("method"), method_options
            self.model.choose_attribution_method(*merged)
            forward |= dict(zip(("method", "method_options"), merged))
        if overlap is not None:
            preprocess["overlap"] = overlap
        if windows_at_once is not None:
            forward["windows_at_once"] = windows_at_once
        # Before that comes what the constructor was given.
        self._refuse_question(**getattr(self, "_forward_params", {}) | forward)
        return preprocess, forward, postprocess

    def _refuse_question(
        self,
        attributions: bool = True,
        target: int | None = None,
        contrast: int | None = None,
        top_k: int | None = 1,
        **_: Any,
    ) -> None:
        """Questions whose answer would say nothing, or seem to say it of other labels."""
        if not attributions:
            return
        if target is not None and top_k != 1:
            raise ValueError(
                f"target= explains one label, and top_k={top_k} gives each of several its own words: leave out one of "
                "them (top_k=None has the target's words beside its score)."
            )
        names = self.model.config.id2label
        if contrast is not None and contrast == (0 if len(names) == 1 else target):
            raise ValueError(f"contrast={names[contrast]!r} is the label explained: name another one than the target.")

    def _refuse_misspelt(self, arguments: dict[str, Any]) -> None:
        """What nobody knows goes to the tokenizer, which drops it with a warning: say so where it is one of ours."""
        if "onnx_file" in arguments:
            raise ValueError("onnx_file is given when the pipeline is made, not with a text.")
        own = list(inspect.signature(self._sanitize_parameters).parameters)[:-1]
        known = {*_STOCK_ARGUMENTS, *inspect.signature(self.tokenizer.__call__).parameters}
        for name in set(arguments) - known:
            close = get_close_matches(name, own, n=1, cutoff=0.8)
            if close:
                raise ValueError(f"unknown argument {name!r}. Did you mean {close[0]!r}?")

    def _label_index(self, label: int | str, argument: str) -> int:
        names = self.model.config.id2label
        if isinstance(label, str) and label in names.values():
            return self._index_of(label)
        if isinstance(label, int) and not isinstance(label, bool) and label in names:
            return label
        known = [str(name) for name in names.values()]
        close = get_close_matches(str(label), known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{argument}={label!r} is not a label of this model: {', '.join(known)}.{hint}")

    # Texts -> tokens -> logits and scores -> results -----------------------------------------------------------

    def preprocess(
        self, inputs: Any, overlap: int = DEFAULT_OVERLAP, **tokenizer_arguments: Any
    ) -> dict[str, TokenizedText]:
        """One text (or pair) as its tokens, in windows that the model can read."""
        texts, arguments = self._texts_of(inputs)
        limit = token_limit(self.model.config, self.model.backbone, self.tokenizer)
        return {"text": tokenize(self.tokenizer, texts, tokenizer_arguments | arguments, limit, overlap)}

    def _texts_of(self, inputs: Any) -> tuple[list[str], dict[str, Any]]:
        """One or two texts, and tokenizer arguments, from what the stock pipeline accepts."""
        arguments: dict[str, Any] = {}
        if isinstance(inputs, Mapping):
            others = [str(key) for key in inputs if key not in ("text", "text_pair")]
            close = get_close_matches("text_pair", others, n=1, cutoff=0.8)
            if close or "text" not in inputs:
                found = (
                    ""
                    if "text" in inputs
                    else f"no 'text' among {', '.join(others) or 'no keys'}: a text is text, and "
                )
                raise ValueError(f'{found}a pair is written {{"text": ..., "text_pair": ...}}.')
            # As in the stock pipeline: the tokenizer's arguments may stand beside a text, and so may other columns.
            known = inspect.signature(self.tokenizer.__call__).parameters
            arguments = {key: value for key, value in inputs.items() if key in known}
            texts = [arguments.pop("text"), arguments.pop("text_pair", None)]
            texts = texts[:1] if texts[1] is None else texts
        elif isinstance(inputs, list) and len(inputs) == 1 and isinstance(inputs[0], list) and len(inputs[0]) == 2:
            texts = inputs[0]  # the stock pipeline still takes [["text", "pair"]]
        else:
            texts = [inputs]
        for text in texts:
            if not isinstance(text, str):
                raise ValueError(
                    f'expected a text, got {type(text).__name__}; a pair is written {{"text": ..., "text_pair": ...}}.'
                )
        return texts, arguments

    def _forward(
        self,
        model_inputs: dict[str, Any],
        attributions: bool = True,
        target: int | None = None,
        contrast: int | None = None,
        method: str | None = None,
        method_options: dict[str, Any] | None = None,
        windows_at_once: int = 1,
        **stock: Any,
    ) -> dict[str, Any]:
        """Logits (texts, labels) and `TextPrediction`s of one text or of a batch of them."""
        given = model_inputs["text"]
        texts = given if isinstance(given, list) else [given]
        padding = padding_id(self.model.config, self.tokenizer)
        inference = TextInference(self._onnx or self.model, padding, self.device, windows_at_once)
        if attributions:
            question = {
                "attribution_contrast": contrast,
                "attribution_method": method,
                "attribution_options": method_options,
            }
            predictions = self._explain(inference, texts, target, question, stock)
        else:
            predictions = inference.run(texts, output_attributions=False)
        return {
            "logits": torch.stack([prediction.logits for prediction in predictions]),
            "prediction": predictions if isinstance(given, list) else predictions[0],
        }

    def _explain(
        self,
        inference: TextInference,
        texts: list[TokenizedText],
        target: int | None,
        question: dict[str, Any],
        stock: dict[str, Any],
    ) -> list[TextPrediction]:
        """Readings that explain every label which the results will name, and as few others as can be.

        A label named by the caller is known before anything is read, and that of a text in one window is found by the
        pass that explains it. Of longer texts all windows' logits come first: they decide which label is explained.
        """
        labels, top_k = self.model.config.num_labels, stock.get("top_k", 1)
        known: int | str | None = 0 if labels == 1 else target
        if known is None and (top_k is None or 1 < top_k >= labels / 2):
            known = "all"  # from one graph each label costs one pass; each from its own, two
        one_pass = [known is not None or (top_k == 1 and len(text.windows) == 1) for text in texts]
        first = iter(
            inference.run([text for text, one in zip(texts, one_pass) if one], attribution_target=known, **question)
        )
        others = iter(inference.run([text for text, one in zip(texts, one_pass) if not one], output_attributions=False))
        predictions = [next(first if one else others) for one in one_pass]
        if target is None:
            self._explain_named(inference, predictions, question, stock)
        return predictions

    def _explain_named(
        self,
        inference: TextInference,
        predictions: list[TextPrediction],
        question: dict[str, Any],
        stock: dict[str, Any],
    ) -> None:
        """Add what is missing yet: the labels that the stock result names."""
        named = [self._named_labels(prediction.logits, stock) for prediction in predictions]
        for rank in range(len(named[0])):
            missing = [
                (prediction, own[rank])
                for prediction, own in zip(predictions, named)
                if own[rank] not in prediction.explanations
            ]
            found = inference.run(
                [prediction.text for prediction, _ in missing], targets=[label for _, label in missing], **question
            )
            for (prediction, _), further in zip(missing, found):
                prediction.explanations |= further.explanations

    def _named_labels(self, logits: torch.Tensor, stock: dict[str, Any]) -> list[int]:
        """Indices of the labels in the stock result for logits (labels,), in its order."""
        results = TextClassificationPipeline.postprocess(self, {"logits": logits.unsqueeze(0)}, **stock)
        return [self._index_of(result["label"]) for result in ([results] if isinstance(results, dict) else results)]

    def _index_of(self, label: str) -> int:
        return next(index for index, name in self.model.config.id2label.items() if name == label)

    def postprocess(
        self,
        model_outputs: dict[str, Any],
        aggregation: str = "word",
        target: int | None = None,
        contrast: int | None = None,
        **stock: Any,
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """The stock result of the combined logits, with each label's attributions added."""
        results = TextClassificationPipeline.postprocess(self, model_outputs, **stock)
        prediction = model_outputs["prediction"]
        if not prediction.explanations:
            return results
        for result in [results] if isinstance(results, dict) else results:
            explained = self._index_of(result["label"]) if target is None else target
            if explained == contrast:
                warnings.warn(
                    f"the label {result['label']!r} is explained against itself, and no score says why: name a target, "
                    "or another contrast.",
                    stacklevel=2,
                )
            explanation = prediction.explanations[explained]
            scores = explanation.scores.tolist()
            special = [score for token, score in zip(prediction.text.tokens, scores) if token.sequence is None]
            result["attributions"] = self._entries(prediction.text, scores, aggregation)
            result["special_score"] = sum(special)
            result["residual"] = explanation.residual
            if target is not None:
                result["target"] = self.model.config.id2label[target]
            if contrast is not None:
                result["contrast"] = self.model.config.id2label[contrast]
        return results

    def _entries(self, text: TokenizedText, scores: list[float], aggregation: str) -> list[dict[str, Any]]:
        """Attributions in the order of the text, or of the text and its pair; tokens stand among special ones."""
        entries: list[dict[str, Any]] = []
        for sequence, content in enumerate(text.texts):
            own = [(token, score) for token, score in zip(text.tokens, scores) if token.sequence == sequence]
            offsets = [(token.start, token.end) for token, _ in own]
            part = aggregate(content, offsets, [score for _, score in own], aggregation)
            if len(text.texts) > 1:
                part = [entry | {"sequence": _SEQUENCES[sequence]} for entry in part]
            entries += part
        return self._among_specials(entries, text, scores) if aggregation == "token" else entries

    def _among_specials(
        self, entries: list[dict[str, Any]], text: TokenizedText, scores: list[float]
    ) -> list[dict[str, Any]]:
        """One entry a token, in their order; a special token has an empty span where it stands."""
        names = self.tokenizer.convert_ids_to_tokens([token.id for token in text.tokens])
        ordinary = iter(entries)
        result: list[dict[str, Any]] = []
        sequence, end = 0, 0
        for token, name, score in zip(text.tokens, names, scores):
            if token.sequence is None:
                entry: dict[str, Any] = {"word": "", "start": end, "end": end, "score": score}
                entry |= {"sequence": _SEQUENCES[sequence]} if len(text.texts) > 1 else {}
            else:
                entry = next(ordinary)
                sequence, end = token.sequence, entry["end"]
            result.append(entry | {"token": name, "special": token.sequence is None})
        return result

    def render_html(self, text: str | dict[str, str], result: dict[str, Any]) -> HTMLFragment:
        """One result as a self-contained, escaped HTML fragment that notebooks show; see `html_attrib`."""
        return render_html(text, result)
