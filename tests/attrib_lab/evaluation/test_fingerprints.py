"""Fingerprints: a change of any code that a figure depends on is noticed, and a change of other code stops no run."""

import shutil
from pathlib import Path

import pytest
from test_layering import LAB, MODULES, ROOT, module_name, room_of

from attrib_lab.evaluation.fingerprints import TELLING, code_fingerprint
from attrib_lab.evaluation.metrics import METRICS


HUB_CODE = ROOT / "modeling_attrib"
EVALUATION = "attrib_lab.evaluation"
# Rooms that a run uses and no figure depends on: what `data` gives is hashed itself, the others compute nothing.
ASIDE = ("data", "recipes", "storage", "terminal")


def used_by_a_run() -> set[str]:
    """The lab's modules that an evaluation imports, and what those import; the registry names metrics as strings."""
    found: set[str] = set()
    waiting = [f"{EVALUATION}.evaluation", *(f"{EVALUATION}.{metric.module}" for metric in METRICS.values())]
    while waiting:
        module = waiting.pop()
        if module not in found and room_of(module) not in ASIDE:
            found.add(module)
            waiting += MODULES[module]
    return found


def depends_on(file: Path) -> bool:
    """Whether a figure depends on this file of ours."""
    if file.parent == HUB_CODE:
        return True
    module = module_name(file)
    return module in used_by_a_run() and f"{module.removeprefix(EVALUATION + '.')}.py" not in TELLING


@pytest.fixture
def copies(tmp_path):
    """Our code, to be changed."""
    for folder in (HUB_CODE, LAB):
        shutil.copytree(folder, tmp_path / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_a_change_of_any_code_that_a_figure_depends_on_is_noticed(copies):
    before = code_fingerprint(copies / HUB_CODE.name, copies / LAB.name)
    assert before == code_fingerprint()
    files = [file for folder in (HUB_CODE, LAB) for file in folder.rglob("*.py") if file.name != "__init__.py"]
    noticed = set()
    for file in files:
        copy = copies / file.relative_to(ROOT)
        content = copy.read_bytes()
        copy.write_bytes(content + b"\n# changed\n")
        if code_fingerprint(copies / HUB_CODE.name, copies / LAB.name) != before:
            noticed.add(file)
        copy.write_bytes(content)
    assert LAB / "evaluation" / "costs.py" in noticed  # its figures are kept from run to run, as all are
    assert noticed == {file for file in files if depends_on(file)}


def test_no_module_that_measures_uses_one_that_only_tells():
    telling = {f"{EVALUATION}.{name.removesuffix('.py')}" for name in TELLING}
    assert telling <= MODULES.keys()
    users = {module for module in used_by_a_run() if MODULES[module] & telling}
    assert users - telling == {f"{EVALUATION}.evaluation"}, "what computes figures shall not depend on these"
