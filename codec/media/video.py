"""Video and picture files in: upright 8-bit RGB arrays on a constant-rate grid of time.

Everything that a container may do to a frame (rotation, non-square pixels, variable rate, 10 bits, other colour
matrices) is undone here. This module knows nothing about faces, models or the `.fvc` format.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Container, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from fvc.codec.constants import MAX_FPS
from fvc.codec.errors import InputError, UsageError
from fvc.codec.media.quiet import native_stderr_closed

MIN_INPUT_SIDE, MAX_INPUT_SIDE = 16, 8192  # pixels, of frames that are read
MAX_PIXELS = 1 << 26  # of a picture or a frame
MAX_IMAGE_PIXELS = 1 << 25  # of a source picture: what a canvas may have at most
MAX_GAP = 60  # seconds between two frames; a longer step is a clock that jumped, not a pause
EPSILON = Fraction(1, 1000)  # seconds; containers such as Matroska round time stamps to a millisecond

LIMITS = {
    "protocol_whitelist": "file",  # a playlist shall not reach for the network
    "pattern_type": "none",  # a picture called a%d.png is that file, not a1.png and so on
    "max_pixels": str(MAX_PIXELS),
}
# Files that are no video but name other files, or that ffmpeg draws: none of them shall get into a picture.
_INDIRECT = {"concat", "dash", "hls", "imf", "sdp", "tty", "webm_dash_manifest"}
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+:)/+")  # of two letters or more: C:/ is a drive
_PICTURES = "png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe,ppm_pipe,pgm_pipe,mov,image2"  # mov: AVIF
# One thread and no platform-specific shortcuts: the same file gives the same pixels everywhere.
SWS = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
# AVColorSpace, as the file tags it, to the matrix that swscale shall use.
_MATRIX = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
# Display matrices (a, b, c, d) for 0, 90, 180 and 270 degrees counter-clockwise.
_TURNS = ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))


@dataclass(frozen=True)
class Frame:
    """One tick of the grid.

    Attributes:
        rgb: uint8 `[height, width, 3]`. Where the source repeats a frame, so does this very array: do not write to it.
        index: position on the grid; the frame plays at `index / fps` seconds after the first.
    """

    rgb: np.ndarray
    index: int


class Clock:
    """Places frames in time, bridging missing time stamps and clocks that jump (joined transport streams)."""

    def __init__(self) -> None:
        self._offset = Fraction(0)

    def place(self, frame: av.VideoFrame | av.AudioFrame, expected: Fraction | None) -> Fraction:
        """Seconds at which `frame` starts; `expected` is where the one before it ended (None: it is the first)."""
        if frame.pts is None or not frame.time_base:
            return expected or Fraction(0)
        time = frame.pts * Fraction(frame.time_base) + self._offset
        if expected is not None and not -1 <= time - expected <= MAX_GAP:
            self._offset += expected - time
            return expected
        return time


class VideoReader:
    """Anything that ffmpeg reads, as upright RGB frames with square pixels.

    Use as a context manager; leaving it closes the files of unfinished `frames()`.

    Attributes:
        width, height: of the upright frames, in pixels; each side is 16 to 8192.
        source_fps: average rate that the file states, or None.
        start: time stamp of the first frame, in seconds.
        duration: of the video stream, in seconds, or of the file where the stream states none, or None.
        has_audio: whether there is an audio stream that can be decoded.

    Raises:
        InputError: no such file, not a regular file, empty, not a video, or no frame in it can be decoded.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = label(path)
        self._path = _readable(path)
        self._open_files = ExitStack()
        with self.open() as container:
            stream = self._video(container)
            self.has_audio = self.audio_stream(container) is not None
            rate = stream.average_rate or stream.guessed_rate
            self.source_fps = rate if rate and 0 < rate <= 1000 else None
            self._step = 1 / (self.source_fps or Fraction(25))
            length = stream.duration and float(stream.duration * stream.time_base)
            length = length or (container.duration and container.duration / av.time_base)
            self.duration: float | None = length if length and length > 0 else None
            frame = next(decode(container, stream), None)
            if frame is None:
                raise InputError(f"{self.name}: no video frame in it can be decoded")
            self.start = Clock().place(frame, None)
            self._turn = _display_matrix(frame)
            self._square = _square_size(frame.width, frame.height, stream.sample_aspect_ratio)
        self.width, self.height = self._square[::-1] if _is_transposed(self._turn) else self._square
        if not all(MIN_INPUT_SIDE <= side <= MAX_INPUT_SIDE for side in self._square):
            limits = f"each side must have {MIN_INPUT_SIDE} to {MAX_INPUT_SIDE} pixels"
            raise InputError(f"{self.name}: frames of {self.width}x{self.height}; {limits}")

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self._open_files.close()

    def open(self) -> av.container.InputContainer:
        """The file, opened anew from its start. Raises InputError."""
        try:
            container = av.open(f"file:{self._path}", options=LIMITS)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise InputError(f"{self.name}: not a video ({reason(error)})") from error
        if _INDIRECT & set(container.format.name.split(",")):
            container.close()
            raise InputError(f"{self.name}: not a video (a text file)")
        return container

    @staticmethod
    def audio_stream(container: av.container.InputContainer) -> av.AudioStream | None:
        """The first audio stream that can be decoded."""
        return next((s for s in container.streams.audio if s.codec_context is not None), None)

    def frames(self, fps: Fraction, only: Container[int] | None = None) -> Iterator[Frame]:
        """Decodes from the start, in bounded memory; each call gives the same frames.

        Tick i shows the last source frame whose time is at most `i / fps` seconds (within a millisecond) after the
        first frame's; the ticks end with the last source frame's duration. Broken packets are skipped.

        Args:
            only: indices of the ticks that are wanted; the others are passed over without converting their pixels.

        Raises:
            UsageError: `fps` is not in (0, 240].
        """
        if not 0 < fps <= MAX_FPS:
            raise UsageError(f"a rate of {fps} frames per second; it must be above 0 and at most {MAX_FPS}")
        grid = self._grid(Fraction(fps), only)
        self._open_files.callback(grid.close)  # type: ignore[attr-defined]
        return grid

    def _grid(self, fps: Fraction, only: Container[int] | None) -> Iterator[Frame]:
        reformatter = VideoReformatter()
        held, index = None, 0
        for time, frame in self._timeline():
            rgb = None
            while held is not None and index / fps + EPSILON < time:
                if only is not None and index not in only:
                    index += 1
                    continue
                if rgb is None:
                    rgb = _turn_upright(_to_rgb(reformatter, held, *self._square, self.name), self._turn)
                yield Frame(rgb, index)
                index += 1
            held = frame

    def _timeline(self) -> Iterator[tuple[Fraction, av.VideoFrame | None]]:
        """Source frames with their times in seconds since the first, and last `(end of the clip, None)`."""
        clock, time, end = Clock(), self.start, None
        with self.open() as container:
            for frame in decode(container, self._video(container)):
                time = max(clock.place(frame, end), time)
                length = (frame.duration or 0) * Fraction(frame.time_base or 0) or self._step
                end = time + min(max(length, 2 * EPSILON), MAX_GAP)
                yield time - self.start, frame
        if end is not None:
            yield end - self.start, None

    def _video(self, container: av.container.InputContainer) -> av.VideoStream:
        """The video stream, which is not a cover picture of a song."""
        cover = av.stream.Disposition.attached_pic
        streams = [s for s in container.streams.video if not s.disposition & cover]
        if not streams:
            raise InputError(f"{self.name}: no video stream in it")
        if streams[0].codec_context is None:
            raise InputError(f"{self.name}: its video codec is unknown")
        streams[0].codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        return streams[0]


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """A still picture as uint8 `[height, width, 3]` RGB, turned upright.

    Raises:
        InputError: not a picture, or one of more than 32 megapixels (told from its header, before decoding).
    """
    name, file = label(path), _readable(path)
    try:
        limits = LIMITS | {"format_whitelist": _PICTURES, "max_pixels": str(MAX_IMAGE_PIXELS)}
        with av.open(f"file:{file}", options=limits) as container:
            stream = container.streams.video[0]
            if not 0 < stream.width * stream.height <= MAX_IMAGE_PIXELS:
                raise InputError(f"{name}: not a picture, or larger than {MAX_IMAGE_PIXELS >> 20} megapixels")
            if cv2.haveImageReader(file):
                with native_stderr_closed():  # libpng says what it thinks of a picture
                    bgr = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR)
                if bgr is not None:
                    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
            frame = next(container.decode(stream))
        rgb = _to_rgb(VideoReformatter(), frame, frame.width, frame.height, name)
        return _turn_upright(rgb, _display_matrix(frame))
    except (av.FFmpegError, cv2.error, OSError, LookupError, StopIteration) as error:
        raise InputError(f"{name}: not a picture that can be read") from error


def decode(container: Any, stream: Any) -> Iterator[Any]:
    """All frames of `stream` that can be decoded; broken packets are skipped, a broken tail is the end."""
    packets = container.demux(stream)
    packet: Any = True
    while packet is not None:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, IndexError):  # IndexError: PyAV, over a stream that appears midway
            packet = None
        with suppress(av.FFmpegError):  # also EOFError, when the decoder is already drained
            yield from stream.decode(packet)


def _to_rgb(reformatter: VideoReformatter, frame: av.VideoFrame, width: int, height: int, name: str) -> np.ndarray:
    """Pixels as they are stored, scaled to `width` x `height`, in full-range RGB."""
    matrix = None
    if not frame.format.is_rgb:  # untagged: HD is taken for BT.709 and the rest for BT.601, as players do
        is_hd = frame.width >= 1280 or frame.height > 576
        matrix = _MATRIX.get(frame.colorspace, Colorspace.ITU709 if is_hd else Colorspace.ITU601)
    try:
        return reformatter.reformat(
            frame,
            width,
            height,
            "rgb24",
            src_colorspace=matrix,
            dst_color_range=ColorRange.JPEG,
            interpolation=SWS,
            threads=1,
        ).to_ndarray()
    except (av.FFmpegError, ValueError) as error:
        raise InputError(f"{name}: its pixel format {frame.format.name} cannot be converted") from error


def _square_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Size with square pixels: the side that is too short grows, so that no detail is lost."""
    if not aspect or aspect < 0:
        return width, height
    return (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))


def _display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """(a, b, c, d): a stored pixel (x, y) is shown at (ax + cy, bx + dy), up to a shift."""
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV 18.1 fails over side data that it has no name for, such as EXIF
        return _TURNS[round(frame.rotation / 90) % 4]
    if data is None:
        return _TURNS[0]
    a, b, _, c, d = struct.unpack_from("=5i", bytes(data))
    return a, b, c, d


def _is_transposed(matrix: tuple[int, int, int, int]) -> bool:
    return abs(matrix[1]) > abs(matrix[0])


def _turn_upright(rgb: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Applies the nearest of the eight turns and reflections."""
    a, b, c, d = matrix
    x, y = (c, b) if _is_transposed(matrix) else (a, d)
    if _is_transposed(matrix):
        rgb = rgb.swapaxes(0, 1)
    return np.ascontiguousarray(rgb[:: -1 if y < 0 else 1, :: -1 if x < 0 else 1])


def label(path: str | os.PathLike[str]) -> str:
    """The file's name for a message of one line."""
    return " ".join(os.fsdecode(path).encode("utf-8", "replace").decode().splitlines())


def name_fault(path: str | os.PathLike[str]) -> str | None:
    """Why a name cannot be that of a file here, as a line with the name: it is `-` or a URL. None: it can be."""
    text = os.fsdecode(path)
    if text == "-":
        return "-: standard input and output cannot be used, fvc reads and writes files; give the name of one"
    found = _URL.match(text)
    if found is None or os.path.isdir(found["scheme"]):
        return None
    address = label(f"{found['scheme']}//{text[found.end() :]}")  # a Path has made one slash of two
    return f"{address}: is a URL; fvc reads files: download it first (and writes files only)"


def _readable(path: str | os.PathLike[str]) -> str:
    name = label(path)
    if not os.path.exists(path):
        raise InputError(name_fault(path) or f"{name}: no such file")
    if not os.path.isfile(path):
        raise InputError(f"{name}: not a file" if not os.path.isdir(path) else f"{name}: is a directory")
    if not os.access(path, os.R_OK):
        raise InputError(f"{name}: permission denied")
    if not os.path.getsize(path):
        raise InputError(f"{name}: the file is empty")
    return os.fsdecode(path)


def reason(error: Exception) -> str:
    """The first line of what ffmpeg or the system says."""
    return (getattr(error, "strerror", None) or str(error)).splitlines()[0]
