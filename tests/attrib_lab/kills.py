"""Runs a function in a child process that is killed: at an operation on files, or after a time."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable


# What changes files, of all that Python reports to audit hooks; the exchange itself goes through ctypes.
_OPERATIONS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "shutil.rmtree", "ctypes.dlsym"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT

_CLEAN = multiprocessing.get_context("forkserver")
_CLEAN.set_forkserver_preload(
    ["attrib_lab.training.classifier", "attrib_lab.publishing.upload", "attrib_lab.exporting.export"]
)


def run_killed(function: Callable[[], object], at: int) -> bool:
    """Run `function` in a fork and kill it (SIGKILL) before its operation number `at`, from 0; whether it was killed.

    Args:
        at: -1 for never.

    Raises:
        AssertionError: if the function failed by itself.
    """

    def counted() -> None:
        _kill_at(at)
        function()

    return _run_in_fork(counted)


def run_apart(function: Callable[..., object], *arguments: object, at: int = -1, seconds: float | None = None) -> bool:
    """Run a function of a module in a fork of a process that has computed nothing yet; whether it was killed.

    A fork of a process in which torch has computed may wait forever for threads that it did not inherit.

    Args:
        at: as for `run_killed`.
        seconds: kill it after so many, wherever it is.

    Raises:
        AssertionError: if the function failed by itself.
    """
    process = _CLEAN.Process(target=_run, args=(at, seconds, function, arguments))
    process.start()
    process.join()
    killed = process.exitcode == -signal.SIGKILL
    assert killed or process.exitcode == 0, "the function failed by itself"
    return killed


def _run(at: int, seconds: float | None, function: Callable[..., object], arguments: tuple) -> None:
    if seconds is not None:
        timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
    _kill_at(at)
    function(*arguments)


def _kill_at(at: int) -> None:
    remaining = at

    def count(event: str, arguments: tuple) -> None:
        nonlocal remaining
        if event in _OPERATIONS or (event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES):
            if not remaining:
                os.kill(os.getpid(), signal.SIGKILL)
            remaining -= 1

    sys.addaudithook(count)


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
