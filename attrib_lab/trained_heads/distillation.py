"""A slow, faithful attribution method as ExpNet's teacher, and how much of its faithfulness the head keeps."""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from modeling_attrib import AttribForSequenceClassification

from ..evaluation.faithfulness import comprehensiveness
from ..evaluation.metrics import TOP
from ..evaluation.perturbation import Perturbation
from ..evaluation.perturbation_runner import Measured, PerturbationRunner, PerturbedText, classifier_logits
from ..evaluation.texts import EncodedText
from ..terminal.progress import Progress
from .fitting import Inputs, Targets, read_in_batches


_FARTHEST = 5.0  # standard deviations: a few tokens must not rule the squared error


def teacher_targets(model: AttribForSequenceClassification, teacher: str) -> Targets:
    """Scores of the attribution method `teacher` for every label, as standard deviations from the text's mean.

    Standardised for each text and label over the tokens that are not special: which tokens matter, and not how much
    logit there is to share out.
    """

    def targets(inputs: Inputs, texts: Sequence[EncodedText]) -> torch.Tensor:
        with torch.no_grad():
            scores = model(**inputs, attribution_method=teacher, attribution_target="all").attributions.transpose(1, 2)
        own = torch.zeros(*scores.shape[:2], 1, dtype=torch.bool)
        for row, text in enumerate(texts):
            own[row, : len(text.ids), 0] = ~torch.tensor(text.special)
        count = own.sum(dim=1, keepdim=True).clamp(min=1)
        centred = scores - (scores * own).sum(dim=1, keepdim=True) / count
        deviation = ((centred**2 * own).sum(dim=1, keepdim=True) / count).sqrt()
        return (centred / (deviation + 1e-12)).clamp(-_FARTHEST, _FARTHEST)

    return targets


def grade_faithfulness(
    model: AttribForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[EncodedText],
    methods: Sequence[str],
) -> dict[str, float]:
    """Mean comprehensiveness of each method's scores for the predicted label (DeYoung et al. 2020), by [MASK]."""
    logits, perturbation = classifier_logits(model, tokenizer), Perturbation.of(tokenizer)
    found = {}
    for method in methods:

        def read(inputs: Inputs, _: Sequence[EncodedText], method: str = method) -> tuple[torch.Tensor, ...]:
            with torch.no_grad():
                output = model(**inputs, attribution_method=method)
            targets = output.attribution_target.unsqueeze(1).expand(inputs["input_ids"].shape)
            return output.attributions.double(), targets

        explained = read_in_batches(model, tokenizer, texts, read, method)
        measurements = [
            comprehensiveness(text, scores.numpy(), int(targets[0]), perturbation)
            for text, (scores, targets) in zip(texts, explained)
        ]
        with Progress(len(texts) * (1 + len(TOP)), f"masking what {method} names", "questions") as progress:

            def answer(perturbed_texts: list[PerturbedText], progress: Progress = progress) -> np.ndarray:
                progress.advance(len(perturbed_texts))
                return logits(perturbed_texts)

            results = PerturbationRunner(answer).run(measurements)
        found[method] = float(np.mean([result.value for result in results if isinstance(result, Measured)]))
    return found
