"""Packets of a stream -> its timeline: frames to draw, frames to hold, sound and silence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from fvc.codec.base.constants import MAX_FILLED_ITEMS, MAX_FILLED_SECONDS
from fvc.codec.base.errors import StreamError
from fvc.codec.base.reporting import Note, PathLike
from fvc.codec.decoder import Decoder
from fvc.codec.media.opus import OpusDecoder, OpusParams
from fvc.codec.media.video import label
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.renderer import Layered
from fvc.codec.video_layer import LayerDecoder
from fvc.codec.wire.bitstream import Audio, EndPayload, Header, Kind, Packet
from fvc.codec.wire.container import Damage, read_index
from fvc.jobs.paths import OpenStream, naming

_MAX_NOTES = 8  # damaged places that get a note of their own


@dataclass(frozen=True)
class Sound:
    """Samples of one packet of sound, float32."""

    samples: np.ndarray


Item = DrawInputs | Layered | None | Sound  # a frame to draw (with a layer's picture), the last one again, or sound


class Player:
    """A stream as its frames and sound, in playing order.

    Attributes:
        decoder: of the stream; it prepares and counts frames, but draws nothing.
        damaged_places: counted so far.
        total: how many frames the stream has by its index; None where it has none.
        layer: decodes the video layer.
    """

    def __init__(self, opened: OpenStream, decoder: Decoder, stream: PathLike, note: Note) -> None:
        self._reader, self.decoder, self._stream, self._note = opened.reader, decoder, stream, note
        with naming(stream):
            self._size, self.total = opened.size, _stated_frames(opened.file)
        self.layer = LayerDecoder()
        self._timeline = _Timeline(decoder, self.layer, opened.reader.header, self._size)
        self.damaged_places = 0

    def items(self) -> Iterator[Item]:
        """All frames and sound. Raises StreamError (E04, E14)."""
        name, reader = label(self._stream), self._reader
        with naming(self._stream):
            for item in reader.packets():
                if isinstance(item, Packet):
                    yield from self._timeline.take(item)
                elif reader.end is not None or item.stop < self._size:  # else: the packet that was cut off
                    self._skip(item, name)
            if self.damaged_places > _MAX_NOTES:
                self._note(f"{name}: {self.damaged_places - _MAX_NOTES} more damaged places")
            if reader.end is None:
                self._note(f"{name}: cut off after {self._timeline.frames} frames; decoded what is whole")
            if not self._timeline.frames:
                raise StreamError("E04", "holds no whole frame")
            yield from self._timeline.finish(reader.end)

    def _skip(self, damage: Damage, name: str) -> None:
        self.damaged_places += 1
        if damage.uncounted:
            self.decoder.lose()
        if self.damaged_places <= _MAX_NOTES:
            self._note(_describe(damage, name, self._timeline.frames))


def _describe(damage: Damage, name: str, frames: int) -> str:
    where = f"bytes {damage.start}-{damage.stop}, after {frames} frames"
    return f"{name}: {damage.reason} at {where}; skipped, a lost frame is held until the next keyframe"


def _stated_frames(file: BinaryIO) -> int | None:
    """The number of frames, from the index; the file's position stays. Raises OSError."""
    position = file.tell()
    end = read_index(file)
    file.seek(position)
    return end.frames if end else None


class _Timeline:
    """Puts decoded packets where they belong in time, and fills gaps: up to a limit, since streams may be hostile."""

    def __init__(self, decoder: Decoder, layer: LayerDecoder, header: Header, file_bytes: int) -> None:
        self._decoder, self._layer, self._header = decoder, layer, header
        self._sound = _SoundTimeline(header.audio, file_bytes) if header.audio else None
        self.frames = self._lost = 0
        self._file_bytes = file_bytes

    def take(self, packet: Packet) -> Iterator[Item]:
        """Decodes a packet. Missing frames before it hold the last picture; E14 where there are too many."""
        if packet.kind == Kind.AUDIO:
            if self._sound is not None:
                yield from self._sound.take(packet)
            return
        if packet.kind == Kind.LAYER:
            if self._decoder.renderer.shows_layers:
                self._layer.put(packet.number, packet.payload)
            return
        yield from self._hold_until(packet.number)
        self._decoder.put(packet)
        yield self._next()

    def finish(self, end: EndPayload | None) -> Iterator[Item]:
        """Fills up to the stream's stated length (None: unknown). Raises StreamError (E14)."""
        yield from self._hold_until(end.frames if end else 0)
        if self._sound is not None:  # a track without a sample is no valid MP4
            yield from self._sound.fill(max(end.audio_packets if end else 0, 1))

    def _hold_until(self, index: int) -> Iterator[Item]:
        self._lost += max(index - self.frames, 0)
        _limit(self._lost, float(1 / self._header.fps), self._file_bytes)
        while self.frames < index:
            yield self._next()

    def _next(self) -> DrawInputs | Layered | None:
        index, self.frames = self.frames, self.frames + 1
        inputs, picture = self._decoder.next(index), self._layer.take(index)
        return inputs if picture is None else Layered(inputs, picture)


class _SoundTimeline:
    """Decodes sound, and fills gaps with silence, likewise."""

    def __init__(self, audio: Audio, file_bytes: int) -> None:
        self._audio, self._packets, self._lost = audio, 0, 0
        self._file_bytes = file_bytes
        self._opus = OpusDecoder(OpusParams(frame_ms=audio.frame_ms, pre_skip=audio.pre_skip))

    def take(self, packet: Packet) -> Iterator[Sound]:
        yield from self.fill(packet.number)
        yield self._decoded(packet.payload)

    def fill(self, number: int) -> Iterator[Sound]:
        """Silence up to packet `number`."""
        self._lost += max(number - self._packets, 0)
        _limit(self._lost, self._audio.frame_ms / 1000, self._file_bytes)
        while self._packets < number:
            yield self._decoded(None)

    def _decoded(self, packet: bytes | None) -> Sound:
        self._packets += 1
        return Sound(self._opus.decode(packet))


def _limit(lost: int, seconds: float, file_bytes: int) -> None:
    """Raises StreamError (E14) if more is missing than may be filled in; each missing item takes `seconds`."""
    if lost * seconds > MAX_FILLED_SECONDS:
        most = f"{MAX_FILLED_SECONDS} seconds"
    elif lost > MAX_FILLED_ITEMS + file_bytes:
        most = f"{(MAX_FILLED_ITEMS + file_bytes) * seconds:.0f} seconds in a file of {file_bytes} bytes"
    else:
        return
    raise StreamError("E14", f"{lost * seconds:.0f} seconds are missing in all; at most {most} are filled in")
