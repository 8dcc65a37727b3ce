"""Floats to integers and back: the exact boundary. Uniform scalar quantizers, one for each coded part.

Left of this boundary (bytes to integers) all platforms agree exactly; right of it (integers to pictures) they agree up
to rounding (bitstream_spec.md, section 1).

The paper (section 4.3) quantizes *deltas*: unsup keypoints to 12 bits and sup to 8 bits over [-1, 1], Jacobians to 16
bits over [-15, 15], expression codes to 10 bits over [-1, 1]. We quantize *absolute* values with the same step and
code integer differences, so nothing drifts; codes lie in [0, 1], hence 9 bits for what the paper calls 10 bits over
[-1, 1].

Quantizers are named by what is coded: landmarks are sent as coordinates (`sup`) or as coefficients (`shape`, see
`codec.motion.landmark_basis`). The transform is `to_coefficients` and its inverse.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fvc.codec.motion import landmark_basis
from fvc.codec.motion.sample import PART_SHAPES, DrivingSample


@dataclass(frozen=True)
class Quantizer:
    """q = round((value - low) / step), clamped to [0, 2^bits - 1], with step = (high - low) / (2^bits - 1).

    `low` and `high` are multiples of 1/256 in [-128, 128): the header carries them as 16-bit fixed point.
    """

    bits: int
    low: float
    high: float

    @property
    def top(self) -> int:
        """The largest integer."""
        return (1 << self.bits) - 1

    @property
    def step(self) -> float:
        """Difference between the values of neighbouring integers."""
        return (self.high - self.low) / self.top

    def steps(self, values: np.ndarray) -> np.ndarray:
        """Values in steps above `low`, float64 in [0, top], not rounded; not-a-number becomes the middle."""
        scaled = (np.asarray(values, np.float64) - self.low) * (self.top / (self.high - self.low))
        return np.clip(np.nan_to_num(scaled, nan=self.top / 2), 0, self.top)

    def quantize(self, values: np.ndarray) -> np.ndarray:
        """The nearest integers to the values, int32 in [0, top]."""
        return np.rint(self.steps(values)).astype(np.int32)

    def dequantize(self, integers: Sequence[int] | np.ndarray) -> np.ndarray:
        """The values, float32, that integers stand for."""
        return (np.asarray(integers, np.float64) * ((self.high - self.low) / self.top) + self.low).astype(np.float32)


PAPER: dict[str, Quantizer] = {
    "sup": Quantizer(8, -1.0, 1.0),
    "unsup": Quantizer(12, -1.0, 1.0),
    "jac": Quantizer(16, -15.0, 15.0),
    "expr": Quantizer(9, 0.0, 1.0),
}
# The steps of `fvc encode`: finer ones do not change the drawn face visibly (training/LOG.md).
DEFAULT: dict[str, Quantizer] = {
    "shape": Quantizer(12, -16.0, 2047 / 128),  # a step is a pixel; 0 is exact, since most coefficients are near it
    "unsup": Quantizer(9, -1.0, 1.0),
    "jac": Quantizer(12, -15.0, 15.0),
    "expr": Quantizer(6, 0.0, 1.0),
}
QUANTIZERS = {"default": DEFAULT, "paper": PAPER}
# Coded part -> how many integers it has, and with how many bits `priors.bin` measures its errors.
COMPONENTS = {part: math.prod(form) for part, form in PART_SHAPES.items()} | {"shape": landmark_basis.COUNT}
USUAL_BITS = {part: quantizer.bits for part, quantizer in PAPER.items()} | {"shape": DEFAULT["shape"].bits}


def coded_parts(parts: Sequence[str], is_shaped: bool) -> tuple[str, ...]:
    """The coded parts of a profile: `shape` replaces `sup` where landmarks are sent as coefficients."""
    return tuple("shape" if part == "sup" and is_shaped else part for part in parts)


def for_parts(quantizers: Mapping[str, Quantizer], parts: Sequence[str]) -> dict[str, Quantizer]:
    """The quantizers for a profile's parts."""
    return {name: quantizers[name] for name in coded_parts(parts, "shape" in quantizers)}


def to_coefficients(sample: DrivingSample, name: str) -> np.ndarray:
    """The values of a coded part, float [n]: transformed landmarks for `shape`, the part itself for all others."""
    return landmark_basis.coefficients(sample.parts["sup"]) if name == "shape" else sample.parts[name].ravel()


def from_coefficients(name: str, values: np.ndarray) -> tuple[str, np.ndarray]:
    """The inverse: the part of a driving sample that values [n] of a coded part stand for, and its array."""
    return ("sup", landmark_basis.landmarks(values)) if name == "shape" else (name, values.reshape(PART_SHAPES[name]))


def to_integers(sample: DrivingSample, quantizers: Mapping[str, Quantizer]) -> dict[str, np.ndarray]:
    """Coded part -> int32 [n], for each of the quantizers."""
    return {name: quantizer.quantize(to_coefficients(sample, name)) for name, quantizer in quantizers.items()}


def to_sample(integers: Mapping[str, Sequence[int] | np.ndarray], quantizers: Mapping[str, Quantizer]) -> DrivingSample:
    """The inverse of `to_integers`, up to half a step."""
    values = {name: quantizers[name].dequantize(part) for name, part in integers.items()}
    return DrivingSample(dict(from_coefficients(name, array) for name, array in values.items()))
