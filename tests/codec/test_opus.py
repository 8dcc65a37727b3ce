"""Opus in and out: alignment to the video, gaps, and packets that are lost, corrupt or hostile."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from fvc.codec.base.errors import InputError, UsageError
from fvc.codec.media.opus import DRIFT, RATE, OpusDecoder, OpusParams, encode_opus
from fvc.codec.media.video import VideoReader
from fvc.codec.media.video_writer import VideoWriter

W, H, FPS = 64, 48, 25
MOMENTS = (1.0, 3.0)  # seconds at which the clip flashes and beeps


def beeps(seconds: float, moments: tuple[float, ...] = MOMENTS, rate: int = RATE, start: float = 0.0) -> np.ndarray:
    """float32 `[n]` from `start` to `seconds`: faint noise, and 100 ms of 1 kHz from each moment on."""
    time = start + np.arange(round((seconds - start) * rate)) / rate
    on = np.any([(time >= m) & (time < m + 0.1) for m in moments], axis=0)
    noise = np.random.default_rng(0).normal(0, 1e-3, len(time))
    return (noise + on * 0.5 * np.sin(2 * np.pi * 1000 * time)).astype(np.float32)


def onsets(pcm: np.ndarray, rate: int = RATE) -> list[float]:
    """Seconds at which the beeps begin."""
    loud = np.flatnonzero(np.abs(pcm) > 0.12) / rate
    return [float(t) for i, t in enumerate(loud) if i == 0 or t - loud[i - 1] > 0.3]


def flashes(path: Path) -> list[float]:
    with VideoReader(path) as reader:
        bright = [f.rgb.mean() > 128 for f in reader.frames(Fraction(FPS))]
    return [i / FPS for i, on in enumerate(bright) if on and not bright[i - 1]]


def make(
    path: Path,
    pieces: list[tuple[float, np.ndarray]],
    seconds: float = 4.0,
    video_start: float = 0.0,
    codec: str = "pcm_s16le",
    rate: int = RATE,
    layout: str = "mono",
) -> Path:
    """A clip that flashes at MOMENTS; `pieces` of its sound are given with their times, both in seconds."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", FPS, {"preset": "ultrafast", "bf": "0"})
        video.width, video.height, video.pix_fmt = W, H, "yuv420p"
        audio: Any = container.add_stream(codec, rate, layout=layout)
        packets = []
        for i in range(round(seconds * FPS)):
            time = video_start + i / FPS
            level = 255 if any(m - 1e-6 <= time < m + 0.1 for m in MOMENTS) else 0
            frame = av.VideoFrame.from_ndarray(np.full((H, W, 3), level, np.uint8), "rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            packets += video.encode(frame)
        packets += video.encode(None)
        for start, pcm in pieces:
            for at in range(0, len(pcm), 1024):
                block = (pcm[at : at + 1024] * 32767).astype(np.int16)
                channels = {"mono": 1, "stereo": 2}[layout]
                sound = av.AudioFrame.from_ndarray(np.repeat(block, channels)[None], "s16", layout)
                sound.sample_rate, sound.time_base = rate, Fraction(1, rate)
                sound.pts = round(start * rate) + at
                packets += audio.encode(sound)
        packets += audio.encode(None)
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            container.mux(packet)
    return path


def through_opus(path: Path, bitrate: int = 24_000, frame_ms: int = 60) -> np.ndarray:
    encoded = encode_opus(path, bitrate, frame_ms)
    assert encoded is not None
    params, packets = encoded
    decoder = OpusDecoder(params)
    return np.concatenate([decoder.decode(p) for p in packets])


def test_flash_and_beep_stay_together(tmp_path: Path) -> None:
    source = make(tmp_path / "a.mp4", [(0, beeps(4))], codec="aac")
    pcm = through_opus(source, 6000)
    with VideoReader(source) as reader, VideoWriter(tmp_path / "b.mp4", W, H, Fraction(FPS), RATE) as writer:
        for frame in reader.frames(Fraction(FPS)):
            writer.write(frame.rgb)
            writer.write_audio(pcm[frame.index * RATE // FPS : (frame.index + 1) * RATE // FPS])
    assert flashes(tmp_path / "b.mp4") == pytest.approx(MOMENTS, abs=1e-6)
    with av.open(str(tmp_path / "b.mp4")) as container:
        decoded = list(container.decode(audio=0))
    assert decoded[0].pts == 0
    back = np.concatenate([f.to_ndarray()[0] for f in decoded])
    assert onsets(back) == pytest.approx(MOMENTS, abs=0.02)
    assert len(back) / RATE == pytest.approx(4.0, abs=0.03)


@pytest.mark.parametrize(("video_start", "audio_start"), [(0.0, 0.0), (0.0, 0.7), (0.48, 0.0), (0.2, 0.6), (0.0, 2.0)])
def test_streams_that_start_apart(tmp_path: Path, video_start: float, audio_start: float) -> None:
    path = make(tmp_path / "a.mkv", [(audio_start, beeps(4, start=audio_start))], 4 - video_start, video_start)
    expected = [m - video_start for m in MOMENTS if m >= audio_start]
    assert flashes(path)[-len(expected) :] == pytest.approx(expected, abs=0.001)
    assert onsets(through_opus(path)) == pytest.approx(expected, abs=0.005)


def test_gap_and_overlap_in_the_sound(tmp_path: Path) -> None:
    whole = beeps(4)
    gap = make(tmp_path / "gap.mkv", [(0, whole[: RATE * 2]), (2.5, whole[RATE * 5 // 2 :])])
    assert onsets(through_opus(gap)) == pytest.approx(MOMENTS, abs=0.005)
    overlap = make(tmp_path / "overlap.mkv", [(0, whole[: RATE * 2]), (1.8, whole[RATE * 9 // 5 :])])
    assert onsets(through_opus(overlap)) == pytest.approx(MOMENTS, abs=DRIFT / RATE + 0.002)


def test_clocks_that_jump_together(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mkv", [(0, beeps(2)), (500, beeps(4, start=2))])
    assert onsets(through_opus(path)) == pytest.approx(MOMENTS, abs=0.005)


@pytest.mark.parametrize(("rate", "layout"), [(16_000, "mono"), (44_100, "stereo")])
def test_other_rates_and_stereo(tmp_path: Path, rate: int, layout: str) -> None:
    pcm = through_opus(make(tmp_path / "a.mkv", [(0, beeps(4, rate=rate))], rate=rate, layout=layout))
    assert onsets(pcm) == pytest.approx(MOMENTS, abs=0.005)
    assert np.abs(pcm).max() == pytest.approx(0.5, abs=0.15)


def test_sound_after_the_video_is_cut(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", [(0, beeps(9))], codec="aac")
    assert 4.0 <= len(through_opus(path)) / RATE <= 4.0 + 0.06


@pytest.mark.parametrize("frame_ms", [20, 60, 120])
def test_all_samples_come_back_in_place(tmp_path: Path, frame_ms: int) -> None:
    sound = beeps(4)
    pcm = through_opus(make(tmp_path / "a.mkv", [(0, sound)]), 64_000, frame_ms)
    assert len(sound) <= len(pcm) < len(sound) + 2 * frame_ms * RATE // 1000
    shift = [np.dot(pcm[lag : lag + RATE * 3], sound[200 : 200 + RATE * 3]) for lag in range(400)]
    assert abs(int(np.argmax(shift)) - 200) <= 24  # half a millisecond


def test_encoding_is_repeatable_and_keeps_its_rate(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mkv", [(0, beeps(4))])
    first, second = (encode_opus(path, 6000) for _ in range(2))
    assert first
    assert second
    packets = list(first[1])
    assert packets == list(second[1])
    assert first[0] == OpusParams(frame_ms=60, pre_skip=312)
    assert sum(map(len, packets)) * 8 / 4 < 7500


def test_arguments_and_files_without_sound(tmp_path: Path) -> None:
    for bitrate, frame_ms in ((5_999, 60), (256_001, 60), (6000, 0), (6000, 50)):
        with pytest.raises(UsageError):
            encode_opus(tmp_path / "a.mp4", bitrate, frame_ms)
    with pytest.raises(UsageError):
        OpusParams(pre_skip=48_001)
    with pytest.raises(InputError, match=r"a.mp4: no such file"):
        encode_opus(tmp_path / "a.mp4", 6000)
    with VideoWriter(tmp_path / "a.mp4", W, H, Fraction(FPS)) as writer:
        writer.write(np.zeros((H, W, 3), np.uint8))
    assert encode_opus(tmp_path / "a.mp4", 6000) is None
    with VideoWriter(tmp_path / "b.mp4", W, H, Fraction(FPS), RATE) as writer:  # sound was promised, none came
        writer.write(np.zeros((H, W, 3), np.uint8))
    encoded = encode_opus(tmp_path / "b.mp4", 6000)
    assert encoded is None or list(encoded[1]) == []


def test_lost_and_corrupt_packets_are_silent_and_keep_time(tmp_path: Path) -> None:
    encoded = encode_opus(make(tmp_path / "a.mkv", [(0, beeps(4))]), 24_000)
    assert encoded is not None
    params, packets = encoded[0], list(encoded[1])
    decoder = OpusDecoder(params)
    assert len(decoder.decode(packets[0])) == 2880 - 312
    for bad in (None, b"", b"\xff\xff\xff"):
        silence = decoder.decode(bad)
        assert silence.shape == (2880,)
        assert not silence.any()
    pcm = np.concatenate([decoder.decode(p) for p in packets[4:]])
    assert onsets(pcm)[-1] + 4 * 0.06 - 312 / RATE == pytest.approx(3.0, abs=0.005)


@pytest.mark.parametrize("frame_ms", [20, 60, 120])
def test_hostile_packets(frame_ms: int) -> None:
    rng = np.random.default_rng(frame_ms)
    decoder = OpusDecoder(OpusParams(frame_ms=frame_ms, pre_skip=0))
    for i in range(400):
        packet = rng.bytes(int(rng.integers(0, 300)))
        pcm = decoder.decode(bytes([i % 256]) + packet)
        assert pcm.shape == (frame_ms * 48,)
        assert pcm.dtype == np.float32
        assert np.abs(pcm).max() <= 1
    assert decoder.decode(rng.bytes(100_000)).shape == (frame_ms * 48,)
