"""Anchors: their bits recounted from the files, their delay, their colours; lossless pictures and excerpts."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from fvc.codec.base.errors import FvcError, InputError, OptionError
from fvc.codec.media.video import VideoReader
from fvc.evaluation import ffmpeg
from fvc.evaluation.compare.anchor import Encoded
from fvc.evaluation.compare.anchors import anchors
from fvc.evaluation.compare.excerpt import shortened
from fvc.evaluation.compare.ffmpeg_anchor import FfmpegAnchor
from fvc.evaluation.compare.options import MeasureOptions
from fvc.evaluation.pictures import Originals, read_pictures, write_lossless

FPS = Fraction(15)
ANCHORS: dict[str, FfmpegAnchor] = anchors("slow")  # type: ignore[assignment]
LOW_DELAY = [name for name in ANCHORS if name != "x265-ra"]


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """A bright square that moves over coloured waves: 12 pictures."""
    x, y = np.meshgrid(np.arange(256), np.arange(256))
    waves = np.stack([128 + 60 * np.sin(x / 17), 100 + 50 * np.cos(y / 23), 90 + 40 * np.sin((x + y) / 31)], -1)
    out = []
    for n in range(12):
        picture = np.roll(waves, 3 * n, axis=1).astype(np.uint8)
        cv2.rectangle(picture, (40 + 9 * n, 90), (90 + 9 * n, 150), (230, 40, 60), -1)
        out.append(picture)
    return out


@pytest.fixture(scope="module")
def original(pictures: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Originals:
    return written(pictures, tmp_path_factory.mktemp("original"))


def written(pictures: list[np.ndarray], folder: Path) -> Originals:
    return Originals(folder / "in.mkv", FPS, *write_lossless(folder / "in.mkv", pictures, FPS))


def middle(anchor: FfmpegAnchor) -> float:
    return anchor.ladder[3]


@pytest.fixture(scope="module")
def coded(original: Originals, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Encoded]:
    """Each anchor in the middle of its range."""
    folder = tmp_path_factory.mktemp("coded")
    return {name: anchor.encode(middle(anchor), original, folder) for name, anchor in ANCHORS.items()}


@pytest.fixture
def files(coded: dict[str, Encoded], tmp_path: Path) -> dict[str, Path]:
    for name, clip in coded.items():
        (tmp_path / f"{name}.mkv").write_bytes(clip.matroska)
    return {name: tmp_path / f"{name}.mkv" for name in coded}


UNITS = {  # encoder -> Annex B demuxer, and the types of NAL units that do not count (delimiters, SEI)
    "libx264": ("h264", lambda unit: unit[0] & 31, (6, 9)),
    "libx265": ("hevc", lambda unit: unit[0] >> 1 & 63, (35, 39, 40)),
    "libvvenc": ("vvc", lambda unit: unit[1] >> 3, (20, 23, 24)),
}


def recounted(path: Path, encoder: str) -> int:
    """Bytes that count, from what the ffmpeg program makes of the file: Annex B units, or whole packets."""
    if encoder not in UNITS:
        with av.open(str(path)) as container:
            return sum(packet.size for packet in container.demux(video=0))
    form, kind, skipped = UNITS[encoder]
    raw = path.with_suffix(f".{form}")
    ffmpeg.run(["-i", str(path), "-c", "copy", "-bsf:v", f"{form}_mp4toannexb", "-f", form, str(raw)], 60)
    units = [unit.rstrip(b"\0") for unit in raw.read_bytes().split(b"\0\0\1")]
    raw.unlink()
    return sum(len(unit) for unit in units if unit and kind(unit) not in skipped)


@pytest.mark.parametrize("name", ANCHORS)
class TestEncode:
    def test_bits_are_those_in_the_file(self, name: str, coded: dict[str, Encoded], files: dict[str, Path]) -> None:
        assert coded[name].frame_bytes.sum() == recounted(files[name], ANCHORS[name].encoder) > 0
        assert len(coded[name].frame_bytes) == 12

    def test_decodes_to_the_pictures_in_order(
        self, name: str, files: dict[str, Path], pictures: list[np.ndarray]
    ) -> None:
        decoded = list(read_pictures(files[name]))
        assert len(decoded) == len(pictures)
        for n, picture in enumerate(decoded):
            errors = [np.abs(picture.astype(int) - other).mean() for other in pictures]
            assert int(np.argmin(errors)) == n
            colours = np.abs(picture.mean((0, 1)) - pictures[n].mean((0, 1)))
            assert colours.max() < 2  # a wrong matrix or range shifts them by 5 and more

    def test_decodes_as_a_player_would(self, name: str, files: dict[str, Path]) -> None:
        with VideoReader(files[name]) as video:
            for frame, picture in zip(video.frames(FPS), read_pictures(files[name]), strict=True):
                assert np.abs(frame.rgb.astype(int) - picture).max() <= 1

    def test_the_ladder_begins_at_the_floor(self, name: str, original: Originals, tmp_path: Path) -> None:
        anchor = ANCHORS[name]
        rungs = [anchor.encode(value, original, tmp_path).frame_bytes.sum() for value in anchor.ladder[:3]]
        assert rungs == sorted(set(rungs))
        assert not list(tmp_path.iterdir())

    def test_one_intra_picture(self, name: str, files: dict[str, Path]) -> None:
        with av.open(str(files[name])) as container:
            keys = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
        assert keys == [True] + [False] * (len(keys) - 1)

    def test_settings_are_told(self, name: str) -> None:
        row = ANCHORS[name].described()
        assert "{q}" not in row["options"]
        assert all(ANCHORS[name].setting(value) in row["options"] for value in ANCHORS[name].ladder)
        assert row["note"]


def test_x265_has_a_constant_quantizer_at_its_floor() -> None:
    anchor = ANCHORS["x265"]
    assert [anchor.setting(value) for value in anchor.ladder[:2]] == ["qp 51", "crf 46"]
    floor, above = (anchor.options_at(value) for value in anchor.ladder[:2])
    assert (floor["qp"], floor.get("crf"), above["crf"], above.get("qp")) == ("51", None, "46", None)


@pytest.mark.parametrize("name", LOW_DELAY)
def test_low_delay_never_looks_ahead(
    name: str, coded: dict[str, Encoded], files: dict[str, Path], pictures: list[np.ndarray], tmp_path: Path
) -> None:
    """Packets come in the order of display, one for each picture, and the first are the same whatever follows."""
    packets = packets_of(files[name])
    assert len(packets) == len(pictures)
    times = [packet.pts for packet in packets]
    assert times == sorted(times)
    other = [*pictures[:9], *(255 - picture for picture in pictures[9:])]
    (tmp_path / "other").mkdir()
    again = ANCHORS[name].encode(middle(ANCHORS[name]), written(other, tmp_path / "other"), tmp_path)
    (tmp_path / "again.mkv").write_bytes(again.matroska)
    same = [bytes(a) == bytes(b) for a, b in zip(packets, packets_of(tmp_path / "again.mkv"), strict=True)]
    assert same[:9] == [True] * 9
    assert not same[9]


def test_random_access_does(files: dict[str, Path]) -> None:
    """So the test above can fail."""
    times = [packet.pts for packet in packets_of(files["x265-ra"])]
    assert times != sorted(times)


def packets_of(path: Path) -> list[av.Packet]:
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def test_same_pictures_same_bits(coded: dict[str, Encoded], original: Originals, tmp_path: Path) -> None:
    for name, anchor in ANCHORS.items():
        again = anchor.encode(middle(anchor), original, tmp_path)
        assert again.frame_bytes.tolist() == coded[name].frame_bytes.tolist()


def test_kept_and_found_again(coded: dict[str, Encoded], tmp_path: Path) -> None:
    coded["vp9"].save(tmp_path / "vp9.npz")
    again = Encoded.load(tmp_path / "vp9.npz")
    assert again.matroska == coded["vp9"].matroska
    assert np.array_equal(again.frame_bytes, coded["vp9"].frame_bytes)


def test_lossless(tmp_path: Path) -> None:
    noise = list(np.random.default_rng(1).integers(0, 256, (5, 256, 256, 3), np.uint8))
    count, digest = write_lossless(tmp_path / "noise.mkv", iter(noise), Fraction(30000, 1001))
    assert count == 5
    assert digest == hashlib.sha256(np.stack(noise).tobytes()).hexdigest()
    assert np.array_equal(list(read_pictures(tmp_path / "noise.mkv")), noise)


class TestExcerpt:
    def test_the_first_second(self, clip: Path, tmp_path: Path) -> None:
        short = shortened(clip, 1, tmp_path)
        with VideoReader(clip) as whole, VideoReader(short) as video:
            assert video.duration == pytest.approx(1, abs=0.3)
            assert video.has_audio
            for a, b in zip(video.frames(Fraction(5)), whole.frames(Fraction(5)), strict=False):
                assert np.array_equal(a.rgb, b.rgb)

    def test_not_a_video(self, tmp_path: Path) -> None:
        (tmp_path / "text.mp4").write_text("this is a text\n" * 40)
        with pytest.raises(InputError, match=r"text\.mp4"):
            shortened(tmp_path / "text.mp4", 1, tmp_path)


def test_an_encoder_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = FfmpegAnchor("x", "x", "X", "libx999", "crf", (1,), {}, "")
    assert "has no libx999" in str(absent.why_unavailable())
    assert not any(anchor.why_unavailable() for anchor in ANCHORS.values())
    monkeypatch.setattr(ffmpeg, "why_missing", lambda kind, name: f"no {name}" if name == "libvvenc" else None)
    with pytest.raises(OptionError, match=r"libvvenc; or leave it out"):
        MeasureOptions()


def test_what_ffmpeg_says_is_one_line(original: Originals, tmp_path: Path) -> None:
    wrong = FfmpegAnchor("x", "x", "X", "libx264", "crf", (1,), {"crf": "{q}", "preset": "none"}, "")
    with pytest.raises(FvcError, match=r"^ffmpeg: \S.*$"):
        wrong.encode(1, original, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_run_that_hangs_is_ended(tmp_path: Path) -> None:
    with pytest.raises(FvcError, match="hung 3 times"):
        ffmpeg.run(["-re", "-f", "lavfi", "-i", "testsrc=d=60", "-f", "null", "-"], 0.3)
