"""From example sentences of concepts to their values per class, with significance."""

import zlib
from dataclasses import dataclass

import numpy as np

from ..terminal.errors import UserError
from .activations import LayerReader
from .significance import holm, t_test_random, t_test_value
from .vectors import TRAINED_SHARE, ConceptVectors, concept_vectors, random_vectors


FEWEST_SENTENCES = 10
FEWEST_TEXTS = 10  # to speak of a share of them
SIGNIFICANCE = 0.05
MOST_OVERLAP = 0.5  # of two random concepts' sentences, before a result warns of it
OVERLAP = (1 - TRAINED_SHARE) / TRAINED_SHARE


@dataclass(frozen=True)
class ClassEffect:
    """How the logit of one class moves with a concept.

    A TCAV value is the share of the texts whose mean score is positive: at 0.5 the concept speaks neither for nor
    against the class.

    Attributes:
        label: the class.
        score: mean score of all texts' tokens.
        values, random_values: TCAV value of each of the concept's vectors, and of each random concept's vector.
        p_half, p_random: two-sided p-values of the t-tests of `values` against 0.5 and against the random concepts,
            each adjusted for the number of classes.
    """

    label: str
    score: float
    values: tuple[float, ...]
    random_values: tuple[float, ...]
    p_half: float
    p_random: float

    @property
    def value(self) -> float:
        """Mean over the concept's vectors."""
        return float(np.mean(self.values))

    @property
    def interval(self) -> tuple[float, float]:
        """Middle 95 % of the vectors' values."""
        low, high = np.quantile(self.values, [0.025, 0.975])
        return float(low), float(high)


@dataclass(frozen=True)
class ConceptResult:
    """A concept, how well its vectors know it, and what it does to each class.

    Attributes:
        name: of the concept.
        sentences: how many describe it.
        accuracy: balanced accuracy of its vectors on tokens of sentences that they have not seen.
        random_accuracies: the same of each random concept's vector, 0.5 in expectation.
        effects: one for each class.
        random_overlap: mean share of a random concept's sentences that another random concept has too; the test against
            random concepts takes it for 0.
    """

    name: str
    sentences: int
    accuracy: float
    random_accuracies: tuple[float, ...]
    effects: tuple[ClassEffect, ...]
    random_overlap: float

    @property
    def known(self) -> bool:
        """Whether its vectors know unseen sentences of the concept better than 95 % of the random concepts' theirs.

        What they say about classes means nothing otherwise: sentences that have nothing in common have vectors too,
        and those point to some class.
        """
        return self.accuracy > float(np.quantile(self.random_accuracies, 1 - SIGNIFICANCE))

    @property
    def warning(self) -> str:
        """What weakens the test against random concepts, or an empty string."""
        if self.random_overlap <= MOST_OVERLAP:
            return ""
        return (
            f"two random concepts share {self.random_overlap:.0%} of their sentences on average, so that p (random) "
            "may be too small; give four times as many random sentences as the concept has."
        )

    def significant(self, effect: ClassEffect) -> bool:
        """Whether the concept is known and both of the effect's tests reject at 5 %."""
        return self.known and max(effect.p_half, effect.p_random) < SIGNIFICANCE


def analyse_concepts(
    reader: LayerReader,
    concepts: dict[str, list[str]],
    random_sentences: list[str],
    texts: list[str],
    vectors: int = 50,
    seed: int = 0,
) -> list[ConceptResult]:
    """Value of each concept for each class: attention-weighted concept activation vectors (Eggen et al.).

    Every text counts for every class, whatever the model decides on it: on texts that it is sure to be of a class, that
    class's logit hardly moves any more. A random concept is as many random sentences as the concept has, against as
    many others.

    Args:
        reader: the classifier at a layer.
        concepts: name -> example sentences.
        random_sentences: what the concepts are told apart from; sentences of a concept among them are passed over.
        texts: what the classifier is asked about.
        vectors: how many vectors per concept, and how many random concepts.
        seed: of all draws; a concept's result does not depend on the other concepts.

    Raises:
        UserError: for a concept with too few sentences, too few random ones, too few texts, or too few vectors.
    """
    if vectors < 2:
        raise UserError(f"{vectors} vectors say nothing about their spread: 2 at least, 50 as published.")
    if len(texts) < FEWEST_TEXTS:
        raise UserError(f"the data has {len(texts)} different texts to ask about; {FEWEST_TEXTS} at least are needed.")
    own = {sentence for sentences in concepts.values() for sentence in sentences}
    pool = [sentence for sentence in random_sentences if sentence not in own]
    _check_sizes(concepts, len(pool))
    states = reader.activations(pool, "reading random sentences")
    by_size: dict[int, ConceptVectors] = {}
    fitted: dict[str, ConceptVectors] = {}
    for name, sentences in concepts.items():
        size = len(sentences)
        if size not in by_size:
            draws = np.random.default_rng([seed, size])
            by_size[size] = random_vectors(states, size, vectors, draws, "fitting random concepts")
        draws = np.random.default_rng([seed, size, zlib.crc32(name.encode())])
        fitted[name] = concept_vectors(
            reader.activations(sentences, f"reading {name}"), states, vectors, draws, f"fitting {name}"
        )
    every = [found.vectors for found in (*fitted.values(), *by_size.values())]
    parts = np.split(reader.scores(texts, np.concatenate(every), "asking about the texts"), len(every), axis=2)
    own_scores = dict(zip(fitted, parts))
    random_scores = dict(zip(by_size, parts[len(fitted) :]))
    labels = list(reader.model.config.id2label.values())
    return [
        ConceptResult(
            name=name,
            sentences=len(concepts[name]),
            accuracy=float(found.accuracies.mean()),
            random_accuracies=tuple(by_size[len(concepts[name])].accuracies.tolist()),
            effects=_effects(own_scores[name], random_scores[len(concepts[name])], labels),
            random_overlap=2 * len(concepts[name]) / len(pool),  # either draws as many, in any order
        )
        for name, found in fitted.items()
    ]


def _check_sizes(concepts: dict[str, list[str]], pool: int) -> None:
    for name, sentences in concepts.items():
        if len(sentences) < FEWEST_SENTENCES:
            raise UserError(
                f"concept {name!r} has {len(sentences)} different sentences; {FEWEST_SENTENCES} at least are needed."
            )
        if pool < 2 * len(sentences):
            raise UserError(
                f"concept {name!r} has {len(sentences)} sentences, so {2 * len(sentences)} random ones that are not a "
                f"concept's are needed; there are {pool}."
            )


def _effects(scores: np.ndarray, random_scores: np.ndarray, labels: list[str]) -> tuple[ClassEffect, ...]:
    values, random_values = (scores > 0).mean(axis=0), (random_scores > 0).mean(axis=0)  # (labels, vectors)
    p_half = holm([t_test_value(own, 0.5, OVERLAP) for own in values])
    p_random = holm([t_test_random(own, chance, OVERLAP) for own, chance in zip(values, random_values)])
    return tuple(
        ClassEffect(
            label=label,
            score=float(scores[:, index].mean()),
            values=tuple(values[index].tolist()),
            random_values=tuple(random_values[index].tolist()),
            p_half=p_half[index],
            p_random=p_random[index],
        )
        for index, label in enumerate(labels)
    )
