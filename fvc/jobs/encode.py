"""A video -> .fvc and its source pictures. Two passes: the first tracks the face and chooses crop and sources."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from fvc.codec.base.errors import InputError
from fvc.codec.base.reporting import Note, PathLike, Progress, silent
from fvc.codec.layer_encoder import CodedLayer
from fvc.codec.media.output import OutputGroup, check_output
from fvc.codec.media.video import VideoReader
from fvc.codec.options import EncoderOptions
from fvc.codec.source_builder import track_video
from fvc.codec.wire.bitstream import Header, Kind, Packet
from fvc.codec.wire.container import StreamWriter, begins_keyframe, has_face
from fvc.codec.wire.source_set import SourceSet
from fvc.jobs.budget import divide
from fvc.jobs.file_job import FileJob, with_layer
from fvc.jobs.paths import STREAM, file_path, keep_apart
from fvc.jobs.source_files import SourcesWriter, files_of, write_sources
from fvc.models.inference.installed import InstalledModel
from fvc.models.presets import DEFAULT


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
        options: those of `codec.options.EncoderOptions`: fps, profile, quantizer, quality, motion_kbps, kbps, layer,
            keyframe_interval, refresh, audio_bitrate, canvas, source_frames, source_bytes, size, face, tracker,
            video_stream, audio_stream.

    Returns:
        the report that `fvc encode --json` prints.

    Raises:
        FvcError: see `fvc.codec.base.errors`; nothing is left at `out` or `sources_out` then.
    """
    settings, model = EncoderOptions(**options), InstalledModel.named(preset)
    model.require_size(settings.size)
    stream = file_path(out)
    sources = file_path(sources_out) if sources_out is not None else stream.with_suffix(".fvs")
    keep_apart([stream, *files_of(sources)], [file_path(source)])
    with (
        VideoReader(source, video_stream=settings.video_stream) as video,
        _both_or_none(stream, sources, overwrite) as (file, sources_writer),
    ):
        clip = track_video(video, settings.rate, note, progress, settings.face_choice, settings.tracker)
        job = FileJob(source, settings, model, video, clip, note, progress)
        shares = job.unlimited() if settings.kbps is None else divide(job)
        chosen = shares.sources
        saved = sources_writer.save(chosen.source_set, chosen.whole if settings.canvas else None)  # packets need them
        header = job.header(chosen)
        writer, counts = StreamWriter(file, header), _Counts()
        for packet in with_layer(shares.packets, shares.layer):
            writer.write(packet)
            counts.add(packet)
        if not writer.frames:
            raise InputError(f"{video.name}: no frame could be read a second time")
        writer.end()
    counts.skipped, counts.without_face = job.skipped, counts.without_face - job.skipped
    sizes = _sizes(writer, header, counts, chosen.source_set, str(sources), saved)
    return {**_rates(writer, header, counts, saved), **sizes, **_described(shares.layer)}


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

    def add(self, packet: Packet) -> None:
        """Counts a packet."""
        if packet.kind == Kind.AUDIO:
            self.audio_bytes += len(packet.payload)
        elif packet.kind != Kind.LAYER:
            self.keyframes += begins_keyframe(packet)
            self.without_face += not has_face(packet)


def _described(layer: CodedLayer | None) -> dict[str, Any]:
    return {"layer_side": layer.side if layer else None, "layer_crf": layer.crf if layer else None}


def _rates(writer: StreamWriter, header: Header, counts: _Counts, saved: int) -> dict[str, Any]:
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
        "layer_kbps": kbps(writer.bytes_of["layer"]),
        "file_kbps": kbps(sum(writer.bytes_of.values())),
        "total_kbps": kbps(sum(writer.bytes_of.values()) + saved),
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
        "picture_side": header.side,
        "crop": {"x": header.crop.x, "y": header.crop.y, "side": header.crop.side},
        "size": [header.crop.width, header.crop.height],
    }
