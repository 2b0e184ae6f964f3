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


def test_continuous_integration_runs_what_a_person_runs():
    said = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    targets = set(re.findall(r"^make ([\w-]+)", said, re.MULTILINE))
    assert targets >= {"lint", "types", "demo", "test", "test-oldest"}
    assert [".ci/run"] in [commands_of(workflow) for workflow in WORKFLOWS]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_what_is_there(workflow):
    for command in commands_of(workflow):
        if command.startswith("make "):
            subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, check=True, capture_output=True)
        else:
            assert (ROOT / command).stat().st_mode & 0o111, f"{command} is no program"
