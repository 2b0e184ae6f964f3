"""The command lines: help and mistakes come before anything that takes seconds to import, and name the nearest word."""

import os
import subprocess
import sys
from dataclasses import fields
from inspect import signature
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import csv, parquet
from transformers import SchedulerType, TrainingArguments

from attrib_lab.recipes.declarations import Key
from attrib_lab.recipes.help import describe_recipe, describe_recipes
from attrib_lab.recipes.keys import (
    MODEL_ARGUMENTS,
    SECTIONS,
    SET_HERE,
    TASK_KEYS,
    TOP_KEYS,
    TRAINING_DEFAULTS,
    is_secret,
)
from attrib_lab.recipes.loading import RECIPE_FOLDER, check_files, load_recipe
from attrib_lab.terminal.errors import UserError
from modeling_attrib import AttribConfig, list_attribution_methods
from modeling_attrib.configuration_attrib import HEAD_INPUTS, POOLINGS


ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "datasets", "numpy", "scipy", "sklearn", "matplotlib", "huggingface_hub")
# Runs a script, or a package's __main__, and says at the end what was imported.
WATCHED = f"""
import runpy, sys
sys.argv = sys.argv[1:]
script = sys.argv[0]
status = 0
try:
    (runpy.run_path if script.endswith(".py") else runpy.run_module)(script, run_name="__main__")
except SystemExit as end:
    status = end.code
print("imported:", [name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
sys.exit(status)
"""


def run(*words: str, allowed: tuple[str, ...] = ()) -> tuple[int, str, list[str]]:
    """Status, output and error lines of a command that must not import anything heavy but what is allowed."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    command = [sys.executable, "-c", WATCHED, *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    *errors, imported = done.stderr.splitlines()
    assert imported in ("imported: []", f"imported: {list(allowed)}")
    return done.returncode, done.stdout, errors


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train.py", "--help"], "sst2_masked"),
        (["train.py"], "sst2_masked"),
        (["train.py", "demo", "--help"], "--learning_rate 0.0001"),
        (["push_to_hub.py", "--help"], "--repo-id"),
        (["attrib_lab", "--help"], "concepts"),
        (["attrib_lab", "evaluate", "--help"], "au_mse"),
        (["attrib_lab", "export", "--help"], "aoti"),
        (["attrib_lab", "concepts", "--help"], "--concept"),
        (["attrib_lab", "serve", "--help"], "--max-bytes"),
    ],
)
def test_help_imports_nothing_heavy(words, expected):
    status, output, errors = run(*words)
    assert (status, errors) == (0, [])
    assert expected in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train.py", "dmeo"], "Did you mean 'demo'?"),
        (["train.py", "demo", "--lerning_rate", "1"], "unknown key --lerning_rate. Did you mean 'learning_rate'?"),
        (
            ["train.py", "demo", "--pooling", "maen"],
            "--pooling is mean or cls or last, not 'maen'. Did you mean 'mean'?",
        ),
        (["train.py", "demo", "--train", "missing.csv"], "data file 'missing.csv' does not exist."),
        (["push_to_hub.py", "outputs", "--repoid", "a/b"], "required: --repo-id"),
        (["push_to_hub.py", "outputs", "--repo-id", "a/b", "--privat"], "'--privat'. Did you mean '--private'?"),
        (["attrib_lab", "evalute", "outputs"], "invalid choice: 'evalute'"),
        (["attrib_lab", "serve", "m", "--max-texts", "0"], "argument --max-texts: 0 must be 1 at least"),
        (["attrib_lab", "serve", "m", "--prot", "80"], "'--prot'. Did you mean '--port'?"),
        (["attrib_lab", "export", "outputs", "--output", "x", "--formt=onnx"], "'--formt'. Did you mean '--format'?"),
        (["attrib_lab", "export", "outputs", "--output", "x", "--format", "onx"], "invalid choice: 'onx'"),
        (["attrib_lab", "evaluate", "m", "--data", "d", "--output", "o", "--limit", "0"], "must be 1 at least"),
        (["attrib_lab", "evaluate", "m", "--data", "d", "--output", "o", "--metrics", "auc"], "Did you mean 'auac'?"),
    ],
)
def test_a_mistake_is_named_before_anything_heavy_is_imported(words, message):
    status, output, errors = run(*words)
    assert (status, output) == (2, "")
    (line,) = errors
    assert line.startswith("error: ")
    assert message in line


@pytest.mark.parametrize("name", ["mine.csv", "mine.parquet"])
@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["--text", "boby"], "mine.{} has no column 'boby'; it has body, topic. Did you mean 'body'?"),
        (["--text", "body", "--decontaminate", "[title]"], "mine.{} has no column 'title'; it has body, topic."),
    ],
)
def test_a_misspelt_column_is_named_before_torch_is_imported(tmp_path, name, keys, message):
    data = tmp_path / name
    rows = pa.table({"body": ["a", "b"], "topic": ["x", "y"]})
    (parquet.write_table if name.endswith("parquet") else csv.write_csv)(rows, data)
    words = ["train.py", "own_data", "--train", str(data), "--label", "topic", *keys]
    status, output, errors = run(*words, allowed=("numpy",))
    assert (status, output) == (2, "")
    (line,) = errors
    assert message.format(data.suffix[1:]) in line


# The keys, read from their sources, against what these sources define ------------------------------------------


def test_keys_of_the_trainer_are_those_of_its_class():
    defined = {entry.name: entry for entry in fields(TrainingArguments)}
    read = SECTIONS["training"]
    assert read.keys() == {name for name in defined.keys() - set(SET_HERE) if not is_secret(name)}
    assert read["learning_rate"].default == defined["learning_rate"].default == 5e-5
    assert read["lr_scheduler_type"].choices == tuple(one.value for one in SchedulerType)
    assert sum(not key.meaning for key in read.values()) < 3  # nearly all are documented
    for name, value in TRAINING_DEFAULTS.items():
        assert read[name].fault(value) == ""


def test_keys_of_the_model_are_those_of_its_configuration():
    arguments = signature(AttribConfig.__init__).parameters
    left_out = {"self", "kwargs", "backbone_config", "classifier_head", "attribution_head", "attribution_head_reads"}
    assert MODEL_ARGUMENTS.keys() == arguments.keys() - left_out | {"problem_type"}
    for name, key in MODEL_ARGUMENTS.items():
        if name in arguments:
            assert key.default == arguments[name].default
    assert MODEL_ARGUMENTS["pooling"].choices == POOLINGS
    assert SECTIONS["explainer"]["reads"].choices == HEAD_INPUTS
    methods = {method["name"] for method in list_attribution_methods()}
    assert set(MODEL_ARGUMENTS["attribution_method"].choices) == methods


def test_every_key_of_ours_says_what_it_means():
    sections = (TOP_KEYS, TASK_KEYS, MODEL_ARGUMENTS, *(SECTIONS[name] for name in ("model", "data", "explainer")))
    for key in (key for keys in sections for key in keys.values()):
        assert 5 < len(key.meaning) < 130, key


def test_a_value_is_checked_by_its_keys_type():
    whole, share, either = (Key("k", kind, None, "") for kind in ("int", "float", "dict[str, Any] | str | None"))
    assert whole.fault(3) == ""
    assert whole.fault(True) == "is a whole number, not True."
    assert whole.fault(3.5) == "is a whole number, not 3.5."
    assert whole.fault(None) == "is a whole number, not None."
    assert share.fault(3) == share.fault(0.5) == either.fault({}) == either.fault("a") == either.fault(None) == ""
    assert either.fault([1]) == "is a mapping or a word, not [1]."
    assert Key("k", "Optional[int]", None, "").fault(None) == ""
    assert Key("k", "PretrainedConfig | int", None, "").fault("its owner checks it") == ""


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--max_length", "many"], "--max_length is a whole number, not 'many'"),
        (["--model.max_length", "1.5"], "--model.max_length is a whole number, not 1.5"),
        (["--max_steps", "1e3"], "--max_steps is a whole number, not 1000.0"),
        (["--load_best_model_at_end", "1"], "--load_best_model_at_end is true or false, not 1"),
        (["--lr_scheduler_type", "cosin"], "Did you mean 'cosine'"),
        (["--attribution_method", "damped_lpr"], "Did you mean 'damped_lrp'"),
        (["--bf16", "maybe"], "--bf16 is auto or true or false, not 'maybe'"),
        (["--seed", "x"], "--seed is a whole number, not 'x'"),
        (["--text", "5"], "--text is a word, not 5"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named_as_it_was_written(overrides, message):
    with pytest.raises(UserError) as error:
        load_recipe("demo", overrides)
    assert message in str(error.value)


def test_what_yaml_makes_of_words_is_what_they_mean():
    recipe = load_recipe("demo", ["--eval_strategy", "no", "--labels", "a, b", "--output_dir", "2026"])
    assert recipe.training["eval_strategy"] == "no"
    assert recipe.data.labels == ["a", "b"]
    assert recipe.output_dir == "2026"


def test_files_that_are_not_there_are_named(tmp_path):
    here = tmp_path / "here.csv"
    here.write_text("text,label\n")
    check_files(load_recipe("own_data", ["--train", str(here)]))
    check_files(load_recipe("sst2"))  # of the Hub
    with pytest.raises(UserError, match=r"data file 'gone\.parquet' does not exist"):
        check_files(load_recipe("own_data", ["--train", str(here), "--test", "gone.parquet"]))
    with pytest.raises(UserError, match=r"eraser_movies/train\.parquet"):
        check_files(load_recipe("expnet_rationales"))


# Help -----------------------------------------------------------------------------------------------------------


def test_help_names_every_recipe():
    shown = describe_recipes().splitlines()
    for file in RECIPE_FOLDER.glob("*.yaml"):
        (line,) = [line for line in shown if line.startswith(f"  {file.stem} ")]
        assert len(line) > 24 + 8


def test_help_on_a_recipe_lists_each_key_with_its_value():
    shown = describe_recipe("ag_news_adjusted")
    for expected in (
        "--output_dir outputs/ag_news_adjusted",
        "--labels World,Sports,Business,Sci/Tech",
        "--feature_adjustment attribution",
        "--num_train_epochs 2",
        "--logging_steps 0.02",
        "--text_pair none",
    ):
        assert f"  {expected} " in f"{shown} ".replace("\n", " ")
    for section in ("model", "data"):
        for name in SECTIONS[section]:
            assert f"--{name} " in shown
    assert "weight_decay" in shown
    assert "adam_beta1" in shown
    assert "learns_from" not in shown


def test_help_on_a_heads_recipe_lists_what_it_takes():
    shown = describe_recipe("expnet_distilled")
    assert "--learns_from attn_lrp" in shown
    assert "adam_beta1" not in shown
    assert "pooling" not in shown
