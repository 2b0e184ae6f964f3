"""What a model says of texts: its answers for their windows, combined into one answer a text."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch.nn.utils.rnn import pad_sequence

from .backbone_parts import position_limit
from .text_windows import TokenizedText, Window
from .xla_devices import finish_step, is_xla, pad_to_few_shapes


_ANSWERS = ("logits", "attributions", "attribution_target", "attribution_residual")


@dataclass(frozen=True)
class Explanation:
    """Why one label: a score for each token of the text (float64), and what no token accounts for."""

    scores: torch.Tensor
    residual: float


@dataclass
class TextPrediction:
    """One text's logits (labels,), on the CPU, and its explanations by label: sums over windows, each by its share."""

    text: TokenizedText
    logits: torch.Tensor
    explanations: dict[int, Explanation] = field(default_factory=dict)


class TextInference:
    """Asks a model about texts, some windows at a time.

    Args:
        model: called as an `AttribForSequenceClassification` is.
        padding_id: what fills short windows; see `backbone_parts.padding_id`.
        device: where the model is.
        at_once: how many windows the model reads in one batch.
    """

    def __init__(self, model: Any, padding_id: int, device: torch.device, at_once: int) -> None:
        self._model, self._padding_id, self._device, self._at_once = model, padding_id, device, at_once

    def run(
        self, texts: Sequence[TokenizedText], targets: Sequence[int] | None = None, **arguments: Any
    ) -> list[TextPrediction]:
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
        parts: list[list[tuple[float, TextPrediction]]] = [[] for _ in texts]
        for start in range(0, len(windows), self._at_once):
            some = windows[start : start + self._at_once]
            batch = self._batch([window for _, window, _ in some])
            if targets is not None:
                batch["attribution_target"] = torch.tensor([targets[number] for number, _, _ in some])
            answer = self._ask(batch, arguments)
            for row, (number, window, share) in enumerate(some):
                real = batch["attention_mask"][row].bool()
                parts[number].append((share, _window_prediction(answer, row, real, window, texts[number])))
        return [_combine(own) for own in parts]

    def _batch(self, windows: list[Window]) -> dict[str, torch.Tensor]:
        """A row a window, padded on the right whatever the tokenizer's side: there no token moves to another position.

        On the left a model with a table of positions would read a window by how long its neighbours are.
        """
        names = windows[0].inputs.keys()
        if any(window.inputs.keys() != names for window in windows):
            raise ValueError("texts of one batch need the same inputs: give all of them the same tokenizer arguments.")
        padding = {"input_ids": self._padding_id}
        return {
            name: pad_sequence(
                [torch.tensor(window.inputs[name]) for window in windows], True, padding_value=padding.get(name, 0)
            )
            for name in names
        }

    def _ask(self, batch: dict[str, torch.Tensor], arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
        """The model's answer, on the CPU; of an XLA device, with the rows and tokens that were added for it."""
        if is_xla(self._device):
            limit = position_limit(self._model.config, self._model.backbone)
            batch = pad_to_few_shapes(batch, self._at_once, self._padding_id, limit)
        output = self._model(**{name: value.to(self._device) for name, value in batch.items()}, **arguments)
        finish_step(self._device)
        return {name: getattr(output, name).cpu() for name in _ANSWERS if getattr(output, name) is not None}


def _window_prediction(
    answer: dict[str, torch.Tensor], row: int, real: torch.Tensor, window: Window, text: TokenizedText
) -> TextPrediction:
    """One window's part of a batch's answer, its scores at the places that its tokens have in the text."""
    prediction = TextPrediction(text, answer["logits"][row].float())
    if "attributions" in answer:
        labels = answer["attribution_target"][row].reshape(-1).tolist()
        residuals = answer["attribution_residual"][row].reshape(-1).tolist()
        scores = answer["attributions"][row].reshape(len(labels), -1)[:, : len(real)][:, real].double()
        placed = torch.zeros(len(labels), len(text.tokens), dtype=torch.float64)
        placed[:, window.places] = scores
        prediction.explanations = {
            label: Explanation(*parts) for label, *parts in zip(labels, placed.unbind(), residuals)
        }
    return prediction


def _combine(parts: list[tuple[float, TextPrediction]]) -> TextPrediction:
    """Shares and predictions of a text's windows -> its own: so scores and residual still add up to the logit."""
    return TextPrediction(
        text=parts[0][1].text,
        logits=cast(torch.Tensor, sum(share * part.logits for share, part in parts)),
        explanations={
            label: Explanation(
                scores=cast(torch.Tensor, sum(share * part.explanations[label].scores for share, part in parts)),
                residual=sum(share * part.explanations[label].residual for share, part in parts),
            )
            for label in parts[0][1].explanations
        },
    )
