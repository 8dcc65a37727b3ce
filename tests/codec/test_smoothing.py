"""The sender's filter."""

from __future__ import annotations

import numpy as np

from fvc.codec.motion.smoothing import OneEuro


def test_constant_values_pass_unchanged() -> None:
    smooth = OneEuro(15, 1.5, 2)
    for _ in range(5):
        assert smooth(np.full((10, 2), 0.3, np.float32)).tolist() == np.full((10, 2), 0.3, np.float32).tolist()


def test_jitter_shrinks_and_steps_are_followed() -> None:
    draw = np.random.default_rng(0)
    smooth = OneEuro(15, 1.5, 4)
    noise = draw.normal(0, 0.01, (200, 5)).astype(np.float32)
    filtered = np.array([smooth(x) for x in noise])
    assert np.abs(np.diff(filtered[20:], axis=0)).mean() < 0.5 * np.abs(np.diff(noise[20:], axis=0)).mean()
    jump = [smooth(np.full(5, 0.8, np.float32)) for _ in range(4)]
    assert jump[0].min() > 0.35  # the very frame of a big move shows most of it
    assert jump[3].min() > 0.7
