"""A plain `pip install`, without extras: help is there, and every command says in one line which extra it needs."""

import ast
import configparser
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from attrib_lab.terminal.extras import EXTRAS, missing_extra, package_name


ROOT = Path(__file__).resolve().parents[3]
# What torch and transformers, which are always installed, need themselves.
BASE = {"torch", "transformers", "huggingface_hub", "numpy", "safetensors", "tqdm", "yaml"}
MODULES = {"pyyaml": "yaml", "scikit-learn": "sklearn"}  # where a package's name is not its module's

WITHOUT_EXTRAS = f"""
import contextlib, io, json, os, sys

class WithoutExtras:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        extra = name.partition(".")[0] in {sorted(module for modules in EXTRAS.values() for module in modules)}
        return None if extra else self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(WithoutExtras, sys.meta_path)
sys.path.insert(0, {str(ROOT)!r})
import modeling_attrib, runpy
ended = []
for script, *arguments in json.loads(sys.argv[1]):
    sys.argv = [script, *arguments]
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            if script == "attrib":
                from attrib_lab.commands import main
                main()
            else:
                runpy.run_path(os.path.join({str(ROOT)!r}, script), run_name="__main__")
            status = 0
        except SystemExit as end:
            status = end.code or 0
    ended.append([status, out.getvalue(), error.getvalue()])
print(json.dumps(ended))
"""

HELP = {
    "attrib": ["attrib", "--help"],
    "attrib evaluate": ["attrib", "evaluate", "--help"],
    "attrib export": ["attrib", "export", "--help"],
    "attrib concepts": ["attrib", "concepts", "--help"],
    "attrib serve": ["attrib", "serve", "--help"],
    "train.py": ["train.py", "own_data", "--help"],
    "push_to_hub.py": ["push_to_hub.py", "--help"],
}
COMMANDS = {
    "evaluate": ["attrib", "evaluate", "model", "--data", "newswire:9", "--output", "out"],
    "export": ["attrib", "export", "model", "--output", "out"],
    "concepts": ["attrib", "concepts", "model", "--concept", "a=a.txt", "--data", "newswire:9", "--output", "out"],
    "serve": ["attrib", "serve", "model"],
    "train": ["train.py", "demo"],
    "publish": ["push_to_hub.py", "model", "--repo-id", "name/model"],
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS, json.dumps([*HELP.values(), *COMMANDS.values()])],
        capture_output=True,
        text=True,
        cwd=tmp_path_factory.mktemp("elsewhere"),
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip([*HELP, *COMMANDS], json.loads(done.stdout.splitlines()[-1])))


@pytest.mark.parametrize("command", HELP)
def test_help_needs_no_extra(ended, command):
    status, out, error = ended[command]
    assert (status, error) == (0, "")
    assert "--" in out


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_names_the_extra_that_it_lacks(ended, command):
    status, _, error = ended[command]
    assert status == 2
    told = r"error: \w+ is not installed; what needs it comes with: pip install (.*)\n"
    extra = "serve" if command == "serve" else "lab"
    assert shlex.split(re.fullmatch(told, error)[1]) == [f"{ROOT}[{extra}]"]


def test_every_module_that_is_imported_is_always_there_or_in_an_extra():
    known = BASE | set(sys.stdlib_module_names) | {m for modules in EXTRAS.values() for m in modules}
    known |= {"modeling_attrib", "attrib_lab", "torch_xla"}  # the last only where it is found
    for file in [*(ROOT / "attrib_lab").rglob("*.py"), ROOT / "train.py", ROOT / "push_to_hub.py"]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            for name in names:
                assert name.partition(".")[0] in known, f"{file.name} imports {name}"


def test_the_extras_are_those_of_setup_cfg():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    for extra, modules in EXTRAS.items():
        packages = [re.split("[<>=!]", line)[0] for line in config["options.extras_require"][extra].split()]
        named = {MODULES.get(package, package) for package in packages}
        assert set(modules) == named - BASE


def test_an_installed_package_is_called_by_its_name(tmp_path):
    assert package_name(tmp_path) == "attrib"


def test_other_missing_modules_are_nobodys_extra():
    assert missing_extra(ModuleNotFoundError("No module named 'x'", name="x")) is None
    assert missing_extra(ModuleNotFoundError("?")) is None
    assert "[lab]" in missing_extra(ModuleNotFoundError("No module", name="sklearn.metrics"))
