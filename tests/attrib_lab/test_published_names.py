"""Every name that others publish, and that this repository uses, was looked up; and the recipes fit what was found."""

import ast
import configparser
import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from accelerate.utils import DistributedType
from datasets import ClassLabel, Dataset, Features, Value
from huggingface_hub.cli import hf
from published_names import (
    ACTIONS,
    ADVISORIES,
    ARXIV,
    HUB_DATA,
    HUB_MODELS,
    LINKS,
    NOT_NAMES,
    NPM,
    PAPERS,
    PLACEHOLDERS,
    PYPI,
)
from torch.distributed.run import get_args_parser as torchrun_parser

from attrib_lab.data import sources
from attrib_lab.data.sources import HUB_SOURCE, READERS, load_splits
from attrib_lab.publishing import card_sections
from attrib_lab.recipes.loading import RECIPE_FOLDER, load_recipe
from attrib_lab.terminal.errors import UserError


ROOT = Path(__file__).resolve().parents[2]
READ = (
    "*.md", "*.py", "Makefile", "setup.cfg", "constraints*.txt", ".ci/*", ".github/**/*.yml", "docs/*.md",
    "attrib_lab/**/*.py", "modeling_attrib/*.py", "benchmarks/*.md", "benchmarks/*.py", "benchmarks/environments/*",
    "configuration/**/*.yaml", "examples/*/README.md",
    "examples/*.ipynb",
)  # fmt: skip


def text_of(path):
    """What people wrote in a file; of a notebook its cells."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])


FILES = {path: text_of(path) for pattern in READ for path in sorted(ROOT.glob(pattern)) if path.is_file()}
RECIPES = [path.stem for path in sorted(RECIPE_FOLDER.glob("*.yaml"))]
# owner/name in quotes, behind a YAML key, or as the value of an option in a command.
HUB_NAME = re.compile(
    r"(?:(?<=[`\"'])|(?<=: )|(?<=--repo-id )|(?<=--backbone ))([A-Za-z][\w.-]*/[A-Za-z0-9](?:[\w.-]*\w)?)"
    r"(?::[\w.-]+)?(?:@[\w.-]+)?(?=[`\"'\s,).]|$)",
    re.MULTILINE,
)
CITATION = re.compile(
    r"\b[A-Z]\w+(?:(?:, [A-Z]\w+)* (?:and|&) [A-Z]\w+| et al\.)? (?:19|20)\d\d\b(?!\d|-)",
)
PIN = re.compile(r"^([A-Za-z0-9][\w-]*)==([\w.]+)", re.MULTILINE)
INSTALLED = re.compile(r"pip install ([^\n'\"`;]*)")


def found(pattern):
    """All matches of a pattern -> the files that they stand in."""
    matches = {}
    for path, text in FILES.items():
        for match in pattern.finditer(text):
            matches.setdefault(match[match.lastindex or 0], []).append(path.relative_to(ROOT))
    return matches


def is_path(name, files):
    """Whether it names a file or folder: by its suffix, or because its first part is one that is here or is made."""
    first = name.partition("/")[0]
    here = [ROOT, *(ROOT / file.parent for file in files)]
    return bool(Path(name).suffix[1:].isalpha()) or first == "outputs" or any((f / first).exists() for f in here)


def test_every_name_on_the_hub_was_looked_up():
    names = {name for name, files in found(HUB_NAME).items() if not is_path(name, files)}
    looked_up = HUB_DATA.keys() | HUB_MODELS.keys() | ACTIONS.keys()
    assert names - looked_up - PLACEHOLDERS - NOT_NAMES == set()
    assert looked_up | PLACEHOLDERS == names - NOT_NAMES


def test_every_link_was_looked_up():
    links = found(re.compile(r"https?://(?!127\.0\.0\.1|localhost|\S*\{)[^\s)\"'`>\]]+"))
    assert links.keys() == LINKS.keys()


def test_every_action_has_the_version_that_was_looked_up():
    uses = found(re.compile(r"uses: (\S+)")).keys()
    assert uses == {f"{name}@{version}" for name, version in ACTIONS.items()}


def test_every_preprint_was_looked_up():
    numbers = found(re.compile(r"arxiv(?:\.org/\w+/|:\s?| )(\d{4}\.\d{4,5})", re.IGNORECASE))
    assert numbers.keys() == ARXIV.keys()
    assert all(number in PAPERS[cited] for number, cited in ARXIV.items())


def test_every_advisory_was_looked_up():
    assert found(re.compile(r"CVE-\d{4}-\d+")).keys() == ADVISORIES.keys()
    assert card_sections.ADVISORIES.keys() == ADVISORIES.keys()
    for advisory, mended in card_sections.ADVISORIES.items():
        assert f"before {mended};" in ADVISORIES[advisory]


def test_every_citation_was_looked_up():
    cited = {name for name in found(CITATION) if not name.startswith(("Python", "January", "February", "November"))}
    assert cited == PAPERS.keys()


def test_every_package_was_looked_up():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    required = {re.match(r"[\w-]+", line)[0] for text in lines for line in text.split()}
    words = [word for command in found(INSTALLED) for word in shlex.split(command, comments=False)]
    installed = {word.partition("==")[0] for word in words if re.fullmatch(r"[A-Za-z][\w-]*(==[\w.]+)?", word)}
    pinned = {(name, version) for path, text in FILES.items() for name, version in PIN.findall(text)}
    assert required | installed | {name for name, _ in pinned} == PYPI.keys()
    assert pinned == {(name, version) for name, versions in PYPI.items() for version in versions}


def test_every_package_of_the_page_was_looked_up():
    package = json.loads((ROOT / "examples" / "browser" / "package.json").read_text(encoding="utf-8"))
    assert package["dependencies"] | package["devDependencies"] == NPM


# Recipes and the data sets that they name ---------------------------------------------------------------------------


def hub_sources(name):
    """(data set, split, section of the recipe) of each source that is on the Hub."""
    data = load_recipe(name).data
    for split in ("train", "validation", "test"):
        source = getattr(data, split) or ""
        local = Path(source).suffix in READERS or source.startswith("newswire:")
        if source and not local:
            match = HUB_SOURCE.fullmatch(source)
            yield match["name"], match["split"], data


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_asks_for_what_its_data_sets_have(name):
    for data_set, split, data in hub_sources(name):
        card = HUB_DATA[data_set]
        assert card.loads
        assert split in card.splits
        wanted = {data.text} | ({data.label, *data.decontaminate} if data.labels else set())
        assert wanted <= set(card.columns)


def hub(name, config=None, *, split):
    """`load_dataset` of a Hub that has the looked-up data sets alone: two rows of each class."""
    if name not in HUB_DATA or not HUB_DATA[name].loads:
        raise FileNotFoundError(f"Dataset {name!r} doesn't exist on the Hub or cannot be accessed.")
    card = HUB_DATA[name]
    assert split in card.splits
    labels = [number for number in range(len(card.labels)) for _ in range(2)]
    columns = {column: [f"{split} {column} {row}" for row in range(len(labels))] for column in card.columns}
    features = Features({column: Value("string") for column in card.columns} | {"label": ClassLabel(names=card.labels)})
    return Dataset.from_dict(columns | {"label": labels}, features=features)


def use_hub(monkeypatch):
    monkeypatch.setattr(sources, "load_dataset_builder", lambda name, config: SimpleNamespace(config=None))
    monkeypatch.setattr(sources, "load_dataset", hub)


@pytest.mark.parametrize("name", [name for name in RECIPES if any(hub_sources(name)) and load_recipe(name).data.labels])
def test_a_recipe_reads_the_labels_of_its_data_sets(name, monkeypatch):
    use_hub(monkeypatch)
    recipe = load_recipe(name)
    recipe.data.decontaminate = []
    splits = load_splits(recipe.data, seed=0)
    card = HUB_DATA[next(hub_sources(name))[0]]
    meant = {"neg": "negative", "pos": "positive"}
    assert splits.labels == [meant.get(label, label) for label in card.labels]
    for rows in filter(None, (splits.train, splits.validation, splits.test)):
        expected = [int(text.rpartition(" ")[2]) // 2 for text in rows[recipe.data.text]]
        assert list(rows[recipe.data.label]) == expected


def test_a_name_that_the_hub_does_not_have_is_named(monkeypatch):
    use_hub(monkeypatch)
    recipe = load_recipe("ag_news", ["--train", "fancyzhe/ag_news@train"])
    with pytest.raises(UserError, match=r"no file 'fancyzhe/ag_news@train', and no such Hub dataset .*doesn't exist"):
        load_splits(recipe.data, seed=0)


# Commands of other programs -----------------------------------------------------------------------------------------

LAUNCH = re.compile(r"(torchrun|accelerate launch) ([^`\n]*?)train\.py")


def test_every_option_of_a_launcher_exists():
    known = {
        "torchrun": {option for action in torchrun_parser()._actions for option in action.option_strings},
        "accelerate launch": {
            option for action in launch_command_parser()._actions for option in action.option_strings
        },
    }
    commands = [match for text in FILES.values() for match in LAUNCH.finditer(text)]
    assert {program for program, _ in (match.groups() for match in commands)} == known.keys()
    for match in commands:
        options = {word for word in match[2].split() if word.startswith("-")}
        assert options <= known[match[1]], match[0]
        for file in re.findall(r"--config_file (\S+)", match[2]):
            assert (ROOT / file).is_file(), match[0]


def test_the_hub_has_the_command_to_log_in():
    assert found(re.compile(r"hf auth login"))
    context = click.Context(hf.app)
    assert "login" in hf.app.get_command(context, "auth").list_commands(context)
    assert not found(re.compile(r"huggingface-cli"))  # gone since huggingface_hub 1.0


@pytest.mark.parametrize("path", sorted((RECIPE_FOLDER / "accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_its_configurations(path):
    config = load_config_from_file(str(path))  # which refuses keys that it does not know
    kinds = {"cpu": DistributedType.NO, "gpu": DistributedType.MULTI_GPU, "tpu": DistributedType.XLA}
    assert config.distributed_type == kinds[path.stem]
    assert config.use_cpu == (path.stem == "cpu")
    assert config.mixed_precision in ("no", "bf16")
    functions = {node.name for node in ast.parse((ROOT / "train.py").read_text()).body if hasattr(node, "name")}
    assert config.main_training_function in functions
    assert yaml.safe_load(path.read_text())["num_processes"] >= 1
