"""Whether an exported graph answers as its model does, and what a reduced precision costs in truth."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from modeling_attrib import AttribForSequenceClassification
from modeling_attrib.attribution_methods import get_attribution_method
from modeling_attrib.conservation import unaccounted_relevance

from ..terminal.errors import UserError
from ..terminal.progress import track


Inputs = dict[str, torch.Tensor]
Run = Callable[[Inputs], list[torch.Tensor]]  # a graph's inputs by name -> logits, attributions, explained target

SHAPES = 20
TOLERANCE = 1e-5  # in units of the largest logit or score of the batch, or absolute if that is below 1
_LONG = 512
_WORST_CONSERVATION = 1e-3


@dataclass(frozen=True)
class PrecisionLoss:
    """What a reduced precision costs, over real texts.

    Attributes:
        labels_kept: share of texts with the same predicted label.
        correlation: mean over texts of Pearson's correlation of the attributions, for the full model's label.
        lowest_correlation: the worst text's.
        texts: how many.
    """

    labels_kept: float
    correlation: float
    lowest_correlation: float
    texts: int

    def as_dict(self) -> dict[str, Any]:
        """The figures by name, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.labels_kept:.2%} of the labels kept, attributions correlate by {self.correlation:.4f} "
            f"(worst text {self.lowest_correlation:.4f}), over {self.texts} texts"
        )


def random_inputs(
    model: AttribForSequenceClassification, names: list[str], texts: int, tokens: int, seed: int
) -> Inputs:
    """Random token ids, half of the texts padded, with every label and contrast, and none, asked for in turn."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, model.config.get_text_config().vocab_size, (texts, tokens), generator=generator)
    lengths = torch.randint(1, tokens + 1, (texts,), generator=generator)
    lengths[::2] = tokens
    mask = (torch.arange(tokens) < lengths.unsqueeze(1)).long()
    labels = model.num_labels
    target = torch.randint(-1, labels, (texts,), generator=generator)
    contrast = torch.randint(-1, labels, (texts,), generator=generator)
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    return {n: v for n, v in inputs.items() if n in names} | {
        "attribution_target": target,
        "attribution_contrast": contrast,
    }


def expected_answer(model: AttribForSequenceClassification, inputs: Inputs) -> list[torch.Tensor]:
    """What the model itself answers: logits, attributions and explained target, from its ordinary forward."""
    tensors = {name: value for name, value in inputs.items() if not name.startswith("attribution_")}
    target, contrast = inputs["attribution_target"], inputs["attribution_contrast"]
    with torch.no_grad():
        every = model(**tensors, attribution_target="all")
    explained = torch.where(target < 0, every.logits.argmax(dim=-1), target)
    rows = torch.arange(len(target))
    scores = every.attributions[rows, explained]
    # Attributions of y_a − y_b are those of y_a minus those of y_b where the method is linear in what it explains; so
    # contrasts are asked for one by one.
    for row in torch.nonzero(contrast >= 0).flatten().tolist():
        single = {name: value[row : row + 1] for name, value in tensors.items()}
        with torch.no_grad():
            output = model(**single, attribution_target=int(explained[row]), attribution_contrast=int(contrast[row]))
        scores[row] = output.attributions[0]
    return [every.logits, scores, explained]


def check_equal(run: Run, model: AttribForSequenceClassification, names: list[str], limit: int) -> float:
    """Compare a graph with its model on `SHAPES` shapes, padded and not, that it was not recorded with.

    Returns:
        The largest difference, in units of `TOLERANCE`'s.

    Raises:
        UserError: where they differ by more than `TOLERANCE`, or if the method promises conservation and the model
            that was recorded does not keep it.
    """
    worst = 0.0
    shapes = [(1 + number % 5, 1 + (number * 7) % min(96, limit)) for number in range(SHAPES - 1)]
    shapes.append((2, min(_LONG, limit)))  # attention peaks higher over long texts
    for number, (texts, tokens) in enumerate(track(shapes, "checking the graph", "shapes")):
        inputs = random_inputs(model, names, texts, tokens, seed=number)
        for found, expected in zip(run(inputs), expected_answer(model, inputs)):
            difference = _difference(found, expected)
            if not difference <= TOLERANCE:  # NaN too
                raise UserError(
                    f"the exported graph differs from the model by {difference:.1e} on {texts} texts of {tokens} "
                    f"tokens; at most {TOLERANCE} is allowed, so nothing was written."
                )
            worst = max(worst, difference)
    if get_attribution_method(model.config.attribution_method).conservative:
        tokens = {name: value for name, value in inputs.items() if not name.startswith("attribution_")}
        error = unaccounted_relevance(model, tokens)
        if not error <= _WORST_CONSERVATION:
            raise UserError(
                f"attributions leave {error:.0%} of the logit unexplained in this model: nothing was written."
            )
    return worst


def _difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference in units of the largest expected value, or of 1; NaN for another shape."""
    if found.shape != expected.shape:
        return float("nan")
    return float((found - expected).abs().max()) / max(1.0, float(expected.abs().max()))


def measure_loss(
    run: Run,
    model: AttribForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    names: list[str],
    texts: list[str],
    limit: int,
) -> PrecisionLoss:
    """What the graph `run` loses against the full model on real texts."""
    kept, correlations = [], []
    for text in track(texts, "measuring the loss", "texts"):
        encoded = tokenizer(text, truncation=True, max_length=limit, return_tensors="pt")
        inputs = {name: encoded[name] for name in names if name in encoded}
        none = torch.tensor([-1])
        with torch.no_grad():
            full = model(**inputs)
        target = full.attribution_target
        logits, scores, _ = run(inputs | {"attribution_target": target, "attribution_contrast": none})
        kept.append(bool(logits.argmax() == target))
        pair = torch.stack([scores[0].double(), full.attributions[0].double()])
        if scores.shape[1] < 3:
            continue  # two scores correlate by 1 or -1, whatever they are
        # A graph whose scores are all alike, or no numbers, has lost everything.
        correlations.append(float(torch.corrcoef(pair)[0, 1].nan_to_num(nan=0.0)))
    if not correlations:
        raise UserError("--data: no text has three tokens, so that nothing can be correlated.")
    return PrecisionLoss(
        labels_kept=sum(kept) / len(kept),
        correlation=sum(correlations) / len(correlations),
        lowest_correlation=min(correlations),
        texts=len(texts),
    )
