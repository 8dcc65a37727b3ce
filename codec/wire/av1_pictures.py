"""Pictures <-> AV1 (bare OBUs, no container), bitstream_spec.md, section 7.1.

A still picture is coded by itself. In a series of similar pictures each may be predicted from those before it; each
takes one temporal unit, so the first k pictures can be decoded without the others.

AV1 gives the smallest files of the codecs in PyAV: on three 256x256 faces at 38 dB PSNR it took 5.6 kB, HEVC intra
6.5 kB and JPEG 11 kB.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np

from fvc.codec.base.errors import StreamError
from fvc.codec.media.native import open_encoder

MOST_OFFSET = 63  # quantizer index steps (AV1 has 255) by which SVT-AV1 can code one picture more coarsely
_FRAME_HEADERS = (3, 6)  # OBU_FRAME_HEADER, OBU_FRAME


def encode_still(rgb: np.ndarray, crf: int) -> bytes:
    """Codes one picture as AV1: BT.709, full range, 4:2:0.

    Args:
        rgb: uint8 [H, W, 3], both sides even and at least 64.
        crf: constant rate factor, 1 (best) to 63.

    Returns:
        the OBUs of one temporal unit.
    """
    return b"".join(_encode([rgb], "3", crf, "avif=1:lp=1:tune=0"))


def encode_series(pictures: Sequence[np.ndarray], crf: int, first: int = 0) -> list[bytes]:
    """Codes pictures of one size, each predicted from those before it where that helps.

    Args:
        pictures, crf: as in `encode_still`.
        first: 0 to MOST_OFFSET, added to the quantizer index of the first picture.

    Returns:
        the OBUs of each picture.
    """
    fixed = "rc=0:enable-tf=0:scd=0:keyint=-1:lookahead=0:pred-struct=1"
    offsets = f"use-fixed-qindex-offsets=1:key-frame-qindex-offset={first}:key-frame-chroma-qindex-offset={first}"
    return _encode(pictures, "1", crf, f"lp=1:tune=0:{fixed}:{offsets}")


def _encode(pictures: Sequence[np.ndarray], preset: str, crf: int, parameters: str) -> list[bytes]:
    context = av.CodecContext.create("libsvtav1", "w")
    context.height, context.width = pictures[0].shape[:2]
    context.pix_fmt, context.time_base, context.framerate = "yuv420p", Fraction(1), Fraction(1)
    context.options = {"preset": preset, "crf": str(crf), "svtav1-params": parameters}
    open_encoder(context)
    packets: list[bytes] = []
    for number, rgb in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="JPEG")
        frame.pts = number
        packets += [bytes(packet) for packet in context.encode(frame)]
    packets += [bytes(packet) for packet in context.encode(None)]
    return packets if len(packets) == len(pictures) else [b"".join(packets)]


def decode_still(data: bytes, width: int, height: int) -> np.ndarray:
    """Decodes the OBUs of one picture to uint8 RGB [height, width, 3].

    Raises StreamError (E22) if they are not one picture of that size.
    """
    return decode_series([data], width, height)[0]


def decode_series(coded: Sequence[bytes], width: int, height: int) -> list[np.ndarray]:
    """Decodes the OBUs of each picture, in order, to uint8 RGB [height, width, 3] each.

    Raises StreamError (E22) unless each is one picture of that size.
    """
    if any(count_frames(data) != 1 for data in coded):
        raise StreamError("E22", "a source picture does not hold exactly one picture")
    context = av.CodecContext.create("libdav1d", "r")
    context.options = {"max_pixels": str(max(width * height, 1)), "filmgrain": "0"}
    # A dav1d worker thread that frees the packet needs the interpreter's lock, which this thread may hold while it
    # waits for dav1d's lock: with more than one thread, hostile data made the two deadlock.
    context.thread_count = 1
    try:
        frames = [frame for data in coded for frame in context.decode(av.Packet(data))] + context.decode(None)
    except av.FFmpegError as error:
        raise StreamError("E22", "a source picture cannot be decoded") from error
    if len(frames) != len(coded) or any((frame.width, frame.height) != (width, height) for frame in frames):
        raise StreamError("E22", "a source picture has the wrong size")
    pictures = (frame.reformat(format="rgb24", src_colorspace="ITU709", src_color_range="JPEG") for frame in frames)
    return [np.ascontiguousarray(picture.to_ndarray()) for picture in pictures]


def count_frames(data: bytes) -> int:
    """Counts the frame headers of the OBUs (AV1 specification, 5.3) without decoding; -1 if the bytes are no OBUs.

    A header that shows an earlier frame again takes a few bytes only, so a megabyte of data could decode to hundreds
    of thousands of pictures. Counting first prevents that.
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
