"""The one way to write a folder: whenever a run is killed or the disk is full, the old state or the new one stands.

A folder is written beside its place (`.NAME.attrib-new`), flushed to the disk, and exchanged with what was there in one
step, under a lock. What an earlier run left beside it is removed by the next one.
"""

import contextlib
import ctypes
import errno
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from ..terminal.errors import UserError
from .files import flush, flush_tree, writing
from .manifests import foreign_entries, kind_of, write_manifest


try:
    import fcntl
except ImportError:  # not on Windows: there two runs on one folder are the user's to avoid
    fcntl = None

# What stands beside a folder while it is written, and after a kill: its lock, the next state, what was there before
# (where an exchange takes two steps), what is being removed.
# Names that nobody gives to a backup of his own: what bears one is removed.
_LOCK, _NEW, _OLD, _GONE = "attrib-lock", "attrib-new", "attrib-old", "attrib-gone"

_AT_FDCWD = {"linux": -100, "darwin": -2}
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS
_NO_EXCHANGE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}  # this file system cannot


@contextlib.contextmanager
def locked(folder: Path, kind: str, wait: bool = False) -> Iterator[None]:
    """Keep other processes from writing `folder`, and put right what a killed one left beside it.

    The lock ends with the process, however it ends. It stands beside the folder, which may be exchanged meanwhile.

    Args:
        folder: need not exist.
        kind: what will be written there, in words: "a trained model".
        wait: for another process at work there, instead of refusing.

    Raises:
        UserError: if another process is at work there, the folder holds what this package wrote of another kind, or
            it cannot be replaced or its parent not be written.
    """
    folder = folder.resolve()
    _check_place(folder)
    lock = None
    with writing(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        if fcntl is not None:
            lock = _take_lock(folder, wait)
    try:
        with writing(folder):
            _recover(folder)
        found = kind_of(folder)
        if found not in (None, kind):
            raise UserError(f"{folder} holds {found}, which {kind} would replace: choose another folder.")
        yield
    finally:
        if lock is not None:
            _beside(folder, _LOCK).unlink(missing_ok=True)
            os.close(lock)


@contextlib.contextmanager
def replacing(folder: Path, kind: str, without: tuple[str, ...] = ()) -> Iterator[Path]:
    """A new folder to fill, which takes the place of `folder` in one step when the block ends without an error.

    Files that an earlier run wrote here are gone then; whatever else the folder holds, the user's own, comes along.
    To be used inside `locked`.

    Args:
        folder: what is replaced; need not exist.
        kind: as for `locked`.
        without: entries of the old folder that are not carried over.

    Raises:
        UserError: if the folder cannot be written (a full disk, say) or exchanged. It is unchanged then.
    """
    folder = folder.resolve()
    new = _beside(folder, _NEW)
    try:
        with writing(folder):
            new.mkdir()
            yield new
            write_manifest(new, kind)
            _carry_over(folder, new, without)
            flush_tree(new)
            _exchange(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)  # what was exchanged, or what was not finished


def discard(path: Path, folder: Path) -> None:
    """Remove an entry of `folder` in one step, so that no part of it is ever left. To be used inside `locked`.

    Raises:
        UserError: if it cannot be removed.
    """
    if not os.path.lexists(path):
        return
    gone = _beside(folder.resolve(), _GONE)
    with writing(folder):
        os.rename(path, gone)
        _remove(gone)


def _check_place(folder: Path) -> None:
    """A folder is replaced by another one under its name: not everything lets that happen."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: name a folder.")
    if os.path.ismount(folder):
        raise UserError(f"{folder} is a mount point, which cannot be replaced in one step: name a folder inside it.")
    here = Path.cwd()
    if folder == here or folder in here.parents:
        raise UserError(f"{folder} is where you are, and will be replaced as a whole: start from outside of it.")


def _beside(folder: Path, kind: str) -> Path:
    return folder.with_name(f".{folder.name}.{kind}")


def _take_lock(folder: Path, wait: bool) -> int:
    """An open, locked file descriptor of the file beside `folder`.

    Raises:
        UserError: if another process holds it, and is not waited for.
    """
    path = _beside(folder, _LOCK)
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            raise UserError(f"{folder}: another run is at work there.") from None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)  # whoever held it removed the file meanwhile: this lock guards nothing


def _recover(folder: Path) -> None:
    """After a kill: take back what stood here where an exchange took two steps, remove what was never finished."""
    old = _beside(folder, _OLD)
    if old.exists() and not folder.exists():
        os.rename(old, folder)
    for kind in (_OLD, _NEW, _GONE):
        _remove(_beside(folder, kind))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _carry_over(folder: Path, new: Path, without: tuple[str, ...]) -> None:
    """Bring the user's own files of `folder` into `new`, as links where the file system has them."""
    if not folder.is_dir():
        return
    shutil.copymode(folder, new)
    for name in foreign_entries(folder):
        source, target = folder / name, new / name
        if Path(name).parts[0] in without or os.path.lexists(target):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir() and not source.is_symlink():
            target.mkdir()
            continue
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError:
            shutil.copy2(source, target, follow_symlinks=False)


def _exchange(new: Path, folder: Path) -> None:
    """Put `new` in the place of `folder`, and what was there in the place of `new`."""
    if not folder.exists():
        os.rename(new, folder)
    elif not _exchanged_in_one_step(new, folder):
        old = _beside(folder, _OLD)
        os.rename(folder, old)
        os.rename(new, folder)
        flush(folder.parent)
        shutil.rmtree(old)
    flush(folder.parent)


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
