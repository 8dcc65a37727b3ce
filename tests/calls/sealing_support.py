"""Transports in memory, which a stranger can read and write."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from fvc.codec.call.session import Address


class Wire:
    """What one end sends lies in `sent`; what lies in `coming` arrives there."""

    def __init__(self) -> None:
        self.sent, self.coming = deque[tuple[bytes, Address]](), deque[tuple[bytes, Address]]()

    def send(self, data: bytes, to: Address) -> None:
        self.sent.append((data, to))

    def receive(self, until: float) -> Iterator[tuple[bytes, Address]]:
        while self.coming:
            yield self.coming.popleft()

    def listen_to(self, peer: Address | None) -> None:
        pass
