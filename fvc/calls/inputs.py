"""The inputs of a call on the sender's side: pictures with their sound, from a file or from devices."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from fractions import Fraction
from itertools import islice
from typing import Protocol

from fvc.calls.capture import Pace, camera_frames, file_frames, renumbered
from fvc.calls.enrolment import Enrolment, enrol
from fvc.calls.hangup import Hangup
from fvc.calls.soundcard import Microphone
from fvc.codec.base.reporting import Note, PathLike
from fvc.codec.media.video import Frame, label
from fvc.codec.options import EncoderOptions
from fvc.codec.sound_track import SoundSource, SoundTrack
from fvc.codec.source_builder import SourceBuilder


class CallInput(Protocol):
    """Pictures and sound of a call. Use as a context manager.

    Attributes:
        name: for messages.
        sound: the source of its sound.
    """

    name: str

    def __enter__(self) -> CallInput: ...
    def __exit__(self, *exc: object) -> None: ...

    @property
    def sound(self) -> SoundSource: ...

    def first_frames(self) -> Generator[Frame, None, None]:
        """The frames from which source pictures are chosen, perhaps without end; the caller closes the generator."""

    def frames(self) -> Iterator[Frame]:
        """The frames of the call, numbered from 0 on. A gap in the numbers is a frame that was left out."""

    def due(self, index: int) -> float:
        """When a frame is to be sent (time.monotonic)."""

    def is_late(self, index: int) -> bool:
        """Whether it is too late to send a frame."""


def paced(frames: Iterable[Frame], source: CallInput) -> Iterator[Frame]:
    """Each frame when it is due; those that are late are left out."""
    for frame in frames:
        if not source.is_late(frame.index):
            time.sleep(max(source.due(frame.index) - time.monotonic(), 0))
            yield frame


def enrol_input(
    source: CallInput, hangup: Hangup, options: EncoderOptions, seconds: float, builder: SourceBuilder, note: Note
) -> Enrolment:
    """The set-up of a call, from `seconds` of an input that show a face.

    Raises InputError, and what `Hangup.raise_if_wanted` raises.
    """
    audio = source.sound.audio
    with closing(source.first_frames()) as first:
        frames = hangup.until(first)
        try:
            return enrol(
                source.name,
                frames,
                options.rate,
                seconds,
                builder,
                options.interval,
                audio,
                note,
                options.face_choice,
            )
        finally:
            hangup.raise_if_wanted()


class FileInput:
    """A video, played at its own speed. See `CallInput`.

    Args:
        bitrate: of the sound, bit/s; None: no sound.
        loop: whether it is repeated without end.

    Raises InputError.
    """

    def __init__(self, path: PathLike, fps: Fraction, bitrate: int | None, loop: bool = False) -> None:
        self._path, self._fps, self._loop, self._pace = path, fps, loop, Pace(fps)
        self.name, self.sound = label(path), SoundTrack(path, bitrate)
        self._playing: Generator[Frame, None, None] | None = None

    def __enter__(self) -> FileInput:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._playing is not None:
            self._playing.close()

    def first_frames(self) -> Generator[Frame, None, None]:
        """The file's first frames, as fast as they can be read."""
        return file_frames(self._path, self._fps)

    def frames(self) -> Iterator[Frame]:
        """All frames of the file."""
        self._playing = file_frames(self._path, self._fps, self._loop)
        return self._playing

    def due(self, index: int) -> float:
        """When a frame is due; the clock starts with the first call."""
        return self._pace.due(index)

    def is_late(self, index: int) -> bool:
        """Whether it is too late to send a frame."""
        return self._pace.is_late(index)


class CameraInput:
    """A camera, and perhaps a microphone. See `CallInput`.

    Args:
        microphone: a device as in `fvc.calls.soundcard`, None: no sound; bitrate: of its sound, bit/s.

    Raises FvcError: see `fvc.calls.soundcard`.
    """

    def __init__(self, camera: int, fps: Fraction, microphone: str | None, bitrate: int, note: Note) -> None:
        self.name, self._note = f"camera {camera}", note
        self._microphone = None if microphone is None else Microphone(microphone, bitrate, fps)
        self.sound: SoundSource = SoundTrack() if self._microphone is None else self._microphone
        self._frames = camera_frames(camera, fps)

    def __enter__(self) -> CameraInput:
        return self

    def __exit__(self, *exc: object) -> None:
        self._frames.close()
        if self._microphone is not None:
            self._microphone.close()

    def first_frames(self) -> Generator[Frame, None, None]:
        """The camera's frames before the call."""
        self._note(f"{self.name}: look into it, then left and right")
        yield from islice(self._frames, None)  # not the generator itself, which would be closed with this one

    def frames(self) -> Iterator[Frame]:
        """The camera's frames from now on, delayed as much as the sound."""
        frames = renumbered(self._frames)
        return frames if self._microphone is None else self._microphone.beside(frames)

    def due(self, index: int) -> float:
        """Now: a camera's frames are due as they arrive."""
        return time.monotonic()

    def is_late(self, index: int) -> bool:
        """A camera is never late."""
        return False
