"""Signals end a call between two frames."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from fvc.calls.hangup import Hangup

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_only_asks(number: int) -> None:
    before = {n: signal.getsignal(n) for n in SIGNALS}
    heard = list[int]()
    old = signal.signal(number, lambda n, _: heard.append(n))
    try:
        with Hangup() as hangup:
            assert list(hangup.until([1, 2])) == [1, 2]
            hangup.raise_if_wanted()
            os.kill(os.getpid(), number)
            assert hangup.is_wanted
            assert list(hangup.until([1, 2])) == []
            assert heard == []
            os.kill(os.getpid(), number)  # the second one does what it did before
            assert heard == [number]
        os.kill(os.getpid(), number)
        assert heard == [number, number]
        error = KeyboardInterrupt if number == signal.SIGINT else SystemExit
        with pytest.raises(error) as raised:
            hangup.raise_if_wanted()
        assert number == signal.SIGINT or raised.value.code == 128 + number  # type: ignore[attr-defined]
    finally:
        signal.signal(number, old)
    assert {n: signal.getsignal(n) for n in SIGNALS} == before


def test_ignored_signals_stay_ignored() -> None:
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with Hangup() as hangup:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not hangup.is_wanted
    finally:
        signal.signal(signal.SIGHUP, old)


def test_in_other_threads_signals_stay_as_they_are() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), list[object]()

    def run() -> None:
        with Hangup() as hangup:
            hangup.is_wanted = True
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]
