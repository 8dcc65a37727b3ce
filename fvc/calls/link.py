"""Drives a session over a transport: the loop that receives, sends and runs timers."""

from __future__ import annotations

import time
from collections.abc import Callable

from fvc.calls.transport import Transport
from fvc.codec.call.session import Session

Clock = Callable[[], float]
_MIN_WAIT = 0.002  # seconds: least wait for a timer, so that one that stays due does not make the loop spin
_GOODBYES, _BETWEEN = 3, 0.02  # how often Bye is sent, since packets get lost; seconds between two of them


class Link:
    """See the module. Call `serve` again and again: nothing is received or sent in between.

    Args:
        clock: returns the time in seconds; the transport must use the same clock.
    """

    def __init__(self, session: Session, transport: Transport, clock: Clock = time.monotonic) -> None:
        self._session, self._transport, self._clock = session, transport, clock

    def serve(self, until: float) -> None:
        """Receives, sends and runs due timers until that moment, at least once."""
        while True:
            self.flush()
            now, timer = self._clock(), self._session.next_timer()
            wake = until if timer is None else min(until, max(timer, now + _MIN_WAIT))
            for data, address in self._transport.receive(wake):
                self._session.receive_datagram(data, address, self._clock())
            self._session.handle_timer(self._clock())  # after receiving: with packets waiting, the peer is not silent
            if self._clock() >= until:
                self.flush()
                return

    def flush(self) -> None:
        """Sends what the session wants to send now."""
        for data, address in self._session.datagrams_to_send(self._clock()):
            self._transport.send(data, address)

    def close(self, reason: str = "") -> None:
        """Ends the session, and sends its Bye several times, since packets may get lost."""
        for _ in range(_GOODBYES):
            self._session.close(reason)
            self.flush()
            time.sleep(_BETWEEN)
