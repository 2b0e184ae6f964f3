"""The wheel, installed where no checkout is: it holds every module, its commands start and the demo trains."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_data import write_backbone

from modeling_attrib.configuration_attrib import ATTRIB_VERSION


ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("modeling_attrib", "attrib_lab")
RECIPES = "attrib_lab/recipes/configuration"  # where the wheel holds those of the checkout's configuration/
OF_THE_BUILD = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")


def run(*command: object, folder: Path, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(part) for part in command]
    done = subprocess.run(command, cwd=folder, env=environment | variables, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def files_of(folder: Path, package: str) -> Iterator[str]:
    for file in (folder / package).rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            yield file.relative_to(folder).as_posix()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy: a build leaves files behind, and takes up those that an earlier one left."""
    source, target = (tmp_path_factory.mktemp(name) for name in ("source", "wheel"))
    for package in (*PACKAGES, "configuration"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in OF_THE_BUILD:
        shutil.copy(ROOT / name, source)
    options = ("--no-deps", "--no-index", "--no-build-isolation", "--quiet", "--wheel-dir", target)
    run(sys.executable, "-m", "pip", "wheel", *options, source, folder=source)
    (file,) = target.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory) -> Path:
    """A folder that it is installed in; the environment's own packages are its requirements."""
    folder = tmp_path_factory.mktemp("site")
    options = ("--no-deps", "--no-index", "--quiet", "--target", folder)
    run(sys.executable, "-m", "pip", "install", *options, wheel, folder=folder)
    return folder


def test_every_file_of_the_packages_is_in_the_wheel(wheel):
    in_the_wheel = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith(PACKAGES)}
    recipes = {f"{RECIPES}{name.removeprefix('configuration')}" for name in files_of(ROOT, "configuration")}
    assert in_the_wheel == recipes.union(*(files_of(ROOT, package) for package in PACKAGES))


def test_the_version_of_the_package_is_that_of_its_code(site):
    (installed,) = importlib.metadata.distributions(name="attrib", path=[str(site)])
    assert installed.version == ATTRIB_VERSION


# Prints where every module lies that can be imported.
IMPORT_ALL = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    print(package.__file__)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if not module.name.endswith(".__main__"):
            print(importlib.import_module(module.name).__file__)
"""


def test_every_module_can_be_imported_where_no_checkout_is(site, tmp_path):
    found = set(run(sys.executable, "-c", IMPORT_ALL, *PACKAGES, folder=tmp_path, PYTHONPATH=str(site)).splitlines())
    modules = {name for package in PACKAGES for name in files_of(ROOT, package) if "/metrics/" not in name}
    assert found == {str(site / name) for name in modules if not name.endswith("__main__.py")}


def test_the_command_starts_where_no_checkout_is(site, tmp_path):
    said = run(site / "bin" / "attrib", "--help", folder=tmp_path, PYTHONPATH=str(site))
    assert all(command in said for command in ("evaluate", "export", "concepts"))


def test_the_demo_trains_with_the_installed_package(site, tmp_path):
    """On a tiny encoder and a few stories: what is asked is whether all that it needs was installed."""
    shutil.copy(ROOT / "train.py", tmp_path)
    rows = {"train": "newswire:64", "validation": "newswire:8", "test": "newswire:8"}
    options = {"backbone": write_backbone(tmp_path / "encoder", positions=256), "use_cpu": "true", **rows}
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    command = ("train.py", "demo", "--output_dir", "out", *arguments)
    run(sys.executable, *command, folder=tmp_path, PYTHONPATH=str(site))
    assert (tmp_path / "out" / "explanations.html").is_file()
    assert json.loads((tmp_path / "out" / "config.json").read_text())["attrib_version"] == ATTRIB_VERSION
