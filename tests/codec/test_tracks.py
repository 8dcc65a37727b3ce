"""Which of several streams is read, frames whose size changes, and where the sound ends."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from video_support import assert_levels, corner, grey, levels, make

from fvc.codec.base.errors import UsageError
from fvc.codec.media.opus import RATE, OpusDecoder, encode_opus
from fvc.codec.media.video import VideoReader

COVER, DEFAULT = av.stream.Disposition.attached_pic, av.stream.Disposition.default


def tracks(path: Path, videos: list[tuple[int, tuple[int, int], bool]], sounds: list[tuple[int, str, bool]]) -> Path:
    """A second of even pictures (level, (width, height), default) and of tones (Hz, layout, default)."""
    with av.open(str(path), "w") as container:
        streams = []
        for _, (width, height), is_default in videos:
            stream = container.add_stream("libx264", 25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.disposition = DEFAULT if is_default else 0
            streams.append(stream)
        tones = []
        for _, layout, is_default in sounds:
            tone = container.add_stream("pcm_s16le", RATE, layout=layout)
            tone.disposition = DEFAULT if is_default else 0
            tones.append(tone)
        for (level, (width, height), _), stream in zip(videos, streams, strict=True):
            for picture in grey([level] * 25, (height, width)):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            container.mux(stream.encode(None))
        for (hertz, layout, _), tone in zip(sounds, tones, strict=True):
            wave = np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE) * 16000
            samples = np.repeat(wave.astype(np.int16), 2 if layout == "stereo" else 1)[None]
            frame = av.AudioFrame.from_ndarray(samples, "s16", layout)
            frame.sample_rate = RATE
            container.mux(tone.encode(frame))
            container.mux(tone.encode(None))
    return path


def hertz_of(path: Path, audio_stream: int | None = None) -> int:
    """The tone that is heard, to 50 Hz."""
    coded = encode_opus(path, 64_000, audio_stream=audio_stream)
    assert coded is not None
    decoder = OpusDecoder(coded[0])
    pcm = np.concatenate([decoder.decode(packet) for packet in coded[1]])[RATE // 4 : RATE // 4 * 3]
    peak = np.abs(np.fft.rfft(pcm)).argmax() * RATE / len(pcm)
    return round(float(peak) / 50) * 50


SMALL, LARGE = (64, 48), (128, 96)


@pytest.mark.parametrize(
    ("videos", "expected"),
    [
        ([(50, LARGE, False), (200, SMALL, True)], 200),  # a slide, and the camera that is marked as default
        ([(50, SMALL, True), (200, LARGE, True)], 200),
        ([(50, SMALL, False), (200, LARGE, False)], 200),
        ([(50, SMALL, True), (200, SMALL, True)], 50),
        ([(50, SMALL, True), (200, LARGE, False)], 50),
    ],
)
def test_video_stream_that_is_marked_as_default(
    tmp_path: Path, videos: list[tuple[int, tuple[int, int], bool]], expected: int
) -> None:
    assert_levels(levels(tracks(tmp_path / "a.mkv", videos, []), 25)[:3], [expected] * 3)


@pytest.mark.parametrize(
    ("sounds", "expected"),
    [
        ([(400, "mono", False), (1000, "mono", True)], 1000),
        ([(400, "mono", True), (1000, "stereo", False)], 400),
        ([(400, "mono", True), (1000, "stereo", True)], 1000),
        ([(400, "mono", True), (1000, "mono", True)], 400),
    ],
)
def test_audio_stream_that_is_marked_as_default(
    tmp_path: Path, sounds: list[tuple[int, str, bool]], expected: int
) -> None:
    assert hertz_of(tracks(tmp_path / "a.mkv", [(50, SMALL, True)], sounds)) == expected


def test_streams_by_number(tmp_path: Path) -> None:
    videos = [(50, LARGE, False), (200, SMALL, True)]
    path = tracks(tmp_path / "a.mkv", videos, [(400, "mono", False), (1000, "mono", True)])
    for number, (level, size, _) in enumerate(videos):
        with VideoReader(path, video_stream=number) as reader:
            assert (reader.width, reader.height) == size
            assert round(float(next(iter(reader.frames(Fraction(25)))).rgb.mean())) == pytest.approx(level, abs=2)
    assert [hertz_of(path, number) for number in (0, 1)] == [400, 1000]
    for number in (-1, 2):
        with pytest.raises(UsageError, match=rf"a.mkv: no video stream {number} in it; it has 2, counted from 0"):
            VideoReader(path, video_stream=number)
        with pytest.raises(UsageError, match=rf"a.mkv: no audio stream {number} in it"):
            encode_opus(path, 64_000, audio_stream=number)
    silent = make(tmp_path / "b.mp4", grey([9]))
    with pytest.raises(UsageError, match=r"b.mp4: no audio stream 0 in it; it has none"):
        VideoReader(silent, audio_stream=0)


def joined(path: Path, sizes: list[tuple[int, int]]) -> Path:
    """Raw H.264 that changes its size: five frames of `corner` in each."""
    data = b""
    for size in sizes:
        data += make(path.with_name("part.h264"), [corner(size)] * 5).read_bytes()
    path.write_bytes(data)
    return path


def test_frames_of_another_shape_keep_their_aspect(tmp_path: Path) -> None:
    with VideoReader(joined(tmp_path / "a.h264", [(64, 64), (48, 96), (128, 128)])) as reader:
        frames = [frame.rgb for frame in reader.frames(Fraction(25))]
    assert len(frames) == 15
    assert {frame.shape for frame in frames} == {(64, 64, 3)}
    wide = frames[7].astype(int)  # 96x48, scaled to 64x32 in the middle
    assert np.abs(wide[16:48] - corner((32, 64))).mean() < 8
    assert (wide[:15] == wide[0, 0]).all()  # plain margins
    assert (wide[49:] == wide[-1, 0]).all()
    assert np.abs(wide[0, 0] - wide[17].mean(0)).max() < 12
    assert np.abs(wide[-1, 0] - wide[46].mean(0)).max() < 12
    assert np.abs(frames[12].astype(int) - corner((64, 64))).mean() < 6


def test_frames_of_nearly_the_same_shape_fill_the_picture(tmp_path: Path) -> None:
    with VideoReader(joined(tmp_path / "a.h264", [(120, 160), (72, 98)])) as reader:
        last = [frame.rgb for frame in reader.frames(Fraction(25))][-1]
    assert last[0, 5].min() > 200


def test_sound_lasts_as_long_as_the_pictures_although_the_file_states_less(tmp_path: Path) -> None:
    """Recorders of calls write the duration of the pictures before the last one, or none at all."""
    path = tracks(tmp_path / "a.mp4", [(50, SMALL, True)], []).rename(tmp_path / "b.mp4")
    with av.open(str(path)) as source, av.open(str(tmp_path / "a.mov"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        sound = target.add_stream("pcm_s16le", RATE, layout="mono")
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.full((1, RATE), 9000, np.int16), "s16", "mono")
        frame.sample_rate = RATE
        target.mux(sound.encode(frame))
        target.mux(sound.encode(None))
    data = bytearray((tmp_path / "a.mov").read_bytes())
    at = data.index(b"mdhd")  # the video's media header: version and flags, two times, time scale, duration
    scale = int.from_bytes(data[at + 16 : at + 20], "big")
    assert int.from_bytes(data[at + 20 : at + 24], "big") == scale  # a second
    data[at + 20 : at + 24] = (scale // 2).to_bytes(4, "big")
    (tmp_path / "a.mov").write_bytes(data)
    with VideoReader(tmp_path / "a.mov") as reader:
        assert reader.duration == pytest.approx(0.5)
        assert reader.picture_end() == 1
    coded = encode_opus(tmp_path / "a.mov", 24_000)
    assert coded is not None
    assert 0.9 < len(list(coded[1])) * 0.06 < 1.15
