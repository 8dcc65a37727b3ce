"""Describes .fvc and .fvs files. Needs no networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fvc.codec.base.reporting import PathLike
from fvc.codec.media.provenance import read_provenance
from fvc.codec.wire.bitstream import MAGIC as STREAM_MAGIC
from fvc.codec.wire.bitstream import VERSION, Kind, Packet
from fvc.codec.wire.container import Damage, StreamReader, begins_keyframe, has_face
from fvc.codec.wire.source_set import SourceSet
from fvc.jobs.paths import is_source_set, naming, open_file, read_limited, read_source_set


def info(path: PathLike) -> dict[str, Any]:
    """Describes a .fvc or .fvs file, or a video that `decode` wrote; reads all of it.

    Damage is counted, not an error. Raises FvcError.
    """
    if is_source_set(path):
        return _sources_info(read_source_set(path))
    if not STREAM_MAGIC.startswith(read_limited(path, len(STREAM_MAGIC))) and (origin := read_provenance(path)):
        return origin
    with open_file(path) as stream, naming(path):
        return _stream_info(stream.reader, stream.size)


def _sources_info(source_set: SourceSet) -> dict[str, Any]:
    return {
        "type": "fvs",
        "version": source_set.version,
        "profile": source_set.profile.label,
        "picture_side": source_set.side,
        "pictures": len(source_set.samples),
        "picture_bytes": [len(coded) for coded in source_set.coded],
        "canvas_bytes": len(source_set.canvas or b""),
        "pictures_missing": source_set.missing,
        "bytes": len(bytes(source_set)),
        "weights": source_set.model_hash.hex(),
        "sources_hash": source_set.sources_hash.hex(),
        "pixels_hash": source_set.pixels_hash.hex(),
    }


@dataclass
class _Count:
    """Counts of a stream's contents."""

    frames: int = 0
    keyframes: int = 0
    frames_without_face: int = 0
    audio_packets: int = 0
    damaged_places: int = 0
    motion: int = 0  # bytes of payloads
    audio: int = 0
    layer: int = 0
    layer_packets: int = 0

    def add(self, item: Packet | Damage) -> None:
        """Counts a packet, or a damaged place."""
        if isinstance(item, Damage):
            self.damaged_places += 1
        elif item.kind == Kind.AUDIO:
            self.audio_packets += 1
            self.audio += len(item.payload)
        elif item.kind == Kind.LAYER:
            self.layer_packets += 1
            self.layer += len(item.payload)
        else:
            self.frames = item.number + 1
            self.motion += len(item.payload)
            self.keyframes += begins_keyframe(item)
            self.frames_without_face += not has_face(item)


def _stream_info(reader: StreamReader, size: int) -> dict[str, Any]:
    header, count = reader.header, _Count()
    for item in reader.packets():
        count.add(item)
    frames = reader.end.frames if reader.end else count.frames
    seconds = float(frames / header.fps)

    def kbps(size: int) -> float | None:
        return round(8 * size / seconds / 1000, 3) if seconds else None

    return {
        "type": "fvc",
        "version": VERSION,
        "profile": header.profile.label,
        "fps": round(float(header.fps), 3),
        "frames": frames,
        "duration_s": round(seconds, 3),
        "complete": reader.end is not None,
        "keyframes": count.keyframes,
        "frames_without_face": count.frames_without_face,
        "audio_packets": count.audio_packets,
        "layer_packets": count.layer_packets,
        "damaged_places": count.damaged_places,
        "motion_bits_per_frame": round(8 * count.motion / frames, 1) if frames else None,
        "motion_kbps": kbps(count.motion),
        "audio_kbps": kbps(count.audio),
        "layer_kbps": kbps(count.layer),
        "file_kbps": kbps(size),
        "bytes": size,
        "size": [header.crop.width, header.crop.height],
        "crop": {"x": header.crop.x, "y": header.crop.y, "side": header.crop.side},
        "quantizers": {p: {"bits": q.bits, "low": q.low, "high": q.high} for p, q in header.quantizers.items()},
        "keyframe_interval": header.keyframe_interval,
        "picture_side": header.side,
        "scenes": len(header.scenes.changes) if header.scenes else 1,
        "weights": header.model_hash.hex(),
        "sources_hash": header.sources_hash.hex(),
        "pixels_hash": header.pixels_hash.hex(),
    }
