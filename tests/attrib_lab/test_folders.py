"""Folders and files are replaced whole or not at all."""

import errno
import itertools
import os
import sys
from pathlib import Path

import pytest
from kills import run_killed

from attrib_lab import folders
from attrib_lab.errors import UserError
from attrib_lab.folders import foreign_files, locked, replacing, write_whole


def write(folder: Path, version: str) -> None:
    with locked(folder), replacing(folder, without=("checkpoints",)) as new:
        (new / "config.json").write_text(version)
        (new / "weights").mkdir()
        (new / "weights" / "model.safetensors").write_text(version * 1000)
        if version == "old":
            (new / "only-old.txt").write_text(version)


def state(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and path.name != folders.MANIFEST
    }


@pytest.fixture(autouse=True)
def unflushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process loses nothing that it wrote; flushing is for power cuts, and slow."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(params=["one step", "two steps"])
def exchange(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to exchange folders: that of Linux and macOS, and that of systems without it."""
    if request.param == "two steps":
        monkeypatch.setattr(folders, "_exchanged_in_one_step", lambda first, second: False)


@pytest.mark.usefixtures("exchange")
def test_a_folder_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "model", "old")
    assert "only-old.txt" in state(tmp_path / "model")
    write(tmp_path / "model", "new")
    assert set(state(tmp_path / "model")) == {"config.json", "weights/model.safetensors"}
    assert state(tmp_path / "model")["config.json"] == "new"
    assert os.listdir(tmp_path) == ["model"]


def test_what_the_user_keeps_there_stays(tmp_path: Path) -> None:
    model = tmp_path / "model"
    write(model, "old")
    (model / "notes").mkdir()
    (model / "notes" / "mine.txt").write_text("mine")
    (model / "only-old.txt").write_text("changed by hand")
    (model / "checkpoints").mkdir()
    (model / "checkpoints" / "step").write_text("1")
    assert foreign_files(model) == ["checkpoints/step", "notes/mine.txt", "only-old.txt"]
    write(model, "new")
    found = state(model)
    assert found["notes/mine.txt"] == "mine"
    assert found["only-old.txt"] == "changed by hand"
    assert found["config.json"] == "new"
    assert "checkpoints/step" not in found
    assert foreign_files(model) == ["notes/mine.txt", "only-old.txt"]


@pytest.mark.parametrize("before", ["nothing", "old"])
@pytest.mark.usefixtures("exchange")
def test_a_kill_at_any_moment_leaves_the_old_folder_or_the_new_one(tmp_path: Path, before: str) -> None:
    write(tmp_path / "whole", "new")
    new = state(tmp_path / "whole")
    for moment in itertools.count():
        folder = tmp_path / str(moment) / "model"
        old = {}
        if before == "old":
            write(folder, "old")
            (folder / "mine.txt").write_text("mine")
            old = state(folder)
        mine = {"mine.txt": "mine"} if old else {}
        killed = run_killed(lambda folder=folder: write(folder, "new"), moment)
        with locked(folder):  # the next run: it puts right what an exchange in two steps left
            assert state(folder) in (old, new | mine)
        write(folder, "new")
        assert state(folder) == new | mine
        assert os.listdir(folder.parent) == ["model"]
        if not killed:
            break
    assert moment > 10


def test_the_exchange_in_one_step_needs_no_next_run(tmp_path: Path) -> None:
    if sys.platform not in ("linux", "darwin"):
        pytest.skip("this system exchanges folders in two steps")
    for moment in itertools.count():
        folder = tmp_path / str(moment) / "model"
        write(folder, "old")
        killed = run_killed(lambda folder=folder: write(folder, "new"), moment)
        assert state(folder)["config.json"] * 1000 == state(folder)["weights/model.safetensors"]
        if not killed:
            break


def test_a_failure_leaves_the_old_folder(tmp_path: Path) -> None:
    write(tmp_path / "model", "old")
    old = state(tmp_path / "model")

    def fill_the_disk() -> None:
        with locked(tmp_path / "model"), replacing(tmp_path / "model") as new:
            (new / "config.json").write_text("new")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(UserError, match=r"cannot be written: No space left on device\."):
        fill_the_disk()
    assert state(tmp_path / "model") == old
    assert os.listdir(tmp_path) == ["model"]


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with locked(folder), pytest.raises(UserError, match="another run is at work there"), locked(folder):
        pass
    with locked(folder):
        pass


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    def hold() -> None:
        with locked(tmp_path / "model"):
            (tmp_path / "model").mkdir()

    assert run_killed(hold, 3)
    with locked(tmp_path / "model"):
        pass


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    file = tmp_path / "metrics.json"
    file.write_text("old")
    for moment in itertools.count():
        if not run_killed(lambda: write_whole(file, "new" * 10000), moment):
            break
        assert file.read_text() in ("old", "new" * 10000)
        file.write_text("old")
    assert file.read_text() == "new" * 10000
