"""A tiny classifier, and the bundle that the command makes of it."""

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hub_double import HubDouble, running_hub
from huggingface_hub import constants
from huggingface_hub.utils import _http
from tiny_classifier import REPO_ID, REPOSITORY, TOKEN, write_trained_model

from attrib_lab.publishing import upload
from attrib_lab.publishing.proof import Proof


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory) -> Path:
    return write_trained_model(tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(scope="session")
def published(model_dir) -> SimpleNamespace:
    """A bundle that the command wrote, with its proof, and what it printed."""
    output = model_dir.parent / "bundle"
    command = [sys.executable, REPOSITORY / "push_to_hub.py", model_dir.name, "--repo-id", REPO_ID]
    command += ["--output", output.name, "--license", "apache-2.0", "--language", "en"]
    process = subprocess.run(command, cwd=model_dir.parent, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return SimpleNamespace(folder=output, printed=process.stdout, errors=process.stderr)


@pytest.fixture
def card(published) -> str:
    return (published.folder / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def assembled_only(monkeypatch) -> None:
    """Skip the proof where something else is tested."""
    monkeypatch.setattr(upload, "prove_bundle", lambda *_: Proof(("nobody",), 0, 0))


@pytest.fixture
def hub(monkeypatch) -> HubDouble:
    """A double of the Hub with two users, for the real client in this process: large files by LFS, no waiting."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    # Between a lost connection and the next attempt.
    monkeypatch.setattr(_http, "time", SimpleNamespace(time=time.time, sleep=lambda _: None))
    with running_hub(user=TOKEN, other="hf_other") as running:
        yield running
