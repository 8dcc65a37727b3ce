"""UDP for IPv4 and IPv6, addresses, and the loop that drives a session."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator

import pytest

from fvc.calls import transport
from fvc.calls.link import Link
from fvc.calls.transport import UdpTransport, label, parse_listen, resolve
from fvc.codec.base.errors import LinkError, UsageError
from fvc.codec.call.session import Address


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as found:
            found.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


def received(udp: UdpTransport, count: int = 1, seconds: float = 5) -> list[tuple[bytes, Address]]:
    out, end = list[tuple[bytes, Address]](), time.monotonic() + seconds
    while len(out) < count and time.monotonic() < end:
        out += udp.receive(time.monotonic() + 0.1)
    return out


@pytest.mark.parametrize("text", ["", "5004", "host", "host:", "host:0", "host:65536", "host:x", ":5", "::1:5", "[]:5"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="HOST:PORT"):
        resolve(text)


def test_addresses() -> None:
    assert resolve("127.0.0.1:5004") == [("127.0.0.1", 5004)]
    with pytest.raises(LinkError, match=r"no\.such\.host\.invalid: unknown host"):
        resolve("no.such.host.invalid:5004")
    assert label(("192.0.2.1", 5)) == "192.0.2.1:5"
    assert label(("2001:db8::1", 5, 0, 0)) == "[2001:db8::1]:5"


@needs_ipv6
def test_addresses_of_ipv6() -> None:
    assert resolve("[::1]:5004") == [("::1", 5004, 0, 0)]


def test_names_with_both_families_are_tried_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = (socket.SOCK_DGRAM, 17, "")
    four = [(socket.AF_INET, *kind, (f"192.0.2.{n}", 5)) for n in range(6)]
    six = [(socket.AF_INET6, *kind, ("2001:db8::1", 5, 0, 0))]
    monkeypatch.setattr(transport.socket, "getaddrinfo", lambda *_, **__: [*four, *six])
    assert resolve("host:5") == [("2001:db8::1", 5, 0, 0), ("192.0.2.0", 5), ("192.0.2.1", 5), ("192.0.2.2", 5)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5004", ("", 5004)),
        ("0", ("", 0)),
        ("host:5004", ("host", 5004)),
        ("[::1]:5004", ("::1", 5004)),
        ("[::]:1", ("::", 1)),
    ],
)
def test_where_to_listen(text: str, expected: tuple[str, int]) -> None:
    assert parse_listen(text) == expected


@pytest.mark.parametrize("text", ["", "x", "host:", "::1:5004", "65536", "host:-1", "\u0665"])
def test_where_nobody_can_listen(text: str) -> None:
    with pytest.raises(UsageError, match="not a port"):
        parse_listen(text)


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
@pytest.mark.parametrize("local", ["", "same"])
def test_both_families(host: str, local: str) -> None:
    with UdpTransport(0, host if local else "") as receiver, UdpTransport() as sender:
        (to,) = resolve(f"[{host}]:{receiver.port}" if ":" in host else f"{host}:{receiver.port}")
        sender.send(b"hello", to)
        ((data, address),) = received(receiver)
        assert data == b"hello"
        assert address[:2] == (host, sender.port)
        receiver.send(b"answer", address)
        assert received(sender) == [(b"answer", to)]


def test_a_port_that_is_taken() -> None:
    with UdpTransport(0, "127.0.0.1") as first, pytest.raises(LinkError, match=rf"port {first.port}: cannot be list"):
        UdpTransport(first.port, "127.0.0.1")
    with pytest.raises(LinkError, match="cannot be listened on"):
        UdpTransport(0, "192.0.2.1")  # not an address of this machine


@needs_ipv6
def test_a_number_that_is_taken_in_one_family(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any port will do: another one is tried. This one: no."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other, UdpTransport(0, "127.0.0.1") as free:
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind(("::", 0))
        taken, asked, bound = other.getsockname()[1], list[int](), transport._bound

        def first_taken(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
            asked.append(port)
            return bound(family, host, taken if len(asked) == 1 else port)

        monkeypatch.setattr(transport, "_bound", first_taken)
        with UdpTransport() as found:
            assert found.port not in (taken, free.port)
            assert len(asked) == 4
        monkeypatch.undo()
        with pytest.raises(LinkError, match=rf"port {taken}: cannot be listened on"):
            UdpTransport(taken)


def test_listening_to_one_peer() -> None:
    """L8: the system drops what others send, and lets them in again when the peer is gone."""
    with UdpTransport(0, "127.0.0.1") as receiver, UdpTransport() as peer, UdpTransport() as stranger:
        to = ("127.0.0.1", receiver.port)
        receiver.listen_to(("127.0.0.1", peer.port))
        receiver.listen_to(("127.0.0.1", peer.port))
        for _ in range(2000):
            stranger.send(b"junk" * 50, to)
        peer.send(b"mine", to)
        assert received(receiver) == [(b"mine", ("127.0.0.1", peer.port))]
        receiver.send(b"yours", ("127.0.0.1", peer.port))
        assert received(peer)[0][0] == b"yours"
        receiver.listen_to(None)
        assert receiver.port == to[1]
        stranger.send(b"me too", to)
        assert received(receiver) == [(b"me too", ("127.0.0.1", stranger.port))]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one loopback address, and tell less")
def test_answers_come_from_the_address_that_was_called() -> None:
    """They came from the one that routing chose: the sender, which had called another, dropped them."""
    with UdpTransport() as receiver, UdpTransport() as sender, UdpTransport() as stranger:
        to = ("127.0.0.2", receiver.port)
        sender.send(b"hello", to)
        ((_, address),) = received(receiver)
        receiver.send(b"answer", address)
        assert received(sender) == [(b"answer", to)]
        receiver.listen_to(address)  # in a call, too
        sender.send(b"frame", to)
        assert received(receiver) == [(b"frame", address)]
        receiver.send(b"report", address)
        assert received(sender) == [(b"report", to)]
        receiver.listen_to(None)
        stranger.send(b"usual", ("127.0.0.1", receiver.port))
        ((_, other),) = received(receiver)
        receiver.listen_to(other)
        receiver.send(b"usual answer", other)
        assert received(stranger) == [(b"usual answer", ("127.0.0.1", receiver.port))]


def test_what_cannot_be_sent_is_lost() -> None:
    with UdpTransport(0, "127.0.0.1") as udp:
        udp.send(b"x" * 100_000, ("127.0.0.1", 9))
        udp.send(b"x", ("::1", 9, 0, 0))  # there is no socket of this family
        udp.listen_to(("127.0.0.1", 9))  # nobody is there: the system says so at the next call
        udp.send(b"x", ("127.0.0.1", 9))
        assert received(udp, seconds=0.3) == []


class ClockedTransport:
    """Packets that wait, and a clock that only `receive` moves."""

    def __init__(self, waiting: list[tuple[float, bytes]], now: list[float]) -> None:
        self.waiting, self.now = waiting, now
        self.sent = list[bytes]()

    def send(self, data: bytes, to: Address) -> None:
        self.sent.append(data)

    def receive(self, until: float) -> Iterator[tuple[bytes, Address]]:
        arrives = min([moment for moment, _ in self.waiting], default=until)
        self.now[0] = max(self.now[0], min(until, arrives))
        here = [item for item in self.waiting if item[0] <= self.now[0]]
        self.waiting = [item for item in self.waiting if item[0] > self.now[0]]
        for _, data in here:
            yield data, ("peer", 1)

    def listen_to(self, peer: Address | None) -> None:
        pass


class NotingSession:
    """Notes what is done with it; answers each packet, and has a timer every tenth of a second."""

    def __init__(self, now: list[float]) -> None:
        self._now, self._answers, self._timer = now, list[bytes](), 0.1
        self.notes = list[str]()

    def receive_datagram(self, data: bytes, address: Address, now: float) -> None:
        self.notes.append(f"{data.decode()} {now:.2f}")
        self._answers.append(b"to " + data)

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        answers, self._answers = self._answers, []
        return [(answer, ("peer", 1)) for answer in answers]

    def next_timer(self) -> float:
        return self._timer

    def handle_timer(self, now: float) -> None:
        if now >= self._timer:
            self.notes.append(f"timer {now:.2f}")
            self._timer += 0.1

    def close(self, reason: str = "") -> None:
        self._answers.append(b"bye " + reason.encode())


def test_the_loop_hears_before_it_looks_at_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("fvc.calls.link.time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    session, carrier = NotingSession(now), ClockedTransport([(0.05, b"a"), (0.1, b"b"), (0.12, b"c")], now)
    link = Link(session, carrier, lambda: now[0])
    link.serve(0.25)
    assert session.notes == ["a 0.05", "b 0.10", "timer 0.10", "c 0.12", "timer 0.20"]
    assert carrier.sent == [b"to a", b"to b", b"to c"]
    assert now[0] == 0.25
    link.serve(0.0)  # a moment that has passed: once, without waiting
    assert now[0] < 0.26
    link.close("why")
    assert carrier.sent[3:] == [b"bye why"] * 3
