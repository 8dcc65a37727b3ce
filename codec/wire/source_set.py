"""Source frames and the .fvs file that carries them (bitstream_spec.md, section 7).

A source set is a few AV1 pictures of the crop, each predicted from those before it, with their quantized samples, so
that the receiver needs no tracker, and optionally a small picture of the whole frame ("canvas") for `--canvas full`.
The file is of use from its first picture on: its head names what follows by size and SHA-256, so that each part can be
checked as it arrives. Streams name the set by the SHA-256 of the head, and its pictures by the SHA-256 of their
pixels, so that lossless copies (PNG) are known too.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property

import cv2
import numpy as np

from fvc.codec.constants import (
    MAX_CANVAS_PIXELS,
    MAX_PICTURE_BYTES,
    MAX_SOURCES,
    MODEL_HASH_BYTES,
    SECTION_DIGEST_BYTES,
    SIDE,
    SOURCES_HASH_BYTES,
)
from fvc.codec.errors import OptionError, StreamError
from fvc.codec.motion.quantizer import Quantizer, for_parts, to_integers, to_sample
from fvc.codec.motion.sample import PART_SHAPES, DrivingSample, Profile
from fvc.codec.wire.av1_pictures import (
    MOST_OFFSET,
    decode_series,
    decode_still,
    encode_series,
    encode_still,
)

MAGIC = b"\xabFVS"
VERSION = 2  # of source sets
# Source keypoints are sent once: 16 bits each, and room beyond the crop.
QUANTIZERS = {
    "sup": Quantizer(16, -2.0, 2.0),
    "unsup": Quantizer(16, -2.0, 2.0),
    "jac": Quantizer(16, -15.0, 15.0),
    "expr": Quantizer(16, 0.0, 1.0),
}
_FIRST_BYTES = 2650  # of the first picture: with head, sample and stream header less than 3 kB, 3 s at 8 kbit/s
_COARSEST = 60  # crf
_CANVAS_SIDE = 480
Coded = tuple[tuple[bytes, ...], tuple[np.ndarray, ...]]  # AV1 data of pictures, and what the receiver will see


@dataclass(frozen=True)
class SourceSet:
    """Source pictures with their samples, the most useful first.

    Attributes:
        profile: which parts the samples hold.
        model_hash: the weights that computed the learned parts.
        coded: AV1 data of each picture; pictures: the same decoded, uint8 [256, 256, 3].
        samples: dequantized sample of each picture.
        canvas: coded whole frame, or None; canvas_size: its (width, height).
        missing: how many pictures, the canvas among them, had not arrived when the file was read.
    """

    profile: Profile
    model_hash: bytes
    coded: tuple[bytes, ...]
    pictures: tuple[np.ndarray, ...]
    samples: tuple[DrivingSample, ...]
    canvas: bytes | None = None
    canvas_size: tuple[int, int] = (0, 0)
    missing: int = 0
    _head: bytes = field(default=b"", compare=False, repr=False)

    @property
    def pixels_hash(self) -> bytes:
        """16 bytes that name the pictures whatever their order."""
        return pixels_hash(self.pictures)

    @property
    def sources_hash(self) -> bytes:
        """16 bytes that name the file, also if only its beginning is here."""
        return hashlib.sha256(self.head).digest()[:SOURCES_HASH_BYTES]

    def canvas_picture(self) -> np.ndarray | None:
        """The decoded canvas, uint8 [H, W, 3], at its coded size."""
        return None if self.canvas is None else decode_still(self.canvas, *self.canvas_size)

    def sections(self) -> list[bytes]:
        """What follows the head: each source, then the canvas (empty if there is none)."""
        result = []
        for coded, sample in zip(self.coded, self.samples, strict=True):
            integers = to_integers(sample, for_parts(QUANTIZERS, self.profile.parts))
            values = np.concatenate([integers[part] for part in self.profile.parts])
            result.append(values.astype(">u2").tobytes() + coded)
        return result if self.missing else [*result, self.canvas or b""]

    @cached_property
    def head(self) -> bytes:
        """What comes before the sections."""
        if self._head:
            return self._head
        out = bytearray(MAGIC + bytes([VERSION]) + self.model_hash)
        out += struct.pack(">BBHH", self.profile, len(self.coded), *self.canvas_size)
        for section in self.sections():
            out += struct.pack(">I", len(section)) + hashlib.sha256(section).digest()[:SECTION_DIGEST_BYTES]
        return bytes(out + struct.pack(">I", zlib.crc32(out)))

    def __bytes__(self) -> bytes:
        return self.head + b"".join(self.sections())

    @classmethod
    def parse(cls, data: bytes, partial: bool = False) -> SourceSet:
        """Reads a .fvs file; with `partial`, also one that was cut off anywhere behind its first picture.

        Raises StreamError (E20 not one, E02 version, E21 damaged, cut off or absurd, E22 a picture).
        """
        head = _Head.parse(data)
        at, sections = len(head.data), list[bytes]()
        for size, digest in head.sections:
            if size > len(data) - at:
                break
            sections.append(data[at : at + size])
            if hashlib.sha256(sections[-1]).digest()[:SECTION_DIGEST_BYTES] != digest:
                raise StreamError("E21", "the source set is damaged")
            at += size
        missing = len(head.sections) - len(sections)
        if missing and not (partial and sections):
            raise StreamError("E21", "the source set is truncated")
        if at != len(data) and not missing:
            raise StreamError("E21", "the source set is longer than it says")
        sizes = [int(np.prod(PART_SHAPES[part])) for part in head.profile.parts]
        coded, samples = [], []
        for section in sections[: head.count]:
            values = np.frombuffer(section, ">u2", sum(sizes)).astype(np.int32)
            split = np.split(values, np.cumsum(sizes)[:-1])
            samples.append(to_sample(dict(zip(head.profile.parts, split, strict=True)), QUANTIZERS))
            coded.append(section[2 * sum(sizes) :])
        return cls(
            head.profile,
            head.model_hash,
            tuple(coded),
            tuple(decode_series(coded, SIDE, SIDE)),
            tuple(samples),
            sections[-1] or None if not missing else None,
            head.canvas_size,
            missing,
            head.data,
        )


@dataclass(frozen=True)
class _Head:
    """What a .fvs file says of itself before its first picture; `sections`: (size, digest) of what follows."""

    profile: Profile
    model_hash: bytes
    count: int
    canvas_size: tuple[int, int]
    sections: list[tuple[int, bytes]]
    data: bytes

    @classmethod
    def parse(cls, data: bytes) -> _Head:
        """Raises StreamError (E20, E02, E21)."""
        if data[:4] != MAGIC:
            raise StreamError("E20", "not a .fvs source set")
        if len(data) > 4 and data[4] != VERSION:
            newer = "a newer fvc is needed to read" if data[4] > VERSION else "no reader is left for"
            raise StreamError("E02", f"{newer} version {data[4]} of source sets (this one reads version {VERSION})")
        fixed, entry = 11 + MODEL_HASH_BYTES, 4 + SECTION_DIGEST_BYTES
        size = fixed + entry * (data[6 + MODEL_HASH_BYTES] + 1) + 4 if len(data) >= fixed else 0
        if not size or len(data) < size or zlib.crc32(data[: size - 4]) != struct.unpack_from(">I", data, size - 4)[0]:
            raise StreamError("E21", "the source set is damaged or truncated")
        profile, count, width, height = struct.unpack_from(">BBHH", data, 5 + MODEL_HASH_BYTES)
        if profile > max(Profile) or not 1 <= count <= MAX_SOURCES or width * height > MAX_CANVAS_PIXELS:
            raise StreamError("E21", "the source set has absurd fields")
        sections = [struct.unpack_from(f">I{SECTION_DIGEST_BYTES}s", data, fixed + entry * n) for n in range(count + 1)]
        integers = 2 * sum(int(np.prod(PART_SHAPES[part])) for part in Profile(profile).parts)
        if any(not integers <= length <= integers + MAX_PICTURE_BYTES for length, _ in sections[:-1]):
            raise StreamError("E21", "the source set has absurd fields")
        if sections[-1][0] > MAX_PICTURE_BYTES:
            raise StreamError("E21", "the source set has absurd fields")
        model_hash = data[5 : 5 + MODEL_HASH_BYTES]
        return cls(Profile(profile), model_hash, count, (width, height), sections, data[:size])


def pixels_hash(pictures: Iterable[np.ndarray]) -> bytes:
    """16 bytes that name pictures (uint8 [256, 256, 3]) by their pixels, in any order."""
    digests = sorted(hashlib.sha256(np.ascontiguousarray(picture).tobytes()).digest() for picture in pictures)
    return hashlib.sha256(b"".join(digests)).digest()[:SOURCES_HASH_BYTES]


def code_pictures(pictures: Sequence[np.ndarray], crf: int, first_bytes: int = _FIRST_BYTES) -> Coded:
    """Codes crops; returns the AV1 data and what the receiver will see.

    The first is made coarser until it has at most `first_bytes`: a call begins with it. It alone, as far as AV1's
    encoder allows, then all of them.
    """

    def fits(way: tuple[int, int]) -> bool:
        return len(encode_series(pictures[:1], *way)[0]) <= first_bytes

    ways = [
        *((crf, first) for first in range(0, MOST_OFFSET, 5)),
        *((n, MOST_OFFSET) for n in range(crf, _COARSEST, 2)),
    ]
    coarser, first = ways[bisect_left(ways, True, 0, len(ways) - 1, key=fits)]
    coded = encode_series(pictures, coarser, first)
    return tuple(coded), tuple(decode_series(coded, SIDE, SIDE))


def code_pictures_within(pictures: Sequence[np.ndarray], crf: int, most_bytes: int) -> Coded:
    """As `code_pictures`, as much coarser as it takes for all of them to have at most `most_bytes`.

    Raises OptionError: they have more at their coarsest.
    """

    @cache
    def coded(way: int) -> Coded:
        return code_pictures(pictures, way)

    def total(way: int) -> int:
        return sum(map(len, coded(way)[0]))

    ways = range(crf, _COARSEST + 1, 2)
    at = bisect_left(ways, True, key=lambda way: total(way) <= most_bytes)
    if at == len(ways):
        fault = f"these pictures need {total(ways[-1])}; take fewer, or more bytes"
        raise OptionError("source_bytes", most_bytes, fault)
    return coded(ways[at])


def code_canvas(frame: np.ndarray, crf: int) -> tuple[bytes, tuple[int, int]]:
    """Codes a whole frame, reduced to at most 480 pixels; returns the data and its (width, height)."""
    height, width = frame.shape[:2]
    scale = min(1.0, _CANVAS_SIDE / max(width, height))
    size = tuple(max(64, round(length * scale / 2) * 2) for length in (width, height))
    return encode_still(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), crf), (size[0], size[1])
