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
from fvc.evaluation.compare.rates import wire_bits
from fvc.evaluation.pictures import write_lossless
from fvc.evaluation.system_run import SystemRun
from fvc.models.inference.installed import InstalledModel
from fvc.models.presets import DEFAULT


@dataclass(frozen=True)
class FvcStream:
    """One stream of a clip, decoded.

    Attributes:
        frames: number of frames.
        pictures: file of the drawn pictures, for `pictures.read_pictures`; digest: SHA-256 of their pixels.
        payload_bytes, packet_bytes: of each frame, without and with packet headers.
        stream_bytes, source_bytes: sizes of the .fvc and the .fvs, without sound and canvas.
    """

    frames: int
    pictures: Path
    digest: str
    payload_bytes: list[int]
    packet_bytes: list[int]
    stream_bytes: int
    source_bytes: int

    def bits(self, frames: int, frames_per_packet: int) -> dict[str, int]:
        """Bits that a receiver needs for the first `frames`, by what counts.

        "motion": the entropy-coded motion alone. "stream": the .fvc, with header, index and end even of a part.
        "all": the .fvc and the .fvs. "wire": packets and source pictures in datagrams, with RTP, UDP and IPv4 headers.
        """
        stream = self.stream_bytes - sum(self.packet_bytes[frames:])
        datagrams = wire_bits(self.packet_bytes[:frames], frames_per_packet) + wire_bits([self.source_bytes])
        return {
            "motion": 8 * sum(self.payload_bytes[:frames]),
            "stream": 8 * stream,
            "all": 8 * (stream + self.source_bytes),
            "wire": datagrams,
        }


def run_fvc(
    video: VideoReader, clip: TrackedClip, options: EncoderOptions, path: Path, progress: Progress
) -> FvcStream:
    """Codes and draws a clip with the default networks; the pictures go to `path`. Raises FvcError."""
    progress("fvc: sources", 0, None)
    run = SystemRun(video, clip, InstalledModel(DEFAULT), options)

    def drawn() -> Iterator[np.ndarray]:
        for frame in video.frames(clip.rate):
            yield run.draw(frame)
            progress("fvc", run.frames, clip.seen.frames)
        run.end()

    count, digest = write_lossless(path, drawn(), clip.rate)
    return FvcStream(count, path, digest, run.payload_bytes, run.packet_bytes, run.stream_bytes, run.source_bytes)
