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
    rows = [{"text": " ".join(["goal"] * length)} for length in (*[1] * 4, *[5] * 4, *[9] * 4)]
    texts = encode_rows(rows, classifier.tokenizer)
    calls = []
    # The first is not timed; of each three that follow one another the median counts: 1, 2, 4, 1, 1 and 3 seconds.
    seconds = [9.0, *(s for median in (1.0, 2.0, 4.0, 1.0, 1.0, 3.0) for s in (median, 0.1, 50.0))]
    forward_seconds = iter(seconds)

    def logits(perturbed_texts):
        calls.append(("forward", [len(v.ids) for v in perturbed_texts]))
        clock.now += next(forward_seconds)
        return np.zeros((len(perturbed_texts), 2))

    def explainer(name, seconds, failing=False):
        def explain(classifier, batch, own):
            calls.append((name, [len(text.ids) for text in own]))
            if failing:
                raise ValueError("no")
            clock.now += seconds * len(own)
            return batch["input_ids"]

        return Explainer(name, "", explain)

    quick, slow, broken = explainer("quick", 0.375), explainer("slow", 1.5), explainer("broken", 1.0, failing=True)
    parts = list(measure_costs([slow, quick, broken], classifier, logits, texts, [0] * len(texts), seed=0))
    middle = [7] * 4
    assert calls[:4] == [("forward", middle), ("slow", [7]), ("quick", [7]), ("broken", [7])]
    a_round = [("forward", middle)] * 3 + [("quick", middle)]
    assert calls[4:] == [*a_round * 5, *[("forward", middle)] * 3, ("slow", middle)]  # what is slow is timed once
    assert [set(part) for part in parts] == [{"quick", "broken"}, {"slow"}]
    assert parts[0]["broken"] is None
    # 1.5 seconds over 1, 2, 4, 1, 1 of a forward pass: 1.5, .75, .375, 1.5, 1.5.
    assert parts[0]["quick"].as_dict() == {
        "passes": 1.5, "seconds": 1.5, "forward_seconds": 1.0, "texts": 4, "tokens": 28,
    }  # fmt: skip
    assert parts[1]["slow"].passes == 2.0
