"""The text-classification pipeline with attributions: label, score, and the words behind them."""

import inspect
import re
import threading
from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import torch
from transformers import TextClassificationPipeline
from transformers.pipelines.base import ChunkPipeline

from .backbone_parts import position_limit
from .html_attrib import HTMLFragment, render_html
from .onnx_attrib import OnnxAttributions
from .text_spans import LEVELS, aggregate


if TYPE_CHECKING:
    # Never run: transformers 4 copies from a folder only what this file names itself, and onnx_attrib needs this.
    from .attribution_methods import AttributionRequest  # noqa: F401


_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_DEFAULT_OVERLAP = 64  # tokens: about three sentences of context on each side of a window's edge
# A fast tokenizer keeps its truncation settings inside: two threads that share one would cut each other's texts.
_TOKENIZER_LOCK = threading.Lock()
_STOCK_ARGUMENTS = ("return_all_scores", "function_to_apply", "top_k")
_NO_LIMIT = 10**9  # tokenizers without a maximum length report a huge one


class AttribTextClassificationPipeline(ChunkPipeline, TextClassificationPipeline):
    """`pipeline("text-classification")` that also says which words speak for and against each label.

    Everything the stock pipeline accepts (`top_k`, `batch_size`, pairs, generators, `function_to_apply`, tokenizer
    arguments) works and gives the same label and score. A result is the stock one plus:

    * `attributions`: entries `{"word", "start", "end", "score"}` with `text[start:end] == word`; the score is
      signed, toward the entry's label. For pairs also `"sequence"`: `"text"` or `"text_pair"`. At
      `aggregation="token"` also `"token"` and `"special"`; special tokens have an empty span.
    * `special_score`: the sum over special tokens ([CLS], [SEP] ...).
    * `residual`: what no token accounts for. Attributions + special_score + residual = the explained logit.
    * `target`, `contrast`: the labels explained, when these were asked for. `label` and `score` stay the prediction's;
      the words then speak for `target` (and against `contrast`: all 0 if both are one label).

    A text longer than the model's limit is read in overlapping windows. Its logits are the windows' mean, weighted
    by their number of tokens; attributions are combined with the same weights, so they still add up to the logit.

    Extra arguments, at construction or per call:
        attributions: False returns the stock result.
        aggregation: `"word"` (default), `"token"` or `"sentence"`.
        target: label (name or index) to explain instead of the predicted one.
        contrast: label (name or index): explain why the target and not this one.
        method, method_options: an attribution method and its options; by default the model's.
        overlap: tokens that neighbouring windows share (default 64).
        onnx_file: at construction only: what `attrib export` wrote for this model; it answers in the model's place,
            through onnxruntime.

    Raises:
        ValueError: for an unknown label, method, aggregation or an impossible overlap; for input that is no text;
            for a pair of which both texts exceed the limit; for a tokenizer without offsets.
    """

    def __init__(self, *arguments: Any, onnx_file: str | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._onnx = None if onnx_file is None else OnnxAttributions(onnx_file, self.model)

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
        **stock: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        self._refuse_misspelt(stock)
        preprocess, forward, postprocess = super()._sanitize_parameters(**stock)
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
        top_k = stock.get("top_k", 1)
        if top_k is None or top_k != 1 or stock.get("return_all_scores"):
            forward["every_label"] = True
        return preprocess, forward, postprocess

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
        if isinstance(label, str) and label in self.model.config.label2id:
            return int(self.model.config.label2id[label])
        if isinstance(label, int) and not isinstance(label, bool) and label in names:
            return label
        known = [str(name) for name in names.values()]
        close = get_close_matches(str(label), known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{argument}={label!r} is not a label of this model: {', '.join(known)}.{hint}")

    # Text -> windows -------------------------------------------------------------------------------------------

    def preprocess(
        self, inputs: Any, overlap: int = _DEFAULT_OVERLAP, **tokenizer_arguments: Any
    ) -> Iterator[dict[str, Any]]:
        """Windows of one text (or pair), each ready for the model; one window for a text that fits."""
        texts = _texts_of(inputs)
        if not self.tokenizer.is_fast:
            raise ValueError("attributions need a fast tokenizer: this one does not know where its tokens are.")
        encodings = self._encode(texts, overlap, tokenizer_arguments)
        for number, encoding in enumerate(encodings):
            yield {
                **encoding,
                "texts": texts,
                "windows": len(encodings),
                "is_last": number == len(encodings) - 1,
            }

    def _encode(self, texts: list[str], overlap: int, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        # U+FFFD takes one character's place, so offsets still point into the original text.
        clean = [_LONE_SURROGATE.sub("\ufffd", text) for text in texts]
        limit = token_limit(self.model, self.tokenizer)
        options = {"return_offsets_mapping": True, "verbose": False, "truncation": False} | arguments
        options.pop("return_tensors", None)
        encoded = self._tokenize(clean, options)
        if not encoded["input_ids"]:
            return [self._placeholder()]
        step = None
        if len(encoded["input_ids"]) > limit and not options["truncation"]:
            options, step = self._window_options(clean, options, overlap, limit, encoded)
            encoded = self._tokenize(clean, options)
            rows = range(len(encoded["input_ids"]))
        else:
            rows = [None]
        return [self._window(encoded, row, step, options) for row in rows]

    def _tokenize(self, texts: list[str], options: dict[str, Any]) -> Any:
        with _TOKENIZER_LOCK:
            return self.tokenizer(*texts, **options)

    def _window_options(
        self, texts: list[str], options: dict[str, Any], overlap: int, limit: int, encoded: Any
    ) -> tuple[dict[str, Any], tuple[int, int]]:
        """Tokenizer options that cut the longer text into windows, and (which text, tokens between window starts)."""
        lengths = [encoded.sequence_ids(0).count(index) for index in range(len(texts))]
        longer = max(range(len(texts)), key=lengths.__getitem__)
        room = limit - (len(encoded["input_ids"]) - lengths[longer])
        if room < 1:
            raise ValueError(
                f"both texts of the pair are too long: the shorter one leaves no room in {limit} tokens for the other."
            )
        overlap = min(overlap, room // 2) if overlap == _DEFAULT_OVERLAP else overlap
        if not isinstance(overlap, int) or not 0 <= overlap < room:
            raise ValueError(f"overlap={overlap!r}: it must be from 0 to {room - 1} tokens.")
        windows = {
            "truncation": "only_second" if longer else "only_first",
            "max_length": limit,
            "stride": overlap,
            "return_overflowing_tokens": True,
        }
        return options | windows, (longer, room - overlap)

    def _window(self, encoded: Any, row: int | None, step: tuple[int, int] | None, options: dict[str, Any]) -> dict:
        number = row or 0

        def column(name: str) -> list[Any]:
            return encoded[name] if row is None else encoded[name][row]

        sequences = encoded.sequence_ids(number)
        positions, counts = [], {}
        for sequence in sequences:  # how many tokens of its text come before this one, counted over all windows
            start = number * step[1] if step and sequence == step[0] else 0
            positions.append(start + counts.get(sequence, 0))
            counts[sequence] = counts.get(sequence, 0) + 1
        tensors = {
            name: torch.tensor([column(name)])
            for name in ("input_ids", "attention_mask", "token_type_ids")
            if name in encoded
        }
        return tensors | {
            "offsets": [tuple(offset) for offset in column("offset_mapping")],
            "sequences": sequences,
            "positions": positions,
            "real": [bool(real) for real in column("attention_mask")],
        }

    def _placeholder(self) -> dict[str, Any]:
        """A single special token for an empty text under a tokenizer that adds none: models need a token to read."""
        tokenizer = self.tokenizer
        candidates = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id)
        token = next((token for token in candidates if token is not None), 0)
        return {
            "input_ids": torch.tensor([[token]]),
            "attention_mask": torch.tensor([[1]]),
            "offsets": [(0, 0)],
            "sequences": [None],
            "positions": [0],
            "real": [True],
        }

    # Windows -> logits and scores ------------------------------------------------------------------------------

    def _forward(
        self,
        model_inputs: dict[str, Any],
        attributions: bool = True,
        target: int | None = None,
        contrast: int | None = None,
        method: str | None = None,
        method_options: dict[str, Any] | None = None,
        every_label: bool = False,
    ) -> dict[str, Any]:
        names = ("input_ids", "attention_mask", "token_type_ids")
        tensors = {name: model_inputs.pop(name) for name in names if name in model_inputs}
        arguments: dict[str, Any] = {"output_attributions": attributions}
        if attributions:
            windows = model_inputs["windows"]
            several = max(windows) > 1 if isinstance(windows, list) else windows > 1
            # The label of a text in several windows is known only when all have been read: explain every label.
            arguments |= {
                "attribution_target": "all" if target is None and (every_label or several) else target,
                "attribution_contrast": contrast,
                "attribution_method": method,
                "attribution_options": method_options,
            }
        output = (self._onnx or self.model)(**tensors, **arguments)
        result = {**model_inputs, **tensors, "logits": output.logits}
        if attributions:
            per_label = arguments["attribution_target"] == "all"
            result["scores"] = output.attributions if per_label else output.attributions.unsqueeze(1)
            result["residuals"] = output.attribution_residual if per_label else output.attribution_residual.unsqueeze(1)
            result["explained"] = output.attribution_target if per_label else output.attribution_target.unsqueeze(1)
        return result

    # Scores -> result ------------------------------------------------------------------------------------------

    def postprocess(
        self,
        model_outputs: list[dict[str, Any]],
        aggregation: str = "word",
        target: int | None = None,
        contrast: int | None = None,
        **stock: Any,
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """The stock result of the combined logits, with each label's attributions added."""
        shares = _window_shares(model_outputs)
        logits = sum(share * output["logits"].float() for share, output in zip(shares, model_outputs))
        if len(model_outputs) == 1:
            logits = model_outputs[0]["logits"]
        results = TextClassificationPipeline.postprocess(self, {"logits": logits}, **stock)
        if "scores" not in model_outputs[0]:
            return results
        for result in [results] if isinstance(results, dict) else results:
            index = self.model.config.label2id[result["label"]] if target is None else target
            result |= self._explain(model_outputs, shares, int(index), aggregation)
            if target is not None:
                result["target"] = self.model.config.id2label[target]
            if contrast is not None:
                result["contrast"] = self.model.config.id2label[contrast]
        return results

    def _explain(
        self, outputs: list[dict[str, Any]], shares: list[float], label: int, aggregation: str
    ) -> dict[str, Any]:
        tokens: dict[tuple[int, int], list[Any]] = {}  # (text, position) -> [offset, token id, score]
        specials: dict[int, list[Any]] = {}
        special_score = residual = 0.0
        for share, output in zip(shares, outputs):
            column = output["explained"][0].tolist().index(label)
            residual += share * output["residuals"][0, column].item()
            for offset, sequence, position, token, score in _real_tokens(output, column):
                if sequence is None:
                    special_score += share * score
                    specials.setdefault(position, [token, 0.0])[1] += share * score
                else:
                    tokens.setdefault((sequence, position), [offset, token, 0.0])[2] += share * score
        entries: list[dict[str, Any]] = []
        texts = outputs[0]["texts"]
        for sequence, text in enumerate(texts):
            own = [token for (of, _), token in sorted(tokens.items()) if of == sequence]
            part = aggregate(text, [token[0] for token in own], [token[2] for token in own], aggregation)
            if aggregation == "token":
                names = self.tokenizer.convert_ids_to_tokens([token[1] for token in own])
                part = [entry | {"token": name, "special": False} for entry, name in zip(part, names)]
            if len(texts) > 1:
                part = [entry | {"sequence": ("text", "text_pair")[sequence]} for entry in part]
            entries += part
        if aggregation == "token":
            entries = self._with_specials(entries, specials, texts)
        return {"attributions": entries, "special_score": special_score, "residual": residual}

    def _with_specials(
        self, entries: list[dict[str, Any]], specials: dict[int, list[Any]], texts: list[str]
    ) -> list[dict[str, Any]]:
        """Special tokens first, with an empty span: they stand for no part of the text."""
        names = self.tokenizer.convert_ids_to_tokens([token for token, _ in specials.values()])
        place = {"sequence": "text"} if len(texts) > 1 else {}
        marked = [
            {"word": "", "start": 0, "end": 0, "score": score, "token": name, "special": True} | place
            for name, (_, score) in zip(names, specials.values())
        ]
        return marked + entries

    def render_html(self, text: str | dict[str, str], result: dict[str, Any]) -> HTMLFragment:
        """One result as a self-contained, escaped HTML fragment that notebooks show; see `html_attrib`."""
        return render_html(text, result)


def _texts_of(inputs: Any) -> list[str]:
    """One or two texts from what the stock pipeline accepts."""
    if isinstance(inputs, dict):
        unknown = set(inputs) - {"text", "text_pair"}
        if unknown or "text" not in inputs:
            raise ValueError('a pair is written {"text": ..., "text_pair": ...}.')
        texts = [inputs["text"]] + ([inputs["text_pair"]] if inputs.get("text_pair") is not None else [])
    elif isinstance(inputs, list) and len(inputs) == 1 and isinstance(inputs[0], list) and len(inputs[0]) == 2:
        texts = inputs[0]  # the stock pipeline still takes [["text", "pair"]]
    else:
        texts = [inputs]
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(
                f'expected a text, got {type(text).__name__}; a pair is written {{"text": ..., "text_pair": ...}}.'
            )
    return texts


def token_limit(model: Any, tokenizer: Any) -> int:
    """Longest input in tokens: the tokenizer's limit and the model's position table, whichever is less."""
    limits = [tokenizer.model_max_length, position_limit(model) or _NO_LIMIT]
    return min([limit for limit in limits if 0 < limit < _NO_LIMIT], default=_NO_LIMIT)


def _real_tokens(output: dict[str, Any], column: int) -> Iterator[tuple[tuple[int, int], int | None, int, int, float]]:
    """(offset, text, position, token id, score) of a window's tokens, without the padding that batching added.

    Offsets are as long as the window was when it was made, scores as long as the batch, padded on either side: so
    both are reduced to real tokens, each by its own mask.
    """
    mask = output["attention_mask"][0].bool()
    ids, scores = output["input_ids"][0][mask].tolist(), output["scores"][0, column][mask].tolist()
    own = [
        entry
        for entry, real in zip(zip(output["offsets"], output["sequences"], output["positions"]), output["real"])
        if real
    ]
    for (offset, sequence, position), token, score in zip(own, ids, scores):
        yield offset, sequence, position, token, score


def _window_shares(outputs: list[dict[str, Any]]) -> list[float]:
    """Each window's share in the text: its number of text tokens over all windows'; equal shares if there are none."""
    counts = [sum(sequence is not None for sequence in output["sequences"]) for output in outputs]
    total = sum(counts)
    return [count / total for count in counts] if total else [1 / len(outputs)] * len(outputs)
