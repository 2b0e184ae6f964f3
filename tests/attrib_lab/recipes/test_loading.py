"""Recipes: what is read, what overrides it, and which mistakes are named."""

import pytest

from attrib_lab.data.tables import READERS
from attrib_lab.recipes.keys import is_secret
from attrib_lab.recipes.loading import DATA_SUFFIXES, RECIPE_FOLDER, load_recipe, parse_overrides
from attrib_lab.terminal.errors import UserError


MINIMAL = "data: {train: 'newswire:100'}\ntraining: {num_train_epochs: 1}\n"


def write(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", [path.stem for path in RECIPE_FOLDER.glob("*.yaml")])
def test_every_shipped_recipe_is_valid(name):
    recipe = load_recipe(name)
    assert recipe.data.train or recipe.explainer.tasks
    assert recipe.output_dir == f"outputs/{name}"


def test_a_recipe_is_read(tmp_path):
    recipe = load_recipe(write(tmp_path, MINIMAL + "model: {pooling: cls, max_length: 32}\nseed: 5\n"))
    assert recipe.model.config == {"pooling": "cls"}
    assert recipe.model.max_length == 32
    assert recipe.training == {"num_train_epochs": 1}
    assert recipe.seed == 5
    assert recipe.output_dir == "outputs/mine"


def test_overrides_find_their_section(tmp_path):
    overrides = ["--learning_rate", "3e-5", "--feature-adjustment=attribution", "--data.text", "body", "--seed", "9"]
    recipe = load_recipe(write(tmp_path, MINIMAL), overrides)
    assert recipe.training["learning_rate"] == pytest.approx(3e-5)
    assert recipe.model.config["feature_adjustment"] == "attribution"
    assert recipe.data.text == "body"
    assert recipe.seed == 9


@pytest.mark.parametrize("name", ["sst2", "imdb"])
def test_a_masked_recipe_differs_from_the_plain_one_in_the_masking_alone(name):
    plain, masked = load_recipe(name).as_dict(), load_recipe(f"{name}_masked").as_dict()
    assert {key for key in plain if plain[key] != masked[key]} == {"masked_training", "output_dir"}
    assert (plain["masked_training"], masked["masked_training"]) == (0.0, 0.5)


def test_a_recipe_survives_its_own_file(tmp_path):
    import yaml

    recipe = load_recipe(write(tmp_path, MINIMAL + "model: {pooling: cls}\n"))
    copy = load_recipe(write(tmp_path, yaml.safe_dump(recipe.as_dict())))
    assert copy == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "modle: {}\n", "unknown key 'modle'. Did you mean 'model'"),
        (MINIMAL + "model: {poolin: cls}\n", "'poolin'. Did you mean 'pooling'"),
        ("data: {train: x.csv}\ntraining: {learning_rat: 1}\n", "Did you mean 'learning_rate'"),
        ("training: {}\n", "data.train is missing"),
        ("data: {train: x.csv, labels: [yes, no]}\n", "data.labels holds True: write yes, no and null in quotes"),
        ("data: {train: x.csv, labels: [login, null]}\n", "data.labels holds None"),
        (MINIMAL + "masked_training: 1.5\n", "masked_training is a share from 0 to 1, not 1.5"),
        (MINIMAL + "masked_training: yes\n", "masked_training is a share from 0 to 1, not True"),
        ("- a list\n", "a recipe is a mapping"),
        ("data: [1, 2]\n", "'data' is a mapping"),
        ("a: [unclosed\n", "not valid YAML"),
        ("!!python/object/apply:os.system ['true']\n", "not valid YAML"),
    ],
)
def test_a_mistake_is_named(tmp_path, text, message):
    with pytest.raises(UserError, match=message.replace(".", r"\.").replace("[", r"\[")):
        load_recipe(write(tmp_path, text))


def test_a_missing_recipe_names_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'ag_news'"):
        load_recipe("agnews")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--lerning_rate", "1"], "Did you mean 'learning_rate'"),
        (["--model.poolin", "cls"], "Did you mean 'model.pooling'"),
        (["--seed"], "needs a value"),
        (["seed", "1"], "unexpected argument"),
    ],
)
def test_a_wrong_override_is_named(tmp_path, overrides, message):
    with pytest.raises(UserError, match=message):
        load_recipe(write(tmp_path, MINIMAL), overrides)


def test_values_are_yaml():
    assert parse_overrides(["--a", "1.5", "--b=true", "--c", "x y"]) == [("a", 1.5), ("b", True), ("c", "x y")]
    assert parse_overrides(["--lr", "5e-5"]) == [("lr", 5e-5)]


def test_recipes_and_tables_know_the_same_files():
    assert set(DATA_SUFFIXES) == set(READERS)


@pytest.mark.parametrize(
    ("text", "overrides", "where"),
    [
        ("", ["--hub_token", "s3cret"], "--hub_token: hub_token is a secret"),
        ("", ["--training.hub-token=s3cret"], "--training.hub_token: hub_token is a secret"),
        ("training: {push_to_hub_token: s3cret}", [], "push_to_hub_token is a secret"),
        ("model: {attribution_options: {api_key: s3cret}}", [], "api_key is a secret"),
        ("", ["--run_name", "hf_s3creTs3creTs3creTs3creT"], "a value holds a token of the Hub"),
    ],
)
def test_a_secret_never_becomes_part_of_a_recipe(tmp_path, text, overrides, where):
    (tmp_path / "recipe.yaml").write_text(f"data: {{train: a.csv}}\n{text}\n")
    with pytest.raises(UserError, match="set HF_TOKEN, or run `hf auth login`") as caught:
        load_recipe(str(tmp_path / "recipe.yaml"), overrides)
    assert where in str(caught.value)
    assert "s3cre" not in str(caught.value)


def test_a_token_of_a_text_is_no_secret():
    assert not any(map(is_secret, ("pad_token", "mask_token_id", "include_num_input_tokens_seen", "tokenizer")))
