"""Side effects of native libraries, undone: what they print to file descriptor 2, and how they schedule threads."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def native_stderr_closed() -> Iterator[None]:
    """Nothing reaches file descriptor 2 until the block ends, Python's own messages included.

    MediaPipe prints notes at its start, libpng its warnings.
    """
    try:
        saved = os.dup(2)
    except OSError:
        yield
        return
    with open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def open_encoder(context: Any) -> None:
    """Opens a codec context of PyAV without what SVT-AV1 does besides: it prints its settings, and its threads, run by
    root on Linux, become real-time (SCHED_FIFO, priority 99) with the one that opens it: all else on the machine waits.
    """
    os.environ.setdefault("SVT_LOG", "0")  # errors only; read when the first such encoder of a process is opened
    context.open()
    _leave_real_time()


def _leave_real_time() -> None:
    """Puts all threads of this process back under the ordinary scheduler. Does nothing where there is no such thing."""
    tasks = Path("/proc/self/task")
    if not tasks.is_dir() or not hasattr(os, "sched_setscheduler"):
        return
    for task in tasks.iterdir():
        with contextlib.suppress(OSError):  # the thread may have ended
            if os.sched_getscheduler(int(task.name)) in (os.SCHED_FIFO, os.SCHED_RR):
                os.sched_setscheduler(int(task.name), os.SCHED_OTHER, os.sched_param(0))
