"""Finds the fastest way of computing on this machine: timed once, kept in the user's cache.

Assumptions about CPUs are often wrong: a Xeon with AVX-512 bfloat16 but no AMX draws a third slower in bfloat16 than in
float32.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import platformdirs

from fvc.codec.base.cache import written_whole

Run = Callable[[], object]  # one call is one unit of work
_WARM_UP, _ROUNDS = 2, 7
_FILE = "timing.json"


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def fastest(key: str, candidates: Mapping[str, Callable[[], Run]], gain: float = 0.08) -> tuple[str, dict[str, float]]:
    """The name of the fastest candidate, and the median milliseconds of each.

    The first candidate is taken unless another is faster by the share `gain`. It is also taken, untimed, if no result
    is known and other programs keep the machine busy. Candidates are timed in turn, so that a drift of the machine's
    speed affects all alike.

    Args:
        key: what was timed; the result of an earlier call with this key on this processor is reused.
        candidates: name -> function that prepares the candidate; it is called only if timing is needed.
    """
    key, first = f"{cpu_name()}, {cores()} cores: {key}", next(iter(candidates))
    known = _read()
    if key not in known or set(known[key]) != set(candidates):
        if is_busy():  # a distorted timing would be kept for good
            return first, {}
        known[key] = _timed(candidates)
        _write(known)
    medians = known[key]
    best = min(medians, key=lambda name: medians[name])
    return (best if medians[best] < (1 - gain) * medians[first] else first), medians


def is_busy() -> bool:
    """Whether programs wait for this machine's cores."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > cores()


def _timed(candidates: Mapping[str, Callable[[], Run]]) -> dict[str, float]:
    runs = {name: prepare() for name, prepare in candidates.items()}
    for run in runs.values():
        for _ in range(_WARM_UP):
            run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(_ROUNDS):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: round(float(np.median(of)), 2) for name, of in times.items()}


def _path() -> Path:
    return platformdirs.user_cache_path("fvc") / _FILE


def _read() -> dict[str, dict[str, float]]:
    """The stored results; none if the file is missing or damaged."""
    try:
        known = json.loads(_path().read_text())
        return {str(key): {str(n): float(ms) for n, ms in of.items()} for key, of in known.items()}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return {}


def _write(known: Mapping[str, Mapping[str, float]]) -> None:
    """Stores results, if the cache folder can be written to; otherwise the next run times again."""
    with suppress(OSError), written_whole(_path()) as part:
        part.write_text(json.dumps(known, indent=1))
