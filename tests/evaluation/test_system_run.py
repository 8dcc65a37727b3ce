"""One system on one clip: the same bytes as `fvc encode`, and the same pictures as `fvc decode`."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from conftest import write_clip

import fvc
from fvc.codec.decoder import Decoder
from fvc.codec.media.video import VideoReader
from fvc.codec.options import EncoderOptions
from fvc.codec.source_builder import track_video
from fvc.codec.wire.bitstream import Packet
from fvc.codec.wire.container import StreamReader
from fvc.codec.wire.source_set import SourceSet
from fvc.evaluation.system_run import SystemRun
from fvc.models.inference.installed import InstalledModel
from fvc.models.presets import DEFAULT

FPS = 5


@pytest.fixture(scope="module")
def two_scenes(faces: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample, then its dark mirror image on another wall."""
    mirrored = [255 - (255 - frame[:, ::-1]) // 2 for frame in faces]
    return write_clip(tmp_path_factory.mktemp("clip") / "scenes.mp4", [*faces, *mirrored], FPS)


def decoded(stream: Path) -> Iterator[np.ndarray]:
    """The pictures of a file as a receiver has them."""
    source_set = SourceSet.parse(stream.with_suffix(".fvs").read_bytes())
    with open(stream, "rb") as file:
        reader = StreamReader(file)
        header = reader.header
        about = header.profile, header.fps
        decoder = Decoder(header, InstalledModel.of(header).renderer(source_set, *about, scenes=header.scenes))
        for packet in reader.packets():
            if isinstance(packet, Packet):
                yield decoder.decode(packet).rgb


def test_same_bytes_and_pictures_as_a_file(two_scenes: Path, tmp_path: Path) -> None:
    options = EncoderOptions(fps=FPS, audio_bitrate=None, canvas=False)
    with VideoReader(two_scenes) as video:
        clip = track_video(video, Fraction(FPS))
        run = SystemRun(video, clip, InstalledModel(DEFAULT), options)
        drawn = [run.draw(frame) for frame in video.frames(Fraction(FPS))]
        run.end()
    stream = tmp_path / "scenes.fvc"
    report = fvc.encode(two_scenes, stream, fps=FPS, audio_bitrate=None, canvas=False)
    assert len(clip.seen.cuts) == 1
    assert (run.stream_bytes, run.source_bytes) == (stream.stat().st_size, stream.with_suffix(".fvs").stat().st_size)
    assert 8 * sum(run.payload_bytes) / run.frames == pytest.approx(report["motion_bits_per_frame"], abs=0.05)
    assert report["keyframes"] == 2
    for ours, theirs in zip(drawn, decoded(stream), strict=True):
        assert np.array_equal(ours, theirs)


def test_pictures_on_demand_are_the_same(two_scenes: Path) -> None:
    options = EncoderOptions(fps=FPS, audio_bitrate=None, canvas=False)
    with VideoReader(two_scenes) as video:
        clip, model = track_video(video, Fraction(FPS)), InstalledModel(DEFAULT)
        whole, sparse = (SystemRun(video, clip, model, options) for _ in range(2))
        for frame in video.frames(Fraction(FPS)):
            picture, inputs = whole.draw(frame), sparse.send(frame)
            if frame.index % 4 == 0 and inputs is not None:
                assert np.array_equal(sparse.renderer.draw(inputs), picture)
    assert sparse.payload_bytes == whole.payload_bytes
