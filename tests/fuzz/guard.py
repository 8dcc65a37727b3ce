"""Limits of one input: 1 s of CPU, 256 MB of new memory. A reader that needs more can be used to stop its user."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable
from typing import Any

SECONDS, MEGABYTES = 1.0, 256
_PAGE = resource.getpagesize()


class HangError(BaseException):
    """An input took too long. No `Exception`, so that nothing on the way can swallow it."""


class Guard:
    """Calls a target within the limits and remembers what came closest to them.

    CPU time counts, not the clock: a busy machine must not fail a test. Memory is limited by the address space, so
    that an allocation that is too large fails before it is made (MemoryError, or the native library's own end). What
    the process had before and its heap has free again is not new memory: `make fuzz` has a process for each target.

    Attributes:
        executions: inputs so far.
        slowest: CPU seconds of the slowest, `slowest_input` its bytes.
        grown: most bytes by which one input raised the process's peak of resident memory.
    """

    def __init__(self) -> None:
        self.executions, self.slowest, self.slowest_input, self.grown = 0, 0.0, b"", 0
        self._statm = os.open("/proc/self/statm", os.O_RDONLY)

    def __call__(self, target: Callable[[bytes], Any], data: bytes) -> None:
        """Raises HangError, MemoryError or whatever the target raises."""
        pages = int(os.pread(self._statm, 32, 0).split()[0])
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        peak, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        before = signal.signal(signal.SIGPROF, _hang)
        resource.setrlimit(resource.RLIMIT_AS, (pages * _PAGE + (MEGABYTES << 20), hard))
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            target(data)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
            signal.signal(signal.SIGPROF, before)
        seconds = time.process_time() - start
        self.executions += 1
        self.grown = max(self.grown, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) << 10)
        if seconds > self.slowest:
            self.slowest, self.slowest_input = seconds, data
        if seconds > SECONDS:  # in native code the timer's signal comes late
            raise HangError(f"{seconds:.2f} s of CPU")


def _hang(*_: object) -> None:
    raise HangError(f"more than {SECONDS} s of CPU")
