"""Runs a function in a child process that is killed: at an operation on files, or after a time."""

import os
import signal
import sys
import threading
from collections.abc import Callable


# What changes files, of all that Python reports to audit hooks; the exchange itself goes through ctypes.
_OPERATIONS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "shutil.rmtree", "ctypes.dlsym"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def run_killed(function: Callable[[], object], at: int) -> bool:
    """Run `function` in a fork and kill it (SIGKILL) before its operation number `at`, from 0; whether it was killed.

    Args:
        at: -1 for never.

    Raises:
        AssertionError: if the function failed by itself.
    """
    remaining = at

    def count(event: str, arguments: tuple) -> None:
        nonlocal remaining
        if event in _OPERATIONS or (event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES):
            if not remaining:
                os.kill(os.getpid(), signal.SIGKILL)
            remaining -= 1

    def counted() -> None:
        sys.addaudithook(count)
        function()

    return _run_in_fork(counted)


def run_killed_after(function: Callable[[], object], seconds: float) -> bool:
    """Run `function` in a fork and kill it (SIGKILL) after so many seconds, wherever it is; whether it was killed."""

    def timed() -> None:
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
        function()

    return _run_in_fork(timed)


def _run_in_fork(function: Callable[[], object]) -> bool:
    child = os.fork()
    if not child:
        status = 1
        try:
            function()
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    killed = os.WIFSIGNALED(status)
    assert killed or os.WEXITSTATUS(status) == 0, "the function failed by itself"
    return killed
