"""Multiply-adds of the dense first-order model, from its authors' configuration vox-256."""

from __future__ import annotations

import pytest

from fvc.evaluation.reproduction.counts import counted


def conv(inputs: int, outputs: int, side: int, kernel: int = 3) -> int:
    """Multiply-adds of a convolution whose output is side x side."""
    return inputs * outputs * kernel**2 * side**2


def hourglass(inputs: int, base: int, most: int = 1024) -> int:
    """Multiply-adds of the authors' hourglass of five blocks at 64x64: pooling follows a convolution going down, and
    precedes it, as enlarging, going up.
    """
    width = [inputs, *(min(base * 2**n, most) for n in range(1, 6))]
    down = sum(conv(width[n], width[n + 1], 64 >> n) for n in range(5))
    up = [conv(width[5], width[4], 4), *(conv(2 * width[n + 1], width[n], 64 >> n) for n in range(1, 4))]
    return down + sum(up) + conv(2 * width[1], base, 64)


def test_the_dense_first_order_model_has_the_published_multiply_adds() -> None:
    """Counted by hand: 10 keypoints at 64x64, heatmaps without padding, block_expansion 32 and 64, 6 residuals."""
    points, inputs = 10, 4 * 11
    keypoints = hourglass(3, 32) + conv(35, points, 58, 7) + conv(35, 4 * points, 58, 7)
    motion = hourglass(inputs, 64) + conv(64 + inputs, points + 1, 64, 7) + conv(64 + inputs, 1, 64, 7)
    encoder = conv(3, 64, 256, 7) + conv(64, 128, 256) + conv(128, 256, 128)
    decoder = 12 * conv(256, 256, 64) + conv(256, 128, 128) + conv(128, 64, 256) + conv(64, 3, 256, 7)
    assert [round(part / 1e9, 2) for part in (keypoints, encoder, motion, decoder)] == [1.28, 10.28, 4.09, 39.27]
    found = counted("fom")
    assert found.motion == pytest.approx(keypoints, rel=0.01)
    assert found.embed == pytest.approx(encoder, rel=0.01)
    assert found.draw == pytest.approx(motion + decoder, rel=0.01)
    assert found.motion + found.embed + found.draw == pytest.approx(54.92e9, rel=0.01)


def test_counts_of_other_presets() -> None:
    """A quarter of the channels; a sender that computes nothing; networks that are read from a file."""
    assert counted("fom@0.25").draw == pytest.approx(2.99e9, rel=0.01)
    assert counted("nth@0.125", 2).motion == 0
    assert counted("fom-dm-expr@0.125").sender > counted("fom@0.125").sender
