"""What a model says of texts: its answers for their windows, combined into one answer a text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.pipelines.base import pad_collate_fn

from .text_windows import TokenizedText, Window


@dataclass(frozen=True)
class Explanation:
    """Why one label: a score for each token of the text (float64), and what no token accounts for."""

    scores: torch.Tensor
    residual: float


@dataclass
class TextReading:
    """One text's logits (labels,), on the CPU, and its explanations by label: sums over windows, each by its share."""

    text: TokenizedText
    logits: torch.Tensor
    explanations: dict[int, Explanation] = field(default_factory=dict)


class TextReader:
    """Asks a model about texts, some windows at a time.

    Args:
        model: called as an `AttribForSequenceClassification` is.
        tokenizer: it says how windows are padded.
        device: where the model is.
        at_once: how many windows the model reads in one batch.
    """

    def __init__(self, model: Callable[..., Any], tokenizer: Any, device: torch.device, at_once: int) -> None:
        self._model, self._tokenizer, self._device, self._at_once = model, tokenizer, device, at_once

    def read(
        self, texts: Sequence[TokenizedText], targets: Sequence[int] | None = None, **arguments: Any
    ) -> list[TextReading]:
        """The model's answer for each text.

        Args:
            targets: the label to explain of each text, where they differ; else `attribution_target` may be given.
            arguments: the model's own.
        """
        windows = [
            (number, window, share)
            for number, text in enumerate(texts)
            for window, share in zip(text.windows, text.shares())
        ]
        parts: list[list[tuple[float, TextReading]]] = [[] for _ in texts]
        for start in range(0, len(windows), self._at_once):
            some = windows[start : start + self._at_once]
            if targets is not None:
                chosen = [targets[number] for number, _, _ in some]
                arguments["attribution_target"] = torch.tensor(chosen, device=self._device)
            tensors = self._batch([window for _, window, _ in some])
            output = self._model(**tensors, **arguments)
            for row, (number, window, share) in enumerate(some):
                real = tensors["attention_mask"][row].bool()
                parts[number].append((share, _read_window(output, row, real, window, texts[number])))
        return [_combine(own) for own in parts]

    def _batch(self, windows: list[Window]) -> dict[str, torch.Tensor]:
        tensors = [{name: torch.tensor([column]) for name, column in window.inputs.items()} for window in windows]
        batch = tensors[0] if len(tensors) == 1 else pad_collate_fn(self._tokenizer, None)(tensors)
        return {name: value.to(self._device) for name, value in batch.items()}


def _read_window(output: Any, row: int, real: torch.Tensor, window: Window, text: TokenizedText) -> TextReading:
    """One window's part of a batch's answer, its scores at the places that its tokens have in the text."""
    reading = TextReading(text, output.logits[row].float().cpu())
    if output.attributions is not None:
        labels = output.attribution_target[row].reshape(-1).tolist()
        residuals = output.attribution_residual[row].reshape(-1).tolist()
        scores = output.attributions[row].reshape(len(labels), -1)[:, real].cpu().double()
        placed = torch.zeros(len(labels), len(text.tokens), dtype=torch.float64)
        placed[:, window.places] = scores
        reading.explanations = {label: Explanation(*parts) for label, *parts in zip(labels, placed.unbind(), residuals)}
    return reading


def _combine(parts: list[tuple[float, TextReading]]) -> TextReading:
    """Shares and readings of a text's windows -> its own: so scores and residual still add up to the logit."""
    return TextReading(
        text=parts[0][1].text,
        logits=sum(share * part.logits for share, part in parts),
        explanations={
            label: Explanation(
                scores=sum(share * part.explanations[label].scores for share, part in parts),
                residual=sum(share * part.explanations[label].residual for share, part in parts),
            )
            for label in parts[0][1].explanations
        },
    )
