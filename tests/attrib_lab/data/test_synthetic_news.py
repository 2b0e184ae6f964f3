"""The newswire: exact evidence, real distractors, and topics that keywords alone cannot tell."""

import re
from collections import Counter
from functools import cache
from itertools import pairwise

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from attrib_lab.data.synthetic_news import CUES, LABELS, Story, as_dataset, generate


# Longest first, so that "tennis champion" is found before any shorter cue inside it.
CUE_PATTERN = re.compile(
    "|".join(rf"\b{re.escape(cue)}\b" for cue in sorted(frozenset().union(*CUES), key=len, reverse=True)),
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def train() -> list[Story]:
    return generate(800, seed=1)


@pytest.fixture(scope="module")
def held_out() -> list[Story]:
    return generate(200, seed=2)


@cache
def cue_spans(story: Story, own: bool) -> list[tuple[int, int]]:
    """Where the text mentions its own topic, or (not own) others, found without help from the generator."""
    matches = CUE_PATTERN.finditer(story.text)
    return [match.span() for match in matches if (match.group().lower() in CUES[story.label]) is own]


def evidence_sentence(story: Story) -> str:
    start = story.evidence[0][0]
    return story.text[story.text.rfind(". ", 0, start) + 1 : story.text.find(".", start)].strip()


def bag_of_words_accuracy(train: list[Story], held_out: list[Story], read) -> float:
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=1000))
    model.fit([read(story) for story in train], [story.label for story in train])
    return model.score([read(story) for story in held_out], [story.label for story in held_out])


def test_same_seed_tells_the_same_stories(held_out):
    assert generate(200, seed=2) == held_out


def test_other_seed_shares_no_story_and_hardly_an_evidence_sentence(train, held_out):
    assert not {story.text for story in train} & {story.text for story in held_out}
    known = {evidence_sentence(story) for story in train}
    assert sum(evidence_sentence(story) in known for story in held_out) < 0.05 * len(held_out)


@pytest.mark.parametrize(("count", "expected"), [(200, [50] * 4), (6, [2, 2, 1, 1])])
def test_labels_are_balanced_but_not_in_order(count, expected):
    labels = [story.label for story in generate(count, seed=5)]
    assert [labels.count(label) for label in range(len(LABELS))] == expected
    assert labels != [position % len(LABELS) for position in range(count)]


def test_no_story_is_told_twice(train):
    assert max(Counter(story.text for story in train).values()) == 1


def test_evidence_is_every_mention_of_the_own_topic_and_nothing_else(train):
    for story in train:
        assert list(story.evidence) == cue_spans(story, own=True), story
        assert 2 <= len(story.evidence) <= 4, story


def test_no_evidence_touches_a_distractor_or_other_evidence(train):
    for story in train:
        spans = sorted([*story.evidence, *cue_spans(story, own=False)])
        assert all(end < start for (_, end), (start, _) in pairwise(spans)), story


def test_a_cue_belongs_to_one_topic_only():
    owners = Counter(cue for cues in CUES for cue in cues)
    assert [cue for cue, count in owners.items() if count > 1] == []


def test_stories_read_like_short_agency_copy(train):
    blemish = re.compile(r"[\[\]{}]|  | [.,]|,,|\ba [aeiou]|\ban [^aeiou]|[.] [a-z]|^[a-z]|[^.\"]$")
    for story in train:
        assert 20 <= len(story.text.split()) <= 45, story.text
        assert not blemish.search(story.text), story.text


def test_most_stories_hold_distractors_and_many_hold_more_of_them_than_evidence(train):
    surplus = [len(cue_spans(story, own=False)) - len(story.evidence) for story in train]
    distracted = sum(bool(cue_spans(story, own=False)) for story in train)
    assert 0.68 < distracted / len(train) < 0.85
    assert sum(more > 0 for more in surplus) / len(train) > 0.25


def test_neither_the_first_nor_the_last_cue_gives_the_topic_away(train):
    mixed = [story for story in train if cue_spans(story, own=False)]
    own_first = sum(cue_spans(story, own=False)[0] > story.evidence[0] for story in mixed) / len(mixed)
    own_last = sum(cue_spans(story, own=False)[-1] < story.evidence[-1] for story in mixed) / len(mixed)
    assert 0.25 < own_first < 0.75
    assert 0.25 < own_last < 0.75


def test_distractors_use_the_words_that_serve_as_evidence_elsewhere(train):
    def words(story: Story, spans) -> list[str]:
        return [story.text[start:end].lower() for start, end in spans]

    evidence = {word for story in train for word in words(story, story.evidence)}
    mentions = [word for story in train for word in words(story, cue_spans(story, own=False))]
    assert sum(mention in evidence for mention in mentions) / len(mentions) > 0.97


def test_bag_of_words_cannot_tell_the_topic(train, held_out):
    assert bag_of_words_accuracy(train, held_out, lambda story: story.text) < 0.75


def test_evidence_alone_tells_the_topic(train, held_out):
    def evidence(story: Story) -> str:
        return " ".join(story.text[start:end] for start, end in story.evidence)

    assert bag_of_words_accuracy(train, held_out, evidence) > 0.97


def test_words_beyond_the_cues_say_next_to_nothing(train, held_out):
    assert bag_of_words_accuracy(train, held_out, lambda story: CUE_PATTERN.sub("", story.text)) < 0.4


def test_dataset_carries_the_same_stories(held_out):
    dataset = as_dataset(200, seed=2)
    assert dataset.column_names == ["text", "label", "evidence"]
    assert dataset.features["label"].names == list(LABELS)
    rows = [Story(row["text"], row["label"], tuple(map(tuple, row["evidence"]))) for row in dataset]
    assert rows == held_out
