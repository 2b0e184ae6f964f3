"""From the command to a stranger: pushed to a double of the Hub, loaded there by a process that lacks this package."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hub_double import running_hub
from tiny_classifier import REPO_ID, REPOSITORY, TOKEN, write_converted_model

from attrib_lab.models.model_folder import load_trained_model
from attrib_lab.publishing import fresh_process
from attrib_lab.publishing.proof import expected_answers


# Asks the published model what the proof asks a bundle: by `fresh_process.py`, copied beside it.
STRANGER = """
import json, sys
import fresh_process
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, pipeline
for package in fresh_process.ABSENT_PACKAGES:
    sys.modules[package] = None
repo_id, commit = sys.argv[1:]
pinned = {"revision": commit, "trust_remote_code": True}
tokenizer = AutoTokenizer.from_pretrained(repo_id, **pinned)
model = AutoModelForSequenceClassification.from_pretrained(repo_id, **pinned)
classify = pipeline("text-classification", model=repo_id, device="cpu", **pinned)
for loaded in (model, classify.model):
    fresh_process.align_weights(loaded)
try:
    AutoConfig.from_pretrained(repo_id, revision="0" * 40, trust_remote_code=True)
    wrong = "loaded"
except OSError as error:
    wrong = str(error)
print(json.dumps({
    "origins": [type(model).__module__, type(classify).__module__],
    "model": fresh_process.model_answers(model, tokenizer),
    "pipeline": fresh_process.pipeline_answers(classify, list(model.config.id2label.values())),
    "wrong revision": wrong,
}))
"""


def stranger(hub, home: Path, **variables: str) -> dict[str, str]:
    """The environment of somebody with a cache of his own, no login and no copy of this package."""
    withheld = ("PYTHONPATH", "HF_", "TRANSFORMERS_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(withheld)}
    own = {"HF_HOME": str(home), "HF_ENDPOINT": hub.address, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return environment | own | variables


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Iterator[SimpleNamespace]:
    """A converted classifier that the command sent to the Hub, whose main branch has since been spoilt."""
    folder = tmp_path_factory.mktemp("shared")
    model_dir = write_converted_model(folder / "model")
    with running_hub(user=TOKEN) as hub:
        publisher = stranger(hub, folder / "home", HF_TOKEN=TOKEN)
        command = [sys.executable, REPOSITORY / "push_to_hub.py", model_dir, "--repo-id", REPO_ID]
        process = subprocess.run(command, env=publisher, capture_output=True, text=True)
        assert process.returncode == 0, process.stderr
        (pinned,) = re.findall(r'revision="(\w{40})"', process.stdout)
        repository = hub.repositories[REPO_ID]
        spoilt = hub.keep(b"raise RuntimeError('main was loaded')")
        tree = {name: spoilt if name.endswith(".py") else old for name, old in repository.commits[pinned].items()}
        repository.branches["main"] = repository.add_commit(tree, pinned)
        yield SimpleNamespace(hub=hub, model_dir=model_dir, commit=pinned, printed=process, folder=folder)


@pytest.fixture(scope="module")
def answers(shared) -> dict:
    """What the stranger's process says."""
    place = shared.folder / "stranger"
    place.mkdir()
    shutil.copy(fresh_process.__file__, place)
    (place / "stranger.py").write_text(STRANGER, encoding="utf-8")
    command = [sys.executable, "stranger.py", REPO_ID, shared.commit]
    environment = stranger(shared.hub, place / "home")
    process = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


def test_logits_and_scores_are_identical_at_the_pinned_commit(shared, answers):
    trained = load_trained_model(shared.model_dir)
    fresh_process.align_weights(trained.model)
    expected = expected_answers(trained.model, trained.tokenizer)
    assert answers["model"] == expected["AutoModel"]
    assert answers["pipeline"] == expected["pipeline"]
    assert all(origin.startswith("transformers_modules.") for origin in answers["origins"])


def test_a_revision_that_is_not_there_is_an_error_and_not_main(answers):
    assert "0" * 40 in answers["wrong revision"]
    assert "is not a valid git identifier" in answers["wrong revision"]


def test_the_token_is_in_nothing_that_was_printed_or_sent(shared):
    assert TOKEN not in shared.printed.stdout + shared.printed.stderr
    assert not any(TOKEN.encode() in content for content in shared.hub.objects.values())


def test_what_was_tampered_with_on_the_way_fails_the_checksum(shared, tmp_path):
    """By the commands that the card names."""
    hub, card = shared.hub, shared.hub.files(REPO_ID, shared.commit)["README.md"].decode()
    (verify,) = re.findall(r"`hf (cache verify \S+ --revision \S+)`", card)
    (download,) = re.findall(r"^hf (download \S+ --revision \S+) --local-dir model$", card, re.MULTILINE)
    tampered = bytearray(hub.files(REPO_ID, shared.commit)["model.safetensors"])
    tampered[-1] ^= 1
    results = []
    for home, served in ((tmp_path / "whole", {}), (tmp_path / "tampered", {"model.safetensors": bytes(tampered)})):
        hub.served = served
        for command in (download, verify):
            hf = [Path(sys.executable).with_name("hf"), *command.split()]
            results.append(subprocess.run(hf, env=stranger(hub, home), capture_output=True, text=True))
    hub.served = {}
    assert [result.returncode for result in results] == [0, 0, 0, 1]
    assert "model.safetensors: expected" in results[-1].stdout + results[-1].stderr


# The snippets of the card -------------------------------------------------------------------------------------------


def blocks(card: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", card, re.DOTALL)


@pytest.fixture
def run(shared, tmp_path):
    """Runs a command as somebody does who has the project's command, and no copy of the model yet."""
    attrib = f'#!/bin/sh\nPYTHONPATH={REPOSITORY} exec {sys.executable} -m attrib_lab "$@"\n'
    (tmp_path / "attrib").write_text(attrib, encoding="utf-8")
    (tmp_path / "attrib").chmod(0o755)
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = stranger(shared.hub, tmp_path / "home", PATH=path)

    def answer(*command: str | Path) -> str:
        process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert process.returncode == 0, process.stderr
        return process.stdout

    return answer


@pytest.fixture
def card(shared) -> str:
    return shared.hub.files(REPO_ID, shared.commit)["README.md"].decode()


def test_snippets_of_pipeline_and_model_run(card, run):
    with_pipeline, with_model, _ = blocks(card, "python")
    assert re.search(r"^[+-]\d+\.\d{3}  Stocks$", run(sys.executable, "-c", with_pipeline), re.MULTILINE)
    sums = "print('sum', float(abs(out.attributions.sum() + out.attribution_residual[0] - out.logits.max())))"
    assert float(run(sys.executable, "-c", with_model + sums).rpartition("sum")[2]) < 1e-5


def test_snippet_of_the_page_is_a_target_of_make(card, run):
    """It takes npm and a network to run it."""
    make, *arguments = blocks(card, "bash")[1].split()
    assert "export model" in run(make, "--directory", REPOSITORY, "--dry-run", *arguments)


@pytest.mark.slow
def test_snippets_of_onnx_run(card, run):
    """Records a graph."""
    run("bash", "-ec", blocks(card, "bash")[0])
    assert "'attributions': [{" in run(sys.executable, "-c", blocks(card, "python")[2])
