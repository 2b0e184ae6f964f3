"""Models that learned from data whose terms forbid it are not published for all."""

import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import HfApi
from published_names import HUB_DATA
from tiny_classifier import REPO_ID, TOKEN

from attrib_lab.publishing.bundle import CardOptions
from attrib_lab.publishing.data_terms import DATA_TERMS, check_terms, terms_of
from attrib_lab.publishing.hub import Destination
from attrib_lab.publishing.upload import publish
from attrib_lab.recipes.loading import RECIPE_FOLDER
from attrib_lab.terminal.errors import UserError


def trains_on(source: str) -> dict:
    return {"data": {"train": source}}


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("fancyzhx/ag_news@train", "AG News"),
        ("ag_news", "AG News"),
        ("someone/AG-News:default@train", "AG News"),
        ("nyu-mll/glue:sst2@train", "SST-2"),
        ("stanfordnlp/sst2@train", "SST-2"),
        ("/data/agnews/train_partial.parquet", "AG News"),
        ("C:\\data\\imdb\\train.csv", "IMDB"),
        ("eraser_movies/train.parquet", "ERASER movies"),
    ],
)
def test_data_is_known_by_its_name_wherever_it_lies(source, name):
    assert [terms.name for terms in terms_of([trains_on(source)])] == [name]
    with pytest.raises(UserError, match=f"learned from {name}, and"):
        check_terms([trains_on(source)], "apache-2.0")


@pytest.mark.parametrize("source", ["newswire:2000", "mine.csv", "hatexplain/train.parquet", "owner/text:en@train", ""])
def test_other_data_is_not_held_back(source):
    check_terms([trains_on(source), {}], None)


def test_what_a_head_learned_from_counts_and_what_it_was_graded_on_does_not():
    tasks = {"explainer": {"tasks": [{"train": "eraser_movies/train.parquet"}]}}
    assert [terms.name for terms in terms_of([trains_on("mine.csv"), tasks])] == ["ERASER movies"]
    assert terms_of([{"data": {"train": "mine.csv", "test": "stanfordnlp/imdb@test"}}]) == []


def test_non_commercial_terms_allow_a_non_commercial_licence():
    check_terms([trains_on("fancyzhx/ag_news@train")], "cc-by-nc-4.0")
    with pytest.raises(UserError, match=r"--private, or choose a licence of its kind \(--license cc-by-nc-4\.0\)"):
        check_terms([trains_on("fancyzhx/ag_news@train")], None)
    with pytest.raises(UserError, match=r"Keep it --private\.$"):
        check_terms([trains_on("stanfordnlp/sst2@train")], "cc-by-nc-4.0")


def test_every_data_set_of_a_recipe_is_known_or_free():
    """Of those that the recipes train on, HateXplain alone has a licence (MIT)."""
    recipes = {file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in RECIPE_FOLDER.glob("*.yaml")}
    free = {name for name, recipe in recipes.items() if not terms_of([recipe])}
    assert free == {"demo", "hatexplain", "own_data"}
    assert {terms.source for terms in DATA_TERMS.values()} <= HUB_DATA.keys()


@pytest.mark.usefixtures("assembled_only")
def test_the_command_refuses_before_it_works_and_private_goes(hub, model_dir, tmp_path):
    folder = Path(shutil.copytree(model_dir, tmp_path / "news"))
    (folder / "recipe.yaml").write_text(yaml.safe_dump(trains_on("fancyzhx/ag_news@train")), encoding="utf-8")
    api = HfApi(endpoint=hub.address, token=TOKEN)
    for dry_run in (False, True):
        with pytest.raises(UserError, match=r"\(see fancyzhx/ag_news on the Hub\): it is not published for all"):
            publish(folder, Destination(REPO_ID), card=CardOptions("apache-2.0"), api=api, dry_run=dry_run)
    assert hub.requests == []
    publish(folder, Destination(REPO_ID, private=True), api=api)
    assert hub.repositories[REPO_ID].private
    publish(folder, Destination(REPO_ID), output=tmp_path / "bundle")
    assert "AG News: it is provided for research purposes" in (tmp_path / "bundle" / "README.md").read_text()
