"""The whole run: what it measures, how it goes on after a kill, what it refuses, and that the rest is measured."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_data import write_csv
from transformers import AutoTokenizer

from attrib_lab.commands import build_parser, main
from attrib_lab.evaluation import evaluation, evaluation_report
from attrib_lab.evaluation.classifiers import load_classifier
from attrib_lab.evaluation.evaluation import EvaluationOptions, evaluate_model, select_metrics
from attrib_lab.evaluation.samples import Columns, load_sample
from attrib_lab.storage.folders import locked
from attrib_lab.terminal.errors import UserError
from modeling_attrib import AttribForSequenceClassification


REPOSITORY = Path(__file__).resolve().parents[3]
STATE_FILES = ("state/attributions.jsonl", "state/measurements.jsonl", "state/settings.json")


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Drawing takes most of a small run's time, and has tests of its own."""
    monkeypatch.setattr(evaluation_report, "draw_curves", lambda *arguments: False)
    monkeypatch.setattr(evaluation_report, "draw_costs", lambda *arguments: False)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(write_csv(tmp_path_factory.mktemp("data") / "rows.csv", 24, 5))


def write_rows(folder, rows):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def run(folder, data, output, **options):
    return evaluate_model(folder, data, output, EvaluationOptions(**options))


def files(folder):
    return {name: (folder / name).read_bytes() for name in ("results.json", *STATE_FILES)}


# What is measured ---------------------------------------------------------------------------------------------------


def test_figures_are_those_of_the_definition(classifier_folder, data, tmp_path):
    """Comprehensiveness of one method, computed here from the model's own answers."""
    results = run(
        classifier_folder, data, tmp_path, methods="lrp,random", metrics="comprehensiveness", perturbation="unk"
    )
    model = AttribForSequenceClassification.from_pretrained(classifier_folder).eval()
    assert results["texts"] == 24
    texts = {e["key"]: e for e in map(json.loads, (tmp_path / STATE_FILES[0]).open()) if e.get("method") == "lrp"}
    measured = []
    sample = load_sample(data, "test", Columns(), load_classifier(classifier_folder))
    assert [text.key for text in sample.texts] == sorted(texts, key=lambda key: int(key.split("-")[0]))
    right = []
    for text in sample.texts:
        ids = torch.tensor([text.ids])
        with torch.no_grad():
            output = model(input_ids=ids, attribution_method="lrp")
            whole = output.logits.double().softmax(-1)
            target = int(whole.argmax())
            right.append(target == text.label)
            assert texts[text.key]["target"] == target
            np.testing.assert_allclose(texts[text.key]["scores"], output.attributions[0], atol=1e-6)
            order = np.argsort([-s for s in texts[text.key]["scores"][1:-1]], kind="stable") + 1
            falls = []
            for fraction in (0.01, 0.05, 0.1, 0.2, 0.5):
                changed = ids.clone()
                changed[0, order[: int(np.ceil(fraction * len(order)))].tolist()] = 1  # [UNK]
                rest = model(input_ids=changed, output_attributions=False).logits.double().softmax(-1)
                falls.append(float(whole[0, target] - rest[0, target]))
        measured.append(np.mean(falls))
    figure = results["methods"]["lrp"]["metrics"]["comprehensiveness"]
    assert figure["mean"] == pytest.approx(np.mean(measured), abs=1e-6)
    assert results["accuracy"] == pytest.approx(np.mean(right))
    assert json.loads(json.dumps(results)) == json.loads((tmp_path / "results.json").read_text())


@pytest.mark.parametrize("special_tokens", [True, False])
def test_auac_explains_the_gold_label_where_the_model_is_wrong(classifier_folder, tmp_path, special_tokens):
    """The curve of the gold label needs the words that speak for it, not for the label predicted instead."""
    model, tokenizer = load_classifier(classifier_folder).model, AutoTokenizer.from_pretrained(classifier_folder)
    text = "goal bank market"
    with torch.no_grad():
        predicted = int(model(**tokenizer(text, return_tensors="pt")).logits.argmax())
        gold = (predicted + 1) % model.config.num_labels
        explained = model(**tokenizer(text, return_tensors="pt"), attribution_method="lrp", attribution_target=gold)
        ids = tokenizer(text, return_tensors="pt").input_ids
        players = list(range(ids.shape[1])) if special_tokens else list(range(1, ids.shape[1] - 1))
        order = sorted(players, key=lambda token: -float(explained.attributions[0, token]))
        curve = []
        for fraction in np.linspace(0, 1, 11):
            shown = ids.clone()
            shown[0, order[int(np.ceil(fraction * len(order))) :]] = tokenizer.unk_token_id
            curve.append(float(model(input_ids=shown).logits.double().softmax(-1)[0, gold]))
    data = write_rows(tmp_path, [{"text": text, "label": gold}])
    results = run(
        *(classifier_folder, data, tmp_path / "out"), methods="lrp", metrics="auac,comprehensiveness",
        special_tokens=special_tokens,
    )  # fmt: skip
    assert results["curves"]["auac"]["lrp"]["mean"] == pytest.approx(curve, abs=1e-5)
    entries = [json.loads(line) for line in (tmp_path / "out" / STATE_FILES[0]).open()]
    assert [entry["target"] for entry in entries if "target" in entry] == [predicted, gold]


def test_plausibility_of_marked_words(classifier_folder, tmp_path):
    """A plug-in that scores what people marked is perfect; the share of chosen tokens is the marked share."""
    rows = [{"tokens": ["goal", "of", "the", "bank"], "marks": [1, 0, 0, 1], "label": "sports"}] * 3
    rows += [{"tokens": ["new", "match"], "marks": [0, 0], "label": "sports"}]
    (tmp_path / "oracle.py").write_text(
        "def explain(model, batch):\n"
        "    goal, bank = 15, 23\n"
        "    return ((batch['input_ids'] == goal) | (batch['input_ids'] == bank)).float()\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        results = run(
            classifier_folder,
            write_rows(tmp_path, rows),
            tmp_path / "out",
            methods="oracle:explain,random",
            columns=Columns(text="tokens", rationale="marks"),
        )
    finally:
        sys.path.remove(str(tmp_path))
    assert list(results["metrics"])[-3:] == ["auprc", "token_f1", "iou_f1"]
    oracle = results["methods"]["oracle:explain"]["metrics"]
    assert [oracle[name]["mean"] for name in ("auprc", "token_f1", "iou_f1")] == [1.0, 1.0, 1.0]
    assert [oracle[name]["texts"] for name in ("auac", "auprc")] == [4, 3]
    assert "1 of 4 texts have no rationale." in results["notes"]
    assert "auprc, token_f1, iou_f1, all methods: 1 of 4 texts not measured: no rationale." in results["notes"]


def test_edited_texts_are_explained_by_the_same_method(classifier_folder, tmp_path, monkeypatch):
    """Token ids as scores rank words alike before and after a full stop is added; noise does not."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "steady.py").write_text("def explain(model, batch): return batch['input_ids'].float()\n")
    rows = [{"text": "the striker said the goal was new"}, {"text": "stocks of the old bank fell today"}]
    source = write_rows(tmp_path, rows)
    results = run(classifier_folder, source, tmp_path / "out", methods="steady:explain,random", metrics="stability")
    steady, noise = (results["methods"][name]["metrics"]["stability"] for name in ("steady:explain", "random"))
    assert steady["mean"] == pytest.approx(0.0, abs=1e-12)
    assert noise["mean"] > 0.1


def test_the_predicted_label_stands_for_a_missing_one(classifier_folder, tmp_path):
    rows = [{"text": "goal of the match", "label": None}, {"text": "old bank", "label": 0}]
    results = run(classifier_folder, write_rows(tmp_path, rows), tmp_path / "out", methods="random")
    assert "auac: 1 of 2 texts have no label; there it follows the predicted one." in results["notes"]


def test_stock_model(stock_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def explain(model, batch): return batch['input_ids'].float()\n")
    rows = [{"text": "goal of the match", "label": 2}, {"text": "stocks fell", "label": 0}]
    results = run(stock_folder, write_rows(tmp_path, rows), tmp_path / "out", methods="mine:explain")
    assert {name: f["texts"] for name, f in results["methods"]["mine:explain"]["metrics"].items()} == {
        "auac": 2, "comprehensiveness": 2, "sufficiency": 2, "aopc": 2,
    }  # fmt: skip


def test_what_cannot_be_measured_is_counted_and_the_rest_is_measured(classifier_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fragile.py").write_text(
        "def explain(model, batch):\n"
        "    if (batch['input_ids'] == 15).any(): raise ValueError('no goals')\n"
        "    scores = batch['input_ids'].float()\n"
        "    scores[(batch['input_ids'] == 16).any(dim=1)] = float('nan')\n"
        "    return scores\n"
    )
    texts = ("\u200b", "bank", "goal of the bank", "match of the bank", "the new coach", "old bank")
    rows = [{"text": text, "label": "sports"} for text in texts]
    results = run(classifier_folder, write_rows(tmp_path, rows), tmp_path / "out", methods="lrp,fragile:explain")
    expected = [
        "all methods: 1 of 6 texts not explained: only special tokens.",
        "fragile:explain: 1 of 6 texts not explained: raised ValueError: no goals.",
        "fragile:explain: 1 of 6 texts not explained: returned scores that are not finite.",
        "all metrics, all methods: 1 of 6 texts not measured: only one token.",
        "all metrics: means and tests are over the 2 of 6 texts that all methods with figures share.",
    ]
    assert results["notes"] == expected
    counts = {name: entry["metrics"]["auac"]["texts"] for name, entry in results["methods"].items()}
    assert counts == {"lrp": 2, "fragile:explain": 2}
    out = capsys.readouterr().out
    page = (tmp_path / "out" / "results.md").read_text()
    for note in expected:
        assert note in out
        assert note.replace("_", "\\_") in page


def test_where_a_plug_in_fails_is_shown_in_its_own_code(classifier_folder, data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clumsy.py").write_text(
        "import torch\n"
        "def weigh(ids):\n"
        "    return torch.ones(3) @ torch.ones(4)  # of other sizes\n"
        "def explain(model, batch):\n"
        "    return weigh(batch['input_ids'])\n"
    )
    options = {"methods": "clumsy:explain,lrp", "limit": 5, "metrics": "auac"}
    results = run(classifier_folder, data, tmp_path / "out", **options)
    (note,) = [note for note in results["notes"] if note.startswith("clumsy:explain: 5 of 5 texts not explained")]
    assert "raised RuntimeError: " in note
    shown = capsys.readouterr().err.splitlines()
    shown = shown[next(n for n, line in enumerate(shown) if line.startswith("clumsy:explain fails on the text ")) :]
    assert shown[0].endswith(", here:")
    assert shown[1] == f'  File "{tmp_path / "clumsy.py"}", line 5, in explain'
    assert shown[2] == "    return weigh(batch['input_ids'])"
    (inner,) = [place for place, line in enumerate(shown) if line.endswith("line 3, in weigh")]
    assert shown[inner + 1] == "    return torch.ones(3) @ torch.ones(4)  # of other sizes"
    assert sum(line.startswith("  File ") for line in shown) == 2  # once, and nothing of ours or torch's
    assert any(line.startswith("RuntimeError: ") for line in shown)


def test_where_a_plug_in_fails_on_edited_texts_is_shown_too(classifier_folder, tmp_path, monkeypatch, capsys):
    """A metric explains other texts than those of the data, and these are the ones that fail."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "picky.py").write_text(
        "def explain(model, batch):\n"
        "    if batch['input_ids'].shape[1] != 7: raise KeyError('length')\n"
        "    return batch['input_ids'].float()\n"
    )
    rows = [{"text": text, "label": "sports"} for text in ("the goal is not new", "the bank is not old")]
    data = write_rows(tmp_path, rows)
    results = run(classifier_folder, data, tmp_path / "out", methods="picky:explain", metrics="stability")
    assert any("an edited text is not explained" in note for note in results["notes"])
    shown = capsys.readouterr().err
    assert shown.count(f'File "{tmp_path / "picky.py"}", line 2, in explain') == 1


def test_a_method_that_never_works_has_no_figures(classifier_folder, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hopeless.py").write_text("def explain(model, batch): raise RuntimeError('never')\n")
    results = run(classifier_folder, data, tmp_path / "out", methods="hopeless:explain,lrp", limit=5, metrics="auac")
    assert results["methods"]["hopeless:explain"]["metrics"] == {"auac": None}
    assert results["methods"]["lrp"]["metrics"]["auac"]["verdict"] == "best"
    assert json.loads((tmp_path / "out" / "state" / "cost.json").read_text())["hopeless:explain"] is None


# Going on -----------------------------------------------------------------------------------------------------------


def start(arguments):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(
        [sys.executable, "-m", "attrib_lab", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def kill_once_written(process, file, size):
    """SIGKILL as soon as `file` holds `size` bytes."""
    while not file.is_file() or file.stat().st_size < size:
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_killed_and_run_again_gives_the_same_bytes(classifier_folder, data, tmp_path):
    """SIGKILL while measuring, and a torn line; then the files of a run that nobody disturbed."""
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    command = ["evaluate", str(classifier_folder), "--data", data, "--methods", "lrp,random", "--batch-size", "1"]

    def run_here(output):
        arguments = build_parser().parse_args([*command, "--output", str(output)])
        arguments.run(arguments)

    run_here(whole)
    expected = files(whole)
    attributions, measurements = (torn / name for name in STATE_FILES[:2])
    kill_once_written(start([*command, "--output", str(torn)]), measurements, 1)
    assert attributions.read_bytes() == expected[STATE_FILES[0]]
    written = measurements.read_bytes()
    assert 0 < len(written) < len(expected[STATE_FILES[1]])
    assert expected[STATE_FILES[1]].startswith(written)
    assert not (torn / "results.json").exists()
    measurements.write_bytes(expected[STATE_FILES[1]][: len(written) + 30])
    run_here(torn)
    assert files(torn) == expected
    # The same while explaining.
    attributions.write_bytes(expected[STATE_FILES[0]][: len(expected[STATE_FILES[0]]) // 2])
    measurements.unlink()
    run_here(torn)
    assert files(torn) == expected


def test_a_folder_has_one_run_at_a_time(classifier_folder, data, tmp_path):
    with (
        locked(tmp_path / "out", "an evaluation"),
        pytest.raises(UserError, match="out: another run is at work there"),
    ):
        run(classifier_folder, data, tmp_path / "out")


def test_a_finished_run_is_not_done_again(classifier_folder, data, tmp_path, monkeypatch):
    options = {"methods": "lrp,random", "metrics": "auac", "limit": 6}
    run(classifier_folder, data, tmp_path, **options)
    before, cost = files(tmp_path), (tmp_path / "state" / "cost.json").read_bytes()

    def refuse(*arguments):
        raise AssertionError("this is known already")

    with monkeypatch.context() as patch:
        for name in ("explain_batch", "measure_costs"):
            patch.setattr(evaluation, name, refuse)
        run(classifier_folder, data, tmp_path, **options)
    assert files(tmp_path) == before
    assert (tmp_path / "state" / "cost.json").read_bytes() == cost


def test_more_methods_and_metrics_add_to_a_run(classifier_folder, data, tmp_path, monkeypatch):
    run(classifier_folder, data, tmp_path, methods="lrp", metrics="auac", limit=6)
    explained = []
    original = evaluation.explain_batch
    monkeypatch.setattr(
        evaluation,
        "explain_batch",
        lambda explainer, *rest: explained.append(explainer.name) or original(explainer, *rest),
    )
    more = run(classifier_folder, data, tmp_path, methods="random,lrp", metrics="auac,sufficiency", limit=6)
    assert set(explained) == {"random"}
    at_once = run(
        classifier_folder, data, tmp_path / "other", methods="random,lrp", metrics="auac,sufficiency", limit=6
    )
    for method in ("random", "lrp"):
        for metric in ("auac", "sufficiency"):
            one, other = (results["methods"][method]["metrics"][metric] for results in (more, at_once))
            assert one["mean"] == pytest.approx(other["mean"], abs=1e-6)
    # What an earlier run measured beyond what is asked for is not told.
    assert set(run(classifier_folder, data, tmp_path, methods="lrp", metrics="auac", limit=6)["methods"]) == {"lrp"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"perturbation": "delete"}, r"another --perturbation \(mask, now delete\)"),
        ({"limit": 5}, r"another --limit \(4, now 5\)"),
        ({"seed": 1}, "another --seed"),
        ({"unit": "word"}, "another --unit"),
        ({"columns": Columns(label="text", labels=("a", "b"))}, "is none of a, b"),
    ],
)
def test_a_run_with_other_settings_is_refused(classifier_folder, data, tmp_path, changed, message):
    options = {"methods": "random", "metrics": "sufficiency", "limit": 4}
    run(classifier_folder, data, tmp_path, **options)
    before = files(tmp_path)
    with pytest.raises(UserError, match=message):
        run(classifier_folder, data, tmp_path, **(options | changed))
    assert files(tmp_path) == before


def test_another_model_data_or_plug_in_is_refused(classifier_folder, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plug_in = tmp_path / "mine2.py"
    plug_in.write_text("def explain(model, batch): return batch['input_ids']\n")
    output, rows = tmp_path / "out", [{"text": "goal of the match"}, {"text": "old bank"}]
    options = {"methods": "mine2:explain", "metrics": "sufficiency"}
    source = write_rows(tmp_path, rows)
    run(classifier_folder, source, output, **options)

    plug_in.write_text("def explain(model, batch): return -batch['input_ids']\n")
    sys.modules.pop("mine2")
    with pytest.raises(UserError, match="another plug-in mine2:explain"):
        run(classifier_folder, source, output, **options)
    options["methods"] = "random"
    write_rows(tmp_path, [*rows[:1], {"text": "new bank"}])
    with pytest.raises(UserError, match="another data"):
        run(classifier_folder, source, output, **options)
    write_rows(tmp_path, rows)
    run(classifier_folder, source, output, **options)
    other = AttribForSequenceClassification.from_pretrained(classifier_folder)
    with torch.no_grad():
        other.classifier.bias += 0.1
    other.save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(classifier_folder).save_pretrained(tmp_path / "model")
    with pytest.raises(UserError, match="another model"):
        run(tmp_path / "model", source, output, **options)


# The command --------------------------------------------------------------------------------------------------------


def test_metrics_by_name():
    assert [metric.name for metric in select_metrics(None)] == ["auac", "comprehensiveness", "sufficiency", "aopc"]
    assert [metric.name for metric in select_metrics("aopc, auac,aopc")] == ["aopc", "auac"]
    assert [metric.name for metric in select_metrics(None, "marks")][4:] == ["auprc", "token_f1", "iou_f1"]
    for names, message in [("auc", "Did you mean 'auac'"), (",", "names no metric"), ("auprc", "needs --rationale")]:
        with pytest.raises(UserError, match=message):
            select_metrics(names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/nowhere"], "no such folder"),
        (["--methods", "lrq"], "unknown method 'lrq'"),
        (["--metrics", "auc"], "unknown metric 'auc'"),
        (["--data", "nowhere.csv"], "does not exist"),
        (["--limit", "0"], "--limit 0: it must be 1 at least"),
        (["--batch-size", "-3"], "--batch-size -3: it must be 1 at least"),
        (["--output", "FILE"], "is a file: name a folder"),
    ],
)
def test_errors_end_in_one_line(classifier_folder, data, tmp_path, monkeypatch, capsys, arguments, message):
    file = tmp_path / "file"
    file.touch()
    arguments = [str(file) if argument == "FILE" else argument for argument in arguments]
    folder = arguments if not arguments[0].startswith("--") else [str(classifier_folder), *arguments]
    given = ["evaluate", "--data", data, "--output", str(tmp_path / "out"), *folder]
    monkeypatch.setattr(sys, "argv", ["attrib", *given])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert message in errors[0]


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["evaluate", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    example = out[out.index("example: attrib ") + len("example: attrib ") :].split()
    parsed = build_parser().parse_args(example)
    assert (parsed.model_dir, parsed.methods) == (Path("outputs/demo"), "lrp,attention_last,random")
