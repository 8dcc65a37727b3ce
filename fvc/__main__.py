"""Entry point of `fvc` and `python -m fvc`: installs the signal handlers before anything else.

The command line takes most of a second to import. A signal in that time is only noted: an exception could be lost, or
surface as another one, where a package is half imported.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType

_ENDS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has no SIGHUP
_came: list[int] = []


def _note(number: int, _: FrameType | None) -> None:
    _came.append(number)


def _end(number: int, _: FrameType | None) -> None:
    """Ends the program as an error does, so that half-written files are removed."""
    _came.append(number)
    sys.exit(128 + number)


def main() -> None:
    """Runs the command line. Exit code 130 after Ctrl-C, 128 + N after signal N."""
    _came.clear()  # of an earlier run in this process
    handlers: dict[int, Callable[[int, FrameType | None], object]]
    handlers = {number: _end for number in _ENDS if signal.getsignal(number) != signal.SIG_IGN}  # nohup ignores HUP
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        handlers[signal.SIGINT] = signal.default_int_handler
    for number in handlers:
        signal.signal(number, _note)
    from fvc.cli.streams import guard

    guard()
    from fvc.cli.main import main as run

    try:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if _came:
            sys.exit(128 + _came[0])
        run()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except Exception:
        if _came:  # other packages are imported later
            sys.exit(128 + _came[0])
        raise


if __name__ == "__main__":
    main()
