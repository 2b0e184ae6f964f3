"""The notebooks of examples/ run, and what they show was put there by running them."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from code_blocks import ROOT, run_command


NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def code_cells(notebook):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_a_notebook_was_executed_in_order_and_shows_results_alone(notebook):
    text, cells = notebook.read_text(encoding="utf-8"), code_cells(notebook)
    assert len(text) < 200_000
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert any("attrib-for" in "".join(output.get("data", {}).get("text/html", "")) for output in outputs)
    assert {output["output_type"] for output in outputs} <= {"stream", "execute_result"}  # no error
    assert all(output["name"] == "stdout" for output in outputs if output["output_type"] == "stream")
    printed = "".join(line for output in outputs for line in output.get("text", []))
    assert not re.search(r"(?<![\w.])/\w+/|[Ww]arning|error:", printed)  # no path of a machine, no library's warning


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_the_cells_of_a_notebook_run(notebook, here, monkeypatch):
    folder = here / "examples"
    folder.mkdir()
    shutil.copy(ROOT / "examples" / "tickets.csv", folder)
    (folder / "sentence-transformers").symlink_to(here / "sentence-transformers")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(subprocess, "run", run_here)
    names = {}
    for number, cell in enumerate(code_cells(notebook), 1):
        exec(compile("".join(cell["source"]), f"{notebook.name}, cell {number}", "exec"), names)


def run_here(command, **_):
    """A command of ours in this process: one of its own would spend seconds on imports."""
    run_command(["python", Path(command[1]).name, *command[2:]])
    return subprocess.CompletedProcess(command, 0, stdout="", stderr="")
