"""Transports, which carry the packets of a call: the protocol `Transport`, and UDP. Knows nothing about calls.

A transport must be used from one thread. Addresses are those of the system: (host, port) for IPv4, (host, port, flow,
scope) for IPv6, the host in numbers.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Protocol

from fvc.codec.base.errors import LinkError, UsageError
from fvc.codec.call.rtp import MAX_PACKET
from fvc.codec.call.session import Address
from fvc.codec.media.video import reason

_MAX_AT_ONCE = 256  # packets that are taken before the caller can act again
_RECEIVE_BUFFER = 1 << 20  # bytes that may wait while a picture is drawn; the system may give less
_MAX_ATTEMPTS = 5  # to find a port that is free for both families
_MAX_NOTED = 1024  # senders of which it is known which local address they called
_MAX_ADDRESSES = 4  # of a host that are tried
# Errors of systems without IPv6, or without an address of a family.
_NO_SUCH_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)
_ANY = ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"))

# By family: the option that asks for it, and level, type and layout of what tells the local address of a packet.
# Linux only: other systems answer from the address that routing chooses.
_LINUX_PKTINFO = 8  # IP_PKTINFO, which `socket` has from Python 3.12 on
_LOCAL = {
    socket.AF_INET: (socket.IPPROTO_IP, _LINUX_PKTINFO, _LINUX_PKTINFO, "=I4s4s"),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 49, 50, "=16sI"),  # IPV6_RECVPKTINFO, IPV6_PKTINFO
}
_TELLS_LOCAL = sys.platform == "linux"


class Transport(Protocol):
    """Carries packets of up to `MAX_PACKET` bytes. They may get lost, overtake each other and come twice."""

    def send(self, data: bytes, to: Address) -> None:
        """Sends a packet. Never raises because of the network."""

    def receive(self, until: float) -> Iterator[tuple[bytes, Address]]:
        """Waits until something comes, at most until `until` (time.monotonic); yields what is there by then."""

    def listen_to(self, peer: Address | None) -> None:
        """Receives from this address only, so that others cannot crowd its packets out; None: from all."""


class UdpTransport:
    """Packets over UDP, IPv4 and IPv6. See `Transport`.

    Args:
        port: to listen on; 0: any.
        host: local address or name; empty: all addresses of this machine.

    Attributes:
        port: the one that it listens on.

    Raises:
        LinkError: the port is taken or not allowed, or there is no such local address.
    """

    def __init__(self, port: int = 0, host: str = "") -> None:
        self._binds = _ANY if not host else tuple((f, a[0]) for f, a in _find(host, port, passive=True))
        self._peer: Address | None = None
        self._elsewhere: tuple[Address, bytes] | None = None  # see `_is_called_elsewhere`
        self._called: dict[Address, bytes] = {}  # by sender: the local address that it sends to, packed
        self._sockets: dict[socket.AddressFamily, socket.socket] = {}
        self.port = port
        self._open(1 if port else _MAX_ATTEMPTS)

    def __enter__(self) -> UdpTransport:
        return self

    def __exit__(self, *exc: object) -> None:
        self._close()

    def send(self, data: bytes, to: Address) -> None:
        """Sends a packet; one that the system does not accept is lost, as any packet may be."""
        opened = self._sockets.get(_family(to))
        if opened is None or self._sent_from_called(opened, data, to):
            return
        with suppress(OSError):
            opened.send(data) if to == self._peer else opened.sendto(data, to)

    def _sent_from_called(self, opened: socket.socket, data: bytes, to: Address) -> bool:
        """Sends a packet from the address that the other side has called, if that is known and still there."""
        if to == self._peer or to not in self._called:  # `connect` has fixed the local address
            return False
        level, _, kind, layout = _LOCAL[opened.family]
        local = self._called[to]
        info = (0, local, bytes(4)) if opened.family == socket.AF_INET else (local, 0)
        try:
            opened.sendmsg([data], [(level, kind, struct.pack(layout, *info))], 0, to)
        except OSError:  # too long, or this machine has another address by now
            del self._called[to]
            return False
        return True

    def receive(self, until: float) -> Iterator[tuple[bytes, Address]]:
        """Waits until something comes, at most until `until` (time.monotonic); yields what is there by then."""
        sockets = [*self._sockets.values()] if self._peer is None else [self._sockets[_family(self._peer)]]
        ready, _, _ = select.select(sockets, [], [], max(until - time.monotonic(), 0))
        for opened in ready:
            for _ in range(_MAX_AT_ONCE):
                try:
                    yield self._received(opened)
                except BlockingIOError:
                    break
                except OSError:  # an ICMP message: a packet that was sent has not arrived
                    continue

    def _received(self, opened: socket.socket) -> tuple[bytes, Address]:
        if not _TELLS_LOCAL:
            return opened.recvfrom(MAX_PACKET + 1)
        data, told, _, address = opened.recvmsg(MAX_PACKET + 1, socket.CMSG_SPACE(20))
        level, _, kind, layout = _LOCAL[opened.family]
        for told_level, told_kind, info in told:
            if (told_level, told_kind, len(info)) == (level, kind, struct.calcsize(layout)):
                self._called.pop(address, None)
                self._called[address] = struct.unpack(layout, info)[opened.family == socket.AF_INET]
        while len(self._called) > _MAX_NOTED:
            del self._called[next(iter(self._called))]
        return data, address

    def _is_called_elsewhere(self, peer: Address) -> bool:
        """Whether the other side calls another local address than the one that `connect` would choose."""
        called = self._called.get(peer)
        if called is None or self._elsewhere == (peer, called):  # asked at each tick: tried once
            return called is not None
        with suppress(OSError), socket.socket(_family(peer), socket.SOCK_DGRAM) as trial:
            trial.connect(peer)  # sends nothing
            if socket.inet_pton(trial.family, trial.getsockname()[0].partition("%")[0]) != called:
                self._elsewhere = peer, called
                return True
        return False

    def listen_to(self, peer: Address | None) -> None:
        """Receives from this address only: the system drops all other packets. None: from all.

        Others are received, too, where the peer calls an address of this machine from which routing would not answer.

        Raises LinkError if another program takes the port meanwhile.
        """
        if peer == self._peer:
            return
        if self._peer is not None:  # not all systems can undo `connect` otherwise
            self._close()
            self._peer = None
            self._open()
        if peer is not None and _family(peer) in self._sockets and not self._is_called_elsewhere(peer):
            with suppress(OSError):
                self._sockets[_family(peer)].connect(peer)
                self._peer = peer

    def _open(self, attempts: int = 1) -> None:
        fault = self._bind()
        if self._sockets and (fault is None or fault.errno in _NO_SUCH_FAMILY):
            return
        self._close()
        if attempts > 1:  # the port that one family got is taken in the other
            self.port = 0
            self._open(attempts - 1)
            return
        raise LinkError(f"port {self.port}: cannot be listened on ({reason(fault or OSError())})")

    def _bind(self) -> OSError | None:
        """Opens a socket for each family; returns what was wrong with one of them."""
        fault: OSError | None = None
        for family, host in self._binds:
            if family in self._sockets:
                continue
            try:
                opened = _bound(family, host, self.port)
            except OSError as error:
                fault = error
                continue
            self._sockets[family] = opened
            self.port = opened.getsockname()[1]  # the second family gets the number that the first one was given
        return fault

    def _close(self) -> None:
        for opened in self._sockets.values():
            opened.close()
        self._sockets.clear()


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has a socket of its own
        with suppress(OSError):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        if _TELLS_LOCAL and host in dict(_ANY).values():
            level, wanted, _, _ = _LOCAL[family]
            with suppress(OSError):
                opened.setsockopt(level, wanted, 1)
        opened.bind((host, port))
    except OSError:
        opened.close()
        raise
    return opened


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET if len(address) == 2 else socket.AF_INET6


def resolve(text: str) -> list[Address]:
    """ "host:port" or "[IPv6]:port" -> the addresses to try, IPv6 and IPv4 in turn. Raises UsageError, LinkError."""
    host, _, port = text.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    if not host or host == "[]" or (":" in host and not is_bracketed) or not _is_port(port) or int(port) == 0:
        raise UsageError(f"{text[:80]}: say HOST:PORT, such as 192.0.2.7:5004 or [2001:db8::7]:5004")
    found = [address for _, address in _find(host.removeprefix("[").removesuffix("]"), int(port))]
    six, four = ([a for a in found if len(a) == size] for size in (4, 2))
    turns = max(len(six), len(four))
    return [pair[n] for n in range(turns) for pair in (six, four) if n < len(pair)][:_MAX_ADDRESSES]


def parse_listen(text: str) -> tuple[str, int]:
    """ "port", "host:port" or "[IPv6]:port" -> (host, port); the host may be empty. Raises UsageError."""
    host, _, port = text.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    if (":" in host and not is_bracketed) or not _is_port(port):
        raise UsageError(f"{text[:80]}: not a port; say a number such as 5004, or [::1]:5004")
    return host.removeprefix("[").removesuffix("]"), int(port)


def label(address: Address) -> str:
    """An address for people: 192.0.2.7:5004, [2001:db8::7]:5004."""
    return f"[{address[0]}]:{address[1]}" if len(address) == 4 else f"{address[0]}:{address[1]}"


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) < 1 << 16


def _find(host: str, port: int, passive: bool = False) -> Sequence[tuple[socket.AddressFamily, Address]]:
    flags = socket.AI_PASSIVE if passive else 0
    try:
        found = socket.getaddrinfo(host, port, socket.AF_UNSPEC, socket.SOCK_DGRAM, flags=flags)
    except (OSError, UnicodeError):
        raise LinkError(f"{host[:80]}: unknown host") from None
    out: dict[Address, socket.AddressFamily] = {}
    for family, _, _, _, address in found:
        out.setdefault(address, family)
    return [(family, address) for address, family in out.items()]
