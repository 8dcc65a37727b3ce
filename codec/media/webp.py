"""Animated WebP, which ffmpeg cannot read: the RIFF container's frames, put together to whole pictures.

The WebP Container Specification (RFC 9649, sections 2.5 to 2.7). Each frame is a WebP picture of a rectangle of the
canvas, for OpenCV to decode, that replaces what was there or is blended with it.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import cv2
import numpy as np

from fvc.codec.base.errors import InputError

_HAS_ANIMATION = 0x02  # in the flags of VP8X
_DISPOSE, _NO_BLENDING = 0x01, 0x02  # in the flags of ANMF
_HAS_ALPHA = 0x10
_ANMF_HEADER = 16  # bytes before the frame's own chunks
_MIN_SECONDS = Fraction(1, 100)  # of a frame; browsers show no frame for less
_MAX_CHUNK = 1 << 28  # bytes


@dataclass(frozen=True)
class AnimationFrame:
    """A whole picture of an animation.

    Attributes:
        rgb: uint8 [height, width, 3]; transparent parts are black.
        time, duration: in seconds, from the start of the animation.
    """

    rgb: np.ndarray
    time: Fraction
    duration: Fraction


def is_animated_webp(start: bytes) -> bool:
    """Whether a file that begins with these bytes (at least 21) is an animated WebP."""
    return start[:4] == b"RIFF" and start[8:16] == b"WEBPVP8X" and len(start) > 20 and bool(start[20] & _HAS_ANIMATION)


def read_animation(file: BinaryIO, name: str, max_pixels: int) -> Iterator[AnimationFrame]:
    """The pictures of an animated WebP, each decoded when it is asked for. A truncated file ends with its last whole
    frame; frames that cannot be decoded leave the canvas as it is.

    Args:
        file: at the start of the file.
        name: of the file, for messages.
        max_pixels: the most that the canvas may have.

    Raises:
        InputError: the canvas is larger.
    """
    file.seek(12)
    canvas: np.ndarray | None = None
    time = Fraction(0)
    for kind, data in _chunks(file):
        if kind == b"VP8X" and len(data) >= 10:
            width, height = _u24(data, 4) + 1, _u24(data, 7) + 1
            if width * height > max_pixels:
                raise InputError(f"{name}: an animation of {width}x{height}, which is too large")
            canvas = np.zeros((height, width, 3), np.uint8)
        elif kind == b"ANMF" and canvas is not None and len(data) > _ANMF_HEADER:
            x, y, seconds, flags = 2 * _u24(data, 0), 2 * _u24(data, 3), Fraction(_u24(data, 12), 1000), data[15]
            size = (_u24(data, 6) + 1, _u24(data, 9) + 1)
            place = canvas[y : y + size[1], x : x + size[0]]
            _draw(place, data[_ANMF_HEADER:], size, is_blended=not flags & _NO_BLENDING)
            duration = max(seconds, _MIN_SECONDS)
            yield AnimationFrame(canvas.copy(), time, duration)
            time += duration
            if flags & _DISPOSE:
                place[:] = 0


def _draw(place: np.ndarray, chunks: bytes, size: tuple[int, int], is_blended: bool) -> None:
    """Draws a frame's picture, given by its chunks, of (width, height) `size` at its place on the canvas."""
    bgra = _decode(chunks, size)
    if bgra is None or bgra.shape[:2] != place.shape[:2]:
        return
    rgb = bgra[..., 2::-1]
    if bgra.shape[2] == 4:
        alpha = bgra[..., 3:].astype(np.float32) / 255
        below = place if is_blended else np.zeros_like(place)
        rgb = np.rint(rgb * alpha + below * (1 - alpha)).astype(np.uint8)
    place[:] = rgb


def _decode(chunks: bytes, size: tuple[int, int]) -> np.ndarray | None:
    """uint8 [H, W, 3 or 4], BGR or BGRA; None for what cannot be decoded."""
    parts = dict(_chunks(io.BytesIO(chunks)))
    if _stated_size(parts) != size:  # a picture of another size does not fit, and may be large
        return None
    body = b""
    if b"ALPH" in parts:  # the extended format: VP8X, ALPH, VP8
        dimensions = b"".join((length - 1).to_bytes(3, "little") for length in size)
        body = struct.pack("<4sIB3x", b"VP8X", 10, _HAS_ALPHA) + dimensions
    for kind in (b"ALPH", b"VP8 ", b"VP8L"):
        if kind in parts:
            data = parts[kind]
            body += struct.pack("<4sI", kind, len(data)) + data + bytes(len(data) % 2)
    picture = struct.pack("<4sI4s", b"RIFF", 4 + len(body), b"WEBP") + body
    try:
        return cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None


def _stated_size(parts: dict[bytes, bytes]) -> tuple[int, int] | None:
    """(width, height) in the picture's own header (RFC 6386, 9.1; RFC 9649, 3.4)."""
    if len(data := parts.get(b"VP8 ", b"")) >= 10:
        return int.from_bytes(data[6:8], "little") & 0x3FFF, int.from_bytes(data[8:10], "little") & 0x3FFF
    if len(data := parts.get(b"VP8L", b"")) >= 5:
        bits = int.from_bytes(data[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Name and data of each whole chunk."""
    while len(head := file.read(8)) == 8:
        kind, size = struct.unpack("<4sI", head)
        if size > _MAX_CHUNK or len(data := file.read(size)) < size:
            return
        file.read(size % 2)
        yield kind, data


def _u24(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 3], "little")
