"""Frames in and out: the grid of time, every way in which a container bends a frame, and files that are not videos."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from fvc.codec.errors import FvcError, InputError, OutputError, UsageError
from fvc.codec.media.output import atomic_write, write_image
from fvc.codec.media.video import VideoReader, read_image
from fvc.codec.media.video_writer import VideoWriter

W, H = 64, 48


def grey(levels: Sequence[int], size: tuple[int, int] = (H, W)) -> list[np.ndarray]:
    """One even picture for each level."""
    return [np.full((*size, 3), level, np.uint8) for level in levels]


def corner(size: tuple[int, int] = (H, W)) -> np.ndarray:
    """White in the upper left quarter, red in the upper right, black below."""
    rgb = np.zeros((*size, 3), np.uint8)
    rgb[: size[0] // 2, : size[1] // 2] = 255
    rgb[: size[0] // 2, size[1] // 2 :, 0] = 255
    return rgb


def make(
    path: Path,
    frames: Sequence[Any],
    pts: Sequence[int] | None = None,
    rate: int | Fraction = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    setup: Callable[[Any], None] = lambda stream: None,
    options: dict[str, str] | None = None,
) -> Path:
    """A clip of RGB arrays or ready frames; `pts` are in milliseconds."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate, {"crf": "4", "g": "10"} if codec == "libx264" else {})
        first = frames[0]
        stream.width, stream.height = (
            first.shape[1::-1] if isinstance(first, np.ndarray) else (first.width, first.height)
        )
        stream.pix_fmt = pix_fmt
        setup(stream)
        if pts is not None:
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for i, item in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(item, "rgb24") if isinstance(item, np.ndarray) else item
            if pts is not None:
                frame.pts, frame.time_base = pts[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def levels(path: Path, fps: int | Fraction) -> list[int]:
    with VideoReader(path) as reader:
        frames = list(reader.frames(Fraction(fps)))
    assert [f.index for f in frames] == list(range(len(frames)))
    assert all(f.rgb.shape == (reader.height, reader.width, 3) and f.rgb.dtype == np.uint8 for f in frames)
    return [round(float(f.rgb.mean())) for f in frames]


def assert_levels(found: list[int], expected: Sequence[int]) -> None:
    assert len(found) == len(expected)
    assert np.abs(np.subtract(found, expected)).max() <= 2, (found, expected)


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


def audio_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", 48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), "fltp", "mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


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


# Pictures


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp", ".bmp"])
def test_read_image(tmp_path: Path, ending: str) -> None:
    rgb = corner((51, 63))
    cv2.imwrite(str(tmp_path / f"a{ending}"), rgb[..., ::-1])
    assert np.abs(read_image(tmp_path / f"a{ending}").astype(int) - rgb).mean() < 5


def test_images_with_alpha_grey_or_16_bits(tmp_path: Path) -> None:
    for i, pixels in enumerate((np.full((20, 30, 4), 99, np.uint8), np.full((20, 30), 99, np.uint8))):
        cv2.imwrite(str(tmp_path / f"{i}.png"), pixels)
        assert (read_image(tmp_path / f"{i}.png") == np.full((20, 30, 3), 99)).all()
    cv2.imwrite(str(tmp_path / "a.png"), np.full((20, 30), 99 << 8, np.uint16))
    assert (read_image(tmp_path / "a.png") == 99).all()


def test_image_is_turned_by_exif(tmp_path: Path) -> None:
    data = cv2.imencode(".jpg", corner()[..., ::-1])[1].tobytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    (tmp_path / "a.jpg").write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - np.rot90(corner(), -1)).mean() < 9
    with VideoReader(tmp_path / "a.jpg") as reader:  # a picture is a clip of one frame
        assert (reader.width, reader.height) == (H, W)


def test_avif_image(tmp_path: Path) -> None:
    make(tmp_path / "a.avif", [corner()], codec="libaom-av1" if "libaom-av1" in av.codecs_available else "libsvtav1")
    assert np.abs(read_image(tmp_path / "a.avif").astype(int) - corner()).mean() < 12


def test_what_is_not_an_image(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
    (tmp_path / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(999))) + chunk(b"IEND", b"")
    )
    (tmp_path / "text.png").write_text("hello\n" * 99)
    (tmp_path / "text.txt").write_text("hello\n" * 99)
    (tmp_path / "empty.png").touch()
    audio_only(tmp_path / "sound.mp4")
    for name in ("bomb.png", "text.png", "text.txt", "empty.png", "missing.png", "sound.mp4"):
        with pytest.raises(InputError, match=rf"^[^\n]*{name}: [^\n]+$"):
            read_image(tmp_path / name)


def test_write_image(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", corner((51, 63)))
    assert (read_image(tmp_path / "a.png") == corner((51, 63))).all()
    with pytest.raises(OutputError, match=r"no/a.png"):
        write_image(tmp_path / "no" / "a.png", corner())


# The writer


def write(path: Path, frames: Sequence[np.ndarray], **options: Any) -> None:
    height, width = frames[0].shape[:2]
    with VideoWriter(path, width, height, Fraction(30000, 1001), **options) as writer:
        for rgb in frames:
            writer.write(rgb)


def test_writer_round_trip(tmp_path: Path) -> None:
    ramp = cv2.resize(np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8), (W, H))
    write(tmp_path / "a.mp4", [ramp] * 20, metadata={"comment": "made by a test"})
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert (reader.width, reader.height, reader.has_audio) == (W, H, False)
        assert reader.source_fps == Fraction(30000, 1001)
        frames = list(reader.frames(Fraction(30000, 1001)))
    assert len(frames) == 20
    assert np.abs(frames[7].rgb.astype(int) - ramp).mean() < 3
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert container.metadata["comment"] == "made by a test"
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
        assert context.pix_fmt == "yuv420p"


def test_written_colours_use_the_matrix_of_bt709(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", [np.full((H, W, 3), (255, 0, 0), np.uint8)])
    with av.open(str(tmp_path / "a.mp4")) as container:
        planes = next(container.decode(video=0)).to_ndarray()
    assert [planes[:H].mean(), planes[H : H + H // 4].mean(), planes[H + H // 4 :].mean()] == pytest.approx(
        [63, 102, 240], abs=1.5
    )


def test_odd_size_is_padded(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", [corner((49, 63))] * 3)
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert (reader.width, reader.height) == (64, 50)
        rgb = next(reader.frames(Fraction(25))).rgb
    assert np.abs(rgb[:49, :63].astype(int) - corner((49, 63))).mean() < 6


def test_same_frames_same_bytes(tmp_path: Path) -> None:
    noise = [np.random.default_rng(i).integers(0, 255, (H, W, 3), np.uint8) for i in range(30)]
    tone = np.sin(np.arange(48_000) / 20, dtype=np.float32) / 2
    for name in ("a.mp4", "b.mp4"):
        with VideoWriter(tmp_path / name, W, H, Fraction(30), audio_rate=48_000) as writer:
            for i, rgb in enumerate(noise):
                writer.write(rgb)
                writer.write_audio(tone[i * 1600 : (i + 1) * 1600])
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_nothing_is_left_of_an_abandoned_file(tmp_path: Path) -> None:
    def fail() -> None:
        with VideoWriter(tmp_path / "a.mp4", W, H, Fraction(25)) as writer:
            writer.write(corner())
            assert len(list(tmp_path.glob(".a.mp4.*.part"))) == 1
            assert not (tmp_path / "a.mp4").exists()
            raise KeyError("some fault elsewhere")

    with pytest.raises(KeyError):
        fail()
    assert not list(tmp_path.iterdir())
    writer = VideoWriter(tmp_path / "a.mp4", W, H, Fraction(25))
    writer.write(corner())
    writer.abort()
    writer.abort()
    writer.close()
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="closed"):
        writer.write(corner())
    with pytest.raises(OutputError, match="no frame"):
        VideoWriter(tmp_path / "a.mp4", W, H, Fraction(25)).close()
    assert not list(tmp_path.iterdir())


def test_wrong_frames_are_refused(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", W, H, Fraction(25)) as writer:
        with pytest.raises(ValueError, match="uint8"):
            writer.write(corner((10, 10)))
        with pytest.raises(ValueError, match="audio"):
            writer.write_audio(np.zeros(9, np.float32))
        writer.write(corner())


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "no" / "a.mp4", tmp_path / "folder", Path("/dev/null"), Path("/proc/a.mp4")):
        with pytest.raises(OutputError, match=rf"^{path}: [^\n]+$"):
            VideoWriter(path, W, H, Fraction(25))
        with pytest.raises(OutputError, match=rf"^{path}: [^\n]+$"), atomic_write(path):
            pass
    assert not list((tmp_path / "folder").iterdir())
    with pytest.raises(OutputError):
        write(tmp_path / "a.mp4", [corner()], audio_rate=47_123)
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_open = open

    def small_open(*args: Any, **kwargs: Any) -> Any:
        file = real_open(*args, **kwargs)

        class Small:
            name, seek, tell, close = file.name, file.seek, file.tell, file.close

            def __enter__(self) -> Any:
                return self

            def __exit__(self, *exc: object) -> None:
                file.close()

            def write(self, data: bytes) -> int:
                if file.tell() + len(data) > 5_000:
                    raise OSError(28, "No space left on device")
                return file.write(data)

        return Small()

    monkeypatch.setattr("builtins.open", small_open)
    noise = [np.random.default_rng(i).integers(0, 255, (H, W, 3), np.uint8) for i in range(4)]
    with pytest.raises(OutputError, match=r"a.mp4: cannot be written .No space left on device.$"):
        write(tmp_path / "a.mp4", noise)
    with pytest.raises(OutputError, match="b: cannot be written"):
        write_image(tmp_path / "b", np.concatenate(noise * 3))
    assert not list(tmp_path.iterdir())


def test_atomic_write_keeps_the_old_file_on_failure(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a") as file:
        file.write(b"old")

    def fail() -> None:
        with atomic_write(tmp_path / "a", overwrite=True) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (tmp_path / "a").read_bytes() == b"old"
    with atomic_write(tmp_path / "a", overwrite=True) as file:
        file.write(b"new")
        assert (tmp_path / "a").read_bytes() == b"old"
    assert (tmp_path / "a").read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
