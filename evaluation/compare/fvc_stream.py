"""fvc's side of a measurement: codes a clip into the bytes of a stream, and decodes these into pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fvc.codec.base.reporting import Progress
from fvc.codec.media.video import VideoReader
from fvc.codec.options import EncoderOptions
from fvc.codec.source_builder import TrackedClip
from fvc.evaluation.pictures import write_lossless
from fvc.evaluation.system_run import SystemRun
from fvc.models.installed import InstalledModel
from fvc.models.presets import DEFAULT


@dataclass(frozen=True)
class FvcStream:
    """One profile's stream of a clip, decoded.

    Attributes:
        profile: its label.
        frames: number of frames.
        pictures: file of the drawn pictures, for `pictures.read_pictures`; digest: SHA-256 of their pixels.
        payload_bytes, packet_bytes: of each frame, without and with packet headers.
        stream_bytes, source_bytes: sizes of the .fvc and the .fvs, without sound and canvas.
    """

    profile: str
    frames: int
    pictures: Path
    digest: str
    payload_bytes: list[int]
    packet_bytes: list[int]
    stream_bytes: int
    source_bytes: int


def run_fvc(
    video: VideoReader, clip: TrackedClip, options: EncoderOptions, folder: Path, progress: Progress
) -> FvcStream:
    """Codes and draws a clip with the default networks; the pictures go into `folder`. Raises FvcError."""
    progress("fvc: sources", 0, None)
    run = SystemRun(video, clip, InstalledModel(DEFAULT), options)
    path = folder / f"fvc-{options.profile.replace('+', '-')}.mkv"

    def drawn() -> Iterator[np.ndarray]:
        for frame in video.frames(clip.rate):
            yield run.draw(frame)
            progress("fvc", run.frames, clip.seen.frames)
        run.end()

    count, digest = write_lossless(path, drawn(), clip.rate)
    return FvcStream(
        options.profile, count, path, digest, run.payload_bytes, run.packet_bytes, run.stream_bytes, run.source_bytes
    )
