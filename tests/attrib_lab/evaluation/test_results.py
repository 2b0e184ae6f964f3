"""Results by hand: means, verdicts, curves, and a line for each reason why texts were left out."""

import pytest

from attrib_lab.evaluation.explainers import Explainer
from attrib_lab.evaluation.metrics import Metric
from attrib_lab.evaluation.perturbation import Perturbation
from attrib_lab.evaluation.results import Values, summarise
from attrib_lab.evaluation.samples import Sample
from attrib_lab.evaluation.texts import EncodedText


TEXTS = [EncodedText(str(number), (2, 9, 3), (True, False, True), (None, 0, None)) for number in range(12)]
EXPLAINERS = [Explainer(name, f"paper of {name}", None) for name in ("good", "alike", "bad", "broken")]
METRICS = [
    Metric("up", None, True, "paper of up", "1", fractions=(0.5, 1.0)),
    Metric("down", None, False, "paper of down", "1"),
]


def entries(method, metric, values, curve=None):
    return [
        {"key": str(key), "method": method, "metric": metric}
        | ({"reason": value} if isinstance(value, str) else {"value": value})
        | ({"curve": [value, curve]} if curve is not None and not isinstance(value, str) else {})
        for key, value in enumerate(values)
    ]


@pytest.fixture(scope="module")
def results():
    attributions = [
        {"key": str(key), "method": "broken", "target": 0, "reason": "raised KeyError: 'x'"} for key in range(12)
    ]
    attributions.append({"key": "3", "method": "of another run", "target": 0, "reason": "whatever"})
    one = "only one token"
    measurements = [
        *entries("good", "up", [one, *[1.0] * 11], curve=3.0),
        *entries("alike", "up", [one, *[1.0, 0.9] * 5, 1.0], curve=1.0),
        *entries("bad", "up", [one, *[0.2] * 11], curve=0.0),
        *entries("good", "down", [one, *[5.0] * 11]),
        *entries("alike", "down", [one, *[4.0] * 11]),
        *entries("bad", "down", [one, "no rationale", *[4.5] * 10]),
        *entries("of another run", "up", [7.0]),
    ]
    values = Values.read(TEXTS, EXPLAINERS, METRICS, attributions, measurements)
    perturbations = {"up": Perturbation("mask", 4), "down": Perturbation("unk", 1, "word")}
    return summarise(values, EXPLAINERS, METRICS, perturbations, Sample(TEXTS, ["a note on the data."]), seed=0)


def test_figures(results):
    up = {method: entry["metrics"]["up"] for method, entry in results["methods"].items()}
    assert up["good"] == {
        "mean": 1.0, "low": 1.0, "high": 1.0, "texts": 11, "p_against_best": None, "verdict": "best",
    }  # fmt: skip
    assert up["alike"]["mean"] == pytest.approx((6 * 1 + 5 * 0.9) / 11)
    # Five differences of 0.1: two of 32 assignments of signs are as far from 0; the largest p-value, once.
    assert up["alike"]["p_against_best"] == pytest.approx(2 / 32)
    assert up["alike"]["verdict"] == "not told apart from the best"
    assert up["alike"]["low"] < up["alike"]["mean"] < up["alike"]["high"]
    # Eleven differences of 0.8: two of 2048, times the three pairs that could have been compared.
    assert up["bad"]["p_against_best"] == pytest.approx(3 * 2 / 2048)
    assert up["bad"]["verdict"] == "worse"
    assert up["broken"] is None


def test_lower_may_be_better(results):
    verdicts = {m: e["metrics"]["down"] and e["metrics"]["down"]["verdict"] for m, e in results["methods"].items()}
    assert verdicts == {"good": "worse", "alike": "best", "bad": "worse", "broken": None}
    assert [results["methods"][m]["metrics"]["down"]["texts"] for m in ("good", "alike", "bad")] == [10] * 3


def summary(measurements):
    values = Values.read(TEXTS, EXPLAINERS, METRICS[:1], [], measurements)
    return summarise(values, EXPLAINERS, METRICS[:1], {"up": Perturbation("mask", 4)}, Sample(TEXTS, []), seed=0)


def test_easy_texts_make_no_method_the_best():
    """`bad` has figures of the two easy texts only, where it is behind; over its own texts its mean is the highest."""
    lost = ["lost"] * 10
    results = summary(
        [
            *entries("good", "up", [9.0, 9.0, *[1.0] * 10], curve=1.0),
            *entries("bad", "up", [8.0, 8.0, *lost], curve=2.0),
        ]
    )
    good, bad = (results["methods"][name]["metrics"]["up"] for name in ("good", "bad"))
    assert (good["mean"], good["texts"], good["verdict"]) == (9.0, 2, "best")
    # Two differences of 1: ++ and -- of four assignments.
    assert (bad["mean"], bad["texts"], bad["p_against_best"]) == (8.0, 2, 0.5)
    assert results["curves"]["up"]["good"]["mean"] == [9.0, 1.0]
    assert results["notes"][-1] == "up: means and tests are over the 2 of 12 texts that all methods with figures share."


def test_a_method_that_is_better_on_every_shared_text_is_not_worse():
    """`good` is ahead on the ten texts that both have, and behind over all twelve of its own."""
    lost = ["lost"] * 2
    results = summary(
        [*entries("good", "up", [-90.0, -90.0, *[2.0] * 10]), *entries("bad", "up", [*lost, *[1.0] * 10])]
    )
    assert results["methods"]["good"]["metrics"]["up"]["verdict"] == "best"
    assert results["methods"]["bad"]["metrics"]["up"]["verdict"] == "worse"


def test_methods_without_a_shared_text_are_not_compared():
    half = ["lost"] * 6
    results = summary([*entries("good", "up", [3.0] * 6 + half), *entries("bad", "up", half + [1.0] * 6)])
    good, bad = (results["methods"][name]["metrics"]["up"] for name in ("good", "bad"))
    assert (good["mean"], good["texts"], bad["mean"], bad["texts"]) == (3.0, 6, 1.0, 6)
    assert [one["verdict"] for one in (good, bad)] == ["not compared"] * 2
    assert [one["p_against_best"] for one in (good, bad)] == [None, None]
    assert results["notes"][-1] == (
        "up: no text is shared by all methods with figures: each mean is over the method's own texts, and none is "
        "compared."
    )


def test_curves(results):
    assert set(results["curves"]) == {"up"}
    assert set(results["curves"]["up"]) == {"good", "alike", "bad"}
    curve = results["curves"]["up"]["alike"]
    assert curve["mean"] == pytest.approx([(6 * 1 + 5 * 0.9) / 11, 1.0])
    assert curve["low"][0] < curve["mean"][0] < curve["high"][0]
    assert curve["low"][1] == curve["high"][1] == 1.0


def test_notes(results):
    assert results["notes"] == [
        "a note on the data.",
        "broken: 12 of 12 texts not explained: raised KeyError: 'x'.",
        "all metrics, good, alike, bad: 1 of 12 texts not measured: only one token.",
        "down, bad: 1 of 12 texts not measured: no rationale.",
        "down: means and tests are over the 10 of 12 texts that all methods with figures share.",
        "up: means and tests are over the 11 of 12 texts that all methods with figures share.",
    ]


def test_readings(results):
    assert results["metrics"]["down"] == {
        "higher_is_better": False, "paper": "paper of down", "perturbation": "unk", "unit": "word", "fractions": [],
    }  # fmt: skip
    assert results["methods"]["bad"]["source"] == "paper of bad"
    assert results["texts"] == 12
