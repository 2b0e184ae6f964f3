"""Files that are there whole or not at all, and what the system refuses their writer as one clear line."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from ..terminal.errors import UserError, first_line


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
