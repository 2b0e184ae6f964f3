"""Folders and files are replaced whole or not at all."""

import errno
import itertools
import os
import re
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from kills import run_killed
from safetensors import SafetensorError
from safetensors.numpy import save_file

from attrib_lab.storage import folders
from attrib_lab.storage.files import write_whole, writing
from attrib_lab.storage.folders import discard, locked, replacing
from attrib_lab.storage.manifests import MANIFEST, foreign_entries
from attrib_lab.terminal.errors import UserError


KIND = "a trained model"


def write(folder: Path, version: str) -> None:
    with locked(folder, KIND), replacing(folder, KIND, without=("checkpoints",)) as new:
        (new / "config.json").write_text(version)
        (new / "weights").mkdir()
        (new / "weights" / "model.safetensors").write_text(version * 1000)
        if version == "old":
            (new / "only-old.txt").write_text(version)


def state(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and path.name != MANIFEST
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
    (model / "notes" / MANIFEST).write_text("an export's")
    (model / "empty").mkdir()
    (model / "only-old.txt").write_text("changed by hand")
    (model / "checkpoints").mkdir()
    (model / "checkpoints" / "step").write_text("1")
    assert foreign_entries(model) == [
        "checkpoints/step",
        "empty",
        f"notes/{MANIFEST}",
        "notes/mine.txt",
        "only-old.txt",
    ]
    write(model, "new")
    found = state(model)
    assert found["notes/mine.txt"] == "mine"
    assert found["only-old.txt"] == "changed by hand"
    assert found["config.json"] == "new"
    assert "checkpoints/step" not in found
    assert foreign_entries(model) == ["empty", f"notes/{MANIFEST}", "notes/mine.txt", "only-old.txt"]


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
        with locked(folder, KIND):  # the next run: it puts right what an exchange in two steps left
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
        with locked(tmp_path / "model", KIND), replacing(tmp_path / "model", KIND) as new:
            (new / "config.json").write_text("new")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(UserError, match=r"cannot be written: No space left on device\."):
        fill_the_disk()
    assert state(tmp_path / "model") == old
    assert os.listdir(tmp_path) == ["model"]


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with locked(folder, KIND), pytest.raises(UserError, match="another run is at work there"), locked(folder, KIND):
        pass
    with locked(folder, KIND):
        pass


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    def hold() -> None:
        with locked(tmp_path / "model", KIND):
            (tmp_path / "model").mkdir()

    assert run_killed(hold, 3)
    with locked(tmp_path / "model", KIND):
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


def test_an_entry_is_discarded_in_one_step(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for moment in itertools.count():
        write(folder, "old")
        for name in ("a", "b"):
            (folder / "checkpoints" / name).mkdir(parents=True, exist_ok=True)

        def remove() -> None:
            with locked(folder, KIND):
                discard(folder / "checkpoints", folder)

        killed = run_killed(remove, moment)
        left = sorted(path.name for path in (folder / "checkpoints").glob("*"))
        assert left == (["a", "b"] if (folder / "checkpoints").exists() else [])
        remove()
        assert sorted(os.listdir(tmp_path)) == ["model"]
        if not killed:
            break
    assert moment > 3


def test_a_folder_of_another_kind_is_not_replaced(tmp_path: Path) -> None:
    write(tmp_path / "model", "old")
    message = "model holds a trained model, which an exported graph would replace: choose another folder"
    with pytest.raises(UserError, match=message), locked(tmp_path / "model", "an exported graph"):
        pass


@pytest.mark.parametrize("weights", ["model-00001-of-00002.safetensors", "pytorch_model.bin"])
def test_a_model_that_another_program_saved_is_replaced_by_a_model_alone(tmp_path: Path, weights: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").touch()
    with locked(tmp_path / "model", "an exported graph"):
        pass
    (tmp_path / "model" / weights).touch()
    with pytest.raises(UserError, match="holds a trained model"), locked(tmp_path / "model", "an exported graph"):
        pass
    with locked(tmp_path / "model", KIND):
        pass


def test_what_cannot_be_replaced_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is a file: name a folder"), locked(tmp_path / "file", KIND):
        pass
    (tmp_path / "here" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "below")
    for folder in (Path(), tmp_path / "here"):
        with pytest.raises(UserError, match="is where you are"), locked(folder, KIND):
            pass
    monkeypatch.setattr(os.path, "ismount", lambda path: True)
    with pytest.raises(UserError, match="is a mount point"), locked(tmp_path / "model", KIND):
        pass


NO_SPACE = "model cannot be written: No space left on device."


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        Exception("No space left on device (os error 28)"),  # tokenizers
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),  # torch.save
        RuntimeError("[enforce fail at inline_container.cc:878] . PytorchStreamWriter failed writing file data/0"),
    ],
)
def test_a_full_disk_is_one_line_whichever_library_meets_it(error: Exception) -> None:
    with pytest.raises(UserError, match=re.escape(NO_SPACE)), writing(Path("model")):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        BrokenPipeError(errno.EPIPE, "Broken pipe"),
        FileNotFoundError(errno.ENOENT, "No such file", "data.csv"),
        RuntimeError("PytorchStreamReader failed reading zip archive: failed finding central directory"),
        OSError("the Hub cannot be reached"),
    ],
)
def test_other_errors_are_not_taken_for_a_full_disk(error: Exception) -> None:
    with pytest.raises(type(error), match=re.escape(str(error))), writing(Path("model")):
        raise error


def test_safetensors_itself_says_so_on_a_full_disk(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk's."""
    resource = pytest.importorskip("resource")

    def write_weights() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        with pytest.raises(UserError, match=r"cannot be written: File too large\."), writing(tmp_path):
            save_file({"weights": np.zeros(1000)}, tmp_path / "model.safetensors")

    assert not run_killed(write_weights, -1)


@pytest.mark.parametrize("kind", ["old", "new", "gone", "lock"])
def test_a_backup_of_the_users_own_beside_the_folder_stays(tmp_path: Path, kind: str) -> None:
    backup = tmp_path / f".model.{kind}"
    backup.mkdir()
    with locked(tmp_path / "model", "a model"):
        pass
    assert os.listdir(tmp_path) == [backup.name]
