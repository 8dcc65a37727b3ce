"""Pictures on disk while a clip is measured: lossless RGB files, and the decoded frames of any coded file.

Everything is streamed; at most one frame is in memory. Coded video is 4:2:0 in BT.601, limited range, without tags,
which would cost bits: players assume just that of untagged video of this size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from fvc.codec.media.colour import SWS

# ffmpeg's filters from RGB to the pictures that every anchor codes. Untagged: encoders would write tags into streams.
TO_YUV = (
    "scale=out_color_matrix=bt601:out_range=tv:flags=bilinear+accurate_rnd+full_chroma_int+bitexact,format=yuv420p,"
    "setparams=range=unknown:colorspace=unknown:color_primaries=unknown:color_trc=unknown"
)


def write_lossless(path: Path, pictures: Iterable[np.ndarray], fps: Fraction) -> tuple[int, str]:
    """Writes uint8 RGB [S, S, 3] as FFV1 in Matroska. Returns how many, and a SHA-256 of their pixels."""
    count, digest = 0, hashlib.sha256()
    with av.open(str(path), "w", format="matroska") as container:
        stream: Any = container.add_stream("ffv1", fps, {"level": "3", "slicecrc": "0"})
        stream.pix_fmt, stream.codec_context.thread_count = "bgr0", 1
        for picture in pictures:
            if not count:
                stream.height, stream.width = picture.shape[:2]
            digest.update(picture.tobytes())
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="bgr0")
            frame.pts, frame.time_base = count, 1 / fps
            container.mux(stream.encode(frame))
            count += 1
        container.mux(stream.encode(None))
    return count, digest.hexdigest()


def read_pictures(path: Path) -> Iterator[np.ndarray]:
    """All frames of a file that `write_lossless` or an anchor wrote, uint8 RGB [S, S, 3], in order."""
    reformatter = VideoReformatter()
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for frame in container.decode(video=0):
            matrix = None if frame.format.is_rgb or frame.format.name == "bgr0" else Colorspace.ITU601
            yield reformatter.reformat(
                frame,
                format="rgb24",
                src_colorspace=matrix,
                dst_color_range=ColorRange.JPEG,
                interpolation=SWS,
                threads=1,
            ).to_ndarray()


@dataclass(frozen=True)
class Originals:
    """The pictures of a clip that all systems code: a lossless file, and the SHA-256 of their pixels."""

    path: Path
    fps: Fraction
    frames: int
    digest: str

    @property
    def seconds(self) -> float:
        """Length of the clip."""
        return float(self.frames / self.fps)

    def pictures(self) -> Iterator[np.ndarray]:
        """All of them, in order."""
        return read_pictures(self.path)
