"""Still pictures in and out."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from video_support import H, W, audio_only, corner, make

from fvc.codec.base.errors import InputError, OutputError
from fvc.codec.media.output import write_image
from fvc.codec.media.video import VideoReader, read_image


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp", ".bmp"])
def test_read_image(tmp_path: Path, ending: str) -> None:
    rgb = corner((51, 63))
    cv2.imwrite(str(tmp_path / f"a{ending}"), rgb[..., ::-1])
    assert np.abs(read_image(tmp_path / f"a{ending}").astype(int) - rgb).mean() < 5


def test_images_with_alpha_grey_or_16_bits(tmp_path: Path) -> None:
    for i, pixels in enumerate((np.full((20, 30, 4), 99, np.uint8), np.full((20, 30), 99, np.uint8))):
        cv2.imwrite(str(tmp_path / f"{i}.png"), pixels)
        assert (read_image(tmp_path / f"{i}.png") == np.full((20, 30, 3), 99)).all()
    cv2.imwrite(str(tmp_path / "a.png"), np.full((20, 30), 99 << 8, np.uint16))
    assert (read_image(tmp_path / "a.png") == 99).all()


def test_image_is_turned_by_exif(tmp_path: Path) -> None:
    data = cv2.imencode(".jpg", corner()[..., ::-1])[1].tobytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    (tmp_path / "a.jpg").write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - np.rot90(corner(), -1)).mean() < 9
    with VideoReader(tmp_path / "a.jpg") as reader:  # a picture is a clip of one frame
        assert (reader.width, reader.height) == (H, W)


def test_avif_image(tmp_path: Path) -> None:
    make(tmp_path / "a.avif", [corner()], codec="libaom-av1" if "libaom-av1" in av.codecs_available else "libsvtav1")
    assert np.abs(read_image(tmp_path / "a.avif").astype(int) - corner()).mean() < 12


def test_what_is_not_an_image(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
    (tmp_path / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(999))) + chunk(b"IEND", b"")
    )
    (tmp_path / "text.png").write_text("hello\n" * 99)
    (tmp_path / "text.txt").write_text("hello\n" * 99)
    (tmp_path / "empty.png").touch()
    audio_only(tmp_path / "sound.mp4")
    for name in ("bomb.png", "text.png", "text.txt", "empty.png", "missing.png", "sound.mp4"):
        with pytest.raises(InputError, match=rf"^[^\n]*{name}: [^\n]+$"):
            read_image(tmp_path / name)


def test_write_image(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", corner((51, 63)))
    assert (read_image(tmp_path / "a.png") == corner((51, 63))).all()
    with pytest.raises(OutputError, match=r"no/a.png"):
        write_image(tmp_path / "no" / "a.png", corner())
