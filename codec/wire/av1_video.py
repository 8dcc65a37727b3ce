"""Square video <-> AV1 low delay (bare OBUs, no container), bitstream_spec.md, section 4.5.

"Low delay" means that no picture waits for a later one: one key frame, then frames predicted from those before them.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import av
import numpy as np

from fvc.codec.base.errors import StreamError
from fvc.codec.media.native import open_encoder
from fvc.codec.wire.av1_pictures import count_frames

PRESET = 6  # of SVT-AV1: at 256x256 several times as fast as real time on one core
CRF_RANGE = (20, 70)  # of SVT-AV1, best and coarsest, in quarter steps
_LOW_DELAY = "pred-struct=1:keyint=-1:lookahead=0:scd=0:enable-tf=0:lp=1:tune=0"
_TEMPORAL_DELIMITER = b"\x12\x00"


def encode_video(pictures: Iterable[np.ndarray], crf: float, fps: Fraction, preset: int = PRESET) -> list[bytes]:
    """Codes square pictures of one size in display order.

    Args:
        pictures: uint8 RGB [side, side, 3] each, side even and at least 64.
        crf: constant rate factor, see CRF_RANGE.
        fps: of the pictures; SVT-AV1's rate control takes it into account.

    Returns:
        the OBUs of each picture, without temporal delimiters.
    """
    context: av.VideoCodecContext | None = None
    packets: list[bytes] = []
    for number, rgb in enumerate(pictures):
        if context is None:
            context = _open(rgb.shape[0], crf, fps, preset)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="JPEG")
        frame.pts = number
        packets += [bytes(packet) for packet in context.encode(frame)]
    if context is not None:
        packets += [bytes(packet) for packet in context.encode(None)]
    return [packet.removeprefix(_TEMPORAL_DELIMITER) for packet in packets if packet]


def _open(side: int, crf: float, fps: Fraction, preset: int) -> av.VideoCodecContext:
    context = av.CodecContext.create("libsvtav1", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.height = context.width = side
    context.pix_fmt, context.time_base, context.framerate = "yuv420p", 1 / fps, fps
    context.options = {"preset": str(preset), "svtav1-params": f"{_LOW_DELAY}:crf={crf:g}"}
    open_encoder(context)
    return context


class VideoDecoder:
    """Decodes the OBUs of one picture after the other. Hostile data cost no more than one picture each.

    Args:
        most_side: larger pictures are refused before memory is taken for them.
    """

    def __init__(self, most_side: int) -> None:
        context = av.CodecContext.create("libdav1d", "r")
        assert isinstance(context, av.VideoCodecContext)
        context.options = {"max_pixels": str(most_side**2), "filmgrain": "0", "max_frame_delay": "1"}
        context.thread_count = 1  # see `av1_pictures.decode_series`
        self._context = context

    def decode(self, data: bytes) -> np.ndarray:
        """The picture, uint8 RGB [height, width, 3]. Raises StreamError (E26) unless the data are one picture."""
        if count_frames(data) != 1:
            raise StreamError("E26", "a layer packet does not hold exactly one picture")
        try:
            frames = self._context.decode(av.Packet(data))
        except av.FFmpegError as error:
            raise StreamError("E26", "a layer picture cannot be decoded") from error
        if len(frames) != 1:
            raise StreamError("E26", "a layer packet does not show one picture")
        picture = frames[0].reformat(format="rgb24", src_colorspace="ITU709", src_color_range="JPEG")
        return np.ascontiguousarray(picture.to_ndarray())
