"""A transport whose packets are sealed with a key that both ends have: encrypted, authenticated, and taken only once.

Sealed packets (bitstream_spec.md, 11.4) are made by AES-128-CCM with a tag of 8 bytes. Each end draws a session number.
Its key is derived from the shared key and that number, so that no two sessions use a nonce twice. Control packets
name the session; media packets, of which there are many, have two bytes of a counter: 11 bytes more than unsealed.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import struct
from collections.abc import Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fvc.calls.transport import Transport
from fvc.codec.base.errors import UsageError
from fvc.codec.call.rtp import is_control
from fvc.codec.call.session import Address

KEY_BYTES = 16
LONG, SHORT = 0x01, 0x02  # first byte of a packet; those of RTP and RTCP begin with 0x80 or more
_TAG_BYTES, _SESSION_BYTES = 8, 8
_LONG_HEAD, _SHORT_HEAD = 1 + _SESSION_BYTES + 6, 1 + 2
_WINDOW = 1024  # packets: how far behind the newest one a late packet is still taken
_MOST_SESSIONS = 1024  # of other ends, while this one runs; none is forgotten, since its packets could come again then
_MOST_TRIED = 4  # sessions that a media packet from an unknown address may belong to
_GOODBYE = 203  # RTCP packet type of BYE, which counts as media


def new_key() -> str:
    """A random key, as text."""
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).rstrip(b"=").decode()


def parse_key(text: str) -> bytes:
    """The key of a text. Raises UsageError, without repeating it."""
    try:
        key = base64.b64decode(text.strip() + "=" * (-len(text.strip()) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise UsageError("the key is damaged: take the 22 characters that `fvc receive` prints")
    return key


class _Session:
    """The cipher of one session."""

    def __init__(self, key: bytes, number: bytes) -> None:
        self.number = number
        self._cipher = AESCCM(HKDF(SHA256(), KEY_BYTES, number, b"fvc sealed packets 1").derive(key), _TAG_BYTES)

    def seal(self, counter: int, head: bytes, data: bytes) -> bytes:
        return head + self._cipher.encrypt(_nonce(counter), data, head)

    def open(self, counter: int, head: bytes, sealed: bytes) -> bytes | None:
        try:
            return self._cipher.decrypt(_nonce(counter), sealed, head)
        except (InvalidTag, ValueError):
            return None


def _nonce(counter: int) -> bytes:
    return counter.to_bytes(13, "big")


class _Heard:
    """The session of another end, and which of its packets have come.

    Attributes:
        highest: counter of the newest packet; -1 before any.
    """

    def __init__(self, session: _Session) -> None:
        self.session, self.highest, self._seen = session, -1, 0

    def full(self, low: int) -> int:
        """The counter nearest to the newest one with these 16 low bits."""
        base = max(self.highest, 0)
        return base + (low - base + 0x8000) % 0x10000 - 0x8000

    def is_new(self, counter: int) -> bool:
        """Whether a packet may be taken: it has not come, and is not too old to know."""
        if counter < 0 or counter <= self.highest - _WINDOW:
            return False
        return counter > self.highest or not self._seen >> self.highest - counter & 1

    def note(self, counter: int) -> None:
        """A packet has come, and is authentic."""
        if counter > self.highest:
            self._seen = (self._seen << counter - self.highest | 1) & (1 << _WINDOW) - 1
            self.highest = counter
        else:
            self._seen |= 1 << self.highest - counter


def sealed(transport: Transport, key: bytes | None) -> Transport:
    """The transport, sealed if there is a key."""
    return transport if key is None else SealedTransport(transport, key)


def extra_bytes(transport: Transport) -> tuple[list[int], list[int]]:
    """See `SealedTransport.heard_extra` and `.sent_extra`; zeros where nothing is sealed."""
    if isinstance(transport, SealedTransport):
        return transport.heard_extra, transport.sent_extra
    return [0, 0], [0, 0]


class SealedTransport:
    """See the module. A `Transport` around another one; packets that were not sealed with the key are dropped.

    Attributes:
        refused: packets that were dropped: forged, damaged, repeated, or in the clear.
        sent_extra, heard_extra: bytes that sealing has added to media packets (with BYE), and to all others.
    """

    def __init__(self, transport: Transport, key: bytes) -> None:
        self._transport, self._key = transport, key
        self._own, self._count = _Session(key, secrets.token_bytes(_SESSION_BYTES)), 0
        self._heard: dict[bytes, _Heard] = {}
        self._at: dict[Address, _Heard] = {}  # the session that was last heard from an address
        self.refused = 0
        self.sent_extra, self.heard_extra = [0, 0], [0, 0]

    def send(self, data: bytes, to: Address) -> None:
        """See `Transport`."""
        counter, self._count = self._count, self._count + 1
        if is_control(data):
            head = bytes([LONG]) + self._own.number + counter.to_bytes(6, "big")
        else:
            head = struct.pack(">BH", SHORT, counter & 0xFFFF)
        sealed = self._own.seal(counter, head, data)
        self.sent_extra[not _is_media(data)] += len(sealed) - len(data)
        self._transport.send(sealed, to)

    def receive(self, until: float) -> Iterator[tuple[bytes, Address]]:
        """See `Transport`."""
        for sealed, address in self._transport.receive(until):
            data = self._open(sealed, address)
            if data is None:
                self.refused += 1
                continue
            self.heard_extra[not _is_media(data)] += len(sealed) - len(data)
            yield data, address

    def listen_to(self, peer: Address | None) -> None:
        """See `Transport`."""
        self._transport.listen_to(peer)

    def _open(self, sealed: bytes, address: Address) -> bytes | None:
        if len(sealed) >= _LONG_HEAD + _TAG_BYTES and sealed[0] == LONG:
            return self._open_long(sealed, address)
        if len(sealed) >= _SHORT_HEAD + _TAG_BYTES and sealed[0] == SHORT:
            return self._open_short(sealed, address)
        return None

    def _open_long(self, sealed: bytes, address: Address) -> bytes | None:
        head, number = sealed[:_LONG_HEAD], sealed[1 : 1 + _SESSION_BYTES]
        counter = int.from_bytes(head[1 + _SESSION_BYTES :], "big")
        if number == self._own.number:  # our own packet, thrown back
            return None
        heard = self._heard.get(number) or _Heard(_Session(self._key, number))
        if not heard.is_new(counter) or (data := heard.session.open(counter, head, sealed[_LONG_HEAD:])) is None:
            return None
        if number not in self._heard and len(self._heard) >= _MOST_SESSIONS:
            return None
        self._heard[number] = heard
        self._note(heard, counter, address)
        return data

    def _open_short(self, sealed: bytes, address: Address) -> bytes | None:
        head, low = sealed[:_SHORT_HEAD], struct.unpack_from(">H", sealed, 1)[0]
        likely = [self._at[address]] if address in self._at else []
        others = [heard for heard in [*self._heard.values()][-_MOST_TRIED:] if heard not in likely]
        for heard in [*likely, *others]:  # an end whose address has changed sends media before it names its session
            counter = heard.full(low)
            if heard.is_new(counter) and (data := heard.session.open(counter, head, sealed[_SHORT_HEAD:])) is not None:
                self._note(heard, counter, address)
                return data
        return None

    def _note(self, heard: _Heard, counter: int, address: Address) -> None:
        heard.note(counter)
        self._at = {at: other for at, other in self._at.items() if other is not heard} | {address: heard}


def _is_media(data: bytes) -> bool:
    return not is_control(data) or data[1] == _GOODBYE
