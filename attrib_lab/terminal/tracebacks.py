"""Where in a user's own code an error arose: its traceback without this project's frames and the libraries'."""

import sysconfig
import traceback
from pathlib import Path

import attrib_lab
import modeling_attrib


_OURS = tuple(Path(package.__file__).resolve().parent for package in (attrib_lab, modeling_attrib))
_LIBRARIES = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def user_frames(error: BaseException, module: str = "") -> str:
    """The frames of `error` that are in the user's code, as Python prints them, and what was raised.

    The user's is what is neither ours nor a library's, and whatever stands beside the file of his own module, since
    that may be an installed package. A frame of a library between two of his is left out like one behind the last.

    Args:
        module: file of the module that he named, if it could be imported and has one.

    Returns:
        Lines; empty if no frame is his.
    """
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename, module)]
    if isinstance(error, SyntaxError):  # the file that cannot be read never ran
        frames = frames if error.filename and _is_users(error.filename, module) else []
    elif not frames:
        return ""
    shown = "".join([*traceback.format_list(frames), *traceback.format_exception_only(error)]).rstrip()
    # A message may hold what a text says: no control characters.
    return "".join(character if character.isprintable() or character == "\n" else " " for character in shown)


def _is_users(file: str, module: str) -> bool:
    path = Path(file)
    if not path.is_file():  # <string>, <frozen importlib._bootstrap>
        return False
    path = path.resolve()
    if any(path.is_relative_to(folder) for folder in _OURS):
        return False
    own = Path(module).resolve() if module else None
    if own is not None and path.is_relative_to(own if own.parent in _LIBRARIES else own.parent):
        return True
    return not any(path.is_relative_to(folder) for folder in _LIBRARIES)
