"""train.py on the device under test (`make test-gpu`: a GPU): half precision, a kill and going on, a CPU that reads."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from device_under_test import DEVICE, ON_GPU, needs_device
from safetensors.torch import load_file
from toy_data import write_backbone, write_recipe
from transformers import AutoTokenizer

from attrib_lab.storage.manifests import is_complete
from modeling_attrib import AttribForSequenceClassification, AttribTextClassificationPipeline


pytestmark = needs_device
ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
# The kernels of a GPU add in no fixed order: weights after 160 steps of training are alike, not the same.
ALIKE = {"rtol": 0, "atol": 0.05} if ON_GPU else {"rtol": 0, "atol": 0}
OFTEN = ["--eval_strategy", "steps", "--save_strategy", "steps", "--save_steps", "10", "--eval_steps", "10"]
TEXT = "stocks said the bank"


def command(recipe, output, *arguments):
    device = ["--use_cpu", str(not ON_GPU).lower()]
    return [sys.executable, str(ROOT / "train.py"), str(recipe), "--output_dir", str(output), *device, *arguments]


def train(recipe, output, *arguments):
    done = subprocess.run(
        command(recipe, output, *arguments), capture_output=True, text=True, env=ENVIRONMENT, timeout=500
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def weights(folder):
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("precision", ["bf16", "fp16"] if ON_GPU else ["bf16"])
@pytest.mark.parametrize("adjustment", ["none", "attribution"])
def test_a_recipe_is_learned_in_half_precision(tmp_path, precision, adjustment):
    """float16 goes through a GradScaler, beside which adjusted features take gradients of their own."""
    recipe = write_recipe(tmp_path, write_backbone(tmp_path / "backbone"))
    options = ["--feature_adjustment", adjustment, "--contrastive_weight", "0.1"]
    train(recipe, tmp_path / "out", f"--{precision}", "true", *options)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] >= 0.9  # 40 texts of two labels: float32 has all, 8 digits may miss some
    assert metrics["settings"]["bf16"] == (precision == "bf16")
    assert metrics["settings"]["device"] == (torch.cuda.get_device_name() if ON_GPU else "cpu")
    assert all(value.isfinite().all() for value in weights(tmp_path / "out").values())


def test_a_killed_run_goes_on_and_a_cpu_reads_what_it_leaves(tmp_path):
    recipe = write_recipe(tmp_path, write_backbone(tmp_path / "backbone"))
    options = [*OFTEN, "--bf16", "true"]
    train(recipe, tmp_path / "whole", *options)
    process = subprocess.Popen(
        command(recipe, tmp_path / "cut", *options),
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.time() + 400
    while not any(map(is_complete, (tmp_path / "cut").glob("checkpoints/checkpoint-*"))):
        assert process.poll() is None
        assert time.time() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert "going on from" in train(recipe, tmp_path / "cut", *options)
    torch.testing.assert_close(weights(tmp_path / "cut"), weights(tmp_path / "whole"), **ALIKE)

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "cut")
    models = [AttribForSequenceClassification.from_pretrained(tmp_path / "cut") for _ in range(2)]
    there, here = (
        AttribTextClassificationPipeline(model=model, tokenizer=tokenizer, device=device)(TEXT)[0]
        for model, device in zip(models, (DEVICE, "cpu"))
    )
    assert there["label"] == here["label"] == "business"
    assert there["score"] == pytest.approx(here["score"], abs=1e-4)
    assert [part["word"] for part in there["attributions"]] == TEXT.split()
    scores = [[part["score"] for part in answer["attributions"]] for answer in (there, here)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4 * max(map(abs, scores[1])))
