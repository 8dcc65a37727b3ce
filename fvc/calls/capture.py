"""Frames in real time: from a file at its own speed, once or in a loop, or from a camera.

All give `Frame`s whose index says when they were due, so a gap in the indices is a frame that was left out.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import cv2

from fvc.codec.base.errors import InputError
from fvc.codec.base.reporting import PathLike
from fvc.codec.media.native import native_stderr_closed
from fvc.codec.media.pipeline import ahead
from fvc.codec.media.video import Frame, VideoReader

SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "astronaut.mp4"
_WARM_UP = 5  # pictures of a camera that are dropped while it finds its exposure


def sample_clip() -> Path:
    """The project's own clip. Raises InputError where only the package is installed."""
    if not SAMPLE.is_file():
        raise InputError("the sample clip is in the source tree only; name a video")
    return SAMPLE


def file_frames(path: PathLike, fps: Fraction, loop: bool = False) -> Generator[Frame, None, None]:
    """The frames of a video, decoded ahead; with `loop`, without end. Raises InputError."""
    first = 0
    while True:
        last = -1
        with VideoReader(path) as video, closing(ahead(video.frames(fps))) as frames:
            for frame in frames:
                last = first + frame.index
                yield Frame(frame.rgb, last)
        if not loop or last < first:
            return
        first = last + 1


class Pace:
    """The times (time.monotonic) at which the frames of a file are due; the clock starts at the first call of `due`."""

    def __init__(self, fps: Fraction) -> None:
        self._fps = fps
        self._start: float | None = None

    def due(self, index: int) -> float:
        """When this frame is due."""
        if self._start is None:
            self._start = time.monotonic() - float(index / self._fps)
        return self._start + float(index / self._fps)

    def is_late(self, index: int) -> bool:
        """Whether this frame was due more than a frame interval ago; it should be left out then."""
        return time.monotonic() > self.due(index) + float(1 / self._fps)


def camera_frames(index: int, fps: Fraction) -> Generator[Frame, None, None]:
    """The frames of a camera as they come. Raises InputError where it cannot be opened, or gives no more pictures."""
    with native_stderr_closed():
        camera = cv2.VideoCapture(index)
    try:
        if not camera.isOpened():
            raise InputError(f"camera {index}: cannot be opened")
        start, last, failures = time.monotonic(), -1, -_WARM_UP
        while failures < 30:
            is_there, bgr = camera.read()
            now = time.monotonic()
            if not is_there or failures < 0:
                start, failures = (now, failures + 1) if failures < 0 else (start, failures + 1)
                continue
            number = int((now - start) * float(fps))
            if number > last:
                last, failures = number, 0
                yield Frame(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), number)
        raise InputError(f"camera {index}: gives no pictures any more")
    finally:
        camera.release()


def renumbered(frames: Iterator[Frame]) -> Iterator[Frame]:
    """The same frames with the first one as frame 0."""
    first: int | None = None
    for frame in frames:
        first = frame.index if first is None else first
        yield Frame(frame.rgb, frame.index - first)
