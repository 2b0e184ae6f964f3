"""Fits ExpNet to a target for each token; the classifier is finished, so what the head reads is computed once."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from modeling_attrib import AttribForSequenceClassification
from modeling_attrib.backbone_parts import padding_id
from modeling_attrib.expnet import ExpNet, read_features

from ..evaluation.padding import pad_rows
from ..evaluation.texts import EncodedText, batches_of
from ..terminal.progress import say, track


_TOKENS_AT_ONCE = 1024
_TOKENS_A_STEP = 2048
_WEIGHT_DECAY = 0.1

Inputs = dict[str, torch.Tensor]
Targets = Callable[[Inputs, Sequence[EncodedText]], torch.Tensor]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class HeadExamples:
    """What a head learns from: one row a token, special tokens included, text after text.

    Attributes:
        features: (tokens, F), in half precision: they are many.
        targets: (tokens, outputs).
        lengths: tokens of each text.
    """

    features: torch.Tensor
    targets: torch.Tensor
    lengths: tuple[int, ...]

    def __add__(self, other: "HeadExamples") -> "HeadExamples":
        features = torch.cat([self.features, other.features])
        return HeadExamples(features, torch.cat([self.targets, other.targets]), self.lengths + other.lengths)


def read_in_batches(
    model: AttribForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[EncodedText],
    read: Callable[[Inputs, Sequence[EncodedText]], tuple[torch.Tensor, ...]],
    name: str,
) -> list[tuple[torch.Tensor, ...]]:
    """What `read` says of each text's tokens, (batch, tokens, ...) tensors cut to its length; in the texts' order."""
    found: list[tuple[torch.Tensor, ...]] = [()] * len(texts)
    padding = padding_id(model.config, tokenizer)
    for numbers in track(batches_of(texts, _TOKENS_AT_ONCE, _TOKENS_AT_ONCE), f"reading {name}", "batches"):
        chosen = [texts[number] for number in numbers]
        read_here = read(pad_rows(chosen, padding), chosen)
        for row, number in enumerate(numbers):
            found[number] = tuple(tensor[row, : len(texts[number].ids)] for tensor in read_here)
    return found


def gather_examples(
    model: AttribForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[EncodedText],
    targets: Targets,
    name: str,
) -> HeadExamples:
    """What the head reads of each token of `texts`, and what `targets` says of it: (batch, tokens, outputs)."""

    def read(inputs: Inputs, chosen: Sequence[EncodedText]) -> tuple[torch.Tensor, torch.Tensor]:
        return read_features(model, inputs)[1].half(), targets(inputs, chosen).float()

    features, wanted = zip(*read_in_batches(model, tokenizer, texts, read, name))
    return HeadExamples(torch.cat(features), torch.cat(wanted), tuple(len(text.ids) for text in texts))


@torch.no_grad()
def head_scores(head: ExpNet, examples: HeadExamples) -> list[np.ndarray]:
    """The head's outputs for each text, (tokens, outputs) each."""
    return [scores.numpy() for scores in head(examples.features.float()).split(examples.lengths)]


def fit_head(
    head: ExpNet,
    parts: Sequence[HeadExamples],
    loss: Loss,
    *,
    epochs: int,
    learning_rate: float,
    seed: int,
    input_dropout: float = 0.0,
    score: Callable[[ExpNet], float] | None = None,
    describe: Callable[[float], str] = "score {:.4f}".format,
    stop: int | None = None,
) -> list[float]:
    """Train `head` in place with AdamW and a one-cycle learning rate.

    Inputs are standardised over the training tokens; in the end that is part of the first layer's weights.

    Args:
        parts: what it learns from.
        loss: of outputs and targets, (tokens, outputs) each.
        epochs: length of the cycle.
        learning_rate: the highest of the cycle.
        input_dropout: share of the inputs that each step leaves out: a head that is to serve other classifiers must
            not rely on a few attention heads of this one.
        score: grades the head after each epoch, higher is better; it ends as it was after the best.
        describe: that score in words, for the line that is printed on each.
        stop: end after so many epochs of the cycle.

    Returns:
        The score after each epoch.
    """
    train = reduce(HeadExamples.__add__, parts)
    features = train.features.float()
    mean, scale = features.mean(dim=0), features.std(dim=0).clamp(min=1e-3)
    del features
    steps = epochs * -(-len(train.features) // _TOKENS_A_STEP)
    optimizer = torch.optim.AdamW(head.parameters(), learning_rate, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    found: list[float] = []
    best: dict[str, torch.Tensor] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for epoch in track(range(1, 1 + (stop or epochs)), "training the head", "epochs"):
            head.train()
            for rows in torch.randperm(len(train.features)).split(_TOKENS_A_STEP):
                inputs = F.dropout((train.features[rows].float() - mean) / scale, input_dropout)
                value = loss(head(inputs), train.targets[rows])
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                schedule.step()
            head.eval()
            if score is not None:
                found.append(score(_for_raw_inputs(head, mean, scale)))
                say(f"epoch {epoch} of {stop or epochs}: {describe(found[-1])}")
                if found[-1] == max(found):
                    best = {name: weight.clone() for name, weight in head.state_dict().items()}
    head.load_state_dict(best or head.state_dict())
    head.load_state_dict(_for_raw_inputs(head, mean, scale).state_dict())
    return found


def _for_raw_inputs(head: ExpNet, mean: torch.Tensor, scale: torch.Tensor) -> ExpNet:
    """A copy of the head whose first layer does the standardisation."""
    raw = copy.deepcopy(head)
    with torch.no_grad():
        raw.hidden.weight /= scale
        raw.hidden.bias -= raw.hidden.weight @ mean
    return raw


def balanced_cross_entropy(parts: Sequence[HeadExamples]) -> Loss:
    """Binary cross-entropy in which the marked tokens of `parts` weigh as much as all others together."""
    marked = sum(float(part.targets.sum()) for part in parts)
    weight = torch.tensor((sum(part.targets.numel() for part in parts) - marked) / marked)

    def loss(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(scores, targets, pos_weight=weight)

    return loss
