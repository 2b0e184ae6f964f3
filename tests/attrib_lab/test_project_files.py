"""What stands about the project in files of its own agrees with the code: version, citation, what CI runs."""

import configparser
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from modeling_attrib.configuration_attrib import ATTRIB_VERSION


ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")


def test_the_version_stands_in_one_place():
    """`test_wheel.py` builds the package and reads this number."""
    assert SETUP["metadata"]["version"] == "attr: modeling_attrib.configuration_attrib.ATTRIB_VERSION"
    files = [file for pattern in ("*.py", "modeling_attrib/*.py", "attrib_lab/**/*.py") for file in ROOT.glob(pattern)]
    stated = [file.name for file in files if f'"{ATTRIB_VERSION}"' in file.read_text(encoding="utf-8")]
    assert stated == ["configuration_attrib.py"]


def test_the_readme_leads_to_what_is_new_and_how_to_cite():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in ("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md"):
        assert f"({name})" in text


def test_the_change_log_begins_with_the_version_of_the_code():
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == ATTRIB_VERSION
    assert len(set(headings)) == len(headings)


def test_the_citation_says_what_the_package_says():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    package = SETUP["metadata"]
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()  # what the format asks for
    assert citation["license"] == package["license"]
    assert citation["abstract"] == package["description"]
    assert citation["keywords"] == package["keywords"].split(", ")
    assert "version" not in citation, "it stands in one place: modeling_attrib/configuration_attrib.py"


def commands_of(workflow: Path) -> list[str]:
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"].values()
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


def targets_of(commands: str) -> set[str]:
    return set(re.findall(r"^make ([\w-]+)", commands, re.MULTILINE))


CHECKS = targets_of((ROOT / ".ci" / "run").read_text(encoding="utf-8"))


def test_continuous_integration_runs_what_a_person_runs():
    assert {"lint", "types", "demo", "test", "test-oldest"} <= CHECKS
    assert [".ci/run"] in [commands_of(workflow) for workflow in WORKFLOWS]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_what_is_there(workflow):
    for command in commands_of(workflow):
        if not command.startswith("make "):
            assert (ROOT / command).stat().st_mode & 0o111, f"{command} is no program"


@pytest.mark.parametrize("target", sorted(CHECKS.union(*(targets_of("\n".join(commands_of(w))) for w in WORKFLOWS))))
def test_a_target_that_is_run_exists(target):
    subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)
