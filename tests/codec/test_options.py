"""Encoder options: what is refused, in which words, and what follows from what is taken."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fvc.codec.base.errors import FvcError, OptionError, in_flags
from fvc.codec.motion.ratecontrol import ConstantQuality, ConstantRate
from fvc.codec.options import EncoderOptions, parse_fps


@pytest.mark.parametrize(
    ("options", "message", "on_command_line"),
    [
        ({"fps": 0}, "fps 0: must be between 0.1 and 240", "--fps 0: must be between 0.1 and 240"),
        ({"profile": "face"}, "profile face: unknown; choose from sup,", "--profile face: unknown; choose from sup,"),
        ({"quality": 101}, "quality 101: must be 0 (smallest) to 100 (best)", "--quality 101: must be 0"),
        ({"motion_kbps": 0.1}, "motion_kbps 0.1: must be at least 0.5", "--motion-kbps 0.1: must be at least 0.5"),
        ({"motion_kbps": 1, "quality": 50}, "motion_kbps 1: does not go with quality", "--motion-kbps 1: does not"),
        (
            {"quantizer": "paper", "motion_kbps": 1},
            "motion_kbps 1: does not go with quantizer paper",
            "--motion-kbps 1",
        ),
        ({"kbps": 0}, "kbps 0: must be above 0", "--kbps 0: must be above 0"),
        ({"kbps": float("nan")}, "kbps nan: must be above 0", "--kbps nan: must be above 0"),
        ({"quantizer": "own"}, "quantizer own: must be default or paper", "--quantizer own: must be"),
        ({"keyframe_interval": -1}, "keyframe_interval -1: must be 0 or more", "--keyframe-interval -1: must be"),
        ({"keyframe_interval": 1e6}, "keyframe_interval 1000000.0: too long", "--keyframe-interval 1000000.0: too"),
        ({"refresh": 1}, "refresh 1: must be 0 or 2 to 16 slices", "--refresh 1: must be 0 or 2 to 16 slices"),
        ({"refresh": 9, "keyframe_interval": 0.5}, "refresh 9: more slices than frames", "--refresh 9: more slices"),
        ({"audio_bitrate": 100}, "audio_bitrate 100: must be 6k to 256k", "--audio-bitrate 100: must be 6k to 256k"),
        ({"source_frames": 9}, "source_frames 9: must be 1 to 8", "--source-frames 9: must be 1 to 8"),
        ({"face": "up"}, "face up: must be left, right, largest, moving or a number", "--face up: must be left,"),
        ({"video_stream": -1}, "video_stream -1: must be 0 or more", "--video-stream -1: must be 0 or more"),
    ],
)
def test_what_is_refused(options: dict[str, Any], message: str, on_command_line: str) -> None:
    """The library says names as Python has them, the command line its flags."""
    with pytest.raises(OptionError) as caught:
        EncoderOptions(**options)
    assert str(caught.value).startswith(message)
    assert caught.value.on_command_line().startswith(on_command_line)
    assert caught.value.exit_code == 2


def test_names_in_backticks_become_flags() -> None:
    assert in_flags("use `canvas` crop, or `allow_foreign_sources`") == "use --canvas crop, or --allow-foreign-sources"
    assert FvcError("a.mp4: exists (`overwrite`)").on_command_line() == "a.mp4: exists (--force)"


def test_what_follows() -> None:
    options = EncoderOptions(fps="30000/1001", keyframe_interval=2, motion_kbps=0.7)
    assert (options.rate, options.interval) == (Fraction(30000, 1001), 60)
    assert isinstance(options.plan(), ConstantRate)
    assert options.plan() is not options.plan()  # a plan has state: each stream has its own
    assert EncoderOptions(keyframe_interval=0).interval == 0
    assert EncoderOptions(keyframe_interval=0.001).interval == 1
    paper = EncoderOptions(quantizer="paper").plan()
    assert isinstance(paper, ConstantQuality)
    assert paper.quality is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.fps = 15  # type: ignore[misc]


@given(st.floats(0.1, 240))
def test_any_rate_has_16_bit_parts(fps: float) -> None:
    rate = parse_fps(fps)
    assert 0 < rate.numerator < 1 << 16
    assert 0 < rate.denominator < 1 << 16
    assert float(rate) == pytest.approx(fps, rel=0.01)
