"""Concept activation vectors: unit normals between a concept's token states and those of other sentences."""

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from ..terminal.progress import track


TRAINED_SHARE = 0.5


@dataclass(frozen=True)
class ConceptVectors:
    """Vectors (vectors, width) of unit length that point toward the concept, and how well each tells unseen tokens
    of the two sides apart: balanced accuracies (vectors,), 0.5 by chance."""

    vectors: np.ndarray
    accuracies: np.ndarray


def concept_vectors(
    concept: list[np.ndarray], pool: list[np.ndarray], count: int, generator: np.random.Generator, description: str
) -> ConceptVectors:
    """Vectors of a concept against random sentences, each from a random half of the concept's sentences.

    Args:
        concept: token states of the concept's sentences, (tokens, width) a sentence.
        pool: the same of random sentences, at least as many; each vector draws as many of them as the concept has.
        count: number of vectors.
        generator: draws the sentences.
        description: of the progress bar.
    """
    return _fit([(concept, _draw(pool, len(concept), generator)) for _ in range(count)], generator, description)


def random_vectors(
    pool: list[np.ndarray], sentences: int, count: int, generator: np.random.Generator, description: str
) -> ConceptVectors:
    """Vectors of concepts that mean nothing: for each, two different draws of `sentences` from the pool.

    Args: see `concept_vectors`; the pool holds at least twice as many.
    """
    pairs = []
    for _ in range(count):
        drawn = _draw(pool, 2 * sentences, generator)
        pairs.append((drawn[:sentences], drawn[sentences:]))
    return _fit(pairs, generator, description)


def separating_direction(inside: np.ndarray, outside: np.ndarray) -> LogisticRegression:
    """A logistic regression between token states (tokens, width) of the two sides, which count the same."""
    states = np.concatenate([inside, outside])
    sides = np.repeat([1, 0], [len(inside), len(outside)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # separable sides: the direction settles long before
        return LogisticRegression(class_weight="balanced", max_iter=300).fit(states, sides)


def _draw(pool: list[np.ndarray], count: int, generator: np.random.Generator) -> list[np.ndarray]:
    return [pool[index] for index in generator.permutation(len(pool))[:count]]


def _fit(
    pairs: list[tuple[list[np.ndarray], list[np.ndarray]]], generator: np.random.Generator, description: str
) -> ConceptVectors:
    vectors, accuracies = [], []
    for inside, outside in track(pairs, description, "vectors"):
        # By sentences: tokens of one sentence are too much alike to judge each other.
        halves = []
        for side in (inside, outside):
            order = generator.permutation(len(side))
            cut = round(len(side) * TRAINED_SHARE)
            halves.append([np.concatenate([side[i] for i in part]) for part in (order[:cut], order[cut:])])
        (trained_in, unseen_in), (trained_out, unseen_out) = halves
        regression = separating_direction(trained_in, trained_out)
        normal = regression.coef_[0]
        vectors.append(normal / np.linalg.norm(normal))
        truth = np.repeat([1, 0], [len(unseen_in), len(unseen_out)])
        guess = regression.predict(np.concatenate([unseen_in, unseen_out]))
        accuracies.append(balanced_accuracy_score(truth, guess))
    return ConceptVectors(np.array(vectors), np.array(accuracies))
