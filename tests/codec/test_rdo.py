"""Which integers the sender takes, and how it keeps a rate: what `rdo` and `ratecontrol` promise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run

import fvc
from fvc.codec.base.errors import UsageError
from fvc.codec.encoder import Encoder, Found, make_sample
from fvc.codec.face.crop import to_crop
from fvc.codec.media.video import Frame
from fvc.codec.motion.priors import load
from fvc.codec.motion.quantizer import DEFAULT, PAPER, Quantizer, for_parts, to_integers, to_sample
from fvc.codec.motion.ratecontrol import ConstantQuality, ConstantRate, Plan
from fvc.codec.motion.rdo import lambda_of
from fvc.codec.motion.sample import PART_SHAPES, DrivingSample, Profile
from fvc.codec.reassembly import MotionDecoder
from fvc.codec.sample_encoder import SampleEncoder
from fvc.codec.wire.bitstream import Crop, Header, Kind, Packet
from fvc.codec.wire.container import StreamReader

SAMPLE = Path(__file__).parents[2] / "samples" / "astronaut.mp4"
ORIGINAL = Path(__file__).parents[3] / "shared" / "data" / "originals" / "p175.mp4"
FPS = 15
FRAMES = 90
TOLERANCE = 1.02  # of a rate: whole bytes, and the first frame


def header_of(profile: Profile = Profile.SUP, quantizers: dict[str, Quantizer] = DEFAULT, interval: int = 75) -> Header:
    chosen = for_parts(quantizers, profile.parts)
    return Header(profile, chosen, Fraction(FPS), interval, Crop(256, 256, 0, 0, 256), bytes(8), bytes(16), bytes(16))


def walk(seed: int = 0, pace: float = 0.004) -> Iterator[DrivingSample]:
    """A head that moves as a whole, stops and goes on; every landmark trembles."""
    draw = np.random.default_rng(seed)
    prior = load()["sup"]
    face = np.zeros(66)
    face[prior.order] = prior.mean / 32768 - 1
    face, place, speed = face.reshape(33, 2), np.zeros(2), np.zeros(2)
    for frame in range(FRAMES):
        speed = 0.8 * speed + draw.normal(0, pace if frame // 20 % 2 else 0, 2)
        place = place + speed
        parts = {"sup": face + place + draw.normal(0, 0.002, (33, 2))}
        parts |= {part: draw.uniform(0.4, 0.42, shape) for part, shape in PART_SHAPES.items() if part != "sup"}
        yield DrivingSample({part: values.astype(np.float32) for part, values in parts.items()})


def sent(
    plan: Plan | None, header: Header | None = None, refresh: int = 0, pace: float = 0.004
) -> tuple[list[Packet], float, SampleEncoder]:
    """Packets, and the mean squared error of what a receiver has of the landmarks, in pixels of 256."""
    header = header or header_of()
    encoder, decoder, errors = SampleEncoder(header, refresh, plan), MotionDecoder(header), []
    packets, last = list[Packet](), np.zeros(66)
    for number, sample in enumerate(walk(pace=pace)):
        packets.append(encoder.encode(number, sample))
        assert decoder.put(packets[-1])
        if (integers := dict(decoder.advance(number))[number]) is not None:
            arrays = {part: np.array(values) for part, values in integers.items()}
            last = to_sample(arrays, header.quantizers).parts["sup"].ravel()
        errors.append(np.square(last - sample.parts["sup"].ravel()).mean())
    return packets, float(np.mean(errors)) * 128**2, encoder


def bits(packets: list[Packet]) -> list[int]:
    return [8 * len(packet.payload) for packet in packets]


def windows(sizes: list[int], frames: int) -> np.ndarray:
    """kbit/s of every two seconds."""
    return np.convolve(sizes, np.ones(2 * FPS), "valid")[: frames - 2 * FPS + 1] / 2000


def test_without_a_plan_integers_are_the_nearest() -> None:
    header = header_of(Profile.SUP_UNSUP_EXPR, PAPER)
    encoder, decoder = SampleEncoder(header), MotionDecoder(header)
    for number, sample in enumerate(walk()):
        assert decoder.put(encoder.encode(number, sample))
        [(_, integers)] = list(decoder.advance(number))
        nearest = to_integers(sample, header.quantizers)
        assert integers == {part: values.tolist() for part, values in nearest.items()}


@pytest.mark.parametrize(("filters", "is_late"), [(None, True), ({}, False)])
def test_filters_hold_samples_back_unless_there_are_none(filters: dict[str, Any] | None, is_late: bool) -> None:
    header = header_of(Profile.SUP, PAPER)
    encoder, decoder = Encoder(header, None, filters=filters), MotionDecoder(header)
    blank, late = np.zeros((256, 256, 3), np.uint8), False
    for number, sample in zip(range(20), walk(), strict=False):
        sup = (sample.parts["sup"] + 1) * 128  # pixels of the crop, which is the picture
        assert decoder.put(encoder.encode(Frame(blank, number), Found(sup)))
        [(_, integers)] = list(decoder.advance(number))
        nearest = to_integers(make_sample(blank, to_crop(sup, header.crop), None), header.quantizers)
        late |= integers != {"sup": nearest["sup"].tolist()}
    assert late == is_late


def test_lower_quality_costs_fewer_bits_and_more_pixels() -> None:
    results = [sent(ConstantQuality(quality)) for quality in (100, 75, 50, 25, 0)]
    sizes, errors = [sum(bits(packets)) for packets, *_ in results], [error for _, error, _ in results]
    assert sizes == sorted(sizes, reverse=True)
    assert errors == sorted(errors)
    nearest, error, _ = sent(None)
    assert sizes[1] <= sum(bits(nearest))
    assert sizes[2] < 0.75 * sum(bits(nearest))
    assert errors[0] == pytest.approx(error, rel=0.2)
    assert errors[2] < 2
    assert all(encoder.skipped == 0 for *_, encoder in results)


def test_trials_fill_bytes_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three messages for a frame, the best by bytes and error: fewer of both together than one message."""

    def loss() -> float:
        packets, error, _ = sent(ConstantQuality(75))
        return sum(bits(packets)) / FRAMES + lambda_of(75) * 66 * error

    three = loss()
    monkeypatch.setattr("fvc.codec.motion.motion_encoder._TRIALS", (0.0,))
    assert three < 0.99 * loss()


def test_decisions_are_the_same_each_time() -> None:
    assert sent(ConstantQuality(50))[0] == sent(ConstantQuality(50))[0]


@pytest.mark.parametrize("profile", list(Profile))
def test_every_profile(profile: Profile) -> None:
    header = header_of(profile)
    encoder, decoder = SampleEncoder(header, plan=ConstantQuality(40)), MotionDecoder(header)
    for number, sample in zip(range(20), walk(), strict=False):
        assert decoder.put(encoder.encode(number, sample))
        assert next(iter(decoder.advance(number)))[1] is not None
    assert decoder.take_fault() is None


@pytest.mark.parametrize("kbps", [0.5, 0.7, 1.0, 2.0])
@pytest.mark.parametrize("refresh", [0, 4])
def test_rate_is_kept_in_any_two_seconds(kbps: float, refresh: int) -> None:
    packets, _, encoder = sent(ConstantRate(kbps, FPS), header_of(), refresh, pace=0.01)
    most = 1.1 if refresh and kbps == 0.5 else TOLERANCE  # slices go out even where a frame is left out for them
    assert windows(bits(packets), FRAMES).max() <= most * kbps
    assert encoder.skipped < FRAMES / 3
    if kbps < 1:
        assert np.mean(bits(packets)) * FPS / 1000 > 0.7 * kbps


def test_more_rate_gives_less_error() -> None:
    errors = [sent(ConstantRate(kbps, FPS), pace=0.02)[1] for kbps in (0.5, 0.8, 1.5, 4.0)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.2


def test_rates_and_qualities_that_make_no_sense() -> None:
    for kbps in (0, 0.49, -1, math.inf, math.nan):
        with pytest.raises(UsageError, match="kbps"):
            ConstantRate(kbps, FPS)
    for quality in (-1, 100.5, math.nan):
        with pytest.raises(UsageError, match="quality"):
            ConstantQuality(quality)


@pytest.mark.parametrize(
    "options",
    [
        "--motion-kbps 0.4",
        "--quality 101",
        "--motion-kbps 1 --quality 50",
        "--quantizer fine",
        "--quantizer paper --motion-kbps 2",
    ],
)
def test_command_line_refuses(clip: Path, tmp_path: Path, run: Run, options: str) -> None:
    result = run("encode", clip, tmp_path / "o.fvc", *options.split())
    assert result.code == 2
    assert result.err.startswith("fvc: --")
    assert list(tmp_path.iterdir()) == []


def frame_bits(stream: Path) -> list[int]:
    with open(stream, "rb") as file:
        packets = [item for item in StreamReader(file).packets() if isinstance(item, Packet)]
    return [8 * len(packet.payload) for packet in packets if packet.kind in (Kind.MOTION, Kind.KEY, Kind.REFRESH)]


@pytest.mark.parametrize(("video", "kbps"), [(SAMPLE, 0.6), (ORIGINAL, 1.0)])
def test_rate_of_real_clips(video: Path, kbps: float, tmp_path: Path) -> None:
    if not video.exists():
        pytest.skip("the development data are not here")
    report = fvc.encode(video, tmp_path / "o.fvc", motion_kbps=kbps, audio_bitrate=None, canvas=False)
    sizes = frame_bits(tmp_path / "o.fvc")
    assert len(sizes) == report["frames"]
    assert windows(sizes, len(sizes)).max() <= TOLERANCE * kbps
    assert 0.8 * kbps < report["motion_kbps"] <= kbps
    assert report["frames_skipped"] < 0.2 * len(sizes)
