"""A recipe trained by train.py on an XLA device, beside the same on a CPU."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from attrib_lab.storage.manifests import is_complete


pytest.importorskip("torch_xla", reason="XLA's device: make test-xla")

ROOT = Path(__file__).resolve().parents[2]
ON_CPU = {"USE_TORCH_XLA": "0"}  # read by transformers and accelerate: as if torch_xla were not installed
WORDS = {
    "sports": ["goal", "match", "striker", "coach", "league"],
    "business": ["stocks", "profit", "merger", "bank", "shares"],
}
FILLER = ["the", "a", "of", "on", "today", "said", "with", "after", "new", "old"]
ROWS = {"train": 88, "validation": 24, "test": 20}
RECIPE = """
model:
  backbone:
    model_type: bert
    tokenizer: {tokenizer}
    hidden_size: 32
    num_hidden_layers: 2
    num_attention_heads: 4
    intermediate_size: 64
    initializer_range: 0.1
    hidden_dropout_prob: 0.0
    attention_probs_dropout_prob: 0.0
  classifier_dropout: 0.0
  max_length: 64
data: {{train: {folder}/train.csv, validation: {folder}/validation.csv, test: {folder}/test.csv, explained_examples: 2}}
training:
  num_train_epochs: 2
  per_device_train_batch_size: 16
  per_device_eval_batch_size: 32
  learning_rate: 6.0e-3
  bf16: false
  eval_strategy: steps
  eval_steps: 3
  save_strategy: steps
  save_steps: 3
  logging_steps: 1
seed: 7
"""
LOADED = """
import json, sys
from transformers import pipeline
pipe = pipeline("text-classification", model=sys.argv[1], trust_remote_code=True, device="cpu")
print(json.dumps(pipe("Stocks fell after the bank had raised its rates.", target=0)))
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, minilm_folder):
    """A fresh encoder without dropout, whose random numbers differ between devices, and words that it learns soon."""
    folder = tmp_path_factory.mktemp("recipe")
    for split, rows in ROWS.items():
        (folder / f"{split}.csv").write_text("text,label\n" + "".join(lines(rows, seed=rows)), encoding="utf-8")
    file = folder / "tiny.yaml"
    file.write_text(RECIPE.format(tokenizer=minilm_folder, folder=folder), encoding="utf-8")
    return file


def lines(rows, seed):
    """Texts of eight words, six of which carry the label."""
    generator = random.Random(seed)
    for row in range(rows):
        label = list(WORDS)[row % 2]
        words = generator.choices(FILLER, k=2) + generator.choices(WORDS[label], k=6)
        generator.shuffle(words)
        yield f"{' '.join(words)},{label}\n"


def command(recipe, folder):
    return [sys.executable, str(ROOT / "train.py"), str(recipe), "--output_dir", str(folder)]


def trained(recipe, folder, **environment):
    done = subprocess.run(
        command(recipe, folder), env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def on_xla(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("xla")
    assert "training on XLA on CPU in float32" in trained(recipe, folder)
    return folder


def losses(folder, name):
    history = json.loads((folder / "metrics.json").read_text())["history"]
    return [entry[name] for entry in history if name in entry]


def test_it_learns_and_as_on_a_cpu(recipe, on_xla, tmp_path):
    """Both learn, or that they agree would say little: the curve of a model that learns nothing is flat everywhere."""
    assert "training on cpu in float32" in trained(recipe, tmp_path, **ON_CPU)
    for folder in (on_xla, tmp_path):
        curve, evaluated = losses(folder, "loss"), losses(folder, "eval_loss")[:-1]  # the last is of the model kept
        assert sum(curve[-3:]) < 2 / 3 * sum(curve[:3])
        assert evaluated[-1] < 2 / 3 * evaluated[0]
        assert losses(folder, "eval_accuracy")[-1] > 0.9
    for name in ("loss", "eval_loss", "eval_accuracy"):
        assert losses(on_xla, name) == pytest.approx(losses(tmp_path, name), abs=1e-3)
    assert len(losses(on_xla, "loss")) == 12  # the last batch of each epoch has eight rows of sixteen
    found, expected = (json.loads((folder / "metrics.json").read_text()) for folder in (on_xla, tmp_path))
    assert found["test"] == pytest.approx(expected["test"], abs=1e-3)
    assert found["settings"]["device"] == "XLA on CPU"


def test_its_folder_is_loaded_on_a_cpu(on_xla):
    weights = load_file(on_xla / "model.safetensors")
    assert all(bool(weight.isfinite().all()) for weight in weights.values())
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | ON_CPU
    done = subprocess.run(
        [sys.executable, "-c", LOADED, str(on_xla)],
        env=environment,
        cwd=on_xla,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (result,) = json.loads(done.stdout.splitlines()[-1])
    assert any(entry["score"] for entry in result["attributions"])


def test_a_killed_run_goes_on_and_ends_the_same(recipe, on_xla, tmp_path):
    process = subprocess.Popen(command(recipe, tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not any(map(is_complete, tmp_path.glob("checkpoints/checkpoint-[69]"))):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "model.safetensors").exists()
    assert "going on from" in trained(recipe, tmp_path)
    whole, cut = (load_file(folder / "model.safetensors") for folder in (on_xla, tmp_path))
    assert whole.keys() == cut.keys()
    for name in whole:
        torch.testing.assert_close(cut[name], whole[name], rtol=0, atol=1e-6)
