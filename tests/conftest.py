"""Shared by all tests: one short encoded clip, clips made of its frames, and the command line run in this process."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

import fvc
from fvc import __main__ as cli
from fvc.codec.media.video import VideoReader
from fvc.codec.media.video_writer import VideoWriter
from fvc.codec.wire.bitstream import Header, Packet
from fvc.codec.wire.container import StreamReader, StreamWriter

if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it, and what the tests start would too

pytest_plugins = ["training_fixtures", "report_fixtures"]
SAMPLE = Path(__file__).parent.parent / "samples" / "astronaut.mp4"
SECONDS, FPS = 3, 10
LARGE_FRAMES, LARGE_INPUT = 10, 960  # frames, and pixels of a side, of `large_clip`; its crop has 575


@dataclass(frozen=True)
class Encoded:
    """A clip, and the stream, sources and report that `fvc.encode` made from it."""

    video: Path
    stream: Path
    sources: Path
    report: dict[str, Any]

    def parsed(self) -> tuple[Header, list[Packet]]:
        """The stream's header and all its packets."""
        with open(self.stream, "rb") as file:
            reader = StreamReader(file)
            return reader.header, [item for item in reader.packets() if isinstance(item, Packet)]


@pytest.fixture(scope="session")
def large_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first frames of the sample, enlarged, without sound."""
    path = tmp_path_factory.mktemp("large") / "talk.mp4"
    with VideoReader(SAMPLE) as video, VideoWriter(path, LARGE_INPUT, LARGE_INPUT, Fraction(FPS)) as writer:
        for frame in video.frames(Fraction(FPS), only=range(LARGE_FRAMES)):
            writer.write(cv2.resize(frame.rgb, (LARGE_INPUT, LARGE_INPUT), interpolation=cv2.INTER_CUBIC))
    return path


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first seconds of the shipped sample, sound included."""
    path = tmp_path_factory.mktemp("clip") / "talk.mp4"
    with av.open(str(SAMPLE)) as source, av.open(str(path), "w") as target:
        kept = (source.streams.video[0], source.streams.audio[0])
        streams = {stream.index: target.add_stream_from_template(stream) for stream in kept}
        for packet in source.demux(*kept):
            if packet.dts is not None and packet.dts * packet.time_base < SECONDS:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    return path


@pytest.fixture(scope="session")
def encoded(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Encoded:
    """The clip, encoded once for all tests."""
    stream = tmp_path_factory.mktemp("encoded") / "talk.fvc"
    report = fvc.encode(clip, stream, fps=FPS, profile="sup+unsup+expr", keyframe_interval=0.7)
    return Encoded(clip, stream, stream.with_suffix(".fvs"), report)


@pytest.fixture(scope="session")
def faces(clip: Path) -> list[np.ndarray]:
    """A few frames of the clip, uint8 [480, 480, 3]."""
    with VideoReader(clip) as video:
        return [frame.rgb for frame in video.frames(Fraction(2))]


def write_clip(path: Path, frames: Sequence[np.ndarray], fps: int = 5) -> Path:
    """A silent MP4 of RGB arrays."""
    height, width = frames[0].shape[:2]
    with VideoWriter(path, width, height, Fraction(fps)) as video:
        for frame in frames:
            video.write(frame)
    return path


def write_stream(path: Path, header: Header, packets: Sequence[Packet]) -> Path:
    """A complete .fvc of these packets."""
    with open(path, "wb") as file:
        writer = StreamWriter(file, header)
        for packet in packets:
            writer.write(packet)
        writer.end()
    return path


def frames_of(path: Path, fps: float = FPS) -> list[np.ndarray]:
    with VideoReader(path) as video:
        return [frame.rgb for frame in video.frames(Fraction(fps))]


def sound_of(path: Path) -> np.ndarray:
    """Mono samples at 8 kHz."""
    resampler = av.AudioResampler("flt", "mono", 8000)
    with av.open(str(path)) as file:
        frames = [out for frame in file.decode(audio=0) for out in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


@pytest.fixture
def notes() -> list[str]:
    return []


@dataclass(frozen=True)
class Result:
    """The result of a run of the command line: exit code, and the texts on stdout and stderr."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """`run("encode", path, ...)` calls the entry point; output of native code is captured too."""

    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["fvc", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        return Result(int(exit_.value.code or 0), *capfd.readouterr())

    return call
