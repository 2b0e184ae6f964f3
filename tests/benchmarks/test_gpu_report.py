"""benchmarks.gpu runs on a CPU too, where its tables are read; and says so where there is no GPU."""

import json
import sys

import pytest
import torch

from attrib_lab.terminal.errors import UserError
from benchmarks import gpu


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["gpu", *map(str, arguments)])
    precision = torch.get_float32_matmul_precision()
    try:
        gpu.main()
    finally:
        torch.set_float32_matmul_precision(precision)


def test_every_contestant_is_measured_in_its_own_type(monkeypatch, tmp_path, minilm_folder):
    options = ["--backbone", minilm_folder, "--rounds", 1, "--precisions", "autocast to bfloat16"]
    run(monkeypatch, "--device", "cpu", "--sizes", "1x8", "2x16", *options, "--output", tmp_path)
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    names = {gpu.UNIT, "damped_lrp, all labels", *gpu.METHODS}
    assert len(rows) == 2 * len(names)
    assert {row["candidate"] for row in rows} == names
    assert all(row["ratio"]["median"] > 0 for row in rows)
    page = (tmp_path / "gpu.md").read_text()
    assert "| texts × tokens | 1×8 | 2×16 |" in page
    assert "## autocast to bfloat16: in F" in page


def test_where_there_is_no_gpu_nothing_is_written(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no CUDA device"):
        run(monkeypatch, "--output", tmp_path)
    with pytest.raises(UserError, match="name a folder with --output"):
        run(monkeypatch, "--device", "cpu")
    assert not list(tmp_path.iterdir())


def test_a_type_goes_back_to_the_one_it_came_from(monkeypatch, minilm_folder):
    """Weights that have been float16 are not float32's any more: each type starts from the encoder's own."""
    seen = []
    monkeypatch.setattr(gpu, "measure_interleaved", lambda calls, *rest: seen.append(calls[gpu.UNIT]()) or {})
    monkeypatch.setattr(gpu, "peak_bytes", lambda call, device: None)
    monkeypatch.setattr(gpu, "time_call", lambda call, repeats: gpu.Seconds(1.0, 1.0))
    arguments = type("Arguments", (), {"device": "cpu", "sizes": ["1x8"], "backbone": minilm_folder, "rounds": 1})
    arguments.precisions = ["float32", "float16", "float32"]
    gpu.measure(arguments)
    assert torch.equal(seen[0].logits, seen[2].logits)
