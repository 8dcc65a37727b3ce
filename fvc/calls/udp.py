"""A UDP socket for one thread: send, and wait for what comes until a moment. Knows nothing about calls."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterable, Iterator

from fvc.codec.call.rtp import MAX_PACKET
from fvc.codec.errors import LinkError, UsageError
from fvc.codec.media.video import reason

Address = tuple[str, int]
_MOST_AT_ONCE = 256  # packets that are taken before the caller has a word again


class UdpPort:
    """See the module. `port` is the number that it listens on.

    Raises:
        UsageError: the address is none. LinkError: the port is taken or not allowed.
    """

    def __init__(self, host: str = "", port: int = 0) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        try:
            self._socket.bind((host, port))
        except OSError as error:
            self._socket.close()
            raise LinkError(f"port {port}: cannot be listened on ({reason(error)})") from None
        self.port: int = self._socket.getsockname()[1]

    def __enter__(self) -> UdpPort:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def send(self, packets: Iterable[bytes], to: Address) -> None:
        """Sends packets; what the system does not take is lost, as anything may be on the way."""
        for packet in packets:
            try:
                self._socket.sendto(packet, to)
            except OSError:
                continue

    def receive(self, until: float) -> Iterator[tuple[bytes, Address]]:
        """Waits until something comes, at most until `until` (time.monotonic); yields all that is there by then."""
        select.select([self._socket], [], [], max(until - time.monotonic(), 0))
        for _ in range(_MOST_AT_ONCE):
            try:
                data, address = self._socket.recvfrom(MAX_PACKET + 1)
            except (BlockingIOError, ConnectionError):
                return
            yield data, address


def parse_address(text: str) -> Address:
    """ "host:port" -> IPv4 address and port. Raises UsageError, LinkError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UsageError(f"{text[:80]}: say HOST:PORT, such as 192.0.2.7:5004")
    try:
        found = socket.getaddrinfo(host, int(port), socket.AF_INET, socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        raise LinkError(f"{host[:80]}: unknown host") from None
    return str(found[0][4][0]), int(port)
