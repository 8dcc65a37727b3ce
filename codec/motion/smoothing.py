"""The sender's filters against jitter: causal, no added delay. Jitter that nobody sees costs bits all the same.

Each part goes through a One Euro filter (Casiez, Roussel, Vogel, CHI 2012): a low-pass filter whose cutoff rises with
speed. Learned parts tremble even where nothing moves, so they go through a dead band, too: they hold their value until
it has moved by more than that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from fvc.codec.motion.sample import DrivingSample


class Filter(NamedTuple):
    """How one part is filtered.

    Attributes:
        min_cutoff: cutoff at rest, Hz.
        beta: Hz of cutoff per unit of speed (units of the value per second).
        dead_band: how far the value must move before the output follows.
    """

    min_cutoff: float
    beta: float
    dead_band: float


Filters = Mapping[str, Filter]  # by part; parts without one are not filtered

# What was tried is in training/LOG.md. Landmarks are not filtered where `codec.motion.rdo` chooses the integers: that
# saves more bits for a smaller error, and has no lag.
LEARNED: Filters = {"unsup": Filter(0.5, 2.0, 0.03), "jac": Filter(1.5, 2.0, 0.0), "expr": Filter(0.5, 2.0, 0.07)}
FILTERS: Filters = {"sup": Filter(8.0, 60.0, 0.0), **LEARNED}


class OneEuro:
    """A One Euro filter over arrays of one shape, one per frame.

    Args:
        rate: frames per second.
        min_cutoff, beta: see `Filter`.
    """

    def __init__(self, rate: float, min_cutoff: float, beta: float) -> None:
        self._rate, self._min_cutoff, self._beta = rate, min_cutoff, beta
        self._value: np.ndarray | None = None
        self._speed: np.ndarray | None = None

    def __call__(self, value: np.ndarray) -> np.ndarray:
        """The filtered value."""
        if self._value is None or self._speed is None:
            self._value, self._speed = value, np.zeros_like(value)
            return value
        speed = (value - self._value) * self._rate
        self._speed = self._speed + self._weight(np.float32(1.0)) * (speed - self._speed)
        weight = self._weight(self._min_cutoff + self._beta * np.abs(self._speed))
        self._value = (self._value + weight * (value - self._value)).astype(value.dtype)
        return self._value

    def _weight(self, cutoff: np.ndarray | np.float32) -> np.ndarray:
        """Weight of the new value for a cutoff in Hz."""
        return np.asarray(1 / (1 + self._rate / (2 * math.pi * cutoff)))


class DeadBand:
    """Holds arrays of one shape until they have moved by more than `width`, then follows at that distance."""

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
        filters: by part; parts without one pass unfiltered.
    """

    def __init__(self, rate: float, filters: Filters = FILTERS) -> None:
        self._rate, self._kinds = rate, filters
        self.reset()

    def reset(self) -> None:
        """Forgets the past: the face was lost, the next sample starts anew."""
        self._filters = {
            part: (OneEuro(self._rate, of.min_cutoff, of.beta), DeadBand(of.dead_band))
            for part, of in self._kinds.items()
        }

    def __call__(self, sample: DrivingSample) -> DrivingSample:
        """The filtered sample."""
        return DrivingSample({part: self._filter(part, value) for part, value in sample.parts.items()})

    def _filter(self, part: str, value: np.ndarray) -> np.ndarray:
        if part not in self._filters:
            return value
        euro, band = self._filters[part]
        return band(euro(value))
