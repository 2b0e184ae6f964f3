"""Files that are there whole or not at all, what a folder holds, and what the system refuses as one clear line."""

import contextlib
import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from ..terminal.errors import UserError, first_line


MANIFEST = ".attrib-files.json"  # what was written here, and its SHA-256: whatever else the folder holds is the user's
MODEL = "a trained model"
_WEIGHTS = ("*.safetensors", "*.bin")

# What the system refuses a writer; a lost connection, a closed pipe and a missing input are other errors.
_REFUSALS = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EXDEV),
    *(errno.ENOSPC, errno.EFBIG, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC)),  # Windows has no quotas
    *(errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG),
}
_OF_RUST = re.compile(r"\(os error (\d+)\)")  # safetensors and tokenizers raise errors of their own
_OF_TORCH = re.compile(r"inline_container\.cc:\d+\] ?\. (unexpected pos|PytorchStreamWriter)")  # a short write


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """What the system refuses whoever writes to `folder` (no space, no permission), as one clear line.

    Raises:
        UserError: that line; any other error passes.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = refusal(error)
        if reason is None:
            raise
        raise UserError(f"{folder} cannot be written: {reason}.") from None


def refusal(error: Exception) -> str | None:
    """The system's words, if an error is about what it refuses a writer; None of any other error."""
    if isinstance(error, OSError) and error.errno is not None:
        return (error.strerror or first_line(error)) if error.errno in _REFUSALS else None
    code = _OF_RUST.search(str(error))
    if code is not None:
        return os.strerror(int(code[1])) if int(code[1]) in _REFUSALS else None
    return os.strerror(errno.ENOSPC) if _OF_TORCH.search(str(error)) else None


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file that is there completely or not at all, whenever the process is killed or the disk full."""
    aside = path.with_name(f".{path.name}.part")
    try:
        aside.write_bytes(content.encode() if isinstance(content, str) else content)
        flush(aside)
        os.replace(aside, path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    flush(path.parent)


def write_manifest(folder: Path, kind: str) -> None:
    """Note every file that `folder` holds now as written by this package, and flush them first.

    Args:
        folder: complete but for this note, which makes it so.
        kind: what it is, in words: "a trained model".
    """
    flush_tree(folder)
    digests = {name: _digest(folder / name) for name in _entries(folder)}
    written = {name: digest for name, digest in digests.items() if digest is not None}
    write_whole(folder / MANIFEST, json.dumps({"kind": kind, "files": written}, indent=1, sort_keys=True) + "\n")


def kind_of(folder: Path) -> str | None:
    """What `folder` holds, in words: what this package noted of it, or a model, whoever saved it; else None."""
    noted = _read_manifest(folder)[0]
    saved = (folder / "config.json").is_file() and any(file for form in _WEIGHTS for file in folder.glob(form))
    return MODEL if noted is None and saved else noted


def is_complete(folder: Path) -> bool:
    """Whether all that `write_manifest` noted in `folder` is still there as it was."""
    kind, written = _read_manifest(folder)
    return kind is not None and all(_digest(folder / name) == digest for name, digest in written.items())


def foreign_entries(folder: Path) -> list[str]:
    """Files in `folder` that this package did not write, or that were changed since, and empty folders, sorted."""
    _, written = _read_manifest(folder)
    return [name for name in _entries(folder) if name not in written or written[name] != _digest(folder / name)]


def _read_manifest(folder: Path) -> tuple[str | None, dict[str, str]]:
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return str(content["kind"]), dict(content["files"])
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None, {}  # written by hand, by save_pretrained or by an earlier version: nothing is known to be ours


def _entries(folder: Path) -> list[str]:
    """Every file and empty folder below `folder` but its manifest, as relative POSIX paths, sorted."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir() or not any(path.iterdir()))
    return sorted({path.relative_to(folder).as_posix() for path in found} - {MANIFEST})


def _digest(path: Path) -> str | None:
    """SHA-256 of a file; None of anything else."""
    if path.is_symlink() or not path.is_file():
        return None
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def flush_tree(folder: Path) -> None:
    """Have the operating system write a folder, and all that is in it, to the disk."""
    for path in folder.rglob("*"):
        if not path.is_symlink():
            flush(path)
    flush(folder)


def flush(path: Path) -> None:
    """Have the operating system write a file, or a folder's entries, to the disk."""
    if os.name == "nt":
        return  # Windows flushes no folder, and no file that is open for reading
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
