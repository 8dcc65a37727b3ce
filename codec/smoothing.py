"""One Euro filter (Casiez, Roussel, Vogel, CHI 2012): causal, calm at rest, quick in motion, no added frame of delay.

The sender smooths what its networks say of each frame by itself: jitter that nobody sees costs bits all the same.
"""

from __future__ import annotations

import math

import numpy as np

from fvc.codec.sample import DrivingSample

# Cutoff at rest (Hz) and quickness of the learned parts' filters.
_LEARNED = {"unsup": (1.5, 4.0), "jac": (1.5, 2.0), "expr": (1.5, 2.0)}


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


class SampleSmoother:
    """Filters the learned parts of driving samples over time; the tracker filters the landmarks itself."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self.reset()

    def reset(self) -> None:
        """The next sample has nothing to do with those before: the face was lost."""
        self._filters = {part: OneEuro(self._rate, *cutoffs) for part, cutoffs in _LEARNED.items()}

    def __call__(self, sample: DrivingSample) -> DrivingSample:
        """The filtered sample."""
        return DrivingSample({p: self._filters[p](v) if p in self._filters else v for p, v in sample.parts.items()})
