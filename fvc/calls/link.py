"""Drives a session over a transport: the loop that hears, sends and keeps the time."""

from __future__ import annotations

import time
from collections.abc import Callable

from fvc.calls.transport import Transport
from fvc.codec.call.session import Session

Clock = Callable[[], float]
_MIN_WAIT = 0.002  # seconds: a timer that stays due does not make the loop spin
_GOODBYES, _BETWEEN = 3, 0.02  # times that the end is said, since packets get lost; seconds between them


class Link:
    """See the module. `serve` is called again and again; nothing is heard or sent in between.

    Args:
        clock: what time it is, in seconds; the transport must wait by the same.
    """

    def __init__(self, session: Session, transport: Transport, clock: Clock = time.monotonic) -> None:
        self._session, self._transport, self._clock = session, transport, clock

    def serve(self, until: float) -> None:
        """Hears, sends and does what is due, until that moment, at least once."""
        while True:
            self.flush()
            now, timer = self._clock(), self._session.next_timer()
            wake = until if timer is None else min(until, max(timer, now + _MIN_WAIT))
            for data, address in self._transport.receive(wake):
                self._session.receive_datagram(data, address, self._clock())
            self._session.handle_timer(self._clock())  # after hearing: packets that wait here are no silence
            if self._clock() >= until:
                self.flush()
                return

    def flush(self) -> None:
        """Sends what the session wants to send now."""
        for data, address in self._session.datagrams_to_send(self._clock()):
            self._transport.send(data, address)

    def close(self, reason: str = "") -> None:
        """Says goodbye, as often as it takes to be heard on a bad link."""
        for _ in range(_GOODBYES):
            self._session.close(reason)
            self.flush()
            time.sleep(_BETWEEN)
