"""The report on faithfulness: the command that it prints is the one that was run, and notes are plain text."""

import json
import shlex
from dataclasses import asdict

import pytest

from attrib_lab import commands
from attrib_lab.evaluation import evaluation
from attrib_lab.evaluation.evaluation import EvaluationOptions
from attrib_lab.evaluation.samples import Columns
from benchmarks.faithfulness import write_faithfulness


def write_results(folder, **changes):
    """What `attrib evaluate` leaves, of one method and one metric."""
    figure = {"mean": 0.5, "low": 0.4, "high": 0.6, "texts": 9, "p_against_best": None, "verdict": "best"}
    reading = {"higher_is_better": True, "paper": "A paper", "perturbation": "unk", "unit": "token", "fractions": []}
    results = {
        "texts": 9,
        "model": "sst2",
        "data": "data.csv",
        "accuracy": None,
        "options": asdict(EvaluationOptions()),
        "notes": [],
        "metrics": {"auac": reading},
        "methods": {"lrp": {"source": "Ali", "metrics": {"auac": figure}}},
    } | changes
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "results.csv").write_text("method\n")
    (folder / "state").mkdir()
    (folder / "state" / "cost.json").write_text("{}")


def written(tmp_path, **changes):
    write_results(tmp_path / "set", **changes)
    report = tmp_path / "report.md"
    report.write_text("<!-- figures -->\n")
    write_faithfulness({"A set": tmp_path / "set"}, report)
    return report.read_text()


def command(page):
    return shlex.split(page.partition("```bash\n")[2].partition("\n```")[0])


OTHER = EvaluationOptions(
    methods="lrp,my.plug_in:explain", metrics="auac,auprc", split="validation[:10%]", limit=50, max_length=128,
    perturbation="delete", unit="word", seed=3, batch_size=8, budget=77, special_tokens=False,
    columns=Columns(text="question", text_pair="the answer", label="gold", labels=("no", "not sure"), rationale="why"),
)  # fmt: skip


@pytest.mark.parametrize("options", [EvaluationOptions(), OTHER])
def test_the_command_runs_what_was_run(tmp_path, monkeypatch, options):
    """Read by the parser of `attrib evaluate` itself, it gives the same options."""
    run = []
    monkeypatch.setattr(evaluation, "evaluate_model", lambda *arguments: run.append(arguments))
    attrib, *words = command(written(tmp_path, options=asdict(options)))
    assert attrib == "attrib"
    arguments = commands.build_parser().parse_args(words)
    arguments.run(arguments)
    ((model, data, output, found),) = run
    assert (str(model), data, str(output), found) == ("outputs/sst2", "data.csv", "outputs/faithfulness/set", options)


def test_what_is_usual_is_not_said(tmp_path):
    assert command(written(tmp_path)) == (
        ["attrib", "evaluate", "outputs/sst2", "--data", "data.csv", "--output", "outputs/faithfulness/set"]
    )


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("/some/where/data.csv", "data.csv"),
        ("there/data.JSONL", "data.JSONL"),
        ("stanfordnlp/sst2", "stanfordnlp/sst2"),
        ("nyu-mll/glue:sst2@validation", "nyu-mll/glue:sst2@validation"),
        ("newswire:200", "newswire:200"),
    ],
)
def test_files_go_by_their_names_and_hub_ids_stay_whole(tmp_path, source, shown):
    assert command(written(tmp_path, data=source))[4] == shown


def test_an_option_that_there_was_not_yet_is_as_usual(tmp_path):
    options = asdict(EvaluationOptions(seed=4))
    del options["budget"], options["columns"]["rationale"]
    assert command(written(tmp_path, options=options))[5:7] == ["--seed", "4"]


def test_notes_are_plain_text(tmp_path):
    note = "m:f: 1 of 9 texts not explained: raised KeyError: '<script>|`*x*`'."
    page = written(tmp_path, notes=[note])
    assert "\n\nm:f: 1 of 9 texts not explained: raised KeyError: '&lt;script&gt;\\|\\`\\*x\\*\\`'.\n" in page
