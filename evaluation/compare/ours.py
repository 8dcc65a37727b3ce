"""fvc's side of a measurement: a video through the file that `fvc encode` writes, and back into pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import fvc
from fvc.codec.decoder import Decoder
from fvc.codec.errors import FvcError
from fvc.codec.wire.bitstream import Crop, Kind, Packet
from fvc.evaluation.compare.pictures import write_lossless
from fvc.jobs.paths import Note, Progress, open_stream, read_source_set
from fvc.models.installed import InstalledModel


@dataclass(frozen=True)
class Run:
    """One profile's stream, decoded. `payload`, `packets`: bytes of each frame without and with packet heads."""

    profile: str
    crop: Crop
    frames: int
    pictures: Path
    digest: str
    payload: list[int]
    packets: list[int]
    file_bytes: int
    source_bytes: int


def run_fvc(source: Path, profile: str, work: Path, frames: Path, note: Note, progress: Progress, **told: Any) -> Run:
    """`told`: options of `fvc.encode`. Encodes to files in `work`, decodes from them into `frames`. Raises FvcError."""
    stream, sources = work / f"{profile}.fvc", work / f"{profile}.fvs"
    fvc.encode(
        source,
        stream,
        sources_out=sources,
        profile=profile,
        audio_bitrate=None,
        canvas=False,
        **told,
        note=note,
        progress=lambda stage, done, total: progress(f"fvc: {stage}", done, total),
    )
    pictures, payload, packets = frames / f"fvc-{profile.replace('+', '-')}.mkv", list[int](), list[int]()

    def decoded() -> Iterator[np.ndarray]:
        with open_stream(stream) as reader:
            decoder = _decoder(reader.header, sources)
            for packet in reader.packets():
                if not isinstance(packet, Packet) or packet.kind == Kind.AUDIO:
                    raise FvcError(f"{source.name}: the stream that was just written is damaged")
                payload.append(len(packet.payload))
                packets.append(len(bytes(packet)))
                progress("fvc: decoding", len(payload), None)
                yield decoder.decode(packet).rgb

    with open_stream(stream) as reader:
        crop = reader.header.crop
    count, digest = write_lossless(pictures, decoded(), told["fps"])
    sizes = stream.stat().st_size, sources.stat().st_size
    return Run(profile, crop, count, pictures, digest, payload, packets, *sizes)


def _decoder(header: Any, sources: Path) -> Decoder:
    """As `fvc decode` makes it."""
    source_set = read_source_set(sources)
    model = InstalledModel.of(header.model_hash)
    return Decoder(header, model.renderer(source_set, header.profile, header.fps))
