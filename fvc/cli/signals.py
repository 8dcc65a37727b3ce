"""Signals that end the command line: none is lost, and none surfaces as another error.

An exception that a signal's handler raises while a package is being imported may be swallowed there, become an
ImportError, or end the process at once, with its files half written: C code handles exceptions in its own ways. So a
signal that comes during an import is only noted, and sent again until it comes at another time. One that was lost all
the same ends the job at its next frame (`check`). Standard library only: this is imported before anything else.
"""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

_ENDS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has no SIGHUP
_came: list[int] = []
_handled: list[int] = []
_AGAIN = 0.1  # seconds, after which a signal that came during an import is sent again


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


def _end(number: int, frame: FrameType | None) -> None:
    _came.append(number)
    if not _is_importing(frame):
        _raise(number)
    again = threading.Timer(_AGAIN, _send, (number,))
    again.daemon = True
    again.start()


def _send(number: int) -> None:
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, number)  # ends what the main thread waits for
    else:  # Windows
        signal.raise_signal(number)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _raise(number: int) -> None:
    """Ends the program as an error does, so that half-written files are removed."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)
