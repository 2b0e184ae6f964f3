"""What an earlier run left: gone on from, trained anew, refused, or replaced when asked to."""

import re
from dataclasses import replace

import pytest
import yaml

from attrib_lab.errors import UserError
from attrib_lab.output_folder import claim_folder, note_finished, note_running
from attrib_lab.recipes import DataSection, ExplainerSection, ModelSection, Recipe


@pytest.fixture
def recipe(tmp_path):
    training = {"learning_rate": 8e-05, "num_train_epochs": 2}
    return Recipe(str(tmp_path / "out"), ModelSection(), DataSection(train="train.csv"), training, seed=7)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def finish(recipe, folder):
    note_running(recipe)
    (folder / "config.json").write_text("{}")
    note_finished(recipe)


def leave_checkpoint(folder):
    (folder / "checkpoints" / "checkpoint-20").mkdir(parents=True)
    return str(folder / "checkpoints" / "checkpoint-20")


def other(recipe):
    return replace(recipe, seed=8, training=recipe.training | {"learning_rate": 1e-3})


def test_an_empty_folder_is_free(recipe, folder):
    (folder / "notes.txt").write_text("the user's own")
    assert claim_folder(recipe) is None
    assert (folder / "notes.txt").exists()


def test_an_unfinished_run_goes_on(recipe, folder, capsys):
    note_running(recipe)
    assert claim_folder(recipe) is None
    assert "cut off before its first checkpoint" in capsys.readouterr().out
    checkpoint = leave_checkpoint(folder)
    assert claim_folder(recipe) == checkpoint
    assert claim_folder(recipe, overwrite=True) == checkpoint  # the same command goes on too
    assert f"going on from {checkpoint}" in capsys.readouterr().out


def test_another_unfinished_run_is_refused_or_replaced(recipe, folder):
    note_running(other(recipe))
    leave_checkpoint(folder)
    message = (
        r"holds an unfinished run of another recipe \(other learning_rate, seed\): choose another --output_dir, or"
    )
    with pytest.raises(UserError, match=message):
        claim_folder(recipe)
    assert claim_folder(recipe, overwrite=True) is None
    assert not (folder / "checkpoints").exists()


def test_checkpoints_of_nobody_are_refused(recipe, folder):
    leave_checkpoint(folder)
    with pytest.raises(UserError, match="unfinished run of another recipe: choose"):
        claim_folder(recipe)


def test_a_finished_model_of_the_same_arguments_is_trained_anew(recipe, folder, tmp_path):
    finish(recipe, folder)
    assert claim_folder(recipe) is None
    moved = replace(recipe, output_dir=str(tmp_path / "moved"))
    folder.rename(tmp_path / "moved")
    assert claim_folder(moved) is None


def test_a_finished_model_of_other_arguments_is_refused_or_replaced(recipe, folder):
    finish(other(recipe), folder)
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
    finish(recipe, folder)
    with pytest.raises(UserError, match=re.escape("(other explainer)")):
        claim_folder(head)
    (folder / "expnet.yaml").write_text(yaml.safe_dump(head.as_dict()))  # as its training leaves it
    assert claim_folder(head) is None
    with pytest.raises(UserError, match=re.escape("(other explainer)")):
        claim_folder(recipe)
    note_running(recipe)
    note_finished(recipe)
    assert not (folder / "expnet.yaml").exists()


def test_a_run_that_was_killed_while_it_tidied_up_has_finished(recipe, folder):
    finish(recipe, folder)
    leave_checkpoint(folder)
    with pytest.raises(UserError, match="finished model of other arguments"):
        claim_folder(other(recipe))
    assert claim_folder(recipe) is None
    assert not (folder / "checkpoints").exists()


def test_a_recipe_that_cannot_be_read_is_another_one(recipe, folder):
    finish(recipe, folder)
    (folder / "recipe.yaml").write_text("- {")
    with pytest.raises(UserError, match="finished model of other arguments: choose"):
        claim_folder(recipe)
