"""Frames in: the grid of time, every way in which a container bends a frame, and files that are not videos."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from video_support import H, W, assert_levels, audio_only, corner, grey, levels, make

from fvc.codec.base.errors import FvcError, InputError, UsageError
from fvc.codec.media.video import VideoReader

STEPS = [20 * i + 10 for i in range(10)]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.ts"])
def test_own_rate_gives_every_frame_once(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / name, grey(STEPS), codec="mpeg4" if name == "a.avi" else "libx264")
    assert_levels(levels(path, 25), STEPS)


def test_lower_and_higher_rate(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", grey(STEPS), rate=30)
    assert_levels(levels(path, 15), STEPS[::2])
    assert_levels(levels(path, 60), np.repeat(STEPS, 2).tolist())
    with VideoReader(path) as reader:
        frames = list(reader.frames(Fraction(60)))
        assert frames[0].rgb is frames[1].rgb is not frames[2].rgb


@pytest.mark.parametrize("rate", [Fraction(60000, 1001), Fraction(30000, 1001), Fraction(24000, 1001)])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_broadcast_rates_do_not_drift(tmp_path: Path, rate: Fraction, name: str) -> None:
    path = make(tmp_path / name, grey([i * 2 + 10 for i in range(100)]), rate=rate)
    assert_levels(levels(path, rate), [i * 2 + 10 for i in range(100)])
    with VideoReader(path) as reader:
        assert abs(reader.source_fps - rate) < Fraction(1, 1000)
        assert reader.duration == pytest.approx(float(100 / rate), abs=0.002)


@pytest.mark.parametrize("start", [0, 700])
def test_variable_rate_shows_the_last_frame_due(tmp_path: Path, start: int) -> None:
    path = make(tmp_path / "a.mkv", grey([20, 80, 140, 200]), pts=[start + t for t in (0, 100, 450, 480)])
    found = levels(path, 20)
    assert_levels(found[:10], [20, 20] + [80] * 7 + [140])
    assert len(found) == 11 or set(np.round(found[10:], -1)) == {200}
    assert found[10] == pytest.approx(200, abs=2)
    with VideoReader(path) as reader:
        assert reader.start == Fraction(start, 1000)


def test_raw_stream_without_time_stamps(tmp_path: Path) -> None:
    path = make(tmp_path / "a.h264", grey(STEPS))
    assert_levels(levels(path, 25), STEPS)


def test_jumping_clock_is_bridged(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mkv", grey([20, 80, 140, 200]), pts=[0, 40, 900_000, 900_040], rate=25)
    assert 4 <= len(levels(path, 25)) <= 6


def test_frames_twice_are_identical_and_may_be_left_early(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", [np.random.default_rng(i).integers(0, 255, (H, W, 3), np.uint8) for i in range(6)])
    with VideoReader(path) as reader:
        unfinished = reader.frames(Fraction(25))
        next(unfinished)
        first, second = ([f.rgb for f in reader.frames(Fraction(25))] for _ in range(2))
        assert len(first) == 6
        assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert list(unfinished) == []


@pytest.mark.parametrize("fps", [0, -1, 1000])
def test_rates_out_of_range(tmp_path: Path, fps: int) -> None:
    with VideoReader(make(tmp_path / "a.mp4", grey([9]))) as reader, pytest.raises(UsageError):
        reader.frames(Fraction(fps))


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("hflip", [False, True])
def test_display_matrix_is_applied(tmp_path: Path, turns: int, hflip: bool) -> None:
    stored = corner()
    path = make(tmp_path / "a.mp4", [stored] * 2, setup=lambda s: s.set_display_rotation(90 * turns, hflip=hflip))
    shown = np.rot90(stored, turns)
    if hflip:
        shown = shown[:, ::-1]
    with VideoReader(path) as reader:
        assert (reader.height, reader.width) == shown.shape[:2]
        rgb = next(reader.frames(Fraction(25))).rgb
    assert np.abs(rgb.astype(int) - shown).mean() < 6


def test_phone_matrix_turns_clockwise(tmp_path: Path) -> None:
    matrix = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]  # what phones write for an upright clip
    path = make(tmp_path / "a.mp4", [corner()] * 2, setup=lambda s: s.set_display_matrix(matrix))
    with VideoReader(path) as reader:
        rgb = next(reader.frames(Fraction(25))).rgb
    assert np.abs(rgb.astype(int) - np.rot90(corner(), -1)).mean() < 6


@pytest.mark.parametrize(("aspect", "size"), [(Fraction(2), (128, 48)), (Fraction(1, 2), (64, 96))])
def test_pixels_become_square(tmp_path: Path, aspect: Fraction, size: tuple[int, int]) -> None:
    def setup(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = aspect

    path = make(tmp_path / "a.mp4", [corner()] * 2, setup=setup)
    with VideoReader(path) as reader:
        assert (reader.width, reader.height) == size
        rgb = next(reader.frames(Fraction(25))).rgb
    assert np.abs(rgb.astype(int) - corner(size[::-1])).mean() < 8


@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv422p", "yuv444p", "gray", "yuva420p", "rgb24", "rgb48be"])
def test_pixel_formats(tmp_path: Path, pix_fmt: str) -> None:
    name, codec = ("a.mov", "png") if "rgb" in pix_fmt else ("a.mkv", "ffv1")
    path = make(tmp_path / name, [corner((49, 63))] * 2, codec=codec, pix_fmt=pix_fmt)
    expected = corner((49, 63))
    if pix_fmt == "gray":
        expected = np.repeat(cv2.cvtColor(expected, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    with VideoReader(path) as reader:
        assert (reader.width, reader.height) == (63, 49)
        rgb = next(reader.frames(Fraction(25))).rgb
    assert np.abs(rgb.astype(int) - expected).mean() < 5


@pytest.mark.parametrize(
    ("space", "full", "yuv", "size"),
    [
        (1, False, (63, 102, 240), (H, W)),  # red, by the tables of BT.709 and BT.601
        (6, False, (81, 90, 240), (H, W)),
        (5, False, (81, 90, 240), (H, W)),
        (1, True, (54, 99, 255), (H, W)),
        (5, True, (76, 85, 255), (H, W)),
        (2, False, (81, 90, 240), (H, W)),  # untagged
        (2, False, (63, 102, 240), (720, 1280)),
    ],
)
def test_colour_matrix_and_range(
    tmp_path: Path, space: int, full: bool, yuv: tuple[int, int, int], size: tuple[int, int]
) -> None:
    def setup(stream: Any) -> None:
        stream.codec_context.colorspace, stream.codec_context.color_range = space, 2 if full else 1

    planes = np.concatenate([np.full(size, level, np.uint8) for level in yuv]).reshape(3, *size)
    frame = av.VideoFrame.from_ndarray(planes, "yuv444p")
    frame.colorspace, frame.color_range = space, 2 if full else 1
    path = make(tmp_path / "a.mp4", [frame], pix_fmt="yuv444p", setup=setup)
    with VideoReader(path) as reader:
        rgb = next(reader.frames(Fraction(25))).rgb
    assert np.abs(rgb.reshape(-1, 3).astype(int) - (255, 0, 0)).max() <= 3


def test_size_that_changes_midway(tmp_path: Path) -> None:
    small, large = make(tmp_path / "s.h264", grey([50] * 5)), make(tmp_path / "l.h264", grey([200] * 5, (96, 128)))
    path = tmp_path / "a.h264"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    found = levels(path, 25)
    assert len(found) == 10
    assert found[-1] == pytest.approx(200, abs=2)


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "libx264"), ("a.webm", "libvpx"), ("a.mp4", "libx264")])
def test_cut_or_damaged_file_gives_what_is_left(tmp_path: Path, name: str, codec: str) -> None:
    noise = [np.random.default_rng(i).integers(0, 255, (H, W, 3), np.uint8) for i in range(40)]
    path = make(tmp_path / name, noise, codec=codec, options={"movflags": "faststart"} if name == "a.mp4" else None)
    data = path.read_bytes()
    cut = tmp_path / f"cut{path.suffix}"
    cut.write_bytes(data[: len(data) * 6 // 10])
    with VideoReader(cut) as reader:
        assert 10 <= len(list(reader.frames(Fraction(25)))) < 40
    middle = len(data) // 2
    cut.write_bytes(data[:middle] + bytes(300) + data[middle + 300 :])
    with VideoReader(cut) as reader:
        assert 15 <= len(list(reader.frames(Fraction(25)))) <= 41


def no_index(path: Path) -> None:
    data = make(path, grey(STEPS)).read_bytes()
    path.write_bytes(data[: data.index(b"moov")])


@pytest.mark.parametrize(
    ("name", "fill", "fault"),
    [
        ("missing.mp4", lambda p: None, "no such file"),
        ("folder.mp4", lambda p: p.mkdir(), "is a directory"),
        ("empty.mp4", lambda p: p.touch(), "the file is empty"),
        ("text.mp4", lambda p: p.write_text("hello, this is a text\n" * 99), "not a video"),
        ("text.txt", lambda p: p.write_text("hello, this is a text\n" * 99), "not a video"),
        ("noise.mp4", lambda p: p.write_bytes(np.random.default_rng(0).bytes(9999)), "not a video"),
        ("pipe.mp4", lambda p: os.mkfifo(p), "not a file"),
        ("sound.mp4", audio_only, "no video stream"),
        ("cut.mp4", no_index, "not a video"),
        ("small.mp4", lambda p: make(p, grey([9], (8, 64))), "16 to 8192"),
        ("wide.mkv", lambda p: make(p, grey([9], (16, 9000)), codec="ffv1"), "16 to 8192"),
    ],
)
def test_what_is_not_a_video(tmp_path: Path, name: str, fill: Callable[[Path], Any], fault: str) -> None:
    fill(tmp_path / name)
    with pytest.raises(InputError) as caught:
        VideoReader(tmp_path / name)
    assert name in str(caught.value)
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


def test_name_that_looks_like_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "b.mp4", grey(STEPS)).rename("http:a.mp4")
    assert len(levels(Path("http:a.mp4"), 25)) == 10


@pytest.mark.parametrize("name", ["b.mp4", "b.mkv", "b.ts"])
def test_random_damage_raises_nothing_else(tmp_path: Path, name: str) -> None:
    data = make(tmp_path / name, [corner()] * 12).read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(50):
        broken = np.frombuffer(data, np.uint8).copy()
        broken[rng.integers(0, len(data), 20)] = rng.integers(0, 256, 20)
        (tmp_path / name).write_bytes(broken)
        try:
            with VideoReader(tmp_path / name) as reader:
                for frame in reader.frames(Fraction(5)):
                    if frame.index > 50:
                        break
        except FvcError as error:
            assert name in str(error)  # noqa: PT017
