"""Side effects of native libraries, undone: what they print to file descriptor 2, and how they schedule threads."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


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


def leave_real_time() -> None:
    """Puts all threads of this process back under the ordinary scheduler.

    SVT-AV1, run by root on Linux, makes its threads and the one that opens it real-time (SCHED_FIFO, priority 99) and
    leaves them so: everything else on the machine waits. Call it after opening such an encoder. Does nothing elsewhere.
    """
    tasks = Path("/proc/self/task")
    if not tasks.is_dir() or not hasattr(os, "sched_setscheduler"):
        return
    for task in tasks.iterdir():
        with contextlib.suppress(OSError):  # the thread may have ended
            if os.sched_getscheduler(int(task.name)) in (os.SCHED_FIFO, os.SCHED_RR):
                os.sched_setscheduler(int(task.name), os.SCHED_OTHER, os.sched_param(0))
