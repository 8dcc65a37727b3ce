"""Videos as people have them: containers, codecs, rates, sizes, colours, tracks, time stamps and names, one a row.

Each is a second of the project's own sample in another form. Encoded, it must have the frames, the face, the sound and
the colours of the sample. All of it takes less than a minute on two cores.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from conftest import SAMPLE, Run

import fvc
from fvc.codec.media.video import VideoReader

FRAMES, RATE, SIDE = 10, 10, 320
SOUND = 48000
PQ, HLG, BT2020 = 16, 18, 9


@pytest.fixture(scope="module")
def sample() -> list[np.ndarray]:
    """A second of the sample, RGB."""
    with VideoReader(SAMPLE) as video:
        frames = [frame.rgb for frame in video.frames(Fraction(RATE), only=range(FRAMES))]
    return [cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for frame in frames]


Picture = Callable[[np.ndarray], np.ndarray]


def same(rgb: np.ndarray) -> np.ndarray:
    return rgb


def resized(width: int, height: int) -> Picture:
    """Stretched to a size."""
    return lambda rgb: cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)


def placed(width: int, height: int, side: int) -> Picture:
    """In the middle of a larger frame."""

    def place(rgb: np.ndarray) -> np.ndarray:
        frame = np.full((height, width, 3), 120, np.uint8)
        x, y = (width - side) // 2, (height - side) // 2
        frame[y : y + side, x : x + side] = resized(side, side)(rgb)
        return frame

    return place


@dataclass(frozen=True)
class Odd:
    """A form of the sample.

    Attributes:
        name: of the file; codec, pixels, options: of the video; sound: codec of a tone, None: no sound.
        picture: what a frame becomes; shown: what a player shows of it, None: the same in square pixels.
        rate: frames per second.
        first, step: of the time stamps, seconds; None: those of the rate.
        setup: changes to the stream before anything is written; extra: other streams, which come before the video.
        seconds: how long it lasts; tolerance: mean difference of colours, levels.
    """

    name: str
    codec: str = "libx264"
    pixels: str = "yuv420p"
    options: tuple[tuple[str, str], ...] = ()
    sound: str | None = None
    sound_rate: int = SOUND
    layout: str = "mono"
    picture: Picture = same
    shown: Picture | None = None
    rate: Fraction = Fraction(RATE)
    first: float = 0.0
    step: float | None = None
    setup: Callable[[Any], None] = lambda stream: None
    extra: str = ""
    seconds: float = 1.0
    tolerance: float = 12.0

    def __str__(self) -> str:
        return f"{self.name[:24]}-{self.codec}-{self.pixels}"


def tagged(**values: int) -> Callable[[Any], None]:
    """Sets what a stream says of its colours or shape."""

    def setup(stream: Any) -> None:
        for name, value in values.items():
            setattr(stream.codec_context, name, value)

    return setup


def turned(stream: Any) -> None:
    stream.set_display_rotation(90)


def wide(stream: Any) -> None:
    stream.codec_context.sample_aspect_ratio = Fraction(2)


CONTAINERS = [
    Odd("a.mp4", sound="aac"),
    Odd("a.mov", "prores_ks", "yuv422p10le", sound="pcm_s16le"),
    Odd("a.mkv", "libx265", "yuv420p10le", sound="flac"),
    Odd("a.webm", "libvpx-vp9", sound="libopus"),
    Odd("b.webm", "libvpx", sound="libopus", layout="stereo"),
    Odd("a.avi", "mpeg4", sound="libmp3lame"),
    Odd("b.avi", "mjpeg", "yuvj420p"),
    Odd("c.avi", "msmpeg4v3"),
    Odd("a.ts", sound="aac"),
    Odd("a.flv", "flv", sound="libmp3lame", sound_rate=44100),
    Odd("a.3gp", "h263", picture=resized(352, 288), sound="aac", sound_rate=8000),
    Odd("a.wmv", "wmv2"),
    Odd("a.mpg", "mpeg2video", rate=Fraction(25), sound="ac3"),
    Odd("a.mxf", "mpeg2video", rate=Fraction(25)),
    Odd("a.nut", "ffv1", "yuv444p"),
    Odd("a.y4m", "rawvideo"),
    Odd("a.gif", "gif", "rgb8", tolerance=30),
    Odd("a.apng", "apng", "rgb24"),
    Odd("a.webp", "libwebp_anim", "yuv420p"),
    Odd("a.hevc", "libx265", rate=Fraction(25)),
    Odd("b.mp4", "libsvtav1"),
    Odd("c.mp4", options=(("movflags", "frag_keyframe+empty_moov"),), sound="aac"),
]
RATES = [
    Odd("slow.mp4", rate=Fraction(1, 2), step=2.0, seconds=20.0),
    Odd("film.mkv", rate=Fraction(24000, 1001), sound="aac"),
    Odd("ntsc.mp4", rate=Fraction(60000, 1001)),
    Odd("phone.mp4", rate=Fraction(120)),
    Odd("sparse.mkv", step=0.25, seconds=2.5),
]
SIZES = [
    Odd("tiny.mkv", "ffv1", picture=resized(96, 96)),
    Odd("odd.mkv", "ffv1", "yuv444p", picture=resized(161, 163)),
    Odd("portrait.mp4", picture=placed(180, 320, 180)),
    Odd("full-hd.mp4", picture=placed(1920, 1080, 400)),
    Odd("4k.mp4", seconds=0.3, options=(("preset", "ultrafast"),), picture=placed(3840, 2160, 1600)),
    Odd("anamorphic.mp4", picture=resized(160, 320), setup=wide),
    Odd("turned.mp4", picture=lambda rgb: np.ascontiguousarray(np.rot90(rgb, -1)), setup=turned, shown=same),
]
COLOURS = [
    Odd("full.mp4", pixels="yuv444p", setup=tagged(color_range=2)),
    Odd("ten.mkv", "ffv1", "yuv444p10le"),
    Odd("alpha.mov", "png", "rgba"),
    Odd("deep.mov", "png", "rgb48be"),
    Odd("grey.mkv", "ffv1", "gray", picture=lambda rgb: rgb, tolerance=40),
    Odd("hlg.mp4", "libx265", "yuv420p10le", setup=tagged(color_trc=HLG, color_primaries=BT2020), tolerance=70),
    Odd("pq.mp4", "libx265", "yuv420p10le", setup=tagged(color_trc=PQ, color_primaries=BT2020), tolerance=110),
]
TRACKS = [
    Odd("stereo.mp4", sound="aac", sound_rate=44100, layout="stereo"),
    Odd("surround.mkv", sound="ac3", layout="5.1"),
    Odd("low.mkv", sound="pcm_s16le", sound_rate=8000),
    Odd("high.mkv", sound="flac", sound_rate=96000),
    Odd("slide.mkv", extra="video"),
    Odd("cover.mp4", extra="cover"),
    Odd("two-sounds.mkv", sound="aac", extra="audio"),
]
STAMPS = [
    Odd("late.mkv", first=10.0),
    Odd("hours.ts", first=30_000.0, sound="aac"),
    Odd("early.mkv", first=-0.5),
    Odd("b-frames.mp4", options=(("bf", "3"), ("g", "100"))),
]
NAMES = [
    Odd("two words.mp4"),
    Odd("-i.mp4"),
    Odd("größe 視頻 🙂.mp4"),
    Odd("100%d.mp4"),
    Odd("a#b?c=d&e.mp4"),
    Odd("http:a.mp4"),
    Odd("new\nline.mp4"),
    Odd("LOUD.MP4"),
    Odd(f"{'long' * 55}.mp4"),
    Odd("~.mp4"),
]


def write(path: Path, odd: Odd, frames: list[np.ndarray]) -> Path:
    """Writes the sample in this form."""
    formats = {".wmv": "asf", ".mpg": "mpeg", ".y4m": "yuv4mpegpipe"}
    with av.open(f"file:{path}", "w", format=formats.get(path.suffix), options=dict(odd.options)) as file:
        others = _others(file, odd.extra)
        video = _video(file, odd, odd.picture(frames[0]))
        tone = _tone(file, odd) if odd.sound else None
        for stream, picture in others:
            file.mux([*stream.encode(picture), *stream.encode(None)])
        step = odd.step or float(1 / odd.rate)
        count = FRAMES if odd.step else round(odd.seconds * float(odd.rate))
        for n in range(count):
            shown = frames[n if odd.step else min(int(n / odd.rate * RATE), FRAMES - 1)]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(odd.picture(shown)), "rgb24")
            frame.time_base = video.codec_context.time_base or 1 / odd.rate
            frame.pts = round((odd.first + n * step) / frame.time_base)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        for stream, packets in [tone] if tone else []:
            for packet in packets:
                packet.stream = stream
                file.mux(packet)
    return path


def _video(file: Any, odd: Odd, first: np.ndarray) -> Any:
    video = file.add_stream(odd.codec, odd.rate)
    video.height, video.width = first.shape[:2]
    video.pix_fmt = odd.pixels
    if odd.step or odd.first:
        video.codec_context.time_base = video.time_base = Fraction(1, 1000)
    if odd.codec in ("libx264", "libx265", "libvpx", "libvpx-vp9", "mpeg4", "mpeg2video"):
        video.bit_rate = 3_000_000
    if odd.codec == "libx265":
        video.options = {"x265-params": "log-level=none"}
    odd.setup(video)
    if odd.extra == "video":
        video.disposition = av.stream.Disposition.default
    return video


def _tone(file: Any, odd: Odd) -> tuple[Any, list[Any]]:
    """A second of a tone, and its stream."""
    stream = file.add_stream(odd.sound, odd.sound_rate, layout=odd.layout)
    wave = 0.3 * np.sin(np.arange(odd.sound_rate) * 2 * np.pi * 300 / odd.sound_rate)
    frame = av.AudioFrame.from_ndarray(wave.astype(np.float32)[None], "flt", "mono")
    frame.sample_rate = odd.sound_rate
    fifo, packets = av.AudioFifo(), list[Any]()
    resampler = av.AudioResampler(stream.format, odd.layout, odd.sound_rate)
    for part in resampler.resample(frame):
        fifo.write(part)
    size = stream.codec_context.frame_size or 1024
    while (part := fifo.read(size, partial=True)) is not None:
        packets += stream.encode(part)
    packets += stream.encode(None)
    for packet in packets:
        late = round(odd.first / packet.time_base)
        packet.pts, packet.dts = packet.pts + late, packet.dts + late
    return stream, packets


def _others(file: Any, extra: str) -> list[tuple[Any, Any]]:
    """Streams that come first and are not wanted: a slide, a picture of the cover, silence."""
    if extra == "audio":
        stream = file.add_stream("pcm_s16le", SOUND, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, SOUND), np.int16), "s16", "mono")
        frame.sample_rate = SOUND
        stream.disposition = av.stream.Disposition(0)
        return [(stream, frame)]
    if not extra:
        return []
    stream = file.add_stream("mjpeg" if extra == "cover" else "libx264", 10)
    stream.width, stream.height, stream.pix_fmt = 640, 360, "yuvj420p" if extra == "cover" else "yuv420p"
    cover = av.stream.Disposition.attached_pic
    stream.disposition = cover if extra == "cover" else av.stream.Disposition(0)
    frame = av.VideoFrame.from_ndarray(np.full((360, 640, 3), 200, np.uint8), "rgb24")
    frame.pts, frame.time_base = 0, Fraction(1, 10)
    return [(stream, frame)]


@pytest.mark.parametrize("odd", [*CONTAINERS, *RATES, *SIZES, *COLOURS, *TRACKS, *STAMPS], ids=str)
def test_a_video_of_any_form(odd: Odd, sample: list[np.ndarray], tmp_path: Path) -> None:
    path, out = write(tmp_path / odd.name, odd, sample), tmp_path / "out.fvc"
    report = fvc.encode(path, out, fps=RATE, canvas=False, source_frames=1)
    assert report["frames"] == pytest.approx(odd.seconds * RATE, abs=2 if odd.seconds < 9 else 20)
    assert report["frames_without_face"] <= 1
    info = fvc.info(out)
    heard = info["audio_packets"] * 60 / 1000 if odd.sound else 0
    assert heard == pytest.approx(1 if odd.sound else 0, abs=0.25)
    crop = report["crop"]
    assert 0.3 < (crop["x"] + crop["side"] / 2) / report["size"][0] < 0.7
    with VideoReader(path) as video:
        rgb = next(iter(video.frames(Fraction(RATE)))).rgb.astype(int)
    shown = squared((odd.shown or odd.picture)(sample[0]), rgb.shape[:2]).astype(int)
    assert np.abs(rgb - shown).mean() < odd.tolerance


def squared(rgb: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """With square pixels."""
    return cv2.resize(rgb, (size[1], size[0]), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("odd", NAMES, ids=lambda odd: ascii(odd.name[:12]))
def test_a_video_of_any_name(odd: Odd, sample: list[np.ndarray], tmp_path: Path, monkeypatch: Any, run: Run) -> None:
    """From the command line, with names as they are written in the folder."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / odd.name, odd, sample)
    result = run("encode", "--fps", 10, "--no-canvas", "--source-frames", 1, "--", odd.name, "out.fvc")
    assert result.code == 0, result.err
    assert fvc.info(tmp_path / "out.fvc")["frames"] == 10


def test_the_table_has_each_row_once() -> None:
    rows = [str(odd) for odd in itertools.chain(CONTAINERS, RATES, SIZES, COLOURS, TRACKS, STAMPS)]
    assert len(rows) == len(set(rows)) >= 50
