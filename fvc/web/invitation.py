"""The link that invites to a call, and the sealing of what is said to set it up (bitstream_spec.md, 12.1).

    https://HOST/r/ROOM#KEY

The part after # never leaves the two ends. With it they seal their session descriptions, which hold the fingerprints of
their DTLS certificates: the server that carries them can neither read nor replace them, so it cannot listen in.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fvc.codec.base.errors import LinkError, UsageError

ROOM_FORM = re.compile(r"[A-Za-z0-9_-]{16,64}")
_KEY_BYTES, _NONCE_BYTES = 16, 12


@dataclass(frozen=True)
class Invitation:
    """A link: where the server is, which room, and the key that the server does not know."""

    server: str  # http://host:port or https://host
    room: str
    key: bytes

    @classmethod
    def new(cls, server: str) -> Invitation:
        """An invitation to a new room."""
        return cls(server.rstrip("/"), secrets.token_urlsafe(16), secrets.token_bytes(_KEY_BYTES))

    @classmethod
    def parse(cls, link: str) -> Invitation:
        """Raises UsageError."""
        parts = urlsplit(link)
        room = parts.path.removeprefix("/r/")
        try:
            key = base64.urlsafe_b64decode(parts.fragment + "=" * (-len(parts.fragment) % 4))
        except (binascii.Error, ValueError):
            key = b""
        if parts.scheme not in ("http", "https") or not parts.netloc or not ROOM_FORM.fullmatch(room):
            raise UsageError(f"{link[:80]}: not a link to a room; say https://HOST/r/ROOM#KEY as the page shows it")
        if len(key) != _KEY_BYTES:
            raise UsageError(f"{link[:80]}: the key after # is missing or damaged; copy the whole link")
        return cls(f"{parts.scheme}://{parts.netloc}", room, key)

    def __str__(self) -> str:
        return f"{self.server}/r/{self.room}#{_text(self.key)}"

    @property
    def signalling(self) -> str:
        """The address of the room's WebSocket."""
        return f"{self.server.replace('http', 'ws', 1)}/ws/{self.room}"

    def seal(self, message: dict[str, Any]) -> str:
        """A message as the server may carry it."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _text(nonce + AESGCM(self.key).encrypt(nonce, json.dumps(message).encode(), self.room.encode()))

    def open(self, sealed: str) -> dict[str, Any]:
        """The inverse. Raises LinkError where it was not sealed with this key for this room."""
        try:
            data = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
            plain = AESGCM(self.key).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], self.room.encode())
            message = json.loads(plain)
        except (InvalidTag, ValueError):
            raise LinkError("a message was not sealed with this link's key") from None
        if not isinstance(message, dict):
            raise LinkError("a message of the room is not an object")
        return message


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
