"""The interface of both ends of a call, which are sans-IO, as aioquic's connections are.

A session never touches a socket or a clock. Its owner gives it the packets that arrive and the time, and sends what
the session asks for:

    session.receive_datagram(data, address, now)       for each packet from the network
    session.handle_timer(now)                          at the time that `next_timer` names, or earlier
    for data, address in session.datagrams_to_send(now): ...
    while (event := session.next_event()) is not None: ...

Times are in seconds on a clock that never goes back, such as time.monotonic().
"""

from __future__ import annotations

from typing import Any, Protocol

Address = tuple[Any, ...]  # of a peer, as the transport names it: hashable, the host first

REPORT_INTERVAL = 1.0  # seconds between two receiver reports
MIN_TIMEOUT = 3 * REPORT_INTERVAL  # seconds of silence that an established call survives, whatever its timeout
SILENCE = 2.0  # seconds without a packet after which the other side counts as silent


class Session(Protocol):
    """One end of a call."""

    def receive_datagram(self, data: bytes, address: Address, now: float) -> None:
        """Takes a packet from the network. Never raises, whatever it holds."""

    def close(self, reason: str = "") -> None:
        """Ends the call with a Bye. It may get lost, and each call sends another one."""

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        """The datagrams to send now, each with its address."""

    def next_timer(self) -> float | None:
        """When `handle_timer` has something to do; None: not before something arrives."""

    def handle_timer(self, now: float) -> None:
        """Does what is due. Calls that come too early do no harm."""
