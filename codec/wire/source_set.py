"""Source pictures and the .fvs file that carries them (bitstream_spec.md, section 7).

A source set has a few AV1 pictures of the crop, each predicted from those before it, and the quantized driving sample
of each, so that the receiver needs no tracker. It may also have a small picture of the whole frame, the canvas.

The beginning of a file is usable: its head lists size and SHA-256 of each following section, so each picture can be
checked and used as it arrives. Streams name the set by the SHA-256 of its head, and its pictures by the SHA-256 of
their pixels, so that lossless copies (PNG) are recognised too.

Sets of 512x512 pictures begin with a preview, the first picture at 256x256, so that a call need not wait for more.
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

from fvc.codec.base.constants import (
    LARGE_SIDE,
    MAX_CANVAS_PIXELS,
    MAX_PICTURE_BYTES,
    MAX_SOURCES,
    MODEL_HASH_BYTES,
    SECTION_DIGEST_BYTES,
    SIDE,
    SIDES,
    SOURCES_HASH_BYTES,
)
from fvc.codec.base.errors import OptionError, StreamError
from fvc.codec.media.resizing import resized
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
VERSION, LARGE_VERSION = 2, 3  # of source sets: with pictures of 256x256, of 512x512
# Samples of source pictures are sent once: 16 bits for each number, and a range that extends beyond the crop.
QUANTIZERS = {
    "sup": Quantizer(16, -2.0, 2.0),
    "unsup": Quantizer(16, -2.0, 2.0),
    "jac": Quantizer(16, -15.0, 15.0),
    "expr": Quantizer(16, 0.0, 1.0),
}
_FIRST_BYTES = 2650  # most of the first picture: with head, sample and stream header under 3 kB, 3 s at 8 kbit/s
_MAX_CRF = 60
_MAX_CANVAS_SIDE = 480  # pixels
# AV1 data of pictures, and the same decoded; before the data of 512x512 pictures comes that of the preview
Coded = tuple[tuple[bytes, ...], tuple[np.ndarray, ...]]


@dataclass(frozen=True)
class SourceSet:
    """Source pictures with their samples, the most useful first.

    Attributes:
        profile: which parts the samples have.
        model_hash: names the weights that computed the learned parts.
        coded: AV1 data of each picture, after that of the preview where pictures are large; empty where pictures were
            given as files.
        pictures: the decoded pictures, uint8 [S, S, 3] each, S 256 or 512; of a large set of which only the preview has
            arrived, the preview, enlarged.
        samples: the dequantized driving sample of each picture.
        canvas: AV1 data of the whole frame, or None.
        canvas_size: its (width, height) in pixels.
        missing: how many sections (pictures and canvas) had not arrived when the file was read.
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
    def side(self) -> int:
        """Side of the pictures, 256 or 512 pixels."""
        return len(self.pictures[0])

    @property
    def version(self) -> int:
        """Version of its file."""
        return VERSION if self.side == SIDE else LARGE_VERSION

    @property
    def pixels_hash(self) -> bytes:
        """16 bytes that name the pictures, independent of their order (7.2)."""
        return pixels_hash(self.pictures)

    @property
    def sources_hash(self) -> bytes:
        """16 bytes that name the file (7.2); its head suffices."""
        return hashlib.sha256(self.head).digest()[:SOURCES_HASH_BYTES]

    def canvas_picture(self) -> np.ndarray | None:
        """The decoded canvas, uint8 [H, W, 3], at its coded size; None if there is none. Raises StreamError (E22)."""
        return None if self.canvas is None else decode_still(self.canvas, *self.canvas_size)

    def sections(self) -> list[bytes]:
        """The sections after the head: one for each source, then the canvas (empty if there is none)."""
        result = []
        samples = self.samples if self.side == SIDE else (self.samples[0], *self.samples)  # the preview has the first's
        for coded, sample in zip(self.coded, samples, strict=self.side == SIDE):
            integers = to_integers(sample, for_parts(QUANTIZERS, self.profile.parts))
            values = np.concatenate([integers[part] for part in self.profile.parts])
            result.append(values.astype(">u2").tobytes() + coded)
        return result if self.missing else [*result, self.canvas or b""]

    @cached_property
    def head(self) -> bytes:
        """The bytes before the sections."""
        if self._head:
            return self._head
        out = bytearray(MAGIC + bytes([self.version]))
        if self.side != SIDE:
            out += struct.pack(">H", self.side)
        out += self.model_hash + struct.pack(">BBHH", self.profile, len(self.samples), *self.canvas_size)
        for section in self.sections():
            out += struct.pack(">I", len(section)) + hashlib.sha256(section).digest()[:SECTION_DIGEST_BYTES]
        return bytes(out + struct.pack(">I", zlib.crc32(out)))

    def __bytes__(self) -> bytes:
        return self.head + b"".join(self.sections())

    @classmethod
    def parse(cls, data: bytes, partial: bool = False) -> SourceSet:
        """Parses a .fvs file.

        Args:
            data: the file's bytes.
            partial: accept a file that was cut off anywhere after its first picture.

        Raises:
            StreamError: E20 not a source set, E02 unknown version, E21 damaged, truncated or an element out of range,
                E22 a picture that is not one AV1 picture of its size.
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
            raise StreamError("E21", "the source set is longer than its head states")
        sizes = [int(np.prod(PART_SHAPES[part])) for part in head.profile.parts]
        coded, samples = list[bytes](), list[DrivingSample]()
        for section in sections[: head.count + head.is_large]:
            values = np.frombuffer(section, ">u2", sum(sizes)).astype(np.int32)
            split = np.split(values, np.cumsum(sizes)[:-1])
            samples.append(to_sample(dict(zip(head.profile.parts, split, strict=True)), QUANTIZERS))
            coded.append(section[2 * sum(sizes) :])
        if head.is_large and sections[0][: 2 * sum(sizes)] != sections[:2][-1][: 2 * sum(sizes)]:
            raise StreamError("E21", "the source set has a preview with other integers than its first picture")
        return cls(
            head.profile,
            head.model_hash,
            tuple(coded),
            tuple(_decoded(coded, head.is_large)),
            tuple(samples[1:] or samples if head.is_large else samples),
            sections[-1] or None if not missing else None,
            head.canvas_size,
            missing,
            head.data,
        )


def _decoded(coded: Sequence[bytes], is_large: bool) -> list[np.ndarray]:
    """The pictures to draw from. Raises StreamError (E22), also where the preview that is not needed is wrong."""
    if not is_large:
        return decode_series(coded, SIDE, SIDE)
    preview, pictures = decode_still(coded[0], SIDE, SIDE), decode_series(coded[1:], LARGE_SIDE, LARGE_SIDE)
    return pictures or [resized(preview, LARGE_SIDE)]


@dataclass(frozen=True)
class _Head:
    """Head of a .fvs file.

    Attributes:
        count: of source pictures.
        sections: (size in bytes, digest) of each section: the preview if the set is large, the pictures, the canvas.
        data: the bytes of the head.
        is_large: whether the pictures have 512x512 pixels.
    """

    profile: Profile
    model_hash: bytes
    count: int
    canvas_size: tuple[int, int]
    sections: list[tuple[int, bytes]]
    data: bytes
    is_large: bool

    @classmethod
    def parse(cls, data: bytes) -> _Head:
        """Raises StreamError (E20, E02, E21)."""
        if data[:4] != MAGIC:
            raise StreamError("E20", "not a .fvs source set")
        if len(data) > 4 and data[4] not in (VERSION, LARGE_VERSION):
            newer = "a newer fvc is needed to read" if data[4] > LARGE_VERSION else "this fvc no longer reads"
            read = f"versions {VERSION} and {LARGE_VERSION}"
            raise StreamError("E02", f"{newer} version {data[4]} of source sets (this one reads {read})")
        is_large = data[4:5] == bytes([LARGE_VERSION])
        start = 5 + 2 * is_large  # of the elements that both versions have
        fixed, entry = start + MODEL_HASH_BYTES + 6, 4 + SECTION_DIGEST_BYTES
        listed = data[start + MODEL_HASH_BYTES + 1] + 1 + is_large if len(data) >= fixed else 0
        size = fixed + entry * listed + 4
        if len(data) < size or zlib.crc32(data[: size - 4]) != struct.unpack_from(">I", data, size - 4)[0]:
            raise StreamError("E21", "the source set is damaged or truncated")
        profile, count, width, height = struct.unpack_from(">BBHH", data, start + MODEL_HASH_BYTES)
        side = struct.unpack_from(">H", data, 5)[0] if is_large else SIDE
        is_valid = profile in set(map(int, Profile)) and 1 <= count <= MAX_SOURCES and side in SIDES[is_large:]
        if not is_valid or width * height > MAX_CANVAS_PIXELS:
            values = f"profile {profile}, source_count {count}, side {side}, canvas_size {width}x{height}"
            raise StreamError("E21", f"the source set has an element out of range: {values}")
        sections = [struct.unpack_from(f">I{SECTION_DIGEST_BYTES}s", data, fixed + entry * n) for n in range(listed)]
        integers = 2 * sum(int(np.prod(PART_SHAPES[part])) for part in Profile(profile).parts)
        is_valid = all(integers <= length <= integers + MAX_PICTURE_BYTES for length, _ in sections[:-1])
        if not is_valid or sections[-1][0] > MAX_PICTURE_BYTES:
            raise StreamError("E21", "the source set has a section_bytes out of range")
        model_hash = data[start : start + MODEL_HASH_BYTES]
        return cls(Profile(profile), model_hash, count, (width, height), sections, data[:size], is_large)


def pixels_hash(pictures: Iterable[np.ndarray]) -> bytes:
    """16 bytes that name pictures (uint8 [S, S, 3]) by their pixels, independent of their order (7.2)."""
    digests = sorted(hashlib.sha256(np.ascontiguousarray(picture).tobytes()).digest() for picture in pictures)
    return hashlib.sha256(b"".join(digests)).digest()[:SOURCES_HASH_BYTES]


def code_pictures(pictures: Sequence[np.ndarray], crf: int, first_bytes: int = _FIRST_BYTES) -> Coded:
    """Codes source pictures; returns the AV1 data and the decoded pictures.

    The first picture is limited to `first_bytes`, because a call cannot start before it has arrived. Its own quantizer
    offset is raised first; where that is not enough, the CRF of the whole set. Of large pictures the preview is limited
    so, and the others are coded as they are.

    Args:
        pictures: uint8 [S, S, 3] each, S 256 or 512.
        crf: constant rate factor, 1 (best) to 60.
        first_bytes: the most bytes of the first picture, as far as the coarsest setting allows.
    """

    if len(pictures[0]) != SIDE:
        preview = code_pictures([resized(pictures[0], SIDE)], crf, first_bytes)[0]
        large = encode_series(pictures, crf)
        return (*preview, *large), tuple(decode_series(large, LARGE_SIDE, LARGE_SIDE))

    def fits(setting: tuple[int, int]) -> bool:
        return len(encode_series(pictures[:1], *setting)[0]) <= first_bytes

    settings = [  # (crf, quantizer offset of the first picture), from fine to coarse
        *((crf, offset) for offset in range(0, MOST_OFFSET, 5)),
        *((n, MOST_OFFSET) for n in range(crf, _MAX_CRF, 2)),
    ]
    coded = encode_series(pictures, *settings[bisect_left(settings, True, 0, len(settings) - 1, key=fits)])
    return tuple(coded), tuple(decode_series(coded, SIDE, SIDE))


def code_pictures_within(pictures: Sequence[np.ndarray], crf: int, most_bytes: int) -> Coded:
    """Codes as `code_pictures`, with the lowest CRF from `crf` on at which all pictures take at most `most_bytes`.

    Raises OptionError: they take more even at the highest CRF.
    """

    @cache
    def coded(crf: int) -> Coded:
        return code_pictures(pictures, crf)

    def total(crf: int) -> int:
        return sum(map(len, coded(crf)[0]))

    choices = range(crf, _MAX_CRF + 1, 2)
    at = bisect_left(choices, True, key=lambda crf: total(crf) <= most_bytes)
    if at == len(choices):
        fault = f"these pictures need {total(choices[-1])}; take fewer, or more bytes"
        raise OptionError("source_bytes", most_bytes, fault)
    return coded(choices[at])


def code_canvas(frame: np.ndarray, crf: int) -> tuple[bytes, tuple[int, int]]:
    """Codes a whole frame, reduced to at most 480 pixels a side; returns the AV1 data and its (width, height)."""
    height, width = frame.shape[:2]
    scale = min(1.0, _MAX_CANVAS_SIDE / max(width, height))
    size = tuple(max(64, round(length * scale / 2) * 2) for length in (width, height))
    return encode_still(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), crf), (size[0], size[1])
