"""train.py end to end on toy data: learns, reports, resumes after a kill, runs on two processes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_data import write_backbone, write_recipe
from transformers import AutoTokenizer

from attrib_lab.errors import UserError
from attrib_lab.recipes import load_recipe
from attrib_lab.training import train
from modeling_attrib import AttribForSequenceClassification


ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory) -> Path:
    return write_backbone(tmp_path_factory.mktemp("backbone"))


def run(*arguments: object, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    command = [*(launcher or (sys.executable,)), str(ROOT / "train.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=300)


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


@pytest.mark.parametrize(("steps", "fewest"), [(1, 1), (10, 10), (30, 30), (150, 50)])
def test_a_run_of_few_steps_has_a_curve(tmp_path, backbone, capsys, steps, fewest):
    train(load_recipe(str(write_recipe(tmp_path, backbone)), ["--max_steps", str(steps)]))
    history = json.loads((tmp_path / "out" / "metrics.json").read_text())["history"]
    assert len([entry for entry in history if "loss" in entry]) == fewest
    assert [entry["step"] for entry in history if "eval_accuracy" in entry][-1] == steps
    shown = capsys.readouterr().out
    assert f"step {steps} of {steps} (epoch " in shown


def test_the_last_step_is_logged_whatever_the_interval(tmp_path, backbone):
    options = ["--max_steps", "7", "--logging_steps", "5", "--eval_strategy", "steps", "--eval_steps", "4"]
    train(
        load_recipe(str(write_recipe(tmp_path, backbone)), [*options, "--save_strategy", "steps", "--save_steps", "4"])
    )
    history = json.loads((tmp_path / "out" / "metrics.json").read_text())["history"]
    assert [entry["step"] for entry in history if "loss" in entry] == [5, 7]
    assert [entry["step"] for entry in history if "eval_loss" in entry][:2] == [4, 7]


def test_a_killed_run_goes_on_and_ends_the_same(tmp_path, backbone):
    options = ["--eval_strategy", "steps", "--save_strategy", "steps", "--save_steps", "10", "--eval_steps", "10"]
    recipe = write_recipe(tmp_path, backbone, masked_training=0.5)
    assert run(recipe, *options, "--output_dir", tmp_path / "whole").returncode == 0
    command = [sys.executable, str(ROOT / "train.py"), str(recipe), *options, "--output_dir", str(tmp_path / "cut")]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.time() + 200
    while not list((tmp_path / "cut").glob("checkpoints/checkpoint-*/trainer_state.json")):
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


def test_two_processes_train_one_model(tmp_path, backbone):
    recipe = write_recipe(tmp_path, backbone)
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    done = run(recipe, "--feature_adjustment", "attribution", launcher=launcher)
    assert done.returncode == 0, done.stderr[-2000:]
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["settings"]["processes"] == 2
    assert metrics["test"]["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--train", "missing.csv"], "data file 'missing.csv' does not exist"),
        (["--text", "body"], "no column 'body'"),
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
