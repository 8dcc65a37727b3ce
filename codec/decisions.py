"""Which integers to send: the cheapest ones whose drawing can hardly be told from that of the nearest ones.

Sender only. The receiver decodes integers like any others, and no rule of the format depends on what is here: between
the nearest integer and the one that was predicted, `ThriftyWriter` takes the one for which

    bits + worth * (distance from what was measured, in pixels)^2

is least, one component after the other. `worth` says how many bits a square pixel is worth (`worth_of`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

import numpy as np

from fvc.codec.entropy import RangeWriter, cost
from fvc.codec.prediction import coding_order
from fvc.codec.quantizer import Quantizer
from fvc.codec.sample import PART_SHAPES, DrivingSample
from fvc.codec.tracking import SUP

BEST, LOWEST = 100.0, 0.0  # of the quality scale
DEFAULT_QUALITY = 62.0  # see training/LOG.md for what was measured
_STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512)  # away from the nearest integer
# How far, in pixels of the 256, the picture moves with one unit of a part. The learned parts' are what their noise
# is worth beside the landmarks, which say most of what they say (models/MODEL_CARD.md).
_PIXELS = {"sup": 128.0, "unsup": 40.0, "jac": 12.0, "expr": 16.0}
_LIDS, _INNER_LIPS = (159, 145, 386, 374), (13, 14)
_FINE = (468, 473, 78, 308, 61, 291, 0, 17)  # irises, corners and outer edges of the lips


def worth_of(quality: float) -> float:
    """Bits for a square pixel: 1/32 at quality 0, doubled every 10, 32 at 100."""
    return float(2 ** ((quality - 50) / 10))


@cache
def _weights(part: str) -> np.ndarray:
    """[n]: how much more than others a component matters. Blinks and speech are a few pixels."""
    weights = np.ones(PART_SHAPES[part])
    if part == "sup":
        for landmark in (*_LIDS, *_INNER_LIPS):
            weights[SUP.index(landmark), 1] = 4.0
        for landmark in _FINE:
            weights[SUP.index(landmark)] = 2.0
    return weights.ravel()


class Targets:
    """What was measured of one frame, as a coder meets it.

    Attributes:
        steps: part -> [n] in coding order, in steps above integer 0, not rounded.
        pixels: part -> [n] in coding order: the weight of a squared step, square pixels.
    """

    def __init__(self, sample: DrivingSample, quantizers: Mapping[str, Quantizer], parts: tuple[str, ...]) -> None:
        self.steps, self.pixels = dict[str, list[float]](), dict[str, list[float]]()
        for part in parts:
            quantizer, order = quantizers[part], coding_order(part)
            self.steps[part] = quantizer.steps(sample.parts[part]).ravel()[order].tolist()
            step = quantizer.step * _PIXELS[part]
            self.pixels[part] = (_weights(part)[order] * step * step).tolist()


class ThriftyWriter:
    """A RangeWriter for `MotionState.code` that may take another value than it is given; `finish` ends the message."""

    def __init__(self, targets: Targets, quality: float) -> None:
        self._writer, self._worth = RangeWriter(), worth_of(quality)
        self._left: dict[str, Iterator[tuple[float, float]]] = {
            part: iter(zip(steps, targets.pixels[part], strict=True)) for part, steps in targets.steps.items()
        }

    def value(self, value: int, part: str, prediction: int, spread: int) -> int:
        """Codes a value between the given one and the predicted one, and returns it."""
        target, pixels = next(self._left[part])
        worth, goal = self._worth * pixels, (prediction + 2048) >> 12
        best, least = value, cost(value, part, prediction, spread) + worth * (value - target) ** 2
        sign, way = (1 if goal > value else -1), abs(goal - value)
        for step in (*(step for step in _STEPS if step < way), way) if way else ():
            candidate = value + sign * step
            distortion = worth * (candidate - target) ** 2
            if distortion >= least:
                break
            bits = cost(candidate, part, prediction, spread)
            if bits + distortion < least:
                best, least = candidate, bits + distortion
        return self._writer.value(best, part, prediction, spread)

    def finish(self) -> bytes:
        """See `RangeWriter.finish`."""
        return self._writer.finish()
