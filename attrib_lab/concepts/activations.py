"""What a classifier does at one layer: token states, gradients of its decision, and the attention that reads them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from modeling_attrib import AttribForSequenceClassification
from modeling_attrib.activation_capture import ActivationCapture, check_layers
from modeling_attrib.attention_records import AttentionRecorder
from modeling_attrib.attribution_methods import Inputs
from modeling_attrib.backbone_parts import find_parts, padding_id, token_limit

from ..evaluation.padding import pad_rows
from ..evaluation.perturbation_runner import PerturbedText
from ..terminal.progress import Progress


BATCH_SIZE = 32


@dataclass(frozen=True)
class LayerReader:
    """A classifier and the layer that it is observed at; layer l means its input h^l and its attention A^l.

    Args:
        model: in evaluation mode.
        tokenizer: its tokenizer, a fast one.
        layer: 0 to the number of layers − 1.
    """

    model: AttribForSequenceClassification
    tokenizer: PreTrainedTokenizerBase
    layer: int

    def activations(self, texts: list[str], description: str) -> list[np.ndarray]:
        """States h^l of each text's tokens, (tokens, width) a text, special tokens left out.

        Args:
            texts: cut at what the model reads; one without a word gives (0, width).
            description: of the progress bar.
        """
        states: list[np.ndarray] = [np.empty(0)] * len(texts)
        for places, inputs, words in self._batches(texts, description):
            with torch.no_grad(), ActivationCapture(list(find_parts(self.model.backbone).layers)) as capture:
                self.model.classify(inputs)
            check_layers(self.model, capture.values, inputs)
            hidden = capture.values[self.layer].detach().float()
            for row, place in enumerate(places):
                states[place] = hidden[row][words[row]].cpu().numpy()
        return states

    def scores(self, texts: list[str], vectors: np.ndarray, description: str) -> np.ndarray:
        """How every logit moves with each concept vector on each text: mean of the text's tokens' concept scores.

        Args:
            texts: at least one.
            vectors: (vectors, width), unit length.
            description: of the progress bar.

        Returns:
            (texts, labels, vectors); 0 for a text without a word.
        """
        means = np.zeros((len(texts), self.model.num_labels, len(vectors)))
        directions = torch.from_numpy(vectors.astype(np.float32)).to(self.model.device)
        for places, inputs, words in self._batches(texts, description):
            attention, gradients = self._attention_and_gradients(inputs)
            count = words.sum(dim=1).clamp(min=1).unsqueeze(-1)
            for label, gradient in enumerate(gradients):
                scores = concept_scores(attention.float(), gradient.float() @ directions.T, words)
                means[places, label] = (scores.sum(dim=1) / count).cpu().numpy()
        return means

    def _attention_and_gradients(self, inputs: Inputs) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Attention to each token, (batch, tokens), and ∂y_c/∂h^l, (batch, tokens, width), of each label's logit."""
        with torch.enable_grad():
            weights = self.model.token_weights(inputs)
            with (
                AttentionRecorder() as recorder,
                ActivationCapture(list(find_parts(self.model.backbone).layers)) as capture,
            ):
                logits = self.model.classify(inputs, weights)
            check_layers(self.model, capture.values, inputs)
            state = capture.values[self.layer]
            gradients = [torch.autograd.grad(total, state, retain_graph=True)[0] for total in logits.sum(dim=0)]
        with torch.no_grad():
            record = recorder.layers(self.model, inputs)[self.layer]
            attention = record.attend_transposed(weights.unsqueeze(-1)).squeeze(-1) / record.heads
        return attention, gradients

    def _batches(self, texts: list[str], description: str) -> Iterator[tuple[np.ndarray, Inputs, torch.Tensor]]:
        """Places in `texts`, inputs, and a mask (batch, tokens) that is True at the texts' own tokens."""
        limit = token_limit(self.model.config, self.model.backbone, self.tokenizer)
        padding = padding_id(self.model.config, self.tokenizer)
        order = np.argsort([len(text) for text in texts], kind="stable")
        with Progress(len(texts), description, "texts") as progress:
            for start in range(0, len(texts), BATCH_SIZE):
                places = order[start : start + BATCH_SIZE]
                encoded = self.tokenizer(
                    [texts[place] for place in places],
                    truncation=True,
                    max_length=limit,
                    return_special_tokens_mask=True,
                )
                types = encoded.get("token_type_ids") or [()] * len(places)
                rows = [PerturbedText(tuple(ids), tuple(own)) for ids, own in zip(encoded["input_ids"], types)]
                batch = pad_rows(rows, padding, "token_type_ids" in self.model.backbone_arguments)
                words = batch["attention_mask"].bool()
                for row, special in enumerate(encoded["special_tokens_mask"]):
                    words[row, : len(special)] &= ~torch.tensor(special).bool()
                device = self.model.device
                yield places, {name: value.to(device) for name, value in batch.items()}, words.to(device)
                progress.advance(len(places))


def concept_scores(attention: torch.Tensor, derivatives: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    """Attention-weighted concept scores of tokens (Eggen et al.): score_t = a_t · D_t · ‖a‖₂ / ‖D‖₂.

    Args:
        attention: a, (batch, tokens): how much the head reads each token through the layer's mean attention. With CLS
            pooling, the [CLS] row; with mean pooling, the mean of the rows of all tokens that the head reads.
        derivatives: D, (batch, tokens, vectors): derivative of the logit along the concept vector at each token.
        words: (batch, tokens), True at the tokens that a and D are made of; the others score 0.

    Returns:
        (batch, tokens, vectors); 0 where the logit does not move with the concept at all.
    """
    attention = attention * words
    derivatives = derivatives * words.unsqueeze(-1)
    length = derivatives.norm(dim=1, keepdim=True)
    direction = torch.where(length > 0, derivatives / length, 0.0)
    return attention.unsqueeze(-1) * direction * attention.norm(dim=1)[:, None, None]
