"""Silence for native libraries that print straight to file descriptor 2: MediaPipe at its start, libpng."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def native_stderr_closed() -> Iterator[None]:
    """Nothing reaches file descriptor 2 until the block ends. Python's own messages must wait, too."""
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
