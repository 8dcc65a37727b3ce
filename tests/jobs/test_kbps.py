"""`kbps` counts everything: motion, sound, source pictures, video layer."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import fvc
from fvc.codec.base.errors import OptionError
from fvc.codec.face.crop import cut
from fvc.codec.media.video import VideoReader
from fvc.codec.wire.bitstream import Crop, Kind, Packet
from fvc.codec.wire.container import StreamReader, StreamWriter

FPS = Fraction(10)


def files(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.suffix in (".fvc", ".fvs"))


def without_layer(stream: Path, out: Path) -> Path:
    """The same stream with its LAYER packets left out."""
    with open(stream, "rb") as file, open(out, "wb") as target:
        reader = StreamReader(file)
        writer = StreamWriter(target, reader.header)
        for packet in reader.packets():
            assert isinstance(packet, Packet)
            if packet.kind != Kind.LAYER:
                writer.write(packet)
        writer.end()
    return out


def crops(video: Path, report: dict[str, object]) -> list[np.ndarray]:
    square = report["crop"]
    assert isinstance(square, dict)
    with VideoReader(video) as reader:
        place = Crop(reader.width, reader.height, square["x"], square["y"], square["side"])
        return [cut(frame.rgb, place) for frame in reader.frames(FPS)]


def pictures(video: Path) -> list[np.ndarray]:
    with VideoReader(video) as reader:
        return [frame.rgb for frame in reader.frames(FPS)]


def test_a_layer_brings_the_picture_nearer_within_the_rate(clip: Path, tmp_path: Path) -> None:
    report = fvc.encode(clip, tmp_path / "a.fvc", kbps=60, fps=10, audio_bitrate=None, canvas=False)
    assert 8 * files(tmp_path) / report["duration_s"] / 1000 == pytest.approx(report["total_kbps"], abs=0.01)
    assert 0.8 * 60 < report["total_kbps"] <= 60
    assert report["layer_kbps"] > 10
    info = fvc.info(tmp_path / "a.fvc")
    assert info["layer_packets"] == report["frames"]
    assert info["layer_kbps"] == pytest.approx(report["layer_kbps"], rel=0.1)
    fused = fvc.decode(tmp_path / "a.fvc", out=tmp_path / "fused.mp4")
    assert fused["frames_with_layer"] == report["frames"]
    plain = without_layer(tmp_path / "a.fvc", tmp_path / "b.fvc")
    alone = fvc.decode(plain, tmp_path / "a.fvs", tmp_path / "alone.mp4")
    assert alone["frames_with_layer"] == 0
    errors = []
    for name in ("fused.mp4", "alone.mp4"):
        pairs = zip(pictures(tmp_path / name), crops(clip, report), strict=True)
        errors.append(np.mean([np.square(shown.astype(float) - real).mean() for shown, real in pairs]))
    assert errors[0] < 0.7 * errors[1]


def test_little_is_divided_too(clip: Path, tmp_path: Path) -> None:
    report = fvc.encode(clip, tmp_path / "a.fvc", kbps=12, layer=False, fps=10, audio_bitrate=None, canvas=False)
    assert 6 < report["total_kbps"] <= 12
    assert report["layer_kbps"] == 0
    assert len(report["source_pictures_bytes"]) < 4


def test_too_little_is_an_error_that_says_what_to_do(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"kbps 2: too little for this clip.*need about \d.*`motion_kbps`"):
        fvc.encode(clip, tmp_path / "a.fvc", kbps=2, fps=10)
    assert not list(tmp_path.iterdir())
    with pytest.raises(OptionError, match="without end"):
        fvc.open_encoder([], kbps=10)
