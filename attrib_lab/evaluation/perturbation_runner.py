"""Runs measurements against a model: many at a time, each different question asked once, in padded batches.

A measurement is a generator. It yields lists of perturbed copies of its text, is sent their logits, and returns what
it measured; so a metric that asks once and one that searches look alike, and know nothing of batches.
"""

import inspect
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from modeling_attrib.backbone_parts import padding_id, word_embeddings

from ..terminal.errors import UserError
from .padding import pad_rows


# How many batches of questions are gathered before any is answered: sorted by length, they hardly need padding.
_BATCHES_AHEAD = 256


class PerturbedText(NamedTuple):
    """A changed text.

    Attributes:
        ids: token ids, without padding.
        types: token type ids; empty where all are 0.
        keep: rate in [0, 1] at which the entries of each token's embedding are kept; empty where all are.
        seed: of the random numbers that decide which.
    """

    ids: tuple[int, ...]
    types: tuple[int, ...] = ()
    keep: tuple[float, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Measured:
    """What a metric found for one text: its value, and its curve over the metric's fractions if it has one."""

    value: float
    curve: tuple[float, ...] = ()


class NotMeasurable(Exception):  # noqa: N818 (an outcome, not an error)
    """Why a metric says nothing about one text; the message names the reason alone, so that texts can be counted."""


Measurement = Generator[list[PerturbedText], np.ndarray, Measured]
Logits = Callable[[list[PerturbedText]], np.ndarray]


class PerturbationRunner:
    """Runs perturbed texts through a model for the measurements that ask for them.

    Args:
        logits: from a batch of perturbed texts to their logits (texts, labels); see `classifier_logits`.
        batch_tokens: most tokens in a batch, padding included (a longer text is a batch of its own).
        cached: how many answers to keep within a run.
    """

    def __init__(self, logits: Logits, batch_tokens: int = 4096, cached: int = 100_000) -> None:
        self.logits = logits
        self.batch_tokens = batch_tokens
        self.cached = cached

    def run(self, measurements: Iterable[Measurement]) -> list[Measured | NotMeasurable]:
        """Run measurements to their ends.

        Those of one text should stand together: what they ask is then answered together, and once. Nothing is kept
        from one run to the next, so that equal runs give equal results to the last bit.

        Returns:
            In the order given, what each found or why it found nothing; where the model answers with NaN or infinity
            nothing is found.
        """
        results: dict[int, Measured | NotMeasurable] = {}
        answers: dict[PerturbedText, np.ndarray] = {}
        arriving = enumerate(measurements)
        open_ones: list[tuple[int, Measurement, list[PerturbedText]]] = []
        while True:
            asked = sum(len(perturbed.ids) for _, _, perturbed_texts in open_ones for perturbed in perturbed_texts)
            while asked < _BATCHES_AHEAD * self.batch_tokens and (entry := next(arriving, None)):
                number, measurement = entry
                outcome = _advance(measurement, None)
                if isinstance(outcome, list):
                    open_ones.append((number, measurement, outcome))
                    asked += sum(len(perturbed.ids) for perturbed in outcome)
                else:
                    results[number] = outcome
            if not open_ones:
                return [results[number] for number in range(len(results))]
            self._answer(open_ones, answers)
            still_open = []
            for number, measurement, perturbed_texts in open_ones:
                logits = np.stack([answers[perturbed] for perturbed in perturbed_texts])
                outcome = _advance(measurement, logits)
                if isinstance(outcome, list):
                    still_open.append((number, measurement, outcome))
                else:
                    results[number] = outcome
            open_ones = still_open
            for perturbed in list(answers)[: max(0, len(answers) - self.cached)]:
                del answers[perturbed]

    def _answer(self, open_ones: list[tuple[int, Measurement, list[PerturbedText]]], answers: dict) -> None:
        """Add to `answers` what was asked and is not there yet."""
        asked = dict.fromkeys(perturbed for _, _, perturbed_texts in open_ones for perturbed in perturbed_texts)
        new = sorted(
            (perturbed for perturbed in asked if perturbed not in answers), key=lambda perturbed: len(perturbed.ids)
        )
        for batch in self._batches(new):
            answers.update(zip(batch, self.logits(batch)))

    def _batches(self, perturbed_texts: list[PerturbedText]) -> Iterator[list[PerturbedText]]:
        """Neighbours in a list that is sorted by length, so that few of a batch's tokens are padding."""
        batch: list[PerturbedText] = []
        for perturbed in perturbed_texts:
            if batch and (len(batch) + 1) * len(perturbed.ids) > self.batch_tokens:
                yield batch
                batch = []
            batch.append(perturbed)
        if batch:
            yield batch


def _advance(measurement: Measurement, logits: np.ndarray | None) -> list[PerturbedText] | Measured | NotMeasurable:
    """The next question of a measurement, or its end."""
    if logits is not None and not np.isfinite(logits).all():
        measurement.close()
        return NotMeasurable("the model answers with NaN or infinity")
    try:
        return measurement.send(logits)
    except StopIteration as end:
        return end.value
    except NotMeasurable as reason:
        return reason


def check_choice(config: PretrainedConfig) -> None:
    """Refuse a head whose outputs have no softmax: one that chooses several labels, or predicts numbers.

    Raises:
        UserError: for a model without two labels to choose one from.
    """
    other = config.problem_type in ("multi_label_classification", "regression")
    if other or config.num_labels < 2:
        what = f"problem_type is {config.problem_type!r}" if other else f"num_labels is {config.num_labels}"
        raise UserError(f"the evaluation needs a model that chooses one of two or more labels; here {what}.")


def classifier_logits(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Logits:
    """From perturbed texts to a sequence classifier's logits: ours, which explains nothing meanwhile, or any other.

    Returns:
        A function from a batch of perturbed texts to logits (texts, labels), float64, on the CPU.

    Raises:
        UserError: for a model that does not choose one label; see `check_choice`.
        ValueError: for a model in training mode, whose answers are random.
    """
    check_choice(model.config)
    if model.training:
        raise ValueError("the model is in training mode: call model.eval() first.")
    accepted = inspect.signature(model.forward).parameters
    extra = {"output_attributions": False} if "output_attributions" in accepted else {}
    padding = padding_id(model.config, tokenizer)

    def logits(perturbed_texts: list[PerturbedText]) -> np.ndarray:
        inputs = pad_rows(perturbed_texts, padding, "token_type_ids" in accepted)
        tensors = {name: value.to(model.device) for name, value in inputs.items()}
        with torch.inference_mode(), _thinned_embeddings(model, perturbed_texts):
            return model(**tensors, **extra).logits.double().cpu().numpy()

    return logits


@contextmanager
def _thinned_embeddings(model: PreTrainedModel, perturbed_texts: list[PerturbedText]) -> Iterator[None]:
    """Within: each entry of a word embedding stays with its token's rate, and is 0 otherwise.

    A hook on the embedding module and not `inputs_embeds`, for which some models count other positions. The random
    numbers belong to the perturbed text alone, so that its answer does not depend on its batch.
    """
    if not any(perturbed.keep for perturbed in perturbed_texts):
        yield
        return

    def thin(module: torch.nn.Module, arguments: Any, output: torch.Tensor) -> torch.Tensor:
        kept = np.ones(output.shape, dtype=bool)
        for row, perturbed in enumerate(perturbed_texts):
            if perturbed.keep:
                drawn = np.random.default_rng(perturbed.seed).random((len(perturbed.ids), output.shape[-1]))
                kept[row, : len(perturbed.ids)] = drawn < np.array(perturbed.keep)[:, None]
        return output * torch.from_numpy(kept).to(output.device)

    hooks = [module.register_forward_hook(thin) for module in word_embeddings(model)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
