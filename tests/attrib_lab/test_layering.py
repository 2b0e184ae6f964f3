"""The lab's rooms: each imports only rooms before it, no module needs itself, and each room is installed."""

import ast
import configparser
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / "attrib_lab"
# From what everything may use to what nothing does: a room is a folder, or a module beside the folders.
ROOMS = (
    "markdown_text",
    "terminal",
    "storage",
    "recipes",
    "data",
    "models",
    "explaining",
    "training",
    "evaluation",
    "trained_heads",
    "exporting",
    "publishing",
    "concepts",
    "serving",
    "metrics",
    "commands",
    "__main__",
)


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(file): file for file in LAB.rglob("*.py")}


def room_of(module: str) -> str:
    return module.split(".")[1]


def imported(source: str, package: str) -> Iterator[str]:
    """The lab's modules that a module of `package` imports, in its functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            named = [name if (name := f"{base}.{alias.name}") in FILES else base for alias in node.names]
        else:
            continue
        yield from (name for name in named if name.startswith(f"{LAB.name}."))


def imports_of(module: str) -> set[str]:
    file = FILES[module]
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    return set(imported(file.read_text(encoding="utf-8"), package))


MODULES = {module: imports_of(module) for module in sorted(FILES) if module != LAB.name}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("import attrib_lab.data.sources", "attrib_lab.data.sources"),
        ("from attrib_lab.data.sources import load_rows", "attrib_lab.data.sources"),
        ("from attrib_lab.data import sources", "attrib_lab.data.sources"),
        ("from .sources import load_rows", "attrib_lab.data.sources"),
        ("from . import sources", "attrib_lab.data.sources"),
        ("from ..models import attention_only", "attrib_lab.models.attention_only"),
        ("def later():\n    from ..models.backbones import resolve_backbone", "attrib_lab.models.backbones"),
    ],
)
def test_every_way_to_import_is_seen(line, expected):
    assert list(imported(f"import torch\n{line}", "attrib_lab.data")) == [expected]


def test_every_room_has_its_place():
    there = {path.stem for path in LAB.iterdir() if path.suffix == ".py" or any(path.rglob("*.py"))}
    assert there - {"__init__"} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_before_it(room):
    allowed = ROOMS[: ROOMS.index(room) + 1]
    wrong = [
        f"{module} imports {other}"
        for module, others in MODULES.items()
        for other in sorted(others)
        if room_of(module) == room and room_of(other) not in allowed
    ]
    assert not wrong


def test_no_module_needs_itself():
    try:
        TopologicalSorter(MODULES).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_every_room_is_installed():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    packages = {module_name(file) for file in LAB.rglob("__init__.py")}
    others = {"modeling_attrib", "attrib_lab.recipes.configuration"}  # which holds recipes and no code
    assert packages | others == set(setup["options"]["packages"].split())
    assert {room_of(module) for module, file in FILES.items() if module.count(".") > 1} == {
        *(room_of(package) for package in packages if "." in package),
        "metrics",  # read by path, as data of the package
    }
