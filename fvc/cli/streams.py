"""The process's standard streams: what cannot be written to them ends no work, and is not lost in silence.

stderr cannot be written    remarks are lost (a full disk, a reader that has gone): nothing else changes
stdout cannot be written    OutputError, one line and exit code 6
one of them is closed       it leads nowhere; no file that is opened gets its number, in which libraries may write
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO

from fvc.codec.base.errors import OutputError

_STREAMS = (0, 1, 2)  # numbers of stdin, stdout, stderr


def guard() -> None:
    """Makes the standard streams of this process behave as the module says. Call it once, before they are used."""
    _occupy()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (as long as the process)
    sys.stderr = _replaced(sys.stderr, _Lossy)
    if sys.stdout is not None:
        sys.stdout = _replaced(sys.stdout, _Reporting)


def _occupy() -> None:
    """Gives the numbers of closed streams to the null device: a system call takes the lowest that is free."""
    for number in _STREAMS:
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _replaced(stream: TextIO, kind: type[io.FileIO]) -> TextIO:
    """The stream over another raw file; the stream itself where it is none of the system's (a Windows console)."""
    buffer: Any = getattr(stream, "buffer", None)
    if not isinstance(stream, io.TextIOWrapper) or type(raw := getattr(buffer, "raw", buffer)) is not io.FileIO:
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(kind(raw.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering or stream.write_through,
    )


class _Lossy(io.FileIO):
    """Loses what cannot be written."""

    def write(self, data: Any) -> int:  # type: ignore[override]
        """See `io.RawIOBase`. Raises nothing."""
        try:
            written = super().write(data)
        except OSError:
            written = None
        return memoryview(data).nbytes if written is None else written


class _Reporting(io.FileIO):
    """Raises OutputError, once, where it cannot be written; BrokenPipeError where its reader has gone."""

    _has_failed = False

    def write(self, data: Any) -> int:
        """See `io.RawIOBase`."""
        if self._has_failed:  # what is left in buffers when the process ends
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            self._has_failed = True
            raise OutputError(f"standard output: cannot be written ({error.strerror})") from None
