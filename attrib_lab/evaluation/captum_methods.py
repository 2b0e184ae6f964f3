"""Methods that captum computes, text by text: LIME, KernelSHAP, occlusion and integrated gradients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .classifiers import Batch, EvaluatedClassifier
from .texts import EncodedText


TOKENS_AT_ONCE = 4096  # of changed copies of one text that the model reads in one batch


@dataclass(frozen=True)
class ReplacementGame:
    """One text whose own tokens are replaced by a filler; special tokens always stay.

    Attributes:
        inputs: what the model reads, (1, tokens) each.
        target: the explained label.
        places: positions of the text's own tokens, (own tokens,).
        words: number of the word that each of them belongs to, from 0, (own tokens,).
        filler: the id that stands for an absent token: [MASK], else [UNK], else padding.
    """

    classifier: EvaluatedClassifier
    inputs: Batch
    target: int
    places: torch.Tensor
    words: torch.Tensor

    @property
    def ids(self) -> torch.Tensor:
        """The text's own tokens, (1, own tokens)."""
        return self.inputs["input_ids"][:, self.places]

    @property
    def copies(self) -> int:
        """How many changed copies are read in one batch."""
        return max(1, TOKENS_AT_ONCE // self.inputs["input_ids"].shape[1])

    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits (rows, labels) with the text's own tokens replaced by `ids`, (rows, own tokens)."""
        inputs = {name: value.expand(len(ids), -1) for name, value in self.inputs.items()}
        changed = inputs["input_ids"].clone()
        changed[:, self.places] = ids
        return self.classifier.forward(inputs | {"input_ids": changed})


@dataclass(frozen=True)
class CaptumMethod:
    """A method of captum.

    Attributes:
        paper: where it comes from.
        attribute: (game, filler, budget) -> scores of the text's own tokens, (own tokens,).
        budget: captum's own default, and what it counts; None where there is nothing to choose.
    """

    paper: str
    attribute: Callable[[ReplacementGame, int, int | None], torch.Tensor]
    budget: tuple[int, str] | None = None

    def source(self, budget: int | None) -> str:
        """Paper, budget and package, for a reader."""
        spent = "" if self.budget is None else f", {budget or self.budget[0]} {self.budget[1]}"
        return f"{self.paper}{spent}; captum (Kokhlikyan et al. 2020)"

    def with_budget(
        self, budget: int | None
    ) -> Callable[[EvaluatedClassifier, Batch, Sequence[EncodedText]], torch.Tensor]:
        """The method as an explainer: one text after the other, 0 at special tokens and padding."""

        def explain(classifier: EvaluatedClassifier, batch: Batch, texts: Sequence[EncodedText]) -> torch.Tensor:
            scores = torch.zeros(batch["input_ids"].shape, dtype=torch.float64)
            for row, text in enumerate(texts):
                game = _game(classifier, batch, row, text)
                scores[row, game.places.cpu()] = self.attribute(game, classifier.filler_id, budget).double().cpu()
            return scores

        return explain


def _game(classifier: EvaluatedClassifier, batch: Batch, row: int, text: EncodedText) -> ReplacementGame:
    inputs = {
        name: value[row : row + 1, : len(text.ids)] for name, value in batch.items() if name != "attribution_target"
    }
    places = [place for place, special in enumerate(text.special) if not special]
    # A token that belongs to no word is one by itself.
    numbers: dict[Any, int] = {}
    words = [
        numbers.setdefault(("word", text.words[p]) if text.words[p] is not None else ("token", p), len(numbers))
        for p in places
    ]
    device = classifier.device
    return ReplacementGame(
        classifier,
        inputs,
        int(batch["attribution_target"][row]),
        torch.tensor(places, device=device),
        torch.tensor(words, device=device),
    )


def _shared_among_tokens(word_scores: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    """A word's score on each of its tokens -> an equal share for each, so that tokens sum to their word."""
    return word_scores / torch.bincount(words)[words]


def _lime_kernel(original: torch.Tensor, changed: torch.Tensor, present: torch.Tensor, **_: Any) -> torch.Tensor:
    """Weight of a sample: exp(−(100 · cosine distance / 25)²)^½, LIME's own for texts (Ribeiro et al. 2016)."""
    distance = 1 - present.float().mean().sqrt()  # the cosine between a 0/1 vector and all ones
    return torch.exp(-0.5 * (100 * distance / 25) ** 2)


def _lime(game: ReplacementGame, filler: int, budget: int | None) -> torch.Tensor:
    from captum.attr import Lime

    return _by_word(game, filler, Lime(game.logits, similarity_func=_lime_kernel), budget)


def _kernel_shap(game: ReplacementGame, filler: int, budget: int | None) -> torch.Tensor:
    from captum.attr import KernelShap

    if int(game.words.max()) == 0:  # captum's kernel divides by zero; Shapley's value of one player is the difference
        with torch.no_grad():
            logits = game.logits(torch.cat([game.ids, torch.full_like(game.ids, filler)]))[:, game.target]
        return _shared_among_tokens((logits[0] - logits[1]).expand(len(game.words)), game.words)
    return _by_word(game, filler, KernelShap(game.logits), budget)


def _by_word(game: ReplacementGame, filler: int, method: Any, budget: int | None) -> torch.Tensor:
    scores = method.attribute(
        game.ids,
        baselines=filler,
        target=game.target,
        feature_mask=game.words.unsqueeze(0),
        perturbations_per_eval=game.copies,
        **({} if budget is None else {"n_samples": budget}),
    )
    return _shared_among_tokens(scores.squeeze(0), game.words)


def _occlusion(game: ReplacementGame, filler: int, budget: int | None) -> torch.Tensor:
    from captum.attr import FeatureAblation

    with torch.no_grad():
        method = FeatureAblation(game.logits)
        return method.attribute(
            game.ids, baselines=filler, target=game.target, perturbations_per_eval=game.copies
        ).squeeze(0)


def _integrated_gradients(game: ReplacementGame, filler: int, budget: int | None) -> torch.Tensor:
    from captum.attr import LayerIntegratedGradients

    padding = game.classifier.padding_id
    method = LayerIntegratedGradients(game.logits, game.classifier.model.get_input_embeddings())
    with torch.enable_grad():
        scores = method.attribute(
            game.ids,
            baselines=torch.full_like(game.ids, padding),
            target=game.target,
            internal_batch_size=game.copies,
            **({} if budget is None else {"n_steps": budget}),
        )
    return scores.sum(dim=-1).squeeze(0)[game.places]


METHODS = {
    "lime": CaptumMethod("Ribeiro et al. 2016, LIME over words", _lime, (25, "samples")),
    "kernel_shap": CaptumMethod("Lundberg and Lee 2017, KernelSHAP over words", _kernel_shap, (25, "samples")),
    "occlusion": CaptumMethod("Zeiler and Fergus 2014, one token at a time", _occlusion),
    "captum_integrated_gradients": CaptumMethod(
        "Sundararajan et al. 2017, from padding", _integrated_gradients, (50, "steps")
    ),
}
