"""Signals that end the command line: none is lost, and none surfaces as another error.

An exception that a signal's handler raises may be lost in the C code of a package that is being imported, or become an
ImportError there. So each signal is also noted: `check` ends a job whose exception was lost at its next frame, and
`exit_code` tells `fvc.__main__` what an error really was. Standard library only: it is imported before anything else.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

_ENDS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has no SIGHUP
_came: list[int] = []
_handled: list[int] = []


def hold() -> None:
    """From now on signals are only noted. Those that are ignored stay so: nohup ignores HUP, shells' jobs INT."""
    _came.clear()  # of an earlier run in this process
    _handled[:] = [number for number in _ENDS if signal.getsignal(number) != signal.SIG_IGN]
    if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, _end):
        _handled.append(signal.SIGINT)
    for number in _handled:
        signal.signal(number, _note)


def release() -> None:
    """From now on signals end the program, those that came since `hold` too. Raises KeyboardInterrupt, SystemExit."""
    for number in _handled:
        signal.signal(number, _end)
    check()


def check() -> None:
    """Ends the program if a signal has come. Raises KeyboardInterrupt, SystemExit."""
    if _came:
        _raise(_came[0])


def exit_code() -> int | None:
    """128 + N if signal N has come."""
    return 128 + _came[0] if _came else None


def _note(number: int, _: FrameType | None) -> None:
    _came.append(number)


def _end(number: int, _: FrameType | None) -> None:
    _came.append(number)
    _raise(number)


def _raise(number: int) -> None:
    """Ends the program as an error does, so that half-written files are removed."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)
