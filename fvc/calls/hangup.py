"""How a user or the system ends a call: Ctrl-C, TERM and HUP are heard between two frames, not in the middle of one."""

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
    """While its block runs, the first signal only sets `is_wanted`; a second one does what it did before.

    So no signal, at whatever moment it comes, tears a recording: the call's loop looks here and ends in good order.
    A signal that was ignored before (nohup) stays so. In other threads than the main one, nothing is changed.

    Attributes:
        is_wanted: whether the call shall end. May be set by anybody.
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
        """What the signal would have done before there was anything to keep: KeyboardInterrupt, or SystemExit."""
        if self.is_wanted and self._number not in (None, signal.SIGINT):
            sys.exit(128 + (self._number or 0))
        if self.is_wanted:
            raise KeyboardInterrupt

    def until(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """The items, up to the moment at which the call shall end. What was taken from `items` is not lost."""
        iterator = iter(items)
        while not self.is_wanted:
            try:
                item = next(iterator)
            except StopIteration:
                return
            yield item
