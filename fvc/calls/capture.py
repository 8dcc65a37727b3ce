"""Frames in real time: a file played at its speed, a camera, the sample in a loop. Late frames are left out.

All give `Frame`s whose index says when they were due, so a gap in the indices is a frame that was left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import cv2

from fvc.codec.errors import InputError
from fvc.codec.media.pipeline import ahead
from fvc.codec.media.quiet import native_stderr_closed
from fvc.codec.media.video import Frame, VideoReader
from fvc.codec.reporting import PathLike

Wait = Callable[[float], None]  # returns at this time (time.monotonic) or later
SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "astronaut.mp4"
_WARM_UP = 5  # pictures of a camera that are dropped while it finds its exposure


def sleep_until(moment: float) -> None:
    """The plainest `Wait`."""
    time.sleep(max(moment - time.monotonic(), 0))


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


def paced(frames: Iterable[Frame], fps: Fraction, wait: Wait = sleep_until) -> Iterator[Frame]:
    """Each frame when it is due; those that are late by more than a frame are left out."""
    start: float | None = None
    for frame in frames:
        start = time.monotonic() - float(frame.index / fps) if start is None else start
        due = start + float(frame.index / fps)
        if time.monotonic() <= due + float(1 / fps):
            wait(due)
            yield frame


def camera_frames(index: int, fps: Fraction, wait: Wait = sleep_until) -> Generator[Frame, None, None]:
    """What a camera sees. Raises InputError if there is none."""
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
                wait(time.monotonic())
        raise InputError(f"camera {index}: gives no pictures any more")
    finally:
        camera.release()


def renumbered(frames: Iterator[Frame]) -> Iterator[Frame]:
    """The same frames with the first one as frame 0."""
    first: int | None = None
    for frame in frames:
        first = frame.index if first is None else first
        yield Frame(frame.rgb, frame.index - first)
