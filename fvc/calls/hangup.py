"""Ends a call on Ctrl-C, TERM or HUP: between two frames, never in the middle of one."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, TypeVar

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_Item = TypeVar("_Item")


class Hangup:
    """While its block runs, the first signal only sets `is_wanted`; a second one has its usual effect.

    So a signal cannot damage a recording: the call's loop checks `is_wanted` and ends cleanly. A signal that was
    ignored before (nohup) stays ignored. Outside the main thread, nothing is changed.

    Attributes:
        is_wanted: whether the call should end; any code may set it.
    """

    def __init__(self) -> None:
        self.is_wanted = False
        self._number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Hangup:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, *exc: object) -> None:
        while self._before:
            signal.signal(*self._before.popitem())

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self.is_wanted, self._number = True, number
        signal.signal(number, self._before[number])

    def raise_if_wanted(self) -> None:
        """If the call should end, raises what the signal would have raised: KeyboardInterrupt or SystemExit."""
        if self.is_wanted and self._number not in (None, signal.SIGINT):
            sys.exit(128 + (self._number or 0))
        if self.is_wanted:
            raise KeyboardInterrupt

    def until(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """The items, until the call should end. No item that was taken from `items` is lost."""
        iterator = iter(items)
        while not self.is_wanted:
            try:
                item = next(iterator)
            except StopIteration:
                return
            yield item
