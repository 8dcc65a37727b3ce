"""Which integers to send: the cheapest ones whose drawing can hardly be told from that of the nearest ones.

Sender only. The receiver decodes integers like any others, and no rule of the format depends on what is here.
`ThriftyWriter` takes, one component after the other, between the nearest integer and the one that was predicted, that
for which

    bits + worth * (how far the drawn face is off, in square pixels)

is least. `worth` says how many bits a square pixel is worth (`worth_of`). How far the drawn face is off is the sum of
squares over components: that is what the basis of `codec.shape` is made for.
"""

from __future__ import annotations

from collections.abc import Mapping

from fvc.codec.entropy import RangeWriter, cost
from fvc.codec.prediction import coding_order
from fvc.codec.quantizer import Quantizer, measured
from fvc.codec.sample import DrivingSample

BEST, LOWEST = 100.0, 0.0  # of the quality scale
DEFAULT_QUALITY = 80.0  # see training/LOG.md for what was measured
_STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512)  # away from the nearest integer
# How far, in pixels of the 256, the picture moves with one unit of a part. The learned parts' are what their noise
# is worth beside the landmarks, which say most of what they say (models/MODEL_CARD.md).
_PIXELS = {"shape": 128.0, "sup": 128.0, "unsup": 40.0, "jac": 12.0, "expr": 16.0}


def worth_of(quality: float) -> float:
    """Bits for a square pixel: 1/32 at quality 0, doubled every 10, 32 at 100."""
    return float(2 ** ((quality - 50) / 10))


class Targets:
    """What was measured of one frame, as a coder meets it.

    Attributes:
        steps: coded part -> [n] in coding order, in steps above integer 0, not rounded.
        weights: coded part -> square pixels of the drawn face for an error of a step.
    """

    def __init__(self, sample: DrivingSample, quantizers: Mapping[str, Quantizer]) -> None:
        self.steps = {
            part: quantizer.steps(measured(sample, part))[coding_order(part)].tolist()
            for part, quantizer in quantizers.items()
        }
        self.weights = {part: (quantizer.step * _PIXELS[part]) ** 2 for part, quantizer in quantizers.items()}


class ThriftyWriter:
    """A RangeWriter for `MotionState.code` that takes values of its own choice; `finish` ends the message.

    Attributes:
        distortion: how far the drawn face is off so far, in square pixels.
    """

    def __init__(self, targets: Targets, quality: float) -> None:
        self._writer, self._worth, self._weights = RangeWriter(), worth_of(quality), targets.weights
        self._goals = {part: iter(steps) for part, steps in targets.steps.items()}
        self.distortion = 0.0

    def value(self, _: int, part: str, prediction: int, spread: int) -> int:
        """Codes a value between the nearest one and the predicted one, and returns it."""
        goal, worth = next(self._goals[part]), self._worth * self._weights[part]
        near, predicted = round(goal), (prediction + 2048) >> 12
        best = near if near == predicted else self._cheapest(near, predicted, goal, worth, (part, prediction, spread))
        self.distortion += self._weights[part] * (best - goal) ** 2
        return self._writer.value(best, part, prediction, spread)

    @staticmethod
    def _cheapest(near: int, predicted: int, goal: float, worth: float, place: tuple[str, int, int]) -> int:
        best, least = near, cost(near, *place) + worth * (near - goal) ** 2
        sign, way = (1 if predicted > near else -1), abs(predicted - near)
        for step in (*(step for step in _STEPS if step < way), way):
            candidate = near + sign * step
            distortion = worth * (candidate - goal) ** 2
            if distortion >= least:
                break
            bits = cost(candidate, *place)
            if bits + distortion < least:
                best, least = candidate, bits + distortion
        return best

    def finish(self) -> bytes:
        """See `RangeWriter.finish`."""
        return self._writer.finish()
