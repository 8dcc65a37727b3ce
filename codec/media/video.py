"""Video and picture files in: upright 8-bit RGB arrays on a constant-rate grid of time.

Everything that a container may do to a frame (rotation, non-square pixels, variable rate, a size that changes, other
colours: `codec.media.colour`) is undone here. This module knows nothing about faces, models or the `.fvc` format.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Container, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from fvc.codec.base.constants import MAX_FPS
from fvc.codec.base.errors import InputError, UsageError
from fvc.codec.media.colour import to_rgb
from fvc.codec.media.margins import with_margins
from fvc.codec.media.native import native_stderr_closed
from fvc.codec.media.webp import is_animated_webp, read_animation

MIN_INPUT_SIDE, MAX_INPUT_SIDE = 16, 8192  # pixels, of frames that are read
MAX_PIXELS = 1 << 26  # of a frame
MAX_IMAGE_PIXELS = 1 << 25  # of a source picture
MAX_GAP = 60  # seconds between two frames; a longer step means that the clock jumped, not a pause
EPSILON = Fraction(1, 1000)  # seconds; containers such as Matroska round time stamps to a millisecond

LIMITS = {
    "protocol_whitelist": "file",  # a playlist must not reach the network
    "pattern_type": "none",  # a picture called a%d.png is that file, not a1.png and so on
    "max_pixels": str(MAX_PIXELS),
}
# Formats that only name other files, or text that ffmpeg would render: neither must get into a picture.
_INDIRECT = {"concat", "dash", "hls", "imf", "sdp", "tty", "webm_dash_manifest"}
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+:)/+")  # of two letters or more: C:/ is a drive
_PICTURES = "png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe,ppm_pipe,pgm_pipe,mov,image2"  # mov: AVIF
_WEBP_HEAD = 21  # bytes that suffice to recognise an animated WebP
_SAME_SHAPE = 0.02  # by how much frames of a new size may be stretched to fill the old one
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

    def place(self, frame: av.VideoFrame | av.AudioFrame | av.Packet, expected: Fraction | None) -> Fraction:
        """Seconds at which a frame (or packet) starts; `expected`: where the one before it ended, None at first."""
        if frame.pts is None or not frame.time_base:
            return expected or Fraction(0)
        time = frame.pts * Fraction(frame.time_base) + self._offset
        if expected is not None and not -1 <= time - expected <= MAX_GAP:
            self._offset += expected - time
            return expected
        return time


class VideoReader:
    """Anything that ffmpeg reads, and animated WebP, as upright RGB frames with square pixels.

    Use as a context manager; leaving it closes the files of unfinished `frames()`.

    Args:
        path: the file.
        video_stream, audio_stream: which of its video and audio streams to take, from 0; None: of those marked as
            default (of all, if none is) the one with the most pixels or channels; in a tie, the first.

    Attributes:
        width, height: of the upright frames, in pixels; each side is 16 to 8192. If the size changes midway, later
            frames are scaled to fit, and get plain margins.
        source_fps: average rate that the file states, or None.
        start: time stamp of the first frame, in seconds.
        duration: of the video stream, in seconds, or of the file where the stream states none, or None.
        has_audio: whether there is an audio stream that can be decoded.

    Raises:
        InputError: no such file, not a regular file, empty, not a video, or no frame in it can be decoded.
        UsageError: the file has no such stream.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, video_stream: int | None = None, audio_stream: int | None = None
    ) -> None:
        self.name = label(path)
        self._path = _readable(path)
        self._wanted = {"video": video_stream, "audio": audio_stream}
        self._open_files = ExitStack()
        with open(self._path, "rb") as file:
            self._is_webp = is_animated_webp(file.read(_WEBP_HEAD))
        if self._is_webp:
            self._look_at_webp()
        else:
            self._look()
        self.width, self.height = self._square[::-1] if _is_transposed(self._turn) else self._square
        if not all(MIN_INPUT_SIDE <= side <= MAX_INPUT_SIDE for side in self._square):
            limits = f"each side must have {MIN_INPUT_SIDE} to {MAX_INPUT_SIDE} pixels"
            raise InputError(f"{self.name}: frames of {self.width}x{self.height}; {limits}")

    def _look(self) -> None:
        """Finds out what the file has, from its header and its first frame."""
        with self.open() as container:
            stream = self._video(container)
            self.has_audio = self.audio_of(container) is not None
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
            self._aspect = stream.sample_aspect_ratio
            self._stored = (frame.width, frame.height)
            self._square = _square_size(*self._stored, self._aspect)

    def _look_at_webp(self) -> None:
        """The same for an animated WebP; all its frames are decoded once to find out how long it is."""
        if any(self._wanted.values()):
            raise UsageError(f"{self.name}: an animated WebP has one stream of pictures, and no sound")
        count, end, size = 0, Fraction(0), (0, 0)
        with open(self._path, "rb") as file:
            for frame in read_animation(file, self.name, MAX_PIXELS):
                count, end, size = count + 1, frame.time + frame.duration, (frame.rgb.shape[1], frame.rgb.shape[0])
        if not count:
            raise InputError(f"{self.name}: no video frame in it can be decoded")
        self.has_audio, self.source_fps, self._step = False, count / end, end / count
        self.duration, self.start = float(end), Fraction(0)
        self._turn, self._aspect, self._stored, self._square = _TURNS[0], None, size, size

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

    def audio_of(self, container: av.container.InputContainer) -> av.AudioStream | None:
        """The audio stream to use, if one can be decoded. Raises UsageError."""
        if self._wanted["audio"] is not None:
            stream = self._numbered(container.streams.audio, "audio")
            return stream if stream.codec_context is not None else None
        streams = [stream for stream in container.streams.audio if stream.codec_context is not None]
        return max(streams, key=lambda s: (_is_default(s), s.codec_context.channels), default=None)

    def picture_end(self) -> Fraction | None:
        """When the last picture ends, in seconds after the first frame, by the packets' time stamps; None: unknown.

        Files may state a shorter duration than they have. Reads the whole file without decoding it.
        """
        if self._is_webp:
            return None
        clock, end, last = Clock(), None, Fraction(0)
        with self.open() as container:
            for packet in packets_of(container, self._video(container)):
                if packet.pts is not None:
                    time = clock.place(packet, end)
                    end = time + (packet.duration or 0) * Fraction(packet.time_base or 0)
                    last = max(last, end)
        return None if end is None else last - self.start

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
                    rgb = _turn_upright(self._pixels(reformatter, held), self._turn)
                yield Frame(rgb, index)
                index += 1
            held = frame

    def _pixels(self, reformatter: VideoReformatter, frame: av.VideoFrame) -> np.ndarray:
        """uint8 RGB of the first frame's size; frames of another shape keep theirs, with plain margins."""
        width, height = self._square
        if (frame.width, frame.height) == self._stored:
            return to_rgb(reformatter, frame, width, height, self.name)
        own = _square_size(frame.width, frame.height, self._aspect)
        scale = min(width / own[0], height / own[1])
        size = (max(round(own[0] * scale), 1), max(round(own[1] * scale), 1))
        if width - size[0] <= _SAME_SHAPE * width and height - size[1] <= _SAME_SHAPE * height:
            return to_rgb(reformatter, frame, width, height, self.name)
        x, y = (width - size[0]) // 2, (height - size[1]) // 2
        rgb = to_rgb(reformatter, frame, *size, self.name)
        return with_margins(rgb, y, height - size[1] - y, x, width - size[0] - x)

    def _timeline(self) -> Iterator[tuple[Fraction, av.VideoFrame | None]]:
        """Source frames with their times in seconds since the first, and last `(end of the clip, None)`."""
        clock, time, end = Clock(), self.start, None
        with closing(self._decoded()) as frames:
            for frame in frames:
                time = max(clock.place(frame, end), time)
                length = (frame.duration or 0) * Fraction(frame.time_base or 0) or self._step
                end = time + min(max(length, 2 * EPSILON), MAX_GAP)
                yield time - self.start, frame
        if end is not None:
            yield end - self.start, None

    def _decoded(self) -> Generator[av.VideoFrame, None, None]:
        """Source frames as they are stored."""
        if not self._is_webp:
            with self.open() as container:
                yield from decode(container, self._video(container))
            return
        with open(self._path, "rb") as file:
            for picture in read_animation(file, self.name, MAX_PIXELS):
                frame = av.VideoFrame.from_ndarray(picture.rgb, "rgb24")
                frame.time_base = Fraction(1, 1000)
                frame.pts, frame.duration = round(picture.time * 1000), round(picture.duration * 1000)
                yield frame

    def _video(self, container: av.container.InputContainer) -> av.VideoStream:
        """The video stream to use; a song's cover picture only if it was asked for."""
        if self._wanted["video"] is not None:
            stream = self._numbered(container.streams.video, "video")
        else:
            cover = av.stream.Disposition.attached_pic
            streams = [s for s in container.streams.video if not s.disposition & cover]
            if not streams:
                raise InputError(f"{self.name}: no video stream in it")
            stream = max(streams, key=lambda s: (_is_default(s), _pixels_of(s)))
        if stream.codec_context is None:
            raise InputError(f"{self.name}: its video codec is unknown")
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        return stream

    def _numbered(self, streams: Sequence[Any], kind: str) -> Any:
        number = self._wanted[kind] or 0
        if not 0 <= number < len(streams):
            there = f"it has {len(streams)}, counted from 0" if streams else "it has none"
            raise UsageError(f"{self.name}: no {kind} stream {number} in it; {there}")
        return streams[number]


def _pixels_of(stream: Any) -> int:
    return stream.width * stream.height if stream.codec_context is not None else 0


def _is_default(stream: Any) -> bool:
    return bool(stream.disposition & av.stream.Disposition.default)


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """A still picture as uint8 `[height, width, 3]` RGB, turned upright.

    Raises:
        InputError: not a picture, one of more than 32 megapixels (by its header, before decoding), or one with a side
            below 16 pixels.
    """
    name, file = label(path), _readable(path)
    try:
        limits = LIMITS | {"format_whitelist": _PICTURES, "max_pixels": str(MAX_IMAGE_PIXELS)}
        with av.open(f"file:{file}", options=limits) as container:
            stream = container.streams.video[0]
            if not 0 < stream.width * stream.height <= MAX_IMAGE_PIXELS:
                raise InputError(f"{name}: not a picture, or larger than {MAX_IMAGE_PIXELS >> 20} megapixels")
            if min(stream.width, stream.height) < MIN_INPUT_SIDE:
                size = f"{stream.width}x{stream.height}"
                raise InputError(f"{name}: {size} pixels; each side must be at least {MIN_INPUT_SIDE}")
            if cv2.haveImageReader(file):
                with native_stderr_closed():  # libpng prints warnings
                    bgr = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR)
                if bgr is not None:
                    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
            frame = next(container.decode(stream))
        rgb = to_rgb(VideoReformatter(), frame, frame.width, frame.height, name)
        return _turn_upright(rgb, _display_matrix(frame))
    except (av.FFmpegError, cv2.error, OSError, LookupError, StopIteration) as error:
        raise InputError(f"{name}: not a picture that can be read") from error


def packets_of(container: Any, stream: Any) -> Iterator[Any]:
    """All packets of `stream` that can be read, and last an empty one; what follows a broken place is left out."""
    packets = container.demux(stream)
    packet: Any = True
    while packet is not None:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, IndexError):  # IndexError: PyAV, over a stream that appears midway
            packet = None
        if packet is not None:
            yield packet


def decode(container: Any, stream: Any) -> Iterator[Any]:
    """All frames of `stream` that can be decoded; broken packets are skipped, a broken tail is the end."""
    for packet in chain(packets_of(container, stream), [None]):
        with suppress(av.FFmpegError):  # also EOFError, when the decoder is already drained
            yield from stream.decode(packet)


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
    return f"{address}: is a URL; fvc reads and writes files only: download it first"


def absence(path: str | os.PathLike[str]) -> str:
    """Why a file is not found, as a message that names it."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return f"{label(path)}: no such file"
    except OSError as error:  # a folder that may not be searched, a name that is too long, a loop of links
        return f"{label(path)}: cannot be read ({error.strerror})"
    return f"{label(path)}: has only just appeared; try again"


def _readable(path: str | os.PathLike[str]) -> str:
    name = label(path)
    if not os.path.exists(path):
        raise InputError(name_fault(path) or absence(path))
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
