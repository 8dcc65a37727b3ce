"""The sender's filters: causal, no added frame of delay. Jitter that nobody sees costs bits all the same.

Each part goes through a One Euro filter (Casiez, Roussel, Vogel, CHI 2012): calm at rest, quick in motion. The learned
parts, which tremble even where nothing moves, then stay where they are until they have moved by more than a band.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from fvc.codec.motion.sample import DrivingSample

Filters = Mapping[str, tuple[float, float, float]]  # cutoff at rest (Hz), quickness and band of each part's

# What was tried is in training/LOG.md. Landmarks are left as they are where `codec.motion.rdo` chooses the integers,
# which saves more bits for less error and no lag.
LEARNED: Filters = {"unsup": (0.5, 2.0, 0.03), "jac": (1.5, 2.0, 0.0), "expr": (0.5, 2.0, 0.07)}
FILTERS: Filters = {"sup": (8.0, 60.0, 0.0), **LEARNED}


class OneEuro:
    """Filters arrays of one shape, one per frame.

    Args:
        rate: frames per second.
        calm: cutoff at rest, Hz.
        quickness: Hz of cutoff per unit of speed (units of the value per second).
    """

    def __init__(self, rate: float, calm: float, quickness: float) -> None:
        self._rate, self._calm, self._quickness = rate, calm, quickness
        self._value: np.ndarray | None = None
        self._speed: np.ndarray | None = None

    def __call__(self, value: np.ndarray) -> np.ndarray:
        """The filtered value."""
        if self._value is None or self._speed is None:
            self._value, self._speed = value, np.zeros_like(value)
            return value
        speed = (value - self._value) * self._rate
        self._speed = self._speed + self._share(np.float32(1.0)) * (speed - self._speed)
        share = self._share(self._calm + self._quickness * np.abs(self._speed))
        self._value = (self._value + share * (value - self._value)).astype(value.dtype)
        return self._value

    def _share(self, cutoff: np.ndarray | np.float32) -> np.ndarray:
        """Weight of the new value for a cutoff in Hz."""
        return np.asarray(1 / (1 + self._rate / (2 * math.pi * cutoff)))


class Band:
    """Holds arrays of one shape where they are until they have moved by more than `width`, then follows behind."""

    def __init__(self, width: float) -> None:
        self._width = width
        self._value: np.ndarray | None = None

    def __call__(self, value: np.ndarray) -> np.ndarray:
        """The held value."""
        if self._value is None:
            self._value = value
        self._value = np.clip(self._value, value - self._width, value + self._width).astype(value.dtype)
        return self._value


class SampleSmoother:
    """Filters driving samples over time, each part by itself.

    Args:
        rate: frames per second.
        filters: parts that are not named pass as they are.
    """

    def __init__(self, rate: float, filters: Filters = FILTERS) -> None:
        self._rate, self._kinds = rate, filters
        self.reset()

    def reset(self) -> None:
        """The next sample has nothing to do with those before: the face was lost."""
        self._filters = {
            part: (OneEuro(self._rate, calm, quickness), Band(width))
            for part, (calm, quickness, width) in self._kinds.items()
        }

    def __call__(self, sample: DrivingSample) -> DrivingSample:
        """The filtered sample."""
        return DrivingSample({part: self._filter(part, value) for part, value in sample.parts.items()})

    def _filter(self, part: str, value: np.ndarray) -> np.ndarray:
        if part not in self._filters:
            return value
        euro, band = self._filters[part]
        return band(euro(value))
