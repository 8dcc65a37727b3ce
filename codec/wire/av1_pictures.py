"""Pictures <-> AV1 frames (bare OBUs, no container): the smallest of the codecs that PyAV carries.

A still stands for itself. A series of pictures that have much in common is predicted one from the other; each takes one
temporal unit, and the first k can be decoded without the rest.

Measured on three 256x256 faces: at 38 dB PSNR AV1 takes 5.6 kB, HEVC intra 6.5 kB, JPEG 11 kB.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np

from fvc.codec.errors import StreamError
from fvc.codec.media.scheduling import leave_real_time

os.environ.setdefault("SVT_LOG", "0")  # the encoder would print its settings
MOST_OFFSET = 63  # steps of AV1's 255 by which SVT-AV1 makes one picture coarser than the others
_FRAME_HEADERS = (3, 6)  # OBU_FRAME_HEADER, OBU_FRAME


def encode_still(rgb: np.ndarray, crf: int) -> bytes:
    """uint8 [H, W, 3] (even sides, at least 64) -> OBUs. `crf` 1 (best) to 63, BT.709, full range, 4:2:0."""
    return b"".join(_encode([rgb], "3", crf, "avif=1:lp=1:tune=0"))


def encode_series(pictures: Sequence[np.ndarray], crf: int, first: int = 0) -> list[bytes]:
    """Pictures as above, all of one size -> the OBUs of each; `first` (0 to MOST_OFFSET) makes the first coarser."""
    fixed = "rc=0:enable-tf=0:scd=0:keyint=-1:lookahead=0:pred-struct=1"
    offsets = f"use-fixed-qindex-offsets=1:key-frame-qindex-offset={first}:key-frame-chroma-qindex-offset={first}"
    return _encode(pictures, "1", crf, f"lp=1:tune=0:{fixed}:{offsets}")


def _encode(pictures: Sequence[np.ndarray], preset: str, crf: int, parameters: str) -> list[bytes]:
    context = av.CodecContext.create("libsvtav1", "w")
    context.height, context.width = pictures[0].shape[:2]
    context.pix_fmt, context.time_base, context.framerate = "yuv420p", Fraction(1), Fraction(1)
    context.options = {"preset": preset, "crf": str(crf), "svtav1-params": parameters}
    context.open()
    leave_real_time()
    packets: list[bytes] = []
    for number, rgb in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="JPEG")
        frame.pts = number
        packets += [bytes(packet) for packet in context.encode(frame)]
    packets += [bytes(packet) for packet in context.encode(None)]
    return packets if len(packets) == len(pictures) else [b"".join(packets)]


def decode_still(data: bytes, width: int, height: int) -> np.ndarray:
    """OBUs -> uint8 [height, width, 3]. Raises StreamError (E22) if they are not one picture of that size."""
    return decode_series([data], width, height)[0]


def decode_series(coded: Sequence[bytes], width: int, height: int) -> list[np.ndarray]:
    """The OBUs of each picture, in order -> uint8 [height, width, 3] each.

    Raises StreamError (E22) unless each is one picture of that size.
    """
    if any(_count_frames(data) != 1 for data in coded):
        raise StreamError("E22", "a source picture is not one picture")
    context = av.CodecContext.create("libdav1d", "r")
    context.options = {"max_pixels": str(max(width * height, 1)), "filmgrain": "0"}
    # With threads of its own, dav1d frees the packet from one of them, for which PyAV needs the interpreter's lock,
    # while this thread may hold that and wait for dav1d's: hostile data made it hang for ever.
    context.thread_count = 1
    try:
        frames = [frame for data in coded for frame in context.decode(av.Packet(data))] + context.decode(None)
    except av.FFmpegError as error:
        raise StreamError("E22", "a source picture cannot be decoded") from error
    if len(frames) != len(coded) or any((frame.width, frame.height) != (width, height) for frame in frames):
        raise StreamError("E22", "a source picture has the wrong size")
    pictures = (frame.reformat(format="rgb24", src_colorspace="ITU709", src_color_range="JPEG") for frame in frames)
    return [np.ascontiguousarray(picture.to_ndarray()) for picture in pictures]


def _count_frames(data: bytes) -> int:
    """How many frame headers the OBUs have (AV1 specification, 5.3), without decoding; -1 for bytes that are no OBUs.

    One byte suffices for a header that shows an old frame again: a megabyte of them would become 200 MB of pictures.
    """
    at = frames = 0
    while at < len(data):
        kind, has_extension, has_size = data[at] >> 3 & 15, data[at] >> 2 & 1, data[at] & 2
        at += 1 + has_extension
        size = shift = 0
        more = bool(has_size)
        while more and at < len(data) and shift < 56:
            size, shift = size | (data[at] & 0x7F) << shift, shift + 7
            more = data[at] > 0x7F
            at += 1
        if not has_size or more or size > len(data) - at:
            return -1
        frames += kind in _FRAME_HEADERS
        at += size
    return frames
