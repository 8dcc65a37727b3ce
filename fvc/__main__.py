"""Entry point of `fvc` and `python -m fvc`: installs the signal handlers before anything else.

The command line takes most of a second to import; a signal in that time is only noted (`fvc.cli.signals`).
"""

from __future__ import annotations

import sys
from signal import SIGINT

from fvc.cli import signals


def main() -> None:
    """Runs the command line. Exit code 128 + N after signal N: 130 after Ctrl-C."""
    signals.hold()
    from fvc.cli.streams import guard

    guard()
    from fvc.cli.main import main as run

    try:
        signals.release()
        run()
    except KeyboardInterrupt:
        sys.exit(signals.exit_code() or 128 + SIGINT)  # calls listen to signals themselves (`fvc.calls.hangup`)
    except (Exception, SystemExit) as error:
        has_failed = not isinstance(error, SystemExit) or bool(error.code)
        code = signals.exit_code()
        if has_failed and code is not None:
            sys.exit(code)
        raise


if __name__ == "__main__":
    main()
