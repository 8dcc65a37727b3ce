"""MP4 and PNG files out, each complete or absent. Knows nothing about faces, models or the `.fvc` format."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from fractions import Fraction
from typing import Any, BinaryIO

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from fvc.codec.errors import OutputError
from fvc.codec.video import SWS, label, reason

_SMALL = 512 * 512  # pixels


class VideoWriter:
    """H.264 (yuv420p, BT.709) and mono AAC in an MP4 that appears at `path` only when it is complete.

    Use as a context manager: leaving it closes the file, or on an exception removes every trace of it. The same
    frames give the same bytes. H.264 has even sizes only: an odd side is padded by repeating its last row or column.

    Args:
        width, height: of the frames to come, in pixels.
        fps: constant rate; frame i plays at `i / fps` seconds.
        audio_rate: samples per second (one of AAC's, such as 48000), or None for a silent file.
        crf: x264's constant rate factor, 0 (lossless) to 51.
        metadata: the container's tags that MP4 knows, such as "title" and "comment".

    Raises:
        OutputError: from any method, when the file cannot be written; nothing is left behind.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        width: int,
        height: int,
        fps: Fraction,
        audio_rate: int | None = None,
        crf: int = 16,
        metadata: dict[str, str] | None = None,
    ) -> None:
        self.name, self._shape = label(path), (height, width, 3)
        self._frames = self._samples = 0  # written so far
        self._reformatter = VideoReformatter()
        self._container: Any = None
        self._target: AbstractContextManager[BinaryIO] | None = atomic_write(path)
        file = self._target.__enter__()
        with self._dropped_on_error():
            self._container = av.open(file, "w", format="mp4")
            self._container.flags |= av.container.Flags.bitexact.value
            self._container.metadata.update(metadata or {})
            self._video = self._container.add_stream("libx264", Fraction(fps), {"crf": str(crf), "preset": "veryfast"})
            self._video.width, self._video.height = width + width % 2, height + height % 2
            self._video.pix_fmt = "yuv420p"
            context = self._video.codec_context
            context.time_base = 1 / Fraction(fps)
            # Fixed, because x264's output depends on it. Small frames gain nothing from more threads.
            context.thread_count = 1 if width * height <= _SMALL else 4
            context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
            context.color_range = ColorRange.MPEG
            self._audio = self._container.add_stream("aac", audio_rate, layout="mono") if audio_rate else None
            if self._audio:
                self._audio.bit_rate = 64_000
                self._audio.codec_context.flags |= av.codec.context.Flags.bitexact.value

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *exc: object) -> None:
        if exc_type is None:
            self.close()
        else:
            self.abort()

    def write(self, rgb: np.ndarray) -> None:
        """Appends one frame, uint8 `[height, width, 3]`."""
        if rgb.shape != self._shape or rgb.dtype != np.uint8:
            raise ValueError(f"frame is {rgb.dtype} {rgb.shape}, not uint8 {self._shape}")
        odd = rgb.shape[0] % 2, rgb.shape[1] % 2
        even = np.pad(rgb, ((0, odd[0]), (0, odd[1]), (0, 0)), mode="edge") if any(odd) else rgb
        with self._dropped_on_error():
            frame = self._reformatter.reformat(
                av.VideoFrame.from_ndarray(even, "rgb24"),
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                src_color_range=ColorRange.JPEG,
                dst_color_range=ColorRange.MPEG,
                interpolation=SWS,
                threads=1,
            )
            self._encode(self._video, frame, self._frames, self._video.codec_context.time_base)
        self._frames += 1

    def write_audio(self, pcm: np.ndarray) -> None:
        """Appends float32 mono samples `[n]` in [-1, 1]; the first one of all plays with the first frame."""
        if self._audio is None:
            raise ValueError("the writer was made without an audio rate")
        if len(pcm):
            with self._dropped_on_error():
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm[None], np.float32), "fltp", "mono")
                frame.sample_rate = self._audio.rate
                self._encode(self._audio, frame, self._samples, Fraction(1, self._audio.rate))
            self._samples += len(pcm)

    def close(self) -> None:
        """Completes the file and puts it in its place. Does nothing when the writer is already closed."""
        if self._target is None:
            return
        with self._dropped_on_error():
            if not self._frames:
                raise OutputError(f"{self.name}: there is no frame to write")
            self._container.mux(self._video.encode(None))
            if self._audio and self._samples:
                self._container.mux(self._audio.encode(None))
            self._container.close()
        target, self._target = self._target, None
        target.__exit__(None, None, None)

    def abort(self) -> None:
        """Drops the file; nothing is left of it."""
        with suppress(_AbortError), self._dropped_on_error():
            raise _AbortError

    def _encode(self, stream: Any, frame: Any, pts: int, time_base: Fraction) -> None:
        if self._target is None:
            raise ValueError("the writer is closed")
        frame.pts, frame.time_base = pts, time_base
        self._container.mux(stream.encode(frame))

    @contextmanager
    def _dropped_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            target, self._target = self._target, None
            if target is not None:
                with suppress(Exception):  # this tries to complete the file that is about to vanish
                    self._container.close()
                target.__exit__(*sys.exc_info())
            raise


class _AbortError(Exception):
    """The user of a writer dropped its file."""


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def write_image(path: str | os.PathLike[str], rgb: np.ndarray) -> None:
    """Writes uint8 `[height, width, 3]` RGB as PNG, whatever the name's ending. Raises OutputError."""
    with atomic_write(path) as file:
        file.write(cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes())


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file that appears at `path` when the block ends, and never does if the block raises.

    Until then its bytes are in `<path>.part`, which may not be a link: it would lead elsewhere.

    Raises:
        OutputError: for any OSError or ffmpeg error, also one that the block itself raises.
    """
    name, target = label(path), os.path.realpath(path)
    if os.path.isdir(target):
        raise OutputError(f"{name}: is a directory")
    if os.path.exists(target) and not os.path.isfile(target):
        raise OutputError(f"{name}: not a regular file")  # replacing /dev/null would be a pity
    part = f"{os.fsdecode(target)}.part"
    try:
        with open(part, "wb", opener=_open_no_link) as file:
            yield file
        os.replace(part, target)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(part)
        if isinstance(error, (OSError, av.FFmpegError)):
            raise OutputError(f"{name}: cannot be written ({reason(error)})") from error
        raise
