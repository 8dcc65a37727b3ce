"""Anchors: their bits recounted from the files, their delay, their colours; lossless pictures and excerpts."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from fvc.codec.base.cache import Cache
from fvc.codec.base.errors import InputError
from fvc.codec.base.reporting import silent
from fvc.codec.media.video import VideoReader
from fvc.evaluation.compare.anchor import Encoded
from fvc.evaluation.compare.anchors import anchors
from fvc.evaluation.compare.curve import Curve
from fvc.evaluation.compare.excerpt import shortened
from fvc.evaluation.compare.ffmpeg_anchor import FfmpegAnchor, counted_bytes
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
def coded(pictures: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Encoded]:
    """Each anchor in the middle of its range."""
    folder = tmp_path_factory.mktemp("coded")
    return {name: anchor.encode(anchor.knob.nearest(35), pictures, FPS, folder) for name, anchor in ANCHORS.items()}


@pytest.fixture
def files(coded: dict[str, Encoded], tmp_path: Path) -> dict[str, Path]:
    for name, clip in coded.items():
        (tmp_path / f"{name}.mkv").write_bytes(clip.matroska)
    return {name: tmp_path / f"{name}.mkv" for name in coded}


def parameter_sets(encoder: str, extradata: bytes) -> int:
    """Bytes of VPS, SPS and PPS in an avcC (ISO/IEC 14496-15, 5.3.3) or hvcC (8.3.3) record."""
    total = 0
    if encoder == "libx264":
        at = 5
        for mask in (31, 255):
            count, at = extradata[at] & mask, at + 1
            for _ in range(count):
                (size,) = struct.unpack_from(">H", extradata, at)
                total, at = total + size, at + 2 + size
    elif encoder == "libx265":
        arrays, at = extradata[22], 23
        for _ in range(arrays):
            kind, count = extradata[at] & 63, struct.unpack_from(">H", extradata, at + 1)[0]
            at += 3
            for _ in range(count):
                (size,) = struct.unpack_from(">H", extradata, at)
                total, at = total + (size if kind in (32, 33, 34) else 0), at + 2 + size
    return total


def recounted(path: Path, encoder: str) -> int:
    """Bytes that count, from the container: parameter sets and length-prefixed slices, or whole packets."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [bytes(packet) for packet in container.demux(stream) if packet.size]
        extradata = stream.codec_context.extradata or b""
    if encoder not in ("libx264", "libx265"):
        return sum(map(len, packets))
    total = parameter_sets(encoder, extradata)
    for packet in packets:
        at = 0
        while at < len(packet):
            (size,) = struct.unpack_from(">I", packet, at)
            head = packet[at + 4]
            is_sei = (head & 31) == 6 if encoder == "libx264" else (head >> 1 & 63) in (39, 40)
            total, at = total + (0 if is_sei else size), at + 4 + size
    return total


@pytest.mark.parametrize("name", ANCHORS)
class TestEncode:
    def test_bits_are_those_in_the_file(self, name: str, coded: dict[str, Encoded], files: dict[str, Path]) -> None:
        assert coded[name].bits == 8 * recounted(files[name], ANCHORS[name].encoder) > 0

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

    def test_the_floor_is_the_lowest(
        self, name: str, coded: dict[str, Encoded], pictures: list[np.ndarray], tmp_path: Path
    ) -> None:
        floor = ANCHORS[name].encode(None, pictures, FPS, tmp_path)
        assert floor.bits < coded[name].bits
        near = ANCHORS[name].encode(ANCHORS[name].knob.nearest(ANCHORS[name].knob.worst - 2), pictures, FPS, tmp_path)
        assert floor.bits <= near.bits < coded[name].bits
        assert not list(tmp_path.iterdir())

    def test_one_intra_picture(self, name: str, files: dict[str, Path]) -> None:
        with av.open(str(files[name])) as container:
            keys = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
        assert keys == [True] + [False] * (len(keys) - 1)

    def test_settings_say_what_is_searched(self, name: str) -> None:
        row = ANCHORS[name].described()
        assert "{q}" not in row["options"]
        assert "searched" in row["options"]
        assert row["note"]


def test_between_crf_51_and_the_floor(pictures: list[np.ndarray], tmp_path: Path) -> None:
    """x265's adaptive quantization is taken back there, then come constant QPs."""
    anchor = ANCHORS["x265"]
    assert anchor.setting(51.75) == "crf 51 aq-strength 0.25"
    assert [anchor.setting(value) for value in (52, 52.05, 53, 54, None)] == [
        "crf 51 aq-strength 0",
        "qp 49",
        "qp 50",
        "qp 51",
        "qp 51",
    ]
    rates = [anchor.encode(value, pictures, FPS, tmp_path).bits for value in (52.05, 53, None)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < rates[0]
    floor, last, coarser = (anchor.encode(value, pictures, FPS, tmp_path).bits for value in (None, 51, 51.75))
    assert floor < coarser < last


@pytest.mark.parametrize("name", LOW_DELAY)
def test_low_delay_never_waits(name: str, files: dict[str, Path], pictures: list[np.ndarray]) -> None:
    """One packet for each picture, coded in the order of display."""
    with av.open(str(files[name])) as container:
        times = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert len(times) == len(pictures)
    assert times == sorted(times)


def test_same_pictures_same_bits(coded: dict[str, Encoded], pictures: list[np.ndarray], tmp_path: Path) -> None:
    for name, anchor in ANCHORS.items():
        again = anchor.encode(anchor.knob.nearest(35), pictures, FPS, tmp_path)
        assert again.frame_bytes.tolist() == coded[name].frame_bytes.tolist()


def test_kept_and_found_again(coded: dict[str, Encoded], tmp_path: Path) -> None:
    coded["vp9"].save(tmp_path / "vp9.npz")
    again = Encoded.load(tmp_path / "vp9.npz")
    assert (again.matroska, again.bits) == (coded["vp9"].matroska, coded["vp9"].bits)


def test_start_codes_and_sei_do_not_count() -> None:
    slice_, sei = b"\x41abcd", b"\x06signature"
    assert counted_bytes("libx264", b"\0\0\0\1" + sei + b"\0\0\1" + slice_) == len(slice_)
    hevc_sei = bytes([39 << 1, 1]) + b"signature"
    assert counted_bytes("libx265", b"\0\0\0\1" + hevc_sei + b"\0\0\0\1\x02\x01slice") == 7
    assert counted_bytes("libsvtav1", b"\x12\x00" + b"\x32\x02ab") == 4
    assert counted_bytes("libvpx-vp9", b"frame") == 5


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


def test_vp9_between_whole_steps(pictures: list[np.ndarray], tmp_path: Path) -> None:
    """Half a step is the coarser whole one with another loop filter: more bits than that."""
    anchor = ANCHORS["vp9"]
    assert (anchor.setting(60.5), anchor.setting(60), anchor.setting(None)) == (
        "crf 61 sharpness 1",
        "crf 60",
        "crf 63",
    )
    assert "sharpness" not in anchor.options_at(61)
    half, coarser = (anchor.encode(value, pictures, FPS, tmp_path).bits for value in (60.5, 61))
    assert half > coarser


def test_between_whole_steps_only_where_they_miss(tmp_path: Path) -> None:
    """Steps of 14 %: a rate in the middle of one takes half a step, one near its ends a whole one."""
    clip = Originals(tmp_path, FPS, 15, "")

    class Steps(FfmpegAnchor):
        def encode(self, value: float | None, *_: object) -> Encoded:
            return Encoded(b"", np.array([round(1000 * 1.14 ** (63 - (63 if value is None else value)))]))

    curve = Curve(Steps(**vars(ANCHORS["vp9"])), clip, tmp_path, Cache(tmp_path / "cache"), silent)
    middle, near = 8 * 1.14**4.5, 8 * 1.14**20.2
    curve.reach({middle, near, 1.0})
    assert curve.found == {middle: 58.5, near: 43, 1.0: None}
    assert abs(curve.kbps(58.5) / middle - 1) < 0.05


def test_an_encoder_that_is_not_there_is_named() -> None:
    absent = FfmpegAnchor("x", "x", "X", "libx999", {}, ANCHORS["x264"].knob, "")
    assert absent.why_unavailable() == "this PyAV has no libx999"
    assert not any(anchor.why_unavailable() for anchor in ANCHORS.values())


def test_svt_av1_prints_nothing(tmp_path: Path) -> None:
    """In a process of its own: the library reads its settings once, and other tests have set them."""
    script = (
        "import sys; from fractions import Fraction; from pathlib import Path; import numpy as np\n"
        "from fvc.evaluation.compare.anchors import anchors\n"
        "grey = [np.full((256, 256, 3), level, np.uint8) for level in (10, 20)]\n"
        "anchors()['svtav1'].encode(40, grey, Fraction(15), Path(sys.argv[1]))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True, timeout=120
    )
    assert run.stdout + run.stderr == ""
