"""The report: figures where they belong, the best marked, and nothing that a plug-in says breaks the page."""

import csv
import json

import numpy as np
import pytest
from matplotlib import pyplot

from attrib_lab.evaluation import evaluation_pictures, evaluation_report
from attrib_lab.evaluation.evaluation_pictures import COLOURS, look_of, spread_out
from attrib_lab.evaluation.evaluation_report import print_report, ranked_methods, write_report


def figure(mean, verdict, texts=9):
    p_value = None if verdict == "best" else 0.5
    return {
        "mean": mean, "low": mean - 0.1, "high": mean + 0.2, "texts": texts, "p_against_best": p_value,
        "verdict": verdict,
    }  # fmt: skip


@pytest.fixture
def results():
    def reading(higher_is_better, fractions):
        return {
            "higher_is_better": higher_is_better, "paper": "A paper", "perturbation": "unk", "unit": "token",
            "fractions": fractions,
        }  # fmt: skip

    curve = {"mean": [0.1, 0.5], "low": [0.0, 0.4], "high": [0.2, 0.6]}
    return {
        "texts": 9,
        "data": "data.csv",
        "model": "<b>model</b>",
        "accuracy": 0.875,
        "options": {},
        "notes": ["x: 1 of 9 texts not explained: raised KeyError: '<script>|`'."],
        "metrics": {"auac": reading(True, [0.0, 1.0]), "sufficiency": reading(False, [])},
        "methods": {
            "random": {"source": "nobody", "metrics": {"auac": figure(0.5, "worse"), "sufficiency": None}},
            "lrp": {"source": "Ali", "metrics": {"auac": figure(0.875, "best"), "sufficiency": figure(-0.25, "best")}},
            "m:f": {"source": "plug-in m", "metrics": {"auac": None, "sufficiency": None}},
            "gae": {
                "source": "Chefer",
                "metrics": {
                    "auac": figure(0.75, "not told apart from the best"), "sufficiency": figure(1234.5, "worse"),
                },
            },
        },
        "curves": {"auac": {"lrp": curve, "random": curve}},
    }  # fmt: skip


COSTS = {
    "lrp": {"passes": 2.04, "seconds": 0.5, "forward_seconds": 0.25, "texts": 8, "tokens": 80},
    "random": {"passes": 123.4, "seconds": 30.0, "forward_seconds": 0.25, "texts": 8, "tokens": 80},
    "m:f": None,
}


@pytest.fixture
def no_pictures(monkeypatch):
    """Drawing takes most of a report's time."""
    monkeypatch.setattr(evaluation_report, "draw_curves", lambda *arguments: False)
    monkeypatch.setattr(evaluation_report, "draw_costs", lambda *arguments: False)


def test_table(results, tmp_path, no_pictures, capsys):
    print_report(results, COSTS, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["method", "lrp", "gae", "random", "m:f"]
    assert lines[0].split() == ["method", "auac", "↑", "sufficiency", "↓", "cost"]
    assert lines[1].split() == ["lrp", "0.875", "[0.775,", "1.075]*", "-0.250", "[-0.350,", "-0.050]*", "2.0"]
    assert lines[2].split() == ["gae", "0.750", "[0.650,", "0.950]~", "1234", "[1234,", "1235]", "–"]
    assert lines[3].split() == ["random", "0.500", "[0.400,", "0.700]", "–", "123"]
    assert results["notes"][0] in lines
    assert "\x1b" not in "".join(lines)
    starts = {line.index("0.") for line in lines[1:4]}
    assert len(starts) == 1  # columns are aligned


def test_the_best_is_bold_in_a_terminal(results, tmp_path, no_pictures, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    print_report(results, COSTS, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].count("\x1b[1m") == 2
    assert "\x1b" not in lines[2]


def test_a_terminal_without_arrows(results, tmp_path, no_pictures, monkeypatch):
    import io

    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", out)
    print_report(results, COSTS, tmp_path)
    out.seek(0)
    assert out.read().startswith("method")


def test_files(results, tmp_path, no_pictures):
    write_report(results, COSTS, tmp_path)
    assert json.loads((tmp_path / "results.json").read_text()) == results
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    first = rows[0]
    assert (first["method"], first["metric"], float(first["mean"]), first["verdict"]) == ("lrp", "auac", 0.875, "best")
    assert (float(first["cost_in_forward_passes"]), first["p_against_best"]) == (2.04, "")
    assert (rows[-1]["method"], rows[-1]["mean"], rows[-1]["cost_in_forward_passes"]) == ("m:f", "", "")


def test_markdown_is_escaped(results, tmp_path, no_pictures):
    write_report(results, COSTS, tmp_path)
    page = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "<" not in page.replace("&lt;", "")
    assert "| **0.875 [0.775, 1.075]** |" in page
    assert "| 0.750 [0.650, 0.950] ~ |" in page
    assert "'&lt;script&gt;\\|\\`'" in page
    assert "\n**bold**: best mean; ~ not told apart" in page
    assert "250.0 ms on 8 texts with 80 tokens" in page
    table = [line for line in page.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in table} == {5}


def test_what_is_not_compared_has_no_mark(results, tmp_path, no_pictures, capsys):
    results["methods"]["gae"]["metrics"]["auac"] = figure(0.75, "not compared")
    write_report(results, COSTS, tmp_path)
    print_report(results, COSTS, tmp_path)
    assert "0.750 [0.650, 0.950]  " in capsys.readouterr().out
    assert "| 0.750 [0.650, 0.950] |" in (tmp_path / "results.md").read_text(encoding="utf-8")


def test_pictures_are_drawn_or_not(results, tmp_path):
    write_report(results, COSTS, tmp_path)
    for name in ("curves.png", "cost_faithfulness.png"):
        assert pyplot.imread(tmp_path / name).shape[1] > 600
    results["curves"] = {"auac": {}}
    (tmp_path / "other").mkdir()
    write_report(results, {}, tmp_path / "other")
    assert not list((tmp_path / "other").glob("*.png"))
    assert ".png" not in (tmp_path / "other" / "results.md").read_text()


def test_ranking_by_what_is_better(results):
    results["metrics"] = {"sufficiency": results["metrics"]["sufficiency"]}
    assert ranked_methods(results) == ["lrp", "gae", "random", "m:f"]


def test_looks_are_all_different():
    methods = [f"m{number}" for number in range(20)] + ["random"]
    looks = [look_of(method, methods) for method in methods]
    assert len({(look["color"], look["linestyle"]) for look in looks}) == 21
    assert look_of("random", methods)["color"] not in COLOURS


def test_names_are_spread_by_hand():
    assert spread_out([0.0, 0.5, 1.0], 0.1) == [0.0, 0.5, 1.0]
    np.testing.assert_allclose(spread_out([0.5, 0.5, 0.9], 0.1), [0.45, 0.55, 0.9])
    # Two that touch move apart, and then touch a third, which joins them: centre (0.5 + 0.5 + 0.62) / 3.
    np.testing.assert_allclose(spread_out([0.5, 0.5, 0.62], 0.1), [0.44, 0.54, 0.64])
    # What would leave the axes stays inside, in its order.
    np.testing.assert_allclose(spread_out([0.0, 0.0, 1.0, 1.0, 1.0], 0.2), [0.0, 0.2, 0.6, 0.8, 1.0])
    np.testing.assert_allclose(spread_out([0.9] * 5, 0.25), [0.0, 0.25, 0.5, 0.75, 1.0])


def test_bands_of_the_best_and_of_random(results):
    names = ["random", "lrp", "gae", "m:f"]
    assert evaluation_pictures._with_band(results, "auac", names) == names
    results["methods"]["last"] = {"source": "", "metrics": {"auac": figure(0.6, "worse")}}
    banded = evaluation_pictures._with_band(results, "auac", [*names, "last"])
    assert banded == ["lrp", "gae", "last", "random"]
