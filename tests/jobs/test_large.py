"""Pictures of 512x512: encoded, decoded, described, refused."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import LARGE_FRAMES, LARGE_INPUT, Encoded

import fvc
from fvc.codec.base.errors import OptionError, SourcesError
from fvc.codec.media.video import VideoReader
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.motion.sample import Profile
from fvc.codec.wire.source_set import SourceSet
from fvc.models.inference.installed import InstalledModel

FPS = 10


@pytest.fixture(scope="module")
def large(large_clip: Path) -> Encoded:
    stream = large_clip.with_suffix(".fvc")
    report = fvc.encode(large_clip, stream, fps=FPS, size=512, source_frames=2)
    return Encoded(large_clip, stream, stream.with_suffix(".fvs"), report)


def frames_of(path: Path) -> list[np.ndarray]:
    with VideoReader(path) as video:
        return [frame.rgb for frame in video.frames(Fraction(FPS))]


def test_motion_does_not_depend_on_the_size(large: Encoded, tmp_path: Path) -> None:
    small = fvc.encode(large.video, tmp_path / "small.fvc", fps=FPS, source_frames=2)
    assert small["motion_bits_per_frame"] == large.report["motion_bits_per_frame"]
    assert (small["picture_side"], large.report["picture_side"]) == (256, 512)
    header, packets = large.parsed()
    other = Encoded(large.video, tmp_path / "small.fvc", tmp_path / "small.fvs", small)
    assert packets[:LARGE_FRAMES] == other.parsed()[1][:LARGE_FRAMES]
    assert (header.side, other.parsed()[0].side) == (512, 256)
    assert bytes(header)[:-20] != bytes(other.parsed()[0])[:-20]


def test_pictures_are_those_of_256_with_more_detail(large: Encoded, tmp_path: Path) -> None:
    report = fvc.decode(large.stream, out=tmp_path / "large.mp4")
    assert report["size"] == [512, 512]
    fvc.encode(large.video, tmp_path / "small.fvc", fps=FPS, source_frames=2)
    fvc.decode(tmp_path / "small.fvc", out=tmp_path / "small.mp4")
    for a, b in zip(frames_of(tmp_path / "large.mp4"), frames_of(tmp_path / "small.mp4"), strict=True):
        assert np.abs(cv2.resize(a, (256, 256), interpolation=cv2.INTER_AREA).astype(int) - b).mean() < 4


def test_the_first_picture_is_small_and_refined(large: Encoded) -> None:
    data = large.sources.read_bytes()
    whole = SourceSet.parse(data)
    assert (whole.side, whole.version, len(whole.coded)) == (512, 3, len(whole.pictures) + 1)
    preview = data[: len(whole.head) + len(whole.sections()[0])]
    assert len(preview) < 3000
    first = SourceSet.parse(preview, partial=True)
    assert (len(first.pictures), first.side, first.sources_hash) == (1, 512, whole.sources_hash)
    draw = InstalledModel.named().renderer(first, Profile.SUP, Fraction(FPS)).draw
    drawn = draw(DrawInputs.still(first.samples[0].only(("sup",))))
    better = InstalledModel.named().renderer(whole, Profile.SUP, Fraction(FPS)).draw
    refined = better(DrawInputs.still(whole.samples[0].only(("sup",))))
    assert drawn.shape == refined.shape == (512, 512, 3)
    assert np.abs(drawn.astype(int) - refined).mean() < 8


def test_whole_frames_and_pictures_as_sources(large: Encoded, tmp_path: Path) -> None:
    assert fvc.decode(large.stream, out=tmp_path / "full.mp4", canvas="full")["size"] == [LARGE_INPUT, LARGE_INPUT]
    folder = tmp_path / "pictures"
    fvc.encode(large.video, tmp_path / "png.fvc", sources_out=folder, fps=FPS, size=512, source_frames=1, canvas=False)
    notes: list[str] = []
    report = fvc.decode(tmp_path / "png.fvc", folder, tmp_path / "png.mp4", note=notes.append)
    assert (report["size"], notes) == ([512, 512], [])
    photo = tmp_path / "photo.png"
    picture = cv2.imread(str(folder / "source0.png"))
    cv2.imwrite(str(photo), cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA))
    with pytest.raises(SourcesError, match="not the sources"):
        fvc.decode(tmp_path / "png.fvc", photo, tmp_path / "photo.mp4")
    foreign: dict[str, Any] = {"allow_foreign_sources": True}
    assert fvc.decode(tmp_path / "png.fvc", photo, tmp_path / "photo.mp4", **foreign)["size"] == [256, 256]


def test_networks_without_512_draw_256(large: Encoded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fvc.models.inference.installed.draws_large", lambda _: False)
    assert fvc.decode(large.stream, out=tmp_path / "small.mp4")["size"] == [256, 256]


def test_what_info_says(large: Encoded, encoded: Encoded) -> None:
    assert [fvc.info(path)["picture_side"] for path in (large.stream, large.sources, encoded.stream)] == [512, 512, 256]
    assert [fvc.info(path)["version"] for path in (large.sources, encoded.sources)] == [3, 2]


def test_small_faces_are_not_enlarged(clip: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    report = fvc.encode(clip, tmp_path / "talk.fvc", size=512, fps=FPS, source_frames=1, note=notes.append)
    assert report["picture_side"] == 256
    assert any("fewer than `size` 512; it is coded with 256" in note for note in notes)


def test_refusals(large: Encoded, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="must be 256 or 512"):
        fvc.encode(large.video, tmp_path / "x.fvc", size=384)
    with pytest.raises(OptionError, match="does not go with kbps"):
        fvc.encode(large.video, tmp_path / "x.fvc", size=512, kbps=20)
    with pytest.raises(OptionError, match="preset tiny draws 256 pixels only"):
        fvc.encode(large.video, tmp_path / "x.fvc", size=512, preset="tiny")
    assert list(tmp_path.iterdir()) == []
