"""A .fvc and its sources -> a video. Imports neither torch nor, unless the sources are bare pictures, MediaPipe.

Three stages at a time: packets become samples, samples become pictures (one per core), pictures are coded and written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np

from fvc.codec.constants import MAX_FILLED_ITEMS, MAX_FILLED_SECONDS, SIDE
from fvc.codec.decoder import Decoder
from fvc.codec.errors import StreamError, UsageError
from fvc.codec.face.crop import paste
from fvc.codec.media.opus import RATE, OpusDecoder, OpusParams
from fvc.codec.media.output import VIDEO, VideoWriter, check_output
from fvc.codec.media.pipeline import ahead, parallel
from fvc.codec.media.provenance import Provenance, open_file_hash
from fvc.codec.media.video import label
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.renderer import Renderer
from fvc.codec.reporting import Note, PathLike, Progress, silent
from fvc.codec.version import __version__
from fvc.codec.wire.bitstream import Audio, EndPayload, Header, Kind, Packet
from fvc.codec.wire.container import Damage, read_index
from fvc.jobs.paths import OpenStream, file_path, keep_apart, naming, open_file
from fvc.jobs.source_files import LoadedSources, load_sources, source_paths
from fvc.models.installed import InstalledModel

_MAX_CANVAS = (1 << 25, 8192)  # pixels of the frame, side of the crop: room for 8K
_MAX_NOTES = 8  # damaged places that are named
_CORES = 2  # pictures that are drawn at a time


def decode(
    stream: PathLike,
    sources: PathLike | Sequence[PathLike] | None = None,
    out: PathLike | None = None,
    *,
    overwrite: bool = False,
    canvas: str = "crop",
    allow_foreign_sources: bool = False,
    relative_motion: bool = False,
    note: Note = silent,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Decodes a .fvc into a video.

    A damaged or cut-off stream is decoded as far as it is whole, with notes: frames that are lost show the last
    picture again until the next keyframe, lost sound is silence.

    Args:
        sources: the .fvs of the stream, or the source pictures, or a folder of them; None: the .fvs of the stream's
            name, beside it.
        out: its ending chooses the container: .mp4, .mov, .mkv (H.264, AAC) or .webm (VP9, Opus). None: the stream's
            name with .decoded.mp4, so talk.fvc becomes talk.decoded.mp4 and no recording talk.mp4 is touched.
        overwrite: whether a video that is there already is replaced; without it an existing file is an OutputError.
        canvas: "crop" gives the 256x256 face, "full" pastes it into the frontal source's whole frame.
        allow_foreign_sources: draw with sources that the stream was not made for.
        relative_motion: for foreign sources: move as much as the stream's person does since the first frame, which
            keeps the shape of the sources' face (cross-reenactment, see `codec.motion.retarget`).
        note: called with one-line remarks; progress: called often with (stage, done, total).

    Returns:
        the report that `fvc decode --json` prints.

    Raises:
        FvcError: see `fvc.codec.errors`; nothing is left at `out` then.
    """
    if canvas not in ("crop", "full"):
        raise UsageError(f"--canvas {canvas}: must be crop or full")
    target = _default_out(file_path(stream)) if out is None else file_path(out)
    paths = source_paths(_sources_beside(file_path(stream)) if sources is None else sources)
    keep_apart([target], [file_path(stream), *paths])
    check_output(target, VIDEO, overwrite)
    with open_file(stream) as opened:
        reader, header = opened.reader, opened.reader.header
        model = InstalledModel.of(header.model_hash, label(stream))
        loaded = load_sources(paths, header, model.preset, note)
        loaded.check(header, allow_foreign_sources, note)
        whole = _canvas(loaded, header, label(stream)) if canvas == "full" else None
        size = (SIDE, SIDE) if whole is None else (header.crop.width, header.crop.height)
        rate = RATE if header.audio else None
        with naming(stream):
            origin = _origin(loaded, header, open_file_hash(opened.file))
        tags = {"comment": str(origin)}
        with VideoWriter(target, *size, header.fps, rate, metadata=tags, overwrite=overwrite) as video:
            renderer = model.renderer(
                loaded.source_set, header.profile, header.fps, _CORES, relative_motion=relative_motion
            )
            play = _Play(opened, Decoder(header, renderer), stream, note)
            painter = _Painter(renderer, whole, header)
            with closing(parallel(painter, ahead(play.items(), 32), _CORES)) as items:
                frames = _write(video, items, play.total, progress)
    return {
        "frames": frames,
        "fps": round(float(header.fps), 3),
        "duration_s": round(float(frames / header.fps), 3),
        "profile": header.profile.label,
        "size": list(size),
        "frames_held": play.decoder.held,
        "complete": reader.end is not None,
        "damaged_places": play.damaged_places,
        "audio": header.audio is not None,
        "out": str(target),
    }


def _default_out(stream: Path) -> Path:
    return stream.with_name(f"{stream.stem}.decoded.mp4")


def _sources_beside(stream: Path) -> Path:
    """The source set that `encode` writes beside a stream. Raises UsageError where there is none."""
    beside = stream.with_suffix(".fvs")
    if stream.exists() and not beside.exists():
        raise UsageError(f"{label(stream)}: there is no {label(beside.name)} beside it; name its sources (--sources)")
    return beside


def _origin(loaded: LoadedSources, header: Header, stream: str) -> Provenance:
    source_set = loaded.source_set
    named = source_set.sources_hash if source_set.coded else source_set.pixels_hash
    return Provenance(__version__, stream, named.hex(), not loaded.is_own(header), header.model_hash.hex())


def _canvas(loaded: LoadedSources, header: Header, name: str) -> np.ndarray:
    """The whole frame at the input's size. Raises SourcesError, StreamError."""
    crop, (pixels, side) = header.crop, _MAX_CANVAS
    if crop.width * crop.height > pixels or crop.side > side:
        raise StreamError("E07", f"{name}: frames of {crop.width}x{crop.height} are too large; use --canvas crop")
    return cv2.resize(loaded.canvas(header), (crop.width, crop.height), interpolation=cv2.INTER_CUBIC)


@dataclass(frozen=True)
class _Sound:
    """Sound to write: float32 samples of one packet."""

    samples: np.ndarray


_Item = DrawInputs | None | _Sound  # a frame to draw, the last picture again, or sound


class _Play:
    """The stream as what is to be shown and heard, in its order.

    Attributes:
        decoder: has drawn nothing; its tally counts.
        damaged_places: so far.
        total: frames that the stream states, if it does.
    """

    def __init__(self, opened: OpenStream, decoder: Decoder, stream: PathLike, note: Note) -> None:
        self._reader, self.decoder, self._stream, self._note = opened.reader, decoder, stream, note
        with naming(stream):
            self._size, self.total = opened.size, _stated_frames(opened.file)
        self._track = _Track(decoder, opened.reader.header, self._size)
        self.damaged_places = 0

    def items(self) -> Iterator[_Item]:
        """Frames, and float32 samples of sound. Raises StreamError."""
        name, reader = label(self._stream), self._reader
        with naming(self._stream):
            for item in reader.packets():
                if isinstance(item, Packet):
                    yield from self._track.take(item)
                elif reader.end is not None or item.stop < self._size:  # else: the packet that was cut off
                    self._skip(item, name)
            if self.damaged_places > _MAX_NOTES:
                self._note(f"{name}: {self.damaged_places - _MAX_NOTES} more damaged places")
            if reader.end is None:
                self._note(f"{name}: cut off after {self._track.frames} frames; decoded what is whole")
            if not self._track.frames:
                raise StreamError("E04", "holds no whole frame")
            yield from self._track.finish(reader.end)

    def _skip(self, damage: Damage, name: str) -> None:
        self.damaged_places += 1
        if damage.uncounted:
            self.decoder.lose()
        if self.damaged_places <= _MAX_NOTES:
            self._note(_describe(damage, name, self._track.frames))


class _Painter:
    """Draws frames; called from several threads. What is no frame to draw passes through."""

    def __init__(self, renderer: Renderer, whole: np.ndarray | None, header: Header) -> None:
        self._renderer, self._whole, self._crop = renderer, whole, header.crop

    def __call__(self, item: _Item) -> np.ndarray | _Sound | None:
        if not isinstance(item, DrawInputs):
            return item
        rgb = self._renderer.draw(item)
        return rgb if self._whole is None else paste(self._whole, rgb, self._crop)


def _write(
    video: VideoWriter, items: Iterator[np.ndarray | _Sound | None], total: int | None, progress: Progress
) -> int:
    """Writes all; returns the number of frames."""
    frames, last = 0, None
    for item in items:
        if isinstance(item, _Sound):
            video.write_audio(item.samples)
            continue
        last = last if item is None else item
        assert last is not None  # a decoder's first frame is never held
        video.write(last)
        frames += 1
        progress("decoding", frames, total)
    return frames


def _describe(damage: Damage, name: str, frames: int) -> str:
    where = f"bytes {damage.start}-{damage.stop}, after {frames} frames"
    return f"{name}: {damage.reason} at {where}; skipped, a lost frame is held until the next keyframe"


def _stated_frames(file: BinaryIO) -> int | None:
    """From the index; the file's position stays. Raises OSError."""
    position = file.tell()
    end = read_index(file)
    file.seek(position)
    return end.frames if end else None


class _Track:
    """Puts decoded packets in their place in time and fills gaps, of which hostile streams must not make much."""

    def __init__(self, decoder: Decoder, header: Header, file_bytes: int) -> None:
        self._decoder, self._header = decoder, header
        self._sound = _SoundTrack(header.audio, file_bytes) if header.audio else None
        self.frames = self._lost = 0
        self._file_bytes = file_bytes

    def take(self, packet: Packet) -> Iterator[_Item]:
        """Decodes a packet; what is missing before it is held or silent. Raises StreamError (E14)."""
        if packet.kind == Kind.AUDIO:
            if self._sound is not None:
                yield from self._sound.take(packet)
            return
        yield from self._hold_until(packet.number)
        self._decoder.put(packet)
        yield self._next()

    def finish(self, end: EndPayload | None) -> Iterator[_Item]:
        """Fills up to the stream's stated length (None: unknown). Raises StreamError (E14)."""
        yield from self._hold_until(end.frames if end else 0)
        if self._sound is not None:  # a track without a sample is no valid MP4
            yield from self._sound.fill(max(end.audio_packets if end else 0, 1))

    def _hold_until(self, index: int) -> Iterator[_Item]:
        self._lost += max(index - self.frames, 0)
        _limit(self._lost, float(1 / self._header.fps), self._file_bytes)
        while self.frames < index:
            yield self._next()

    def _next(self) -> DrawInputs | None:
        index, self.frames = self.frames, self.frames + 1
        return self._decoder.next(index)


class _SoundTrack:
    """The sound's half of `_Track`."""

    def __init__(self, audio: Audio, file_bytes: int) -> None:
        self._audio, self._packets, self._lost = audio, 0, 0
        self._file_bytes = file_bytes
        self._opus = OpusDecoder(OpusParams(frame_ms=audio.frame_ms, pre_skip=audio.pre_skip))

    def take(self, packet: Packet) -> Iterator[_Sound]:
        yield from self.fill(packet.number)
        yield self._decoded(packet.payload)

    def fill(self, number: int) -> Iterator[_Sound]:
        """Silence up to packet `number`."""
        self._lost += max(number - self._packets, 0)
        _limit(self._lost, self._audio.frame_ms / 1000, self._file_bytes)
        while self._packets < number:
            yield self._decoded(None)

    def _decoded(self, packet: bytes | None) -> _Sound:
        self._packets += 1
        return _Sound(self._opus.decode(packet))


def _limit(lost: int, seconds: float, file_bytes: int) -> None:
    """Raises StreamError (E14) if more is missing than may be filled in; each missing item takes `seconds`."""
    if lost * seconds > MAX_FILLED_SECONDS:
        most = f"{MAX_FILLED_SECONDS} seconds"
    elif lost > MAX_FILLED_ITEMS + file_bytes:
        most = f"{(MAX_FILLED_ITEMS + file_bytes) * seconds:.0f} seconds in a file of {file_bytes} bytes"
    else:
        return
    raise StreamError("E14", f"{lost * seconds:.0f} seconds are missing in all; at most {most} are filled in")
