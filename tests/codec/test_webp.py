"""Animated WebP: whole pictures from frames that are parts, blended or disposed of."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from fvc.codec.base.errors import InputError, UsageError
from fvc.codec.media.video import MAX_PIXELS, VideoReader
from fvc.codec.media.webp import read_animation

W, H = 64, 48
RED, BLUE = (200, 30, 30), (30, 30, 200)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack("<4sI", kind, len(data)) + data + bytes(len(data) % 2)


def u24(value: int) -> bytes:
    return value.to_bytes(3, "little")


def frame(pixels: np.ndarray, x: int = 0, y: int = 0, ms: int = 100, flags: int = 0, quality: int = 101) -> bytes:
    """An ANMF chunk; `quality` 101 is lossless."""
    coded = cv2.imencode(".webp", pixels[..., [2, 1, 0, 3][: pixels.shape[2]]], [cv2.IMWRITE_WEBP_QUALITY, quality])
    chunks = coded[1].tobytes()[12:]
    if chunks.startswith(b"VP8X"):
        chunks = chunks[18:]
    height, width = pixels.shape[:2]
    head = u24(x // 2) + u24(y // 2) + u24(width - 1) + u24(height - 1) + u24(ms) + bytes([flags])
    return chunk(b"ANMF", head + chunks)


def animation(path: Path, frames: list[bytes], size: tuple[int, int] = (W, H)) -> Path:
    canvas = chunk(b"VP8X", b"\x12\0\0\0" + u24(size[0] - 1) + u24(size[1] - 1)) + chunk(b"ANIM", bytes(6))
    body = b"WEBP" + canvas + b"".join(frames)
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def even(colour: tuple[int, ...], width: int = W, height: int = H) -> np.ndarray:
    return np.full((height, width, len(colour)), colour, np.uint8)


def test_frames_and_their_times(tmp_path: Path) -> None:
    path = animation(tmp_path / "a.webp", [frame(even(RED), ms=200), frame(even(BLUE), ms=100, quality=90)])
    with VideoReader(path) as reader:
        assert (reader.width, reader.height, reader.has_audio, reader.duration) == (W, H, False, pytest.approx(0.3))
        found = [f.rgb for f in reader.frames(Fraction(10))]
    assert len(found) == 3
    for picture, colour in zip(found, (RED, RED, BLUE), strict=True):
        assert np.abs(picture.astype(int) - colour).max() <= 6


def test_parts_are_put_together(tmp_path: Path) -> None:
    half = even((*BLUE, 128), 32, 24)
    part = even(BLUE, 32, 24)
    frames = [
        frame(even(RED)),
        frame(part, 16, 12, flags=1),  # disposed of afterwards
        frame(half, 16, 12),  # blended with what disposal left: black
        frame(half, 0, 0, quality=90),  # blended with red; lossy, so its alpha is a chunk of its own
        frame(half, 0, 0, flags=2),  # replaces
    ]
    with open(animation(tmp_path / "a.webp", frames), "rb") as file:
        found = [f.rgb.astype(int) for f in read_animation(file, "a.webp", MAX_PIXELS)]
    inside, corner, outside = (30, 40), (4, 4), (40, 60)
    half_blue, mixed = np.array(BLUE) // 2, (np.array(BLUE) + RED) // 2
    expected = [
        (RED, RED),
        (BLUE, RED),
        (half_blue, RED),
        (half_blue, mixed),
        (half_blue, half_blue),
    ]
    for picture, (at_inside, at_corner) in zip(found, expected, strict=True):
        assert np.abs(picture[inside] - at_inside).max() <= 4
        assert np.abs(picture[corner] - at_corner).max() <= 8
        assert np.abs(picture[outside] - RED).max() <= 1


def test_damaged_animations(tmp_path: Path) -> None:
    path = animation(tmp_path / "a.webp", [frame(even(RED)), frame(even(BLUE)), frame(even(RED))])
    data = path.read_bytes()
    path.write_bytes(data[:-20])
    with VideoReader(path) as reader:
        assert len(list(reader.frames(Fraction(10)))) == 2
    rng = np.random.default_rng(3)
    for _ in range(30):
        broken = np.frombuffer(data, np.uint8).copy()
        broken[rng.integers(30, len(data), 4)] = rng.integers(0, 256, 4)
        for found in read_animation(io.BytesIO(broken.tobytes()), "a.webp", MAX_PIXELS):
            assert found.rgb.shape == (H, W, 3)
    with pytest.raises(InputError, match=r"a.webp: no video frame in it can be decoded"):
        VideoReader(animation(path, []))
    with pytest.raises(InputError, match=r"a.webp: an animation of 9000x9000, which is too large"):
        VideoReader(animation(path, [frame(even(RED))], (9000, 9000)))
    with pytest.raises(UsageError, match=r"a.webp: an animated WebP has one stream"):
        VideoReader(animation(path, [frame(even(RED))]), video_stream=1)


def test_a_picture_larger_than_its_frame_is_not_decoded(tmp_path: Path) -> None:
    bomb = frame(even(RED, 4096, 4096))
    small = bytearray(bomb)
    small[8 + 6 : 8 + 12] = u24(W - 1) + u24(H - 1)
    with open(animation(tmp_path / "a.webp", [frame(even(BLUE)), bytes(small)]), "rb") as file:
        found = [f.rgb for f in read_animation(file, "a.webp", MAX_PIXELS)]
    assert (found[1] == found[0]).all()
