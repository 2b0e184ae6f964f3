"""Files and folders that are there whole or not at all: whenever a run is killed, the old state or the new one stands.

A folder is written beside its place (`.NAME.new`), flushed to the disk, and exchanged with what was there in one step.
What an earlier run left beside it is removed by the next one.
"""

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from .errors import UserError, first_line


try:
    import fcntl
except ImportError:  # not on Windows: there two runs on one folder are the user's to avoid
    fcntl = None

MANIFEST = ".attrib-files.json"  # what was written here, and its SHA-256: whatever else the folder holds is the user's

_AT_FDCWD = {"linux": -100, "darwin": -2}
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS
_NO_EXCHANGE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}  # this file system cannot


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file that is there completely or not at all, whenever the process is killed."""
    aside = path.with_name(f".{path.name}.part")
    aside.write_bytes(content.encode() if isinstance(content, str) else content)
    _flush(aside)
    os.replace(aside, path)
    _flush(path.parent)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing `folder`, and put right what a killed one left beside it.

    The lock ends with the process, however it ends. It stands beside the folder, which may be exchanged meanwhile.

    Raises:
        UserError: if another process is at work there, or the folder's parent cannot be written.
    """
    folder = folder.resolve()
    lock = None
    with as_user_error(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        if fcntl is not None:
            lock = _take_lock(_beside(folder, "lock"))
    try:
        if lock is None and fcntl is not None:
            raise UserError(f"{folder}: another run is at work there.")
        with as_user_error(folder):
            _recover(folder)
        yield
    finally:
        if lock is not None:
            _beside(folder, "lock").unlink(missing_ok=True)
            os.close(lock)


@contextlib.contextmanager
def replacing(folder: Path, without: tuple[str, ...] = ()) -> Iterator[Path]:
    """A new folder to fill, which takes the place of `folder` in one step when the block ends without an error.

    Files that an earlier run wrote here are gone then; whatever else the folder holds, the user's own, comes along.
    To be used inside `locked`.

    Args:
        folder: what is replaced; need not exist.
        without: entries of the old folder that are not carried over.

    Raises:
        UserError: if the folder cannot be written (a full disk, say) or exchanged. It is unchanged then.
    """
    folder = folder.resolve()
    if os.path.ismount(folder):
        raise UserError(f"{folder} is a mount point, which cannot be replaced in one step: name a folder inside it.")
    new = _beside(folder, "new")
    try:
        with as_user_error(folder):
            new.mkdir()
            yield new
            write_manifest(new)
            _carry_over(folder, new, without)
            _flush_tree(new)
            _exchange(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)  # what was exchanged, or what was not finished


def write_manifest(folder: Path) -> None:
    """Note every file that `folder` holds now as written by this package."""
    digests = {name: _digest(folder / name) for name in _files(folder)}
    write_whole(folder / MANIFEST, json.dumps(digests, indent=1, sort_keys=True) + "\n")


def foreign_files(folder: Path) -> list[str]:
    """Files in `folder` that this package did not write, or that were changed since, sorted."""
    written = _read_manifest(folder)
    return [name for name in _files(folder) if name not in written or written[name] != _digest(folder / name)]


@contextlib.contextmanager
def as_user_error(folder: Path) -> Iterator[None]:
    """What the operating system refuses (no space, no permission), as one clear line."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or first_line(error)}.") from None


def _beside(folder: Path, kind: str) -> Path:
    return folder.with_name(f".{folder.name}.{kind}")


def _take_lock(path: Path) -> int | None:
    """An open, locked file descriptor of `path`, or None if another process holds it."""
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)  # whoever held it removed the file meanwhile: this lock guards nothing


def _recover(folder: Path) -> None:
    """After a kill: take back what stood here where an exchange took two steps, remove what was never finished."""
    old, new = _beside(folder, "old"), _beside(folder, "new")
    if old.exists() and not folder.exists():
        os.rename(old, folder)
    for left in (old, new):
        if left.exists():
            shutil.rmtree(left)


def _carry_over(folder: Path, new: Path, without: tuple[str, ...]) -> None:
    """Bring the user's own files of `folder` into `new`, as links where the file system has them."""
    if not folder.is_dir():
        return
    for name in foreign_files(folder):
        if Path(name).parts[0] in without or os.path.lexists(new / name):
            continue
        (new / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(folder / name, new / name, follow_symlinks=False)
        except OSError:
            shutil.copy2(folder / name, new / name, follow_symlinks=False)


def _exchange(new: Path, folder: Path) -> None:
    """Put `new` in the place of `folder`, and what was there in the place of `new`."""
    if not folder.exists():
        os.rename(new, folder)
    elif not _exchanged_in_one_step(new, folder):
        old = _beside(folder, "old")
        os.rename(folder, old)
        os.rename(new, folder)
        _flush(folder.parent)
        shutil.rmtree(old)
    _flush(folder.parent)


def _exchanged_in_one_step(first: Path, second: Path) -> bool:
    """Exchange two folders atomically; False where the system or the file system cannot."""
    library = ctypes.CDLL(None, use_errno=True) if sys.platform in _AT_FDCWD else None
    function = getattr(library, "renameat2" if sys.platform == "linux" else "renameatx_np", None)
    if function is None:
        return False
    here = _AT_FDCWD[sys.platform]
    if function(here, os.fsencode(first), here, os.fsencode(second), _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code))


def _files(folder: Path) -> list[str]:
    """Every file below `folder` but the manifest, as relative POSIX paths, sorted."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path.relative_to(folder).as_posix() for path in found if path.name != MANIFEST)


def _digest(path: Path) -> str | None:
    """SHA-256 of a file; None of anything else."""
    if path.is_symlink() or not path.is_file():
        return None
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _read_manifest(folder: Path) -> dict[str, str]:
    try:
        written = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}  # written by hand, by save_pretrained or by an earlier version: nothing here is known to be ours
    return written if isinstance(written, dict) else {}


def _flush_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if not path.is_symlink():
            _flush(path)
    _flush(folder)


def _flush(path: Path) -> None:
    """Have the operating system write a file, or a folder's entries, to the disk."""
    if os.name == "nt":
        return  # Windows flushes no folder, and no file that is open for reading
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
