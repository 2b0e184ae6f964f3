"""Runs a function in a child process that is killed at its n-th operation on files, as a power cut would."""

import os
import signal
import sys
from collections.abc import Callable


# What changes files, of all that Python reports to audit hooks; the exchange itself goes through ctypes.
_OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "shutil.rmtree", "ctypes.dlsym"}


def run_killed(function: Callable[[], None], at: int) -> bool:
    """Run `function` in a fork and kill it (SIGKILL) before its operation number `at`, from 0; whether it was killed.

    Raises:
        AssertionError: if the function failed by itself.
    """
    child = os.fork()
    if not child:
        remaining = at

        def count(event: str, arguments: tuple) -> None:
            nonlocal remaining
            if event in _OPERATIONS:
                if not remaining:
                    os.kill(os.getpid(), signal.SIGKILL)
                remaining -= 1

        status = 1
        try:
            sys.addaudithook(count)
            function()
            status = 0
        finally:
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    killed = os.WIFSIGNALED(status)
    assert killed or os.WEXITSTATUS(status) == 0, "the function failed by itself"
    return killed
