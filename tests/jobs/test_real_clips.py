"""End to end on a real person (development data beside the checkout), and on the sample where that is absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fvc.evaluation.studies.roundtrip import roundtrip, sound_offset_ms

ORIGINALS = Path(__file__).parents[3] / "shared" / "data" / "originals"
PAPER_BITS = {"sup": 264, "sup+unsup+expr": 433}  # Oquab et al., table 4, bits per frame at 15 fps


@pytest.mark.skipif(not ORIGINALS.is_dir(), reason="needs ../shared/data/originals, which only developers have")
@pytest.mark.parametrize("profile", list(PAPER_BITS))
def test_a_real_clip_survives(profile: str, tmp_path: Path) -> None:
    row, strip = roundtrip(ORIGINALS / "p185.mp4", tmp_path, profile)
    assert abs(row["frames_back"] - row["frames"]) <= 1
    assert row["frames"] == pytest.approx(15 * row["seconds"], abs=1)
    assert row["seconds_back"] == pytest.approx(row["seconds"], abs=1 / 15 + 1e-6)
    assert row["bits_per_frame"] < PAPER_BITS[profile]
    assert abs(row["sound_offset_ms"]) <= 40
    assert row["nme"] < 0.1
    assert strip.shape[0] == 512


@pytest.mark.parametrize("shift_ms", [-100, 0, 38])
def test_sound_offset_is_found(shift_ms: int) -> None:
    draw = np.random.default_rng(0)
    speech = np.repeat(draw.random(400) ** 3, 80) * draw.normal(size=32000)
    late = np.roll(speech, 8 * shift_ms) + 0.01 * draw.normal(size=32000)
    assert sound_offset_ms(speech.astype(np.float32), late.astype(np.float32)) == pytest.approx(shift_ms, abs=2)


def test_silence_has_no_offset() -> None:
    silence = np.zeros(16000, np.float32)
    assert sound_offset_ms(silence, silence) is None
    assert sound_offset_ms(None, silence) is None
