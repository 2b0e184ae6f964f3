"""Kills and full disks in training, exporting and bundling: the old state or the new one, and the next run goes on."""

import errno
import hashlib
import json
import os
import random
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
import yaml
from kills import run_apart
from safetensors import SafetensorError
from toy_data import write_backbone, write_recipe
from transformers import AutoTokenizer

from attrib_lab.exporting.export import export_model
from attrib_lab.models.checkpoints import CheckpointMarker, mark_checkpoint
from attrib_lab.publishing import upload
from attrib_lab.publishing.bundle import CardOptions
from attrib_lab.publishing.hub import Destination
from attrib_lab.publishing.proof import Proof
from attrib_lab.publishing.upload import publish
from attrib_lab.recipes.loading import load_recipe
from attrib_lab.recipes.recipe import Recipe
from attrib_lab.storage.manifests import is_complete
from attrib_lab.terminal.errors import UserError
from attrib_lab.training import classifier
from attrib_lab.training.classifier import train
from modeling_attrib import AttribForSequenceClassification


STEPS = ["--max_steps", "6", "--logging_steps", "4", "--explained_examples", "1", "--save_total_limit", "5"]
STEPS += ["--save_strategy", "steps", "--save_steps", "2", "--eval_strategy", "steps", "--eval_steps", "2"]
NO_SPACE = r"out cannot be written: No space left on device\."


@pytest.fixture(scope="module")
def backbone(tmp_path_factory) -> Path:
    return write_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    """Without flushing, which is for power cuts."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def recipe_in(folder: Path, backbone: Path, *options: str) -> Recipe:
    return load_recipe(str(write_recipe(folder, backbone)), [*STEPS, *options])


def weights_of(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


# Full disks -------------------------------------------------------------------------------------------------------


def no_space() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_run_goes_on_past_a_torn_checkpoint_and_reports_the_whole_run(tmp_path, backbone, monkeypatch, capsys):
    def tear(self, args, state, control, **_) -> None:
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if state.global_step == 4:
            (checkpoint / "optimizer.pt").write_bytes(b"PK")
            no_space()
        mark_checkpoint(checkpoint)

    whole = train(recipe_in(tmp_path, backbone, "--output_dir", str(tmp_path / "whole")))
    recipe = recipe_in(tmp_path, backbone)
    with monkeypatch.context() as patch:
        patch.setattr(CheckpointMarker, "on_save", tear)
        with pytest.raises(UserError, match=NO_SPACE):
            train(recipe)
    folder = train(recipe)
    shown = capsys.readouterr().out
    assert "dropped, not written to the end: checkpoint-4\n" in shown
    assert f"going on from {folder / 'checkpoints' / 'checkpoint-2'}\n" in shown
    assert weights_of(folder) == weights_of(whole)
    expected, found = (json.loads((path / "metrics.json").read_text()) for path in (whole, folder))
    assert expected["train_loss"] > 0.1
    assert found["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-5)
    assert {entry["train_loss"] for entry in found["history"] if "train_loss" in entry} == {found["train_loss"]}
    assert found["train_seconds_since_step"] == 2
    assert "train_seconds_since_step" not in expected


def test_a_disk_that_is_full_at_the_last_save_leaves_the_good_model(tmp_path, backbone, monkeypatch):
    save = AttribForSequenceClassification.save_pretrained

    def save_no_finished_model(model, folder, **options) -> None:
        if Path(folder).name == ".out.attrib-new":
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        save(model, folder, **options)

    folder = train(recipe_in(tmp_path, backbone))
    before = weights_of(folder)
    recipe = recipe_in(tmp_path, backbone, "--learning_rate", "1e-3")
    for target, failing in (
        ((AttribForSequenceClassification, "save_pretrained"), save_no_finished_model),
        ((classifier, "write_page"), lambda *_: no_space()),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(*target, failing)
            with pytest.raises(UserError, match=NO_SPACE):
                train(recipe, overwrite=True)
        assert is_complete(folder)
        assert weights_of(folder) == before
        assert not (tmp_path / ".out.attrib-new").exists()
    AttribForSequenceClassification.from_pretrained(folder)
    assert weights_of(train(recipe)) != before


def write_model(folder: Path, backbone: Path) -> Path:
    AttribForSequenceClassification.from_backbone(str(backbone), id2label={0: "a", 1: "b"}).save_pretrained(folder)
    AutoTokenizer.from_pretrained(backbone).save_pretrained(folder)
    return folder


def test_a_disk_that_is_full_while_a_graph_is_written_leaves_the_good_one(tmp_path, backbone, monkeypatch):
    model, output = write_model(tmp_path / "model", backbone), tmp_path / "out"
    export_model(model, output, "pt2")
    before = {file.name: file.read_bytes() for file in output.iterdir()}

    def write_half(program, archive, **_) -> None:
        archive.write(b"PK")
        no_space()

    with monkeypatch.context() as patch:
        patch.setattr(torch.export, "save", write_half)
        with pytest.raises(UserError, match=NO_SPACE):
            export_model(model, output, "pt2")
    assert {file.name: file.read_bytes() for file in output.iterdir()} == before
    assert sorted(os.listdir(tmp_path)) == ["model", "out"]


# Kills ------------------------------------------------------------------------------------------------------------


def unflushed() -> None:
    """A killed process loses nothing that it wrote; flushing is for power cuts, and slow."""
    os.fsync = lambda descriptor: None


def train_apart(recipe: Recipe) -> None:
    unflushed()
    train(recipe, overwrite=True)


def publish_apart(model: Path, output: Path, language: str) -> None:
    unflushed()
    upload.prove_bundle = lambda *_: Proof(("nobody",), 0, 0)
    publish(model, Destination("user/model"), output=output, card=CardOptions(language=language))


def export_apart(model: Path, output: Path) -> None:
    unflushed()
    export_model(model, output, "pt2")


def spread(seed: int, moments: int, end: float) -> list[float]:
    """Random moments, one in each of as many equal parts of the time from 0 to `end`, in random order."""
    generator = random.Random(seed)
    drawn = [(part + generator.random()) * end / moments for part in range(moments)]
    return generator.sample(drawn, moments)


def test_kills_while_a_bundle_is_written(tmp_path, backbone):
    model, output = write_model(tmp_path / "model", backbone), tmp_path / "bundle"
    run_apart(publish_apart, model, output, "xx")
    for turn, moment in enumerate(spread(0, 5, 60)):
        killed = run_apart(publish_apart, model, output, f"l{turn}", at=int(moment))
        assert is_complete(output)
        assert killed or f"language: l{turn}\n" in (output / "README.md").read_text()
    run_apart(publish_apart, model, output, "yy")
    assert "language: yy\n" in (output / "README.md").read_text()
    assert sorted(os.listdir(tmp_path)) == ["bundle", "model"]


def assert_one_run(folder: Path, expected: dict[float, str]) -> None:
    """The model and its recipe are those of one run, whichever."""
    assert is_complete(folder)
    rate = yaml.safe_load((folder / "recipe.yaml").read_text())["training"]["learning_rate"]
    assert weights_of(folder) == expected[rate]


def train_through_kills(folder: Path, backbone: Path, kills: Iterable[dict[str, float]], enough: int) -> int:
    """Train two recipes in turns in one output folder, each until it has finished; how many finished.

    Args:
        kills: when to kill each run; see `run_apart`.
        enough: end after so many that did.
    """
    rates = (1e-3, 2e-3)
    recipes = {rate: recipe_in(folder, backbone, "--learning_rate", str(rate)) for rate in rates}
    output, expected = folder / "out", {}
    for rate in rates:
        run_apart(train_apart, recipes[rate])
        expected[rate] = weights_of(output)
    assert len(set(expected.values())) == 2
    count = turn = 0
    for kill in kills:
        rate = rates[turn % 2]
        killed = run_apart(train_apart, recipes[rate], **kill)
        assert_one_run(output, expected)
        if not killed:
            assert weights_of(output) == expected[rate]
            assert not (output / "checkpoints").exists()
            turn += 1
        count += killed
        if count == enough:
            break
    assert count == enough
    return turn


def test_kills_while_a_model_is_trained(tmp_path, backbone):
    kills = [{"at": 10}, {"at": 40}, {"at": -1}, {"at": 25}]
    assert train_through_kills(tmp_path, backbone, kills, 3) == 1


@pytest.mark.slow
def test_fifty_kills_while_a_model_is_trained(tmp_path, backbone):
    started = time.time()
    run_apart(train_apart, recipe_in(tmp_path, backbone, "--output_dir", str(tmp_path / "timed")))
    kills = [{"seconds": moment} for moment in spread(1, 500, 1.1 * (time.time() - started))]
    assert train_through_kills(tmp_path, backbone, kills, 50)


@pytest.mark.slow
@pytest.mark.parametrize("write", [export_apart, publish_apart])
def test_fifty_kills_while_a_folder_is_written(tmp_path, backbone, write):
    model, output = write_model(tmp_path / "model", backbone), tmp_path / "out"
    arguments = (model, output) if write is export_apart else (model, output, "xx")
    run_apart(write, *arguments)  # a first run may be far slower than those that are killed
    started = time.time()
    run_apart(write, *arguments)
    moments = iter(spread(2, 500, 1.1 * (time.time() - started)))
    kills = 0
    while kills < 50:
        kills += run_apart(write, *arguments, seconds=next(moments))
        assert is_complete(output)
    run_apart(write, *arguments)
    assert is_complete(output)
    assert sorted(os.listdir(tmp_path)) == ["model", "out"]
