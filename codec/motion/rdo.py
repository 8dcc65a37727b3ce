"""Rate-distortion optimised quantization: which integers to send.

Sender only: the receiver decodes integers like any others, and no rule of the format depends on what is here. Between
the nearest integer and the predicted one, `RateDistortion` takes for each component the one with the least

    rate + lambda * distortion

where the rate is in bits and the distortion in square pixels of the drawn face. The distortion is a sum of squares over
components: that is what the basis of `codec.motion.landmark_basis` is made for.
"""

from __future__ import annotations

from collections.abc import Mapping

from fvc.codec.motion.adaptation import FRACTION_BITS
from fvc.codec.motion.entropy import SymbolTables
from fvc.codec.motion.predictor import Context, MotionModel
from fvc.codec.motion.quantizer import Quantizer, to_coefficients
from fvc.codec.motion.sample import DrivingSample

BEST, LOWEST = 100.0, 0.0  # of the quality scale
DEFAULT_QUALITY = 80.0  # see training/LOG.md for what was measured
_STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512)  # candidates, from the nearest integer on
# How far the picture moves, in pixels of 256, for one unit of a part. For learned parts it is chosen so that their
# noise counts less than the landmarks', which carry most of the same information (models/MODEL_CARD.md).
_PIXELS = {"shape": 128.0, "sup": 128.0, "unsup": 40.0, "jac": 12.0, "expr": 16.0}


def lambda_of(quality: float) -> float:
    """Bits for a square pixel of distortion: 1/32 at quality 0, doubled every 10, 32 at 100."""
    return float(2 ** ((quality - 50) / 10))


class Targets:
    """The measured values of one frame, in the order in which the model asks for them.

    Attributes:
        steps: one value a component, in steps above integer 0, not rounded.
        weights: coded part -> square pixels of distortion for an error of a step.
    """

    def __init__(self, model: MotionModel, sample: DrivingSample, quantizers: Mapping[str, Quantizer]) -> None:
        steps = {
            part: quantizer.steps(to_coefficients(sample, part)).tolist() for part, quantizer in quantizers.items()
        }
        self.steps = model.in_coding_order(steps)
        self.weights = {part: (quantizer.step * _PIXELS[part]) ** 2 for part, quantizer in quantizers.items()}


class RateDistortion:
    """A `coding.Choose` for one frame.

    Attributes:
        distortion: of the values chosen so far, in square pixels.
    """

    def __init__(self, targets: Targets, quality: float, tables: SymbolTables) -> None:
        self._steps, self._weights, self._lambda = iter(targets.steps), targets.weights, lambda_of(quality)
        self._tables = tables
        self.distortion = 0.0

    def __call__(self, context: Context) -> int:
        """The value with the least rate + lambda * distortion between the nearest and the predicted one."""
        target, weight = next(self._steps), self._weights[context.part]
        nearest = round(target)
        predicted = (context.prediction + (1 << FRACTION_BITS - 1)) >> FRACTION_BITS
        value = nearest
        if nearest != predicted:
            value = self._cheapest(nearest, predicted, target, self._lambda * weight, context)
        self.distortion += weight * (value - target) ** 2
        return value

    def _cheapest(self, nearest: int, predicted: int, target: float, weight: float, context: Context) -> int:
        best = nearest
        least = self._tables.cost(nearest, context) + weight * (nearest - target) ** 2
        sign, distance = (1 if predicted > nearest else -1), abs(predicted - nearest)
        for step in (*(step for step in _STEPS if step < distance), distance):
            candidate = nearest + sign * step
            distortion = weight * (candidate - target) ** 2
            if distortion >= least:
                break
            rate = self._tables.cost(candidate, context)
            if rate + distortion < least:
                best, least = candidate, rate + distortion
        return best
