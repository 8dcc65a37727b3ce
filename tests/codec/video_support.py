"""For the tests of video files: small clips, and what the reader finds in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from fvc.codec.media.video import VideoReader

W, H = 64, 48


def grey(levels: Sequence[int], size: tuple[int, int] = (H, W)) -> list[np.ndarray]:
    """One even picture for each level."""
    return [np.full((*size, 3), level, np.uint8) for level in levels]


def corner(size: tuple[int, int] = (H, W)) -> np.ndarray:
    """White in the upper left quarter, red in the upper right, black below."""
    rgb = np.zeros((*size, 3), np.uint8)
    rgb[: size[0] // 2, : size[1] // 2] = 255
    rgb[: size[0] // 2, size[1] // 2 :, 0] = 255
    return rgb


def make(
    path: Path,
    frames: Sequence[Any],
    pts: Sequence[int] | None = None,
    rate: int | Fraction = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    setup: Callable[[Any], None] = lambda stream: None,
    options: dict[str, str] | None = None,
) -> Path:
    """A clip of RGB arrays or ready frames; `pts` are in milliseconds."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate, {"crf": "4", "g": "10"} if codec == "libx264" else {})
        first = frames[0]
        stream.width, stream.height = (
            first.shape[1::-1] if isinstance(first, np.ndarray) else (first.width, first.height)
        )
        stream.pix_fmt = pix_fmt
        setup(stream)
        if pts is not None:
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for i, item in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(item, "rgb24") if isinstance(item, np.ndarray) else item
            if pts is not None:
                frame.pts, frame.time_base = pts[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def levels(path: Path, fps: int | Fraction) -> list[int]:
    with VideoReader(path) as reader:
        frames = list(reader.frames(Fraction(fps)))
    assert [f.index for f in frames] == list(range(len(frames)))
    assert all(f.rgb.shape == (reader.height, reader.width, 3) and f.rgb.dtype == np.uint8 for f in frames)
    return [round(float(f.rgb.mean())) for f in frames]


def assert_levels(found: list[int], expected: Sequence[int]) -> None:
    assert len(found) == len(expected)
    assert np.abs(np.subtract(found, expected)).max() <= 2, (found, expected)


def audio_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", 48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), "fltp", "mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
