"""What an earlier run left: gone on from, trained anew, refused, or replaced when asked to."""

import itertools
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from kills import run_killed

from attrib_lab.models.checkpoints import mark_checkpoint
from attrib_lab.models.model_folder import RECIPE_FILE, write_recipe
from attrib_lab.models.output_folder import claim_folder, claimed_folder, finished_model, note_running
from attrib_lab.recipes.recipe import DataSection, ExplainerSection, ModelSection, Recipe
from attrib_lab.terminal.errors import UserError


@pytest.fixture(autouse=True)
def unflushed(monkeypatch):
    """A killed process loses nothing that it wrote; flushing is for power cuts, and slow."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def recipe(tmp_path):
    training = {"learning_rate": 8e-05, "num_train_epochs": 2}
    return Recipe(str(tmp_path / "out"), ModelSection(), DataSection(train="train.csv"), training, seed=7)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def finish(recipe):
    with claimed_folder(recipe, overwrite=True):
        note_running(recipe, afresh=True)
        with finished_model(recipe) as new:
            (new / "config.json").write_text("{}")
            write_recipe(new / RECIPE_FILE, recipe.as_dict())


def leave_checkpoint(folder, step=20, best=None, complete=True):
    checkpoint = folder / "checkpoints" / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text(json.dumps({"best_model_checkpoint": best}))
    (checkpoint / "model.safetensors").write_text("weights")
    if complete:
        mark_checkpoint(checkpoint)
    return str(checkpoint)


def other(recipe):
    return replace(recipe, seed=8, training=recipe.training | {"learning_rate": 1e-3})


def test_an_empty_folder_is_free(recipe, folder):
    (folder / "notes.txt").write_text("the user's own")
    assert claim_folder(recipe) is None
    assert (folder / "notes.txt").exists()


def test_an_unfinished_run_goes_on(recipe, folder, capsys):
    note_running(recipe, afresh=True)
    assert claim_folder(recipe) is None
    assert "cut off before its first checkpoint" in capsys.readouterr().out
    checkpoint = leave_checkpoint(folder)
    assert claim_folder(recipe) == checkpoint
    assert claim_folder(recipe, overwrite=True) == checkpoint  # the same command goes on too
    assert f"going on from {checkpoint}" in capsys.readouterr().out


def test_another_unfinished_run_is_refused_or_replaced(recipe, folder):
    note_running(other(recipe), afresh=True)
    left = Path(leave_checkpoint(folder))
    message = (
        r"holds an unfinished run of another recipe \(other learning_rate, seed\): choose another --output_dir, or"
    )
    with pytest.raises(UserError, match=message):
        claim_folder(recipe)
    assert claim_folder(recipe, overwrite=True) is None
    assert left.exists()  # until data and model of the new run have been found in order
    note_running(recipe, afresh=True)
    assert not left.exists()


def test_what_no_run_left_among_checkpoints_is_never_removed(recipe, folder):
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "best.pt").write_text("the user's own")
    for overwrite in (False, True):
        with pytest.raises(UserError, match=r"checkpoints holds 'best.pt', which no run left there"):
            claim_folder(recipe, overwrite)
    assert (folder / "checkpoints" / "best.pt").exists()


@pytest.mark.parametrize("name", ["metrics.json", "model.safetensors", "modeling_attrib.py"])
def test_files_of_the_user_under_a_models_names_are_not_replaced_unasked(recipe, folder, name):
    (folder / name).write_text("the user's own")
    with pytest.raises(UserError, match=f"holds {re.escape(name)}, which no run left there: choose another"):
        claim_folder(recipe)
    assert claim_folder(recipe, overwrite=True) is None


def test_checkpoints_of_nobody_are_refused(recipe, folder):
    leave_checkpoint(folder)
    with pytest.raises(UserError, match="unfinished run of another recipe: choose"):
        claim_folder(recipe)


def test_a_finished_model_of_the_same_arguments_is_trained_anew(recipe, folder, tmp_path):
    finish(recipe)
    assert claim_folder(recipe) is None
    moved = replace(recipe, output_dir=str(tmp_path / "moved"))
    folder.rename(tmp_path / "moved")
    assert claim_folder(moved) is None


def test_a_finished_model_of_other_arguments_is_refused_or_replaced(recipe, folder):
    finish(other(recipe))
    message = (
        r"holds a finished model of other arguments \(other learning_rate, seed\): choose another --output_dir, or"
    )
    with pytest.raises(UserError, match=message):
        claim_folder(recipe)
    assert (folder / "recipe.yaml").exists()
    assert claim_folder(recipe, overwrite=True) is None
    assert (folder / "config.json").exists()  # until the new model takes its place


def test_a_model_from_elsewhere_is_not_ours_to_replace(recipe, folder):
    (folder / "config.json").write_text("{}")
    with pytest.raises(UserError, match="holds a finished model of other arguments: choose"):
        claim_folder(recipe)


def test_a_head_and_a_classifier_do_not_replace_one_another(recipe, folder):
    head = replace(recipe, explainer=ExplainerSection())
    finish(recipe)
    with pytest.raises(UserError, match=re.escape("(other explainer)")):
        claim_folder(head)
    (folder / "expnet.yaml").write_text(yaml.safe_dump(head.as_dict()))  # as its training leaves it
    assert claim_folder(head) is None
    with pytest.raises(UserError, match=re.escape("(other explainer)")):
        claim_folder(recipe)
    finish(recipe)
    assert not (folder / "expnet.yaml").exists()


def test_a_run_that_an_earlier_version_left_while_it_tidied_up_has_finished(recipe, folder):
    finish(recipe)
    leave_checkpoint(folder)
    with pytest.raises(UserError, match="finished model of other arguments"):
        claim_folder(other(recipe))
    assert claim_folder(recipe) is None


def test_a_recipe_that_cannot_be_read_is_another_one(recipe, folder):
    finish(recipe)
    (folder / "recipe.yaml").write_text("- {")
    with pytest.raises(UserError, match="finished model of other arguments: choose"):
        claim_folder(recipe)


# Checkpoints -------------------------------------------------------------------------------------------------------


def test_a_run_goes_on_from_its_newest_complete_checkpoint(recipe, folder, capsys):
    note_running(recipe, afresh=True)
    leave_checkpoint(folder, 9, complete=False)
    whole = leave_checkpoint(folder, 10)
    leave_checkpoint(folder, 100, complete=False)
    assert claim_folder(recipe) == whole
    shown = capsys.readouterr().out
    assert "dropped, not written to the end: checkpoint-100, checkpoint-9\n" in shown
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["checkpoint-10", "recipe.yaml"]
    assert os.listdir(folder.parent) == ["out"]


@pytest.mark.parametrize("harm", ["a file is gone", "a file is cut off"])
def test_a_checkpoint_that_lost_something_is_not_complete(recipe, folder, harm):
    note_running(recipe, afresh=True)
    whole, harmed = leave_checkpoint(folder, 10), Path(leave_checkpoint(folder, 20))
    if harm == "a file is gone":
        (harmed / "model.safetensors").unlink()
    else:
        (harmed / "model.safetensors").write_text("wei")
    assert claim_folder(recipe) == whole
    assert not harmed.exists()


def test_no_run_goes_on_to_a_best_model_that_is_gone(recipe, folder):
    note_running(recipe, afresh=True)
    whole = leave_checkpoint(folder, 10)
    leave_checkpoint(folder, 20, best=str(folder / "checkpoints" / "checkpoint-15"))
    leave_checkpoint(folder, 15, complete=False)
    assert claim_folder(recipe) == whole
    assert not (folder / "checkpoints" / "checkpoint-20").exists()


def test_without_a_complete_checkpoint_a_run_starts_afresh(recipe, folder, capsys):
    note_running(recipe, afresh=True)
    leave_checkpoint(folder, complete=False)
    assert claim_folder(recipe) is None
    assert "starting afresh" in capsys.readouterr().out
    assert not (folder / "checkpoints" / "checkpoint-20").exists()


def test_a_kill_at_any_moment_of_finishing_leaves_one_recipes_run(recipe, folder):
    """What is resumed afterwards, and the model beside it, belong to the recipe that is written there."""
    for moment in itertools.count():
        finish(other(recipe))
        with claimed_folder(recipe, overwrite=True):
            note_running(recipe, afresh=True)
        leave_checkpoint(folder)

        def end() -> None:
            with claimed_folder(recipe), finished_model(recipe) as new:
                (new / "config.json").write_text("new")
                write_recipe(new / RECIPE_FILE, recipe.as_dict())

        killed = run_killed(end, moment)
        finished = yaml.safe_load((folder / "recipe.yaml").read_text())
        replaced = (folder / "config.json").read_text() == "new"
        assert finished == (recipe if replaced else other(recipe)).as_dict()
        assert (folder / "checkpoints").exists() is not replaced
        with pytest.raises(UserError, match=r"another recipe|other arguments"), claimed_folder(replace(recipe, seed=9)):
            pass
        if not killed:
            break
    assert replaced
    assert moment > 10


def test_two_runs_do_not_share_a_folder(recipe):
    with claimed_folder(recipe), pytest.raises(UserError, match="another run is at work there"):
        finish(recipe)
