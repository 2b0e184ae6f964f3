"""The demo as a newcomer runs it: it learns, and its explanations find the planted words."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_demo_learns_and_explains(tmp_path, minilm_folder):
    out = tmp_path / "demo"
    command = [sys.executable, str(ROOT / "train.py"), "demo", "--output_dir", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr[-2000:]
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] > 0.9
    found = metrics["evidence_average_precision"]
    assert found["damped_lrp"] > found["attention_last"] > found["random"]
    assert str(out / "explanations.html") in done.stdout
    assert (out / "explanations.html").is_file()
