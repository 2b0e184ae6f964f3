"""Wall time, processor time and peak memory of calls; times as multiples of a unit measured in the same round."""

import ctypes
import gc
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


SHORTEST = 0.05  # seconds: shorter calls are repeated until one measurement is as long


class Seconds(NamedTuple):
    """How long a call took on the clock, and on all processor cores together."""

    wall: float
    cpu: float


def time_call(call: Callable[[], object], repeats: int = 1) -> Seconds:
    """Mean seconds of `repeats` calls in a row."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        call()
    return Seconds((time.perf_counter() - wall) / repeats, (time.process_time() - cpu) / repeats)


def measure_interleaved(
    calls: dict[str, Callable[[], object]],
    unit: str,
    rounds: int,
    expected: dict[str, float],
    clock: Callable[[Callable[[], object], int], Seconds] = time_call,
) -> dict[str, dict[str, dict[str, float]]]:
    """Time calls in turn, round after round, so that a drift of the machine's speed meets all alike.

    Each round starts one call later than the round before; ratios to the unit are taken within each round.

    Args:
        calls: name -> a warmed-up call.
        unit: the name of the call that the others are measured in.
        rounds: how often each is measured.
        expected: name -> about how many seconds a call takes.
        clock: measures that many calls in a row.

    Returns:
        Name -> "ratio", "cpu_ratio", "seconds" and "cpu_seconds", each with median, quartiles, minimum and maximum.
    """
    names = list(calls)
    repeats = {name: math.ceil(SHORTEST / max(expected[name], 1e-4)) for name in names}
    measured: dict[str, list[Seconds]] = {name: [] for name in names}
    for turn in range(rounds):
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            measured[name].append(clock(calls[name], repeats[name]))
    units = measured[unit]
    return {
        name: {
            "ratio": spread([own.wall / one.wall for own, one in zip(measured[name], units)]),
            "cpu_ratio": spread([own.cpu / one.cpu for own, one in zip(measured[name], units)]),
            "seconds": spread([own.wall for own in measured[name]]),
            "cpu_seconds": spread([own.cpu for own in measured[name]]),
        }
        for name in names
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median, quartiles, minimum and maximum."""
    low, _, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return {
        "median": statistics.median(values),
        "lower_quartile": low,
        "upper_quartile": high,
        "min": min(values),
        "max": max(values),
    }


def peak_memory(call: Callable[[], object]) -> int:
    """Bytes that were resident at most during the call, above what was resident before it (Linux).

    Raises:
        OSError: where the system does not tell.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else memory that earlier calls gave back hides what this one takes
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the high-water mark starts anew
    before = _resident("VmRSS")
    call()
    return _resident("VmHWM") - before


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))
