"""Recordings of live calls, which cannot be repeated: the video plays as far as it was written, whatever happens.

    the process is killed    the unfinished file, `.NAME.XXXXXXXX.part`, plays except for its last two seconds
    the call ends, any way   the file is finished and gets its name
    the disk is full         what was written until then gets its name, and OutputError says so
    the name cannot be had   the file gets a free one beside it, NAME-2.mp4, and OutputError says so: another file has
                             appeared there, the one to be replaced must not be any more ... If that fails, too, it
                             stays the unfinished file

An MP4 is written in fragments of a second and made an ordinary one when it is finished (ffmpeg's hybrid_fragmented).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from typing import Any, BinaryIO, ClassVar

from fvc.codec.base.errors import OutputError
from fvc.codec.media.output import VIDEO, OutputGroup
from fvc.codec.media.video_writer import VideoWriter

_FRAGMENTS = {"movflags": "hybrid_fragmented+delay_moov", "frag_duration": "1000000"}  # microseconds
_BOX_HEADER = 8  # bytes of an MP4 box before its content: size and kind
_CLUSTERS = {"cluster_time_limit": "1000", "flush_packets": "1"}  # milliseconds


class Recorder:
    """Records a call of pictures and sound to a video. See the module.

    Use as a context manager. The unfinished file is there from the beginning, so that a path that cannot be written
    is noticed before the call. Without a frame, nothing is left of it.

    Args:
        path, overwrite: as for `VideoWriter`.

    Raises:
        UsageError, OutputError: as `VideoWriter`, except as the module says.
    """

    def __init__(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        self._path, self._group = path, OutputGroup()
        self._file = self._group.open(path, VIDEO, overwrite)
        self._writer: _RecordingWriter | None = None

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exc: object) -> None:
        writer, self._writer = self._writer, None
        if writer is None:
            self._group.drop()
        elif writer.has_frames:
            writer.close()
        else:
            writer.abort()

    def begin(
        self, width: int, height: int, fps: Fraction, audio_rate: int | None, metadata: dict[str, str]
    ) -> VideoWriter:
        """Opens the video, and returns what to write to. The arguments are those of `VideoWriter`."""
        self._writer = _RecordingWriter(self._path, self._group, self._file, width, height, fps, audio_rate, metadata)
        return self._writer


class _RecordingWriter(VideoWriter):
    """Writes every second to the disk; if writing fails, what was written is kept."""

    _container_options: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "mp4": _FRAGMENTS,
        "mov": _FRAGMENTS,
        "matroska": _CLUSTERS,
        "webm": _CLUSTERS,
    }
    _codec_options: ClassVar[Mapping[str, Mapping[str, str]]] = {"libvpx-vp9": {"lag-in-frames": "0"}}

    def __init__(
        self,
        path: str | os.PathLike[str],
        group: OutputGroup,
        file: BinaryIO,
        width: int,
        height: int,
        fps: Fraction,
        audio_rate: int | None,
        metadata: dict[str, str],
    ) -> None:
        self._file = _Unbuffered(file)
        super().__init__(path, width, height, fps, audio_rate, metadata=metadata, group=group)

    @property
    def has_frames(self) -> bool:
        """Whether there is anything to keep."""
        return self._frames > 0

    def _output(self, path: str | os.PathLike[str], overwrite: bool) -> Any:
        return self._file

    def close(self) -> None:
        """Completes the file and puts it in its place, or beside it: nothing is removed once the file is complete."""
        if not self._is_open:
            return
        with self._dropped_on_error():
            self._finish()
        self._is_open = False
        self._group.publish_or_keep()

    def abort(self) -> None:
        """Called when writing has failed: keeps what was written, if it has frames."""
        if not self._is_open or not self.has_frames:
            super().abort()
            return
        self._is_open = False
        fault = self._file.fault
        with suppress(Exception):
            self._container.close()
        with suppress(OSError):
            self._file.cut()
        why = "" if fault is None else f"{self.name}: cannot be written any more ({fault.strerror or fault})"
        try:
            self._group.publish_or_keep()
        except OutputError as error:
            raise OutputError(f"{why}; {error}" if why else str(error)) from None
        if why:
            raise OutputError(f"{why}; what came before is kept in it")


def _end_of_fragments(file: Any, size: int) -> int:
    """Where the last whole fragment of a fragmented MP4 ends; `size` for other files. Raises OSError."""
    at, end = 0, 0
    while at + _BOX_HEADER <= size:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(_BOX_HEADER))
        if (at == 0 and kind != b"ftyp") or length < _BOX_HEADER:
            return size
        at += length
        if at <= size and kind != b"moof":  # its data follow
            end = at
    return end


class _Unbuffered:
    """An unbuffered file: `write` passes all bytes to the system. After a fault nothing more is written.

    Attributes:
        fault: the first error, or None; every later operation raises it again.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = getattr(file, "raw", file)  # not the buffer, which would write again when it is closed
        self.fault: OSError | None = None
        self._whole = 0  # bytes up to the end of the last whole write

    def write(self, data: bytes) -> int:
        """Writes all of it."""
        rest = memoryview(bytes(data))
        while rest:
            rest = rest[self._try(self._file.write, rest) or 0 :]
        self._whole = max(self._whole, self.tell())
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """See `io.IOBase`."""
        return int(self._try(self._file.seek, offset, whence))

    def tell(self) -> int:
        """See `io.IOBase`."""
        return int(self._try(self._file.tell))

    def cut(self) -> None:
        """Removes what was not written as a whole: a packet or fragment that the fault has cut off. Raises OSError."""
        self._file.truncate(min(self._whole, _end_of_fragments(self._file, self._whole)))

    def _try(self, function: Any, *arguments: Any) -> Any:
        if self.fault is not None:
            raise self.fault
        try:
            return function(*arguments)
        except OSError as error:
            self.fault = error
            raise
