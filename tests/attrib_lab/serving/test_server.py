"""The command: any classifier's folder is served until Ctrl-C, and what cannot be is one line."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from served import tiny_pipeline
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from attrib_lab.models.any_classifier import open_classifier
from attrib_lab.serving.server import FOUND_PAGE, find_page, serve_model
from attrib_lab.terminal.errors import UserError
from modeling_attrib import AttribTextClassificationPipeline
from modeling_attrib.onnx_attrib import weights_digest


ROOT = Path(__file__).resolve().parents[3]
TEXT = "the striker said the bank"


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A model of ours, one of transformers' own, and folders that are neither."""
    root = tmp_path_factory.mktemp("models")
    pipe = tiny_pipeline(root / "encoder")
    for name in ("ours", "empty"):
        (root / name).mkdir()
    pipe.model.save_pretrained(root / "ours")
    pipe.tokenizer.save_pretrained(root / "ours")
    torch.manual_seed(1)
    stock = BertForSequenceClassification(BertConfig.from_pretrained(root / "encoder", num_labels=3))
    stock.save_pretrained(root / "stock")
    shutil.copytree(root / "stock", root / "no_tokenizer")
    AutoTokenizer.from_pretrained(root / "encoder").save_pretrained(root / "stock")
    return {path.name: path for path in root.iterdir()}


def test_a_stock_classifier_is_converted_with_its_logits(folders):
    loaded = open_classifier(str(folders["stock"]))
    stock = BertForSequenceClassification.from_pretrained(folders["stock"]).eval()
    inputs = loaded.tokenizer(TEXT, return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(loaded.model(**inputs).logits, stock(**inputs).logits)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "nowhere: no classifier can be loaded: "),
        ("empty", "empty: no classifier can be loaded: "),
        ("encoder", "has no trained classification head"),
        ("no_tokenizer", "no_tokenizer has no tokenizer"),
    ],
)
def test_a_folder_that_cannot_be_served_is_one_line(folders, name, message):
    with pytest.raises(UserError) as error:
        serve_model(str(folders.get(name, "nowhere")), port=0)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_address_that_is_taken_is_one_line(folders):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"cannot listen at 127\.0\.0\.1 port {port}: "):
            serve_model(str(folders["ours"]), port=port)
    with pytest.raises(UserError, match=r"cannot listen at 127\.0\.0\.1 port 99999: "):
        serve_model(str(folders["ours"]), port=99999)


def build_page(folder: Path, weights: object) -> Path:
    (folder / "model").mkdir(parents=True)
    (folder / "index.html").write_text("a page", encoding="utf-8")
    (folder / "model" / "attrib.json").write_text(json.dumps({"weights": weights}), encoding="utf-8")
    return folder


def test_a_built_page_is_shown_if_it_runs_the_very_model(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = open_classifier(str(folders["ours"])).model
    assert find_page(None, model) is None
    page = build_page(tmp_path / FOUND_PAGE, weights_digest(model))
    assert find_page(None, model) == FOUND_PAGE
    assert find_page(page, model) == page
    other = open_classifier(str(folders["stock"])).model
    assert find_page(None, other) is None
    assert "runs another model: it is not shown" in capsys.readouterr().out
    with pytest.raises(UserError, match="runs another model than the one served"):
        find_page(page, other)
    with pytest.raises(UserError, match=r"holds no built page: there is no index\.html"):
        find_page(tmp_path, model)
    (page / "model" / "attrib.json").write_text("[", encoding="utf-8")
    with pytest.raises(UserError, match="runs another model"):
        find_page(page, model)


def ask(address: str, path: str, question: dict | None = None) -> tuple[int, Any]:
    body = None if question is None else json.dumps(question).encode()
    request = urllib.request.Request(address + path, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@contextlib.contextmanager
def command(folder: Path, elsewhere: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """`attrib serve`, and the address where it answers; to be ended inside."""
    words = [sys.executable, "-m", "attrib_lab", "serve", str(folder), "--port", "0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=elsewhere
    ) as process:
        said = process.stdout.readline()
        assert said.startswith(f"serving {folder} at http://127.0.0.1:"), process.stderr.read()
        try:
            yield process, said.split(" at ")[1].split()[0]
        finally:
            process.kill()


def test_ctrl_c_in_the_middle_of_a_long_text_ends_it_without_a_word_of_trouble(folders):
    """Whether the text is answered before depends on the machine; the end does not."""
    long = {"inputs": "stocks " * 2500, "parameters": {"method": "integrated_gradients"}}
    with command(folders["ours"], folders["empty"]) as (process, address), ThreadPoolExecutor() as threads:
        asked = threads.submit(ask, address, "/explain", long)
        while ask(address, "/health")[1]["waiting"] == 0 and not asked.done():
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
        assert asked.result(60)[0] in (200, 503)
    assert (process.returncode, printed, errors) == (0, "stopped.\n", "")


def test_it_answers_until_ctrl_c(folders):
    with command(folders["stock"], folders["empty"]) as (process, address):
        status, answer = ask(address, "/explain", {"inputs": TEXT})
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
    assert (status, process.returncode, printed, errors) == (200, 0, "stopped.\n", "")
    loaded = open_classifier(str(folders["stock"]))
    pipe = AttribTextClassificationPipeline(model=loaded.model, tokenizer=loaded.tokenizer, device="cpu")
    (expected,) = pipe(TEXT)
    assert [entry["word"] for entry in answer[0]["attributions"]] == TEXT.split()
    assert answer[0]["score"] == pytest.approx(expected["score"], abs=1e-6)  # weights lie elsewhere in its memory
