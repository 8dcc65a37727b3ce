"""The reader of a video layer's packets: any payloads, at any frames."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import spec_decoder
from spec_syntax import LAYER, Layer

from fvc.codec.base.constants import SIDE
from fvc.codec.video_layer import LayerDecoder

VECTORS = Path(__file__).parent.parent / "vectors"


def layer(data: bytes) -> None:
    """LAYER payloads: u(8) for the frames that have passed, u(16) mod 2048 for the size, payload; and again.

    A picture is shown only where the specification's rules of order allow it.
    """
    ours, theirs, frame, at = LayerDecoder(), Layer(), 0, 0
    while at < len(data):
        frame += data[at] % 4
        size = int.from_bytes(data[at + 1 : at + 3], "big") % 2048
        payload, at = data[at + 3 : at + 3 + size], at + 3 + size
        ours.put(frame, payload)
        theirs.take(payload, frame)
        picture = ours.take(frame)
        if picture is None:
            theirs.started = False  # what they cannot know: whether AV1 could be decoded
        else:
            assert picture.shape == (SIDE, SIDE, 3)
            assert theirs.found[-1][0] == frame
    assert ours.pictures <= len(theirs.found)


def seeds() -> list[bytes]:
    """The layer of the golden stream: all of it, and its beginnings."""
    data, payloads = (VECTORS / "layer.fvc").read_bytes(), []
    at, passed = spec_decoder.parse_header(data)[1], 0
    while at < len(data):
        kind, _, payload, at = spec_decoder.parse_packet(data, at)
        if kind == spec_decoder.END:
            break
        if kind == LAYER:
            payloads.append(bytes([passed]) + struct.pack(">H", len(payload)) + payload)
            passed = 0
        elif kind != spec_decoder.AUDIO:
            passed += 1
    return [b"".join(payloads[:count]) for count in (1, 3, len(payloads))]


TARGETS: dict[str, Callable[[bytes], None]] = {"layer": layer}
