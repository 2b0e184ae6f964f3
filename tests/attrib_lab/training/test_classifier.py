"""train.py end to end on toy data: learns, reports, resumes after a kill, runs on two processes."""

import csv
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_data import WORDS, write_backbone, write_csv, write_recipe
from transformers import AutoTokenizer

from attrib_lab.recipes.loading import load_recipe
from attrib_lab.storage.manifests import is_complete
from attrib_lab.terminal.errors import UserError
from attrib_lab.training import devices
from attrib_lab.training.classifier import train
from modeling_attrib import AttribForSequenceClassification


ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}

HANGS = 1200  # seconds after which a run is taken to hang; on an idle machine none takes twenty


@pytest.fixture(scope="module")
def backbone(tmp_path_factory) -> Path:
    return write_backbone(tmp_path_factory.mktemp("backbone"))


def run(*arguments: object, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    command = [*(launcher or (sys.executable,)), str(ROOT / "train.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=HANGS)


@pytest.mark.parametrize("adjustment", ["none", "attribution"])
def test_a_recipe_becomes_a_model_folder(tmp_path, backbone, adjustment):
    recipe = write_recipe(tmp_path, backbone)
    done = run(recipe, "--feature_adjustment", adjustment, "--contrastive_weight", "0.1")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] == 1.0  # two words of ten carry the label: separable
    assert metrics["test"]["macro_f1"] == 1.0
    assert metrics["rows"] == {"train": 160, "validation": 20, "test": 40}
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "explanations.html").read_text(encoding="utf-8")
    assert page.count("✓") == 4
    assert not (out / "checkpoints").exists()
    assert {path.name for path in out.glob("*.py")} >= {"modeling_attrib.py", "pipeline_attrib.py"}
    assert "test: accuracy 1.0000" in done.stdout
    lines = done.stdout.splitlines()
    assert lines[0] == (
        "data: 160 rows to train on, 20 to validate it on, 40 to test it on; 2 labels: business, sports"
    )
    number = r"\d\.\d{3}"
    evaluated = rf"step \d+ of 160 \(epoch \d\): training loss {number}, validation loss {number}, accuracy {number}, "
    assert sum(bool(re.fullmatch(rf"{evaluated}macro F1 {number}", line)) for line in lines) == 8
    assert done.stderr == ""  # no library has anything to say, and no bar is drawn where it cannot be wiped out
    assert not re.search(r"[{\r]|LOAD REPORT", done.stdout)
    model = AttribForSequenceClassification.from_pretrained(out)
    assert model.config.id2label == {0: "business", 1: "sports"}
    assert model.config.feature_adjustment == adjustment
    tokenizer = AutoTokenizer.from_pretrained(out)
    special = {name: getattr(tokenizer, name) for name in ("cls_token_id", "sep_token_id", "mask_token_id")}
    assert None not in special.values()  # BERT's own configuration names none of them
    assert {name: getattr(model.config.get_text_config(), name) for name in special} == special


ATTENTION_ONLY = "{model_type: attention_only, tokenizer: %s, hidden_size: 32, num_attention_heads: 4}"


@pytest.mark.parametrize("bfloat16", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--masked_training", "0.5"],
        ["--feature_adjustment", "attribution", "--contrastive_weight", "0.1"],
        ["--backbone", ATTENTION_ONLY, "--pooling", "cls"],
    ],
    ids=["plain", "masked", "adjusted", "attention_only"],
)
def test_every_kind_trains_on_every_processor(tmp_path, backbone, monkeypatch, capsys, bfloat16, options):
    """`bf16: auto` where the processor computes in bfloat16 (emulated, if this one does not) and where not."""
    monkeypatch.setattr(devices, "computes_in_bfloat16", lambda: bfloat16)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    options = [option.replace("%s", str(backbone)) for option in options]
    options += ["--bf16", "auto", "--use_cpu", "false", "--num_train_epochs", "2"]
    folder = train(load_recipe(str(write_recipe(tmp_path, backbone)), options))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["settings"]["bf16"] is bfloat16
    precision, verb = ("bfloat16", "computes") if bfloat16 else ("float32", "does not compute")
    said = f"training on cpu in {precision} (bf16: auto; this device {verb} in bfloat16)"
    assert capsys.readouterr().out.splitlines().count(said) == 1
    weights = load_file(folder / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert all(bool(weight.isfinite().all()) for weight in weights.values())


def test_what_is_reported_is_the_model_as_it_will_be_loaded(tmp_path, backbone):
    """Mixed precision is for learning: the scores are those of the saved weights in float32."""
    folder = train(load_recipe(str(write_recipe(tmp_path, backbone)), ["--bf16", "true", "--num_train_epochs", "1"]))
    model = AttribForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with (tmp_path / "test.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    inputs = tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")
    labels = torch.tensor([model.config.label2id[row["label"]] for row in rows])
    with torch.no_grad():
        loss = model(**inputs, labels=labels).loss
    assert json.loads((folder / "metrics.json").read_text())["test"]["loss"] == pytest.approx(loss.item(), abs=1e-5)


def test_columns_may_have_the_names_of_the_models_inputs(tmp_path, backbone):
    recipe = write_recipe(tmp_path, backbone)
    for name in ("train", "validation", "test"):
        file = tmp_path / f"{name}.csv"
        lines = file.read_text(encoding="utf-8").splitlines()
        lines = [f"{line},{extra}" for line, extra in zip(lines, ["labels", *(["aside"] * len(lines))])]
        file.write_text("\n".join(["input_ids,row,labels", *lines[1:]]) + "\n", encoding="utf-8")
    columns = ["--text", "input_ids", "--label", "row"]
    folder = train(load_recipe(str(recipe), columns))
    assert json.loads((folder / "metrics.json").read_text())["test"]["accuracy"] == 1.0


@pytest.mark.parametrize(("steps", "points"), [(1, 1), (10, 10), (30, 30), (150, 55)])
def test_a_run_of_few_steps_has_a_curve(tmp_path, backbone, capsys, steps, points):
    """Every step of a short run, fifty of a longer one, and one at each checkpoint."""
    train(load_recipe(str(write_recipe(tmp_path, backbone)), ["--max_steps", str(steps)]))
    history = json.loads((tmp_path / "out" / "metrics.json").read_text())["history"]
    assert len([entry for entry in history if "loss" in entry]) == points
    assert [entry["step"] for entry in history if "eval_accuracy" in entry][-1] == steps
    shown = capsys.readouterr().out
    assert f"step {steps} of {steps} (epoch " in shown


def test_checkpoints_and_the_last_step_are_logged_whatever_the_interval(tmp_path, backbone):
    options = ["--max_steps", "7", "--logging_steps", "5", "--eval_strategy", "steps", "--eval_steps", "4"]
    train(
        load_recipe(str(write_recipe(tmp_path, backbone)), [*options, "--save_strategy", "steps", "--save_steps", "4"])
    )
    history = json.loads((tmp_path / "out" / "metrics.json").read_text())["history"]
    assert [entry["step"] for entry in history if "loss" in entry] == [4, 5, 7]
    assert [entry["step"] for entry in history if "eval_loss" in entry][:2] == [4, 7]


def test_a_killed_run_goes_on_and_ends_the_same(tmp_path, backbone):
    options = ["--eval_strategy", "steps", "--save_strategy", "steps", "--save_steps", "10", "--eval_steps", "10"]
    options += ["--num_train_epochs", "3"]
    recipe = write_recipe(tmp_path, backbone, masked_training=0.5)
    assert run(recipe, *options, "--output_dir", tmp_path / "whole").returncode == 0
    command = [sys.executable, str(ROOT / "train.py"), str(recipe), *options, "--output_dir", str(tmp_path / "cut")]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.time() + HANGS
    # An epoch has 20 steps: the order of the second must be found again too.
    while not any(int(file.name.split("-")[1]) >= 30 for file in finished_checkpoints(tmp_path / "cut")):
        assert process.poll() is None
        assert time.time() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    other = run(recipe, *options, "--output_dir", tmp_path / "cut", "--learning_rate", "1e-3")
    assert other.returncode == 2
    assert "unfinished run of another recipe" in other.stderr
    again = run(recipe, *options, "--output_dir", tmp_path / "cut")
    assert again.returncode == 0, again.stderr
    assert "going on from" in again.stdout
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def finished_checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob("checkpoints/checkpoint-*") if is_complete(path)]


@pytest.mark.parametrize("processes", [1, 2])
def test_mistakes_are_found_and_shown(tmp_path, backbone, processes):
    """Predictions meet their rows: six of 37 rows are labelled wrong, and the page's mistakes are all among them."""
    recipe = write_recipe(tmp_path, backbone)
    mislabelled = mislabel(write_csv(tmp_path / "test.csv", 37, 1), 6)
    options = ["--feature_adjustment", "attribution", "--explained_examples", "12", "--use_cpu", "false"]
    options += ["--num_train_epochs", str(8 * processes)]  # as many steps
    if processes == 1:
        train(load_recipe(str(recipe), options))
    else:
        launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes))
        done = run(recipe, *options, launcher=launcher)
        assert done.returncode == 0, done.stderr[-2000:]
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["settings"]["processes"] == processes
    assert metrics["test"]["accuracy"] == pytest.approx(31 / 37)
    page = (tmp_path / "out" / "explanations.html").read_text(encoding="utf-8")
    assert page.count("✓") == 8
    assert page.count("✗ predicted") == 4
    assert sum(text in re.sub(r"<[^>]+>", "", page) for text in mislabelled) == 4


def mislabel(file: Path, count: int) -> list[str]:
    """Give the last rows the other label; their texts."""
    with file.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    first, second = WORDS
    for row in rows[-count:]:
        row["label"] = second if row["label"] == first else first
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, ["text", "label"])
        writer.writeheader()
        writer.writerows(rows)
    return [row["text"] for row in rows[-count:]]


def test_processes_that_would_train_alone_are_refused(tmp_path, backbone, monkeypatch):
    monkeypatch.setattr("attrib_lab.training.classifier.started_processes", lambda environment: 2)
    with pytest.raises(UserError, match="on cpu the 2 processes would each train alone"):
        train(load_recipe(str(write_recipe(tmp_path, backbone))))


def test_accelerate_launch_with_one_process_for_several_is_refused(tmp_path, backbone):
    recipe = write_recipe(tmp_path, backbone)
    launcher = (sys.executable, "-m", "accelerate.commands.launch", "--quiet", "--cpu", "--num_processes", "2")
    done = run(recipe, launcher=launcher)
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(said) == 1
    assert said[0].endswith(f"torchrun --standalone --nproc_per_node 2 {ROOT / 'train.py'} {recipe}")
    assert not (tmp_path / "out").exists()


def test_a_finished_model_of_other_arguments_stays(tmp_path, backbone, monkeypatch, capsys):
    options = [str(write_recipe(tmp_path, backbone)), "--num_train_epochs", "1"]
    folder = tmp_path / "out"

    def run_here(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["train.py", *options, *arguments])
        runpy.run_path(str(ROOT / "train.py"), run_name="__main__")

    run_here()
    before = (folder / "model.safetensors").read_bytes()
    assert (folder / "explanations.html").exists()
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run_here("--learning_rate", "1e-3")
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: {folder} holds a finished model of other arguments (other learning_rate): "
        "choose another --output_dir, or add --overwrite to replace it."
    ]
    assert (folder / "model.safetensors").read_bytes() == before
    run_here("--learning_rate", "1e-3", "--explained_examples", "0", "--overwrite")
    assert (folder / "model.safetensors").read_bytes() != before
    assert not (folder / "explanations.html").exists()  # the other model's


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--train", "missing.csv"], "data file 'missing.csv' does not exist"),
        (["--text", "body"], "no column 'body'"),
        (["--text", "body", "--label", "body"], "column 'body' cannot be both text and label"),
        (["--text_pair", "label"], "column 'label' cannot be both text and label"),
        (["--seed", "-1"], "seed is a whole number from 0 to"),
        (["--prediction_loss_only", "true"], "unknown key --prediction_loss_only"),
        (["--backbone", "nobody/nothing"], "backbone 'nobody/nothing'"),
    ],
)
def test_a_mistake_is_named(tmp_path, backbone, overrides, message):
    with pytest.raises(UserError, match=re.escape(message)):
        train(load_recipe(str(write_recipe(tmp_path, backbone)), overrides))


def test_a_mistake_ends_in_one_line_and_status_2(tmp_path):
    done = run("demo", "--poling", "cls", "--output_dir", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["error: unknown key --poling. Did you mean 'pooling'?"]
