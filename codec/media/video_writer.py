"""Videos out: H.264 or VP9 pictures with mono sound, each file complete or absent (`codec.media.output`)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from fvc.codec.base.errors import OutputError
from fvc.codec.media.colour import SWS
from fvc.codec.media.output import VIDEO, OutputGroup
from fvc.codec.media.video import label

_SMALL_FRAME = 512 * 512  # pixels
_LARGE_FRAME = 2048 * 1088  # pixels: beyond it, encoders must not keep many frames
_FEW_FRAMES = {"rc-lookahead": "2", "x264-params": "sync-lookahead=0:sliced-threads=1:bframes=0"}
_H264 = ("libx264", "aac")
# Ending: ffmpeg's name of the container, encoders of picture and sound.
_CONTAINERS = {
    ".mp4": ("mp4", *_H264),
    ".mov": ("mov", *_H264),
    ".mkv": ("matroska", *_H264),
    ".webm": ("webm", "libvpx-vp9", "libopus"),
}


class VideoWriter:
    """A video that appears at `path` only when it is complete: its ending chooses the container.

    .mp4, .mov and .mkv hold H.264 and mono AAC, .webm holds VP9 and mono Opus; pictures are yuv420p, BT.709.

    Use as a context manager: leaving it closes the file, or on an exception removes every trace of it. The same
    frames give the same bytes. An odd side is padded by repeating its last row or column: H.264 has even sizes only.

    Args:
        width, height: of the frames to come, in pixels.
        fps: constant rate; frame i plays at `i / fps` seconds.
        audio_rate: samples per second (48000 suits AAC and Opus), or None for a silent file.
        crf: x264's constant rate factor, 0 (lossless) to 51; VP9 gets the same share of its own range.
        metadata: the container's tags that MP4 knows, such as "title" and "comment".
        overwrite: whether a video that is there already is replaced.
        group: where the file is opened, None: a group of its own.

    Attributes:
        size: (width, height) of the file's frames, in pixels: both are even.

    Raises:
        UsageError: the name has none of these endings.
        OutputError: from any method, when the file cannot be written; nothing is left behind.
    """

    _container_options: ClassVar[Mapping[str, Mapping[str, str]]] = {}  # by ffmpeg's name of the container
    _codec_options: ClassVar[Mapping[str, Mapping[str, str]]] = {}  # by ffmpeg's name of the encoder

    def __init__(
        self,
        path: str | os.PathLike[str],
        width: int,
        height: int,
        fps: Fraction,
        audio_rate: int | None = None,
        crf: int = 16,
        metadata: dict[str, str] | None = None,
        overwrite: bool = False,
        group: OutputGroup | None = None,
    ) -> None:
        self.name, self._shape = label(path), (height, width, 3)
        self.size = (width + width % 2, height + height % 2)
        self._frames = self._samples = 0  # written so far
        self._reformatter = VideoReformatter()
        self._container: Any = None
        self._group, self._is_open = OutputGroup() if group is None else group, True
        file = self._output(path, overwrite)
        container, video_codec, audio_codec = _CONTAINERS[Path(path).suffix.lower()]
        options = {"crf": str(crf), "preset": "veryfast"}
        if video_codec == "libx264" and width * height > _LARGE_FRAME:
            options |= _FEW_FRAMES
        if video_codec == "libvpx-vp9":
            options = {"crf": str(round(crf * 63 / 51)), "b": "0", "deadline": "good", "cpu-used": "4"}
        options |= self._codec_options.get(video_codec, {})
        with self._dropped_on_error():
            more = dict(self._container_options.get(container, {}))
            self._container = av.open(file, "w", format=container, container_options=more)
            self._container.flags |= av.container.Flags.bitexact.value
            self._container.metadata.update(metadata or {})
            self._video = self._container.add_stream(video_codec, Fraction(fps), options)
            self._video.width, self._video.height = self.size
            self._video.pix_fmt = "yuv420p"
            context = self._video.codec_context
            context.time_base = 1 / Fraction(fps)
            # Fixed, because the encoder's output depends on it. Small frames gain nothing from more threads.
            context.thread_count = 1 if width * height <= _SMALL_FRAME else 4
            context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
            context.color_range = ColorRange.MPEG
            self._audio = self._container.add_stream(audio_codec, audio_rate, layout="mono") if audio_rate else None
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
        if not self._is_open:
            return
        with self._dropped_on_error():
            self._finish()
            self._group.publish()
        self._is_open = False

    def abort(self) -> None:
        """Removes the file. Does nothing when the writer is already closed."""
        if not self._is_open:
            return
        self._is_open = False
        with suppress(Exception):  # this writes the end of a file that is about to be removed
            self._container.close()
        self._group.drop()

    def _finish(self) -> None:
        """Writes the end of the file. Raises OutputError where there is no frame, and errors of the system."""
        if not self._frames:
            raise OutputError(f"{self.name}: there is no frame to write")
        self._container.mux(self._video.encode(None))
        if self._audio and self._samples:
            self._container.mux(self._audio.encode(None))
        self._container.close()

    def _output(self, path: str | os.PathLike[str], overwrite: bool) -> Any:
        """The file that is written to."""
        return self._group.open(path, VIDEO, overwrite)

    def _encode(self, stream: Any, frame: Any, pts: int, time_base: Fraction) -> None:
        if not self._is_open:
            raise ValueError("the writer is closed")
        frame.pts, frame.time_base = pts, time_base
        self._container.mux(stream.encode(frame))

    @contextmanager
    def _dropped_on_error(self) -> Iterator[None]:
        """An error in the block removes the file."""
        try:
            with self._group.faults_named():
                yield
        except av.codec.codec.UnknownCodecError as error:
            self.abort()
            raise OutputError(f"{self.name}: this PyAV has no encoder {error}; write an .mp4") from None
        except BaseException:
            self.abort()
            raise
