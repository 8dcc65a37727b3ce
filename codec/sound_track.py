"""The sound of a stream: Opus packets, handed out as they fall due."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Protocol

from fvc.codec.base.reporting import PathLike
from fvc.codec.media.opus import encode_opus
from fvc.codec.wire.bitstream import Audio, Kind, Packet


class SoundSource(Protocol):
    """A source of a stream's sound.

    Attributes:
        audio: the track's parameters; None: there is no sound.
    """

    @property
    def audio(self) -> Audio | None: ...

    def due(self, seconds: Fraction | None) -> Iterator[Packet]:
        """The AUDIO packets whose sound starts at `seconds` or before (None: all that are left)."""


class SoundTrack:
    """The sound of a file, coded as a whole. A `SoundSource`.

    Args:
        source: the file; None: no sound.
        bitrate: bit/s of Opus; None: no sound.
        audio_stream: which of its audio streams, from 0; None: as `VideoReader` chooses.

    Raises:
        InputError: the file's sound cannot be read.
    """

    def __init__(
        self, source: PathLike | None = None, bitrate: int | None = None, audio_stream: int | None = None
    ) -> None:
        coded = None
        if source is not None and bitrate is not None:
            coded = encode_opus(source, bitrate, audio_stream=audio_stream)
        self.audio = Audio(coded[0].frame_ms, coded[0].pre_skip) if coded else None
        self._packets = enumerate(coded[1] if coded else ())
        self._next = next(self._packets, None)

    def due(self, seconds: Fraction | None) -> Iterator[Packet]:
        """The packets whose sound starts at `seconds` or before (None: all that are left)."""
        while self._next is not None and self.audio is not None:
            if seconds is not None and self._next[0] * self.audio.frame_ms > 1000 * seconds:
                return
            yield Packet(Kind.AUDIO, *self._next)
            self._next = next(self._packets, None)
