"""The baseline that any explanation must beat: random scores."""

from typing import Any

import torch

from .attribution_methods import AttributionRequest, ExplainableClassifier, Inputs, attribution_method


@attribution_method("random", paper="baseline: scores that know nothing of the text", cost=1, signed=True)
def random(
    classifier: ExplainableClassifier, inputs: Inputs, request: AttributionRequest
) -> tuple[torch.Tensor, torch.Tensor]:
    """Standard normal scores, seeded by the text and the label: the same alone, in a batch, and on any device."""
    with torch.no_grad():
        logits = classifier.classify(inputs)
    targets, mask = request.resolve(logits).cpu(), inputs["attention_mask"].cpu().bool()
    ids = inputs["input_ids"].cpu() if "input_ids" in inputs else None
    scores = torch.zeros(*targets.shape, mask.shape[1])
    for row in range(len(mask)):
        length = int(mask[row].sum())
        text = ids[row][mask[row]].tolist() if ids is not None else [length]
        for column, target in enumerate(targets[row].tolist()):
            generator = torch.Generator().manual_seed(_seed(text, target))
            scores[row, column, mask[row]] = torch.randn(length, generator=generator)
    return logits, scores.to(logits)


def _seed(numbers: list[int], start: Any) -> int:
    """A stable 63-bit hash (FNV-1a) of token ids; Python's own differs between versions."""
    state = 14695981039346656037 ^ int(start)
    for number in numbers:
        state = ((state ^ number) * 1099511628211) % 2**64
    return state >> 1
