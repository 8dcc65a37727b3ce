"""Faces in the whole frame: what is written, and that large frames do not wait in memory."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from conftest import Encoded, write_stream

import fvc
from fvc.codec.base.errors import StreamError
from fvc.codec.face.crop import paste
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.motion.sample import DrivingSample
from fvc.codec.renderer import Renderer
from fvc.codec.wire.bitstream import Crop
from fvc.jobs.decode import Painter

REST = DrivingSample({"sup": np.zeros((33, 2), np.float32)})


@pytest.mark.parametrize(
    "crop", [Crop(900, 700, -50, 120, 640), Crop(900, 700, 300, -20, 256), Crop(90, 70, 10, 5, 60)]
)
def test_a_pasted_face_is_feathered_alike_in_all_bands(crop: Crop) -> None:
    """Blending in bands of rows is the same as blending the whole square at once."""
    draw = np.random.default_rng(0)
    canvas = draw.integers(0, 256, (crop.height, crop.width, 3)).astype(np.uint8)
    white = np.full((256, 256, 3), 255, np.uint8)
    pasted = paste(canvas, white, crop).astype(float)
    edge = np.minimum(np.arange(crop.side) + 0.5, np.arange(crop.side)[::-1] + 0.5) / (0.06 * crop.side)
    weight = np.clip(np.minimum.outer(edge, edge), 0, 1)
    for y in range(crop.height):
        for x in (0, crop.width // 3, crop.width // 2, crop.width - 1):
            row, column = y - crop.y, x - crop.x
            inside = 0 <= row < crop.side and 0 <= column < crop.side
            share = weight[row, column] if inside else 0.0
            assert np.abs(pasted[y, x] - (share * 255 + (1 - share) * canvas[y, x])).max() <= 0.51


@pytest.mark.parametrize(("size", "is_large"), [((480, 640), False), ((4096, 8192), True)])
def test_large_frames_are_put_together_one_at_a_time(size: tuple[int, int], is_large: bool, encoded: Encoded) -> None:
    face = np.full((256, 256, 3), 200, np.uint8)
    header, _ = encoded.parsed()
    header = replace(header, crop=Crop(size[1], size[0], 100, 100, 256))
    painter = Painter(Renderer(lambda _: face, REST, Fraction(15)), np.zeros((*size, 3), np.uint8), header)
    drawn = painter(DrawInputs.still(REST))
    assert isinstance(drawn, np.ndarray)
    assert (drawn is face) == is_large  # what waits between threads
    assert painter.finish(drawn).shape == (*size, 3)


def test_rates_that_no_video_has(encoded: Encoded, tmp_path: Path) -> None:
    header, packets = encoded.parsed()
    slow = write_stream(tmp_path / "slow.fvc", replace(header, fps=Fraction(1, 65535), audio=None), packets[:1])
    with pytest.raises(StreamError, match=r"slow\.fvc: 1.5.*e-05 frames per second cannot be written"):
        fvc.decode(slow, encoded.sources)
