"""Source frames and the .fvs file that carries them (bitstream_spec.md, section 7).

A source set is two or three AV1 stills of the crop with their quantized samples, so that the receiver needs no
tracker, and optionally a small picture of the whole frame ("canvas") for `--canvas full`. Streams name the set by the
SHA-256 of the file, and its pictures by the SHA-256 of their pixels, so that lossless copies (PNG) are known too.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from fvc.codec.bitstream import MODEL_HASH, SOURCES_HASH
from fvc.codec.crop import SIDE
from fvc.codec.errors import StreamError
from fvc.codec.quantizer import Quantizer, to_integers, to_sample
from fvc.codec.sample import PART_SHAPES, DrivingSample, Profile
from fvc.codec.still import MAX_BYTES, MAX_PIXELS, decode_still, encode_still

MAGIC = b"\xabFVS"
VERSION = 1
MAX_SOURCES = 8
# Source keypoints are sent once: 16 bits each, and room beyond the crop.
QUANTIZERS = {
    "sup": Quantizer(16, -2.0, 2.0),
    "unsup": Quantizer(16, -2.0, 2.0),
    "jac": Quantizer(16, -15.0, 15.0),
    "expr": Quantizer(16, 0.0, 1.0),
}
_CANVAS_SIDE = 480


@dataclass(frozen=True)
class SourceSet:
    """Source pictures with their samples, frontal first.

    Attributes:
        profile: which parts the samples hold.
        model_hash: the weights that computed the learned parts.
        coded: AV1 data of each picture; pictures: the same decoded, uint8 [256, 256, 3].
        samples: dequantized sample of each picture.
        canvas: coded whole frame, or None; canvas_size: its (width, height).
    """

    profile: Profile
    model_hash: bytes
    coded: tuple[bytes, ...]
    pictures: tuple[np.ndarray, ...]
    samples: tuple[DrivingSample, ...]
    canvas: bytes | None = None
    canvas_size: tuple[int, int] = (0, 0)
    _bytes: bytes = field(default=b"", compare=False, repr=False)

    @property
    def pixels_hash(self) -> bytes:
        """16 bytes that name the pictures whatever their order."""
        return pixels_hash(self.pictures)

    @property
    def sources_hash(self) -> bytes:
        """16 bytes that name the file."""
        return hashlib.sha256(bytes(self)).digest()[:SOURCES_HASH]

    def canvas_picture(self) -> np.ndarray | None:
        """The decoded canvas, uint8 [H, W, 3], at its coded size."""
        return None if self.canvas is None else decode_still(self.canvas, *self.canvas_size)

    def __bytes__(self) -> bytes:
        if self._bytes:
            return self._bytes
        out = bytearray(MAGIC + bytes([VERSION]) + self.model_hash)
        out += struct.pack(">BBHHI", self.profile, len(self.coded), *self.canvas_size, len(self.canvas or b""))
        for coded, sample in zip(self.coded, self.samples, strict=True):
            integers = to_integers(sample, self.profile.parts, QUANTIZERS)
            values = np.concatenate([integers[part] for part in self.profile.parts])
            out += values.astype(">u2").tobytes() + struct.pack(">I", len(coded)) + coded
        out += self.canvas or b""
        return bytes(out + struct.pack(">I", zlib.crc32(out)))

    @classmethod
    def parse(cls, data: bytes) -> SourceSet:
        """Reads a .fvs file. Raises StreamError (E20 not one, E02 version, E21 damaged or absurd, E22 a picture)."""
        if data[:4] != MAGIC:
            raise StreamError("E20", "not a .fvs source set")
        if len(data) > 4 and data[4] != VERSION:
            newer = "a newer fvc is needed to read" if data[4] > VERSION else "no reader is left for"
            raise StreamError("E02", f"{newer} version {data[4]} of the format (this one reads version {VERSION})")
        if len(data) < 9 + MODEL_HASH or zlib.crc32(data[:-4]) != struct.unpack(">I", data[-4:])[0]:
            raise StreamError("E21", "the source set is damaged or truncated")
        body, at = data[:-4], 5

        def take(count: int) -> bytes:
            nonlocal at
            if count > len(body) - at:
                raise StreamError("E21", "the source set is shorter than it says")
            at += count
            return body[at - count : at]

        model_hash = take(MODEL_HASH)
        profile, count, width, height, canvas_bytes = struct.unpack(">BBHHI", take(10))
        is_sane = profile <= max(Profile) and 1 <= count <= MAX_SOURCES
        if not is_sane or width * height > MAX_PIXELS or canvas_bytes > MAX_BYTES:
            raise StreamError("E21", "the source set has absurd fields")
        parts = Profile(profile).parts
        sizes = [int(np.prod(PART_SHAPES[part])) for part in parts]
        coded, samples = [], []
        for _ in range(count):
            values = np.frombuffer(take(2 * sum(sizes)), ">u2").astype(np.int32)
            split = np.split(values, np.cumsum(sizes)[:-1])
            samples.append(to_sample(dict(zip(parts, split, strict=True)), QUANTIZERS))
            length = struct.unpack(">I", take(4))[0]
            if length > MAX_BYTES:
                raise StreamError("E21", "the source set has absurd fields")
            coded.append(take(length))
        canvas = take(canvas_bytes) if canvas_bytes else None
        if at != len(body):
            raise StreamError("E21", "the source set is longer than it says")
        pictures = tuple(decode_still(picture, SIDE, SIDE) for picture in coded)
        return cls(
            Profile(profile), model_hash, tuple(coded), pictures, tuple(samples), canvas, (width, height), bytes(data)
        )


def pixels_hash(pictures: Iterable[np.ndarray]) -> bytes:
    """16 bytes that name pictures (uint8 [256, 256, 3]) by their pixels, in any order."""
    digests = sorted(hashlib.sha256(np.ascontiguousarray(picture).tobytes()).digest() for picture in pictures)
    return hashlib.sha256(b"".join(digests)).digest()[:SOURCES_HASH]


def code_pictures(pictures: Sequence[np.ndarray], crf: int) -> tuple[tuple[bytes, ...], tuple[np.ndarray, ...]]:
    """Codes crops; returns the AV1 data and what the receiver will see."""
    coded = tuple(encode_still(picture, crf) for picture in pictures)
    return coded, tuple(decode_still(data, SIDE, SIDE) for data in coded)


def code_canvas(frame: np.ndarray, crf: int) -> tuple[bytes, tuple[int, int]]:
    """Codes a whole frame, reduced to at most 480 pixels; returns the data and its (width, height)."""
    height, width = frame.shape[:2]
    scale = min(1.0, _CANVAS_SIDE / max(width, height))
    size = tuple(max(64, round(length * scale / 2) * 2) for length in (width, height))
    return encode_still(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), crf), (size[0], size[1])
