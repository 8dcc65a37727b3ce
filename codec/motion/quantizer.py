"""Floats to integers and back: the exact boundary (DESIGN rule 1). Uniform scalar quantizers, one per part.

The paper (section 4.3) quantizes *deltas*: unsup keypoints to 12 bits and sup to 8 bits over [-1, 1], Jacobians to 16
bits over [-15, 15], expression codes to 10 bits over [-1, 1]. We quantize *absolute* values with the same step and
code integer differences, so nothing drifts; codes lie in [0, 1], hence 9 bits for what the paper calls 10 bits over
[-1, 1].

Quantizers are named by what is coded: `sup` is sent as it is, or as the coefficients `shape`
(`codec.motion.landmark_basis`).
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
        """By how much the values of two neighbouring integers differ."""
        return (self.high - self.low) / self.top

    def steps(self, values: np.ndarray) -> np.ndarray:
        """float [...] -> float64 [...] in [0, top], not rounded; not-a-number becomes the middle."""
        scaled = (np.asarray(values, np.float64) - self.low) * (self.top / (self.high - self.low))
        return np.clip(np.nan_to_num(scaled, nan=self.top / 2), 0, self.top)

    def quantize(self, values: np.ndarray) -> np.ndarray:
        """float [...] -> int32 [...] in [0, top]."""
        return np.rint(self.steps(values)).astype(np.int32)

    def dequantize(self, integers: Sequence[int] | np.ndarray) -> np.ndarray:
        """int [...] -> float32 [...]."""
        return (np.asarray(integers, np.float64) * ((self.high - self.low) / self.top) + self.low).astype(np.float32)


PAPER: dict[str, Quantizer] = {
    "sup": Quantizer(8, -1.0, 1.0),
    "unsup": Quantizer(12, -1.0, 1.0),
    "jac": Quantizer(16, -15.0, 15.0),
    "expr": Quantizer(9, 0.0, 1.0),
}
# What `fvc encode` uses: steps that the generator's output does not tell from finer ones (training/LOG.md).
DEFAULT: dict[str, Quantizer] = {
    "shape": Quantizer(12, -16.0, 2047 / 128),  # a pixel; 0 is a whole number of steps: most coefficients are nearly 0
    "unsup": Quantizer(9, -1.0, 1.0),
    "jac": Quantizer(12, -15.0, 15.0),
    "expr": Quantizer(6, 0.0, 1.0),
}
QUANTIZERS = {"default": DEFAULT, "paper": PAPER}
# Coded part -> number of its integers, and the bits for which `priors.bin` has its errors.
COMPONENTS = {part: math.prod(form) for part, form in PART_SHAPES.items()} | {"shape": landmark_basis.COUNT}
USUAL_BITS = {part: quantizer.bits for part, quantizer in PAPER.items()} | {"shape": DEFAULT["shape"].bits}


def coded_parts(parts: Sequence[str], is_shaped: bool) -> tuple[str, ...]:
    """What is coded of a profile's parts."""
    return tuple("shape" if part == "sup" and is_shaped else part for part in parts)


def for_parts(quantizers: Mapping[str, Quantizer], parts: Sequence[str]) -> dict[str, Quantizer]:
    """The quantizers for a profile's parts."""
    return {name: quantizers[name] for name in coded_parts(parts, "shape" in quantizers)}


def measured(sample: DrivingSample, name: str) -> np.ndarray:
    """The values of a coded part, float [n]."""
    return landmark_basis.coefficients(sample.parts["sup"]) if name == "shape" else sample.parts[name].ravel()


def to_integers(sample: DrivingSample, quantizers: Mapping[str, Quantizer]) -> dict[str, np.ndarray]:
    """Each quantizer's part of a sample as int32 [n]."""
    return {name: quantizer.quantize(measured(sample, name)) for name, quantizer in quantizers.items()}


def _part(name: str, values: np.ndarray) -> tuple[str, np.ndarray]:
    """The part of a sample that values of a coded part [n] stand for, and its values."""
    return ("sup", landmark_basis.landmarks(values)) if name == "shape" else (name, values.reshape(PART_SHAPES[name]))


def to_sample(integers: Mapping[str, Sequence[int] | np.ndarray], quantizers: Mapping[str, Quantizer]) -> DrivingSample:
    """The inverse of `to_integers`, up to half a step."""
    return DrivingSample(dict(_part(name, quantizers[name].dequantize(part)) for name, part in integers.items()))
