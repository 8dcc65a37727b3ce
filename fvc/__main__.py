"""Entry point of `fvc` and `python -m fvc`: installs the signal handlers before anything else.

The command line takes most of a second to import. A signal in that time may surface as any exception, because a
package is half imported; the exit code is that of the signal nevertheless.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

_INTERRUPTED = 128 + signal.SIGINT
_ENDS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has no SIGHUP
_came: list[int] = []


def _end(number: int, _: FrameType | None) -> None:
    """Ends the program as an error does, so that half-written files are removed."""
    _came.append(number)
    sys.exit(128 + number)


def main() -> None:
    """Runs the command line. Exit code 130 after Ctrl-C, 128 + N after signal N."""
    try:
        for number in _ENDS:
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores it on purpose
                signal.signal(number, _end)
        from fvc.cli.streams import guard

        guard()
        from fvc.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except Exception:
        if _came:
            sys.exit(128 + _came[0])
        raise


if __name__ == "__main__":
    main()
