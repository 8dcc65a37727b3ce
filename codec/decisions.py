"""Which integers to send: the cheapest ones whose drawing can hardly be told from that of the nearest ones.

Sender only. The receiver decodes integers like any others, and no rule of the format depends on what is here.
`ThriftyWriter` takes, one component after the other, between the integer that is best for the picture and the one that
was predicted, that for which

    bits + worth * (how far the drawn face is off, in square pixels)

is least. `worth` says how many bits a square pixel is worth (`worth_of`).

How far the drawn face is off is a quadratic form of the errors e of all components, e^T M e. The generator follows the
33 landmarks together: a shift of all by a pixel shifts the face by a pixel, while of 33 errors that contradict each
other little is seen. `influence.bin` has M, fitted by `fvc.training.influence`. So the error of each component pulls
at those that are coded after it, which make up for it: errors are left where they are not seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np

from fvc.codec.entropy import RangeWriter, cost
from fvc.codec.prediction import coding_order
from fvc.codec.quantizer import Quantizer
from fvc.codec.sample import PART_SHAPES, DrivingSample

BEST, LOWEST = 100.0, 0.0  # of the quality scale
DEFAULT_QUALITY = 67.0  # see training/LOG.md for what was measured
_STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512)  # away from the best integer
# How far, in pixels of the 256, the picture moves with one unit of a part. The learned parts' are what their noise
# is worth beside the landmarks, which say most of what they say (models/MODEL_CARD.md).
_PIXELS = {"sup": 128.0, "unsup": 40.0, "jac": 12.0, "expr": 16.0}
_REACH = 6.0  # steps by which a component makes up for others, at most
INFLUENCE_UNIT = 4096  # of the integers in influence.bin


def worth_of(quality: float) -> float:
    """Bits for a square pixel: 1/32 at quality 0, doubled every 10, 32 at 100."""
    return float(2 ** ((quality - 50) / 10))


def pack_influence(matrix: np.ndarray) -> bytes:
    """A symmetric matrix [66, 66] of the components of sup, by row and column, -> the bytes of `influence.bin`."""
    return np.rint(INFLUENCE_UNIT * matrix[np.tril_indices(len(matrix))]).astype(">i2").tobytes()


def unpack_influence(data: bytes) -> np.ndarray:
    """The inverse of `pack_influence`, float64 [66, 66]; raises ValueError for other sizes."""
    n = int(np.prod(PART_SHAPES["sup"]))
    matrix = np.zeros((n, n))
    matrix[np.tril_indices(n)] = np.frombuffer(data, ">i2") / INFLUENCE_UNIT
    return matrix + np.tril(matrix, -1).T


@cache
def _influence(part: str, step: float) -> tuple[np.ndarray, list[float]]:
    """[n, n] in coding order: square pixels of the drawn face for a product of two errors in steps; diagonal."""
    order = coding_order(part)
    if part == "sup":
        matrix = unpack_influence(Path(__file__).with_name("influence.bin").read_bytes())
    else:
        matrix = np.eye(len(order))
    scaled = np.ascontiguousarray(matrix[np.ix_(order, order)] * (step * _PIXELS[part]) ** 2)
    return scaled, np.diag(scaled).tolist()


class Targets:
    """What was measured of one frame, as a coder meets it.

    Attributes:
        steps: part -> [n] in coding order, in steps above integer 0, not rounded.
        quantizers: part -> its quantizer.
    """

    def __init__(self, sample: DrivingSample, quantizers: Mapping[str, Quantizer], parts: tuple[str, ...]) -> None:
        self.quantizers = {part: quantizers[part] for part in parts}
        self.steps = {
            part: quantizer.steps(sample.parts[part]).ravel()[coding_order(part)].tolist()
            for part, quantizer in self.quantizers.items()
        }


class _Errors:
    """The errors that a part's components have so far."""

    def __init__(self, part: str, targets: Targets) -> None:
        quantizer = targets.quantizers[part]
        self._targets, self._top = targets.steps[part], float(quantizer.top)
        self._matrix, self._weights = _influence(part, quantizer.step)
        self._pull = np.zeros(len(self._targets))  # half the derivative of e^T M e by each error
        self._next = 0

    def goal(self) -> tuple[float, float]:
        """Which value, in steps, is best for the next component, and the weight of a square step's distance to it."""
        n = self._next
        weight = self._weights[n]
        shift = min(max(float(self._pull[n]) / weight, -_REACH), _REACH)
        return min(max(self._targets[n] - shift, 0.0), self._top), weight

    def take(self, value: int) -> None:
        """It is this value."""
        self._pull += self._matrix[self._next] * (value - self._targets[self._next])
        self._next += 1


class ThriftyWriter:
    """A RangeWriter for `MotionState.code` that may take another value than it is given; `finish` ends the message."""

    def __init__(self, targets: Targets, quality: float) -> None:
        self._writer, self._worth = RangeWriter(), worth_of(quality)
        self._errors = {part: _Errors(part, targets) for part in targets.steps}

    def value(self, _: int, part: str, prediction: int, spread: int) -> int:
        """Codes a value between the best one and the predicted one, and returns it."""
        goal, weight = self._errors[part].goal()
        worth, near, predicted = self._worth * weight, round(goal), (prediction + 2048) >> 12
        best, least = near, cost(near, part, prediction, spread) + worth * (near - goal) ** 2
        sign, way = (1 if predicted > near else -1), abs(predicted - near)
        for step in (*(step for step in _STEPS if step < way), way) if way else ():
            candidate = near + sign * step
            distortion = worth * (candidate - goal) ** 2
            if distortion >= least:
                break
            bits = cost(candidate, part, prediction, spread)
            if bits + distortion < least:
                best, least = candidate, bits + distortion
        self._errors[part].take(best)
        return self._writer.value(best, part, prediction, spread)

    def finish(self) -> bytes:
        """See `RangeWriter.finish`."""
        return self._writer.finish()
