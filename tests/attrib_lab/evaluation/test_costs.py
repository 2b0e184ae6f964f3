"""Costs: what is timed, in which order and on which texts; never how long it takes."""

import numpy as np
import pytest

from attrib_lab.evaluation import costs
from attrib_lab.evaluation.classifiers import load_classifier
from attrib_lab.evaluation.costs import measure_costs
from attrib_lab.evaluation.explainers import Explainer
from attrib_lab.evaluation.texts import encode_rows


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but for what a call says it takes."""

    class Clock:
        now = 0.0

        def perf_counter(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(costs, "time", clock)
    return clock


def test_medians_of_interleaved_rounds(classifier_folder, clock):
    classifier = load_classifier(classifier_folder)
    rows = [{"text": " ".join(["goal"] * length)} for length in (*[1] * 4, *[5] * 8, *[9] * 4)]
    texts = encode_rows(rows, classifier.tokenizer)
    calls = []
    forward_seconds = iter([9.0, 1.0, 2.0, 4.0, 1.0, 1.0])  # the first is not timed

    def logits(variants):
        calls.append(("forward", sorted(len(v.ids) for v in variants)))
        clock.now += next(forward_seconds)
        return np.zeros((len(variants), 2))

    def explainer(name, seconds, failing=False):
        def explain(classifier, batch, own):
            calls.append((name, [len(text.ids) for text in own]))
            if failing:
                raise ValueError("no")
            clock.now += seconds
            return batch["input_ids"]

        return Explainer(name, "", explain)

    quick, slow, broken = explainer("quick", 1.5), explainer("slow", 6.0), explainer("broken", 1.0, failing=True)
    found = measure_costs([quick, slow, broken], classifier, logits, texts, [0] * len(texts), seed=0)
    middle = [7] * 8
    assert [name for name, _ in calls[:4]] == ["quick", "slow", "broken", "forward"]
    rounds = [("forward", middle), ("quick", middle)]
    assert calls[4:] == [*rounds, ("slow", middle), *rounds * 4]  # what is slow is timed once
    # 1.5 over 1, 2, 4, 1, 1 seconds of a forward pass: 1.5, .75, .375, 1.5, 1.5.
    assert found["quick"].as_dict() == {
        "passes": 1.5, "seconds": 1.5, "forward_seconds": 1.0, "texts": 8, "tokens": 56,
    }  # fmt: skip
    assert found["slow"].passes == 6.0
    assert set(found) == {"quick", "slow"}
