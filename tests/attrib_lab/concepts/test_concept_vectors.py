"""Concept vectors: the direction that is there is found, and unseen means unseen."""

import numpy as np
import pytest

from attrib_lab.concepts.vectors import concept_vectors, random_vectors


WIDTH = 12
DIRECTION = np.eye(WIDTH)[3]


def cloud(sentences, shift, seed):
    """Normal token states, six tokens a sentence, moved along DIRECTION."""
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(6, WIDTH)) + shift * DIRECTION for _ in range(sentences)]


def test_the_vectors_are_unit_normals_that_point_to_the_concept():
    found = concept_vectors(cloud(40, 4.0, 0), cloud(100, 0.0, 1), 20, np.random.default_rng(2), "")
    assert found.vectors.shape == (20, WIDTH)
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1.0, rtol=1e-12)
    assert (found.vectors @ DIRECTION).min() > 0.9
    # Two normal distributions four standard deviations apart: the best boundary is right with probability Φ(2) = 0.977.
    assert found.accuracies.mean() == pytest.approx(0.977, abs=0.02)
    assert len(np.unique(found.vectors[:, 0])) == 20  # each from a draw of its own


def test_the_sides_count_the_same():
    """A concept of short sentences against long ones: the boundary stays in the middle."""
    short = [states[:1] for states in cloud(40, 4.0, 0)]
    found = concept_vectors(short, cloud(100, 0.0, 1), 20, np.random.default_rng(2), "")
    assert found.accuracies.mean() == pytest.approx(0.977, abs=0.03)


def test_random_concepts_are_not_known():
    found = random_vectors(cloud(100, 0.0, 0), 30, 30, np.random.default_rng(1), "")
    assert found.accuracies.mean() == pytest.approx(0.5, abs=0.04)
    cosines = found.vectors @ found.vectors.T
    assert abs(cosines[np.triu_indices(30, 1)].mean()) < 0.1


def test_tokens_of_one_sentence_do_not_judge_each_other():
    """Sentences that repeat one token each: whoever trained on a part of a sentence would know its rest by heart."""
    generator = np.random.default_rng(0)
    pool = [np.repeat(generator.normal(size=(1, 200)), 6, axis=0) for _ in range(80)]
    found = concept_vectors(pool[:20], pool[20:], 20, np.random.default_rng(1), "")
    assert found.accuracies.mean() == pytest.approx(0.5, abs=0.08)


def test_the_seed_decides():
    first, second, third = (
        concept_vectors(cloud(10, 1.0, 0), cloud(30, 0.0, 1), 3, np.random.default_rng(seed), "").vectors
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, third)
