"""A video -> .fvc and its source pictures. Two passes: the first tracks the face and chooses crop and sources."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fvc.codec.base.errors import InputError
from fvc.codec.base.reporting import Note, PathLike, Progress, silent
from fvc.codec.encoder import Encoder, Found
from fvc.codec.media.output import OutputGroup, check_output
from fvc.codec.media.pipeline import ahead
from fvc.codec.media.video import Frame, VideoReader
from fvc.codec.options import EncoderOptions
from fvc.codec.sound_track import SoundTrack
from fvc.codec.source_builder import TrackedClip, stream_header, track_video
from fvc.codec.wire.bitstream import Header
from fvc.codec.wire.container import StreamWriter, begins_keyframe
from fvc.codec.wire.source_set import SourceSet
from fvc.jobs.paths import STREAM, file_path, keep_apart
from fvc.jobs.source_files import SourcesWriter, write_sources
from fvc.models.installed import InstalledModel
from fvc.models.presets import DEFAULT

_NO_PIXELS = np.empty((0, 0, 3), np.uint8)


def encode(
    source: PathLike,
    out: PathLike,
    *,
    sources_out: PathLike | None = None,
    overwrite: bool = False,
    preset: str = DEFAULT,
    note: Note = silent,
    progress: Progress = silent,
    **options: Any,
) -> dict[str, Any]:
    """Encodes a video of a talking face into `out` (.fvc) and its source frames into `sources_out` (default: OUT.fvs).

    Until both are complete their bytes are in `.NAME.XXXXXXXX.part` (random digits) beside them. If the process is
    killed, these stay, and can be decoded up to the last whole packet (`repair` gives them an end and an index).

    Args:
        out: must end in .fvc.
        sources_out: a .fvs file, or a folder (existing, or a name without suffix), which gets PNG pictures instead.
        overwrite: whether a stream and a source set that are there already are replaced; without it each existing file
            is an OutputError. Files of another kind are never replaced.
        preset: the networks, one of those whose weights are installed.
        note: called with one-line remarks (two faces, face lost ...); progress: called often with (stage, done, total).
        options: those of `codec.options.EncoderOptions`: fps, profile, quantizer, quality, kbps, keyframe_interval,
            refresh, audio_bitrate, canvas, source_frames, source_bytes, face, tracker,
            video_stream, audio_stream.

    Returns:
        the report that `fvc encode --json` prints.

    Raises:
        FvcError: see `fvc.codec.base.errors`; nothing is left at `out` or `sources_out` then.
    """
    settings, model = EncoderOptions(**options), InstalledModel.named(preset)
    stream = file_path(out)
    sources = file_path(sources_out) if sources_out is not None else stream.with_suffix(".fvs")
    keep_apart([stream, sources], [file_path(source)])
    with (
        VideoReader(source, video_stream=settings.video_stream) as video,
        _both_or_none(stream, sources, overwrite) as (file, sources_writer),
    ):
        clip = track_video(video, settings.rate, note, progress, settings.face_choice, settings.tracker)
        progress("sources", 0, None)
        builder = model.source_builder(settings.kind)
        source_set, whole = builder.choose(video, clip, settings.canvas, settings.source_frames, settings.source_bytes)
        progress("sources", 1, 1)
        sound = SoundTrack(source, settings.audio_bitrate, settings.audio_stream)
        if settings.audio_bitrate is not None and sound.audio is None:
            note(f"{video.name}: has no sound")
        header = stream_header(source_set, clip, settings.interval, settings.quantizers, sound.audio)
        saved = sources_writer.save(source_set, whole if settings.canvas else None)  # first: packets need them
        writer = StreamWriter(file, header)
        encoder = Encoder(header, builder.network, refresh=settings.refresh, plan=settings.plan())
        counts = _write_packets(writer, encoder, video, clip, sound, progress)
    return {**_rates(writer, header, counts), **_sizes(writer, header, counts, source_set, str(sources), saved)}


@contextmanager
def _both_or_none(stream: Path, sources: Path, overwrite: bool) -> Iterator[tuple[BinaryIO, SourcesWriter]]:
    """Stream and sources get their names when the block ends; neither does if anything fails. Raises OutputError."""
    check_output(stream, STREAM, overwrite)
    group = OutputGroup()
    with write_sources(sources, group, overwrite) as writer, group:
        yield group.open(stream, STREAM, overwrite), writer


@dataclass
class _Counts:
    """Counts of what was written, in addition to those of the StreamWriter."""

    audio_bytes: int = 0  # without packet headers and checksums
    keyframes: int = 0
    without_face: int = 0
    skipped: int = 0  # frames that did not fit the rate


def _write_packets(
    writer: StreamWriter, encoder: Encoder, video: VideoReader, clip: TrackedClip, sound: SoundTrack, progress: Progress
) -> _Counts:
    counts, sup_of, cuts = _Counts(), clip.seen.sup_of(), set(clip.seen.cuts)

    def write_sound(seconds: Fraction | None) -> None:
        for packet in sound.due(seconds):
            writer.write(packet)
            counts.audio_bytes += len(packet.payload)

    with closing(_second_look(video, clip, encoder)) as frames:
        for frame in frames:
            write_sound(frame.index / clip.rate)
            sup = sup_of.get(frame.index)
            is_cut = frame.index in cuts
            packet = encoder.encode(frame, Found(sup, is_cut), audio_packets=writer.audio_packets)
            writer.write(packet)
            counts.keyframes += begins_keyframe(packet)
            counts.without_face += sup is None
            progress("encoding", frame.index + 1, clip.seen.frames)
    counts.skipped = encoder.skipped
    write_sound(None)
    if not writer.frames:
        raise InputError(f"{video.name}: no frame could be read a second time")
    writer.end()
    return counts


def _second_look(video: VideoReader, clip: TrackedClip, encoder: Encoder) -> Generator[Frame, None, None]:
    """The frames of the second pass; without pixels if the landmarks of the first pass suffice."""
    if encoder.looks:
        return ahead(video.frames(clip.rate))
    return (Frame(_NO_PIXELS, index) for index in range(clip.seen.frames))


def _rates(writer: StreamWriter, header: Header, counts: _Counts) -> dict[str, Any]:
    seconds = writer.frames / header.fps

    def kbps(size: int) -> float:
        return round(float(8 * size / seconds / 1000), 3)

    return {
        "frames": writer.frames,
        "fps": round(float(header.fps), 3),
        "duration_s": round(float(seconds), 3),
        "profile": header.profile.label,
        "motion_bits_per_frame": round(8 * writer.payload_bytes / writer.frames, 1),
        "motion_kbps": kbps(writer.payload_bytes),
        "packet_kbps": kbps(writer.bytes_of["motion"]),
        "audio_kbps": kbps(counts.audio_bytes),
        "file_kbps": kbps(sum(writer.bytes_of.values())),
    }


def _sizes(
    writer: StreamWriter, header: Header, counts: _Counts, source_set: SourceSet, sources: str, sources_bytes: int
) -> dict[str, Any]:
    return {
        "file_bytes": sum(writer.bytes_of.values()),
        "sources_bytes": sources_bytes,
        "sources": sources,
        "source_pictures_bytes": [len(picture) for picture in source_set.coded],
        "canvas_bytes": len(source_set.canvas or b""),
        "keyframes": counts.keyframes,
        "frames_without_face": counts.without_face,
        "frames_skipped": counts.skipped,
        "crop": {"x": header.crop.x, "y": header.crop.y, "side": header.crop.side},
        "size": [header.crop.width, header.crop.height],
    }
