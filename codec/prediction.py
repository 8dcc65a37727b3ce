"""Prediction and coding of one frame's integers (see bitstream_spec.md). Integers only: the same on every platform.

Each component of a part is predicted from its last value plus the running mean of the changes that the components
before it on the same axis made in this frame (a moving head moves all landmarks). How far off that will be is
expected from how far off it was before (an exponential mean per component), scaled by how lively this frame is so
far.

`code` runs the same for encoder and decoder: a RangeWriter codes the given value, a RangeReader returns the coded one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

from fvc.codec.errors import StreamError
from fvc.codec.sample import PART_SHAPES

_AXES = {
    "sup": 2,
    "unsup": 2,
    "jac": 4,
    "expr": 0,
}  # components whose index agrees modulo this move together; 0: none do
_START = {"sup": 16, "unsup": 100, "jac": 320, "expr": 60}  # expected magnitude after a keyframe, sixteenths of a step
_RATE = 3  # the exponential mean forgets 1/8 per frame
_FINE = 4  # it is kept in 1/16 of a sixteenth


class Coder(Protocol):
    """RangeWriter or RangeReader."""

    def bits(self, value: int, count: int) -> int: ...  # noqa: D102

    def value(self, value: int, magnitude: int) -> int: ...  # noqa: D102


class MotionState:
    """What both sides remember between frames: last integers and expected magnitudes of every component.

    `code(..., key=True)` codes without memory and restarts it.
    """

    def __init__(self, parts: tuple[str, ...], bits: Mapping[str, int]) -> None:
        self._parts, self._bits = parts, dict(bits)
        self._last: dict[str, list[int]] = {}
        self._expected: dict[str, list[int]] = {}

    def code(self, coder: Coder, integers: Mapping[str, list[int]] | None, key: bool) -> dict[str, list[int]]:
        """Codes one frame; returns its integers. `integers` is None on the decoding side."""
        result = {}
        for part in self._parts:
            given = integers[part] if integers is not None else [0] * math.prod(PART_SHAPES[part])
            result[part] = self._code_key(coder, part, given) if key else self._code_part(coder, part, given)
        self._last = result
        return result

    def _code_key(self, coder: Coder, part: str, given: list[int]) -> list[int]:
        self._expected[part] = [_START[part] << _FINE] * len(given)
        return [coder.bits(value, self._bits[part]) for value in given]

    def _code_part(self, coder: Coder, part: str, given: list[int]) -> list[int]:
        last, expected = self._last[part], self._expected[part]
        top, axes = (1 << self._bits[part]) - 1, _AXES[part]
        moved, seen = [0] * max(axes, 1), [0] * max(axes, 1)
        usual = actual = 16 * _START[part] >> 2  # a prior: the frame is as lively as expected
        out = []
        for i, value in enumerate(given):
            axis = i % axes if axes else 0
            shared = _rounded(moved[axis], seen[axis] + 1) if axes else 0
            prediction = min(max(last[i] + shared, 0), top)
            magnitude = (expected[i] * (actual + usual) // (2 * usual)) >> _FINE
            residual = coder.value(value - prediction, magnitude)
            value = prediction + residual
            if not 0 <= value <= top:
                raise StreamError("E13", f"a component of {part} leaves its range")
            size = min(abs(residual), 1 << 16) << 4
            usual += expected[i] >> _FINE
            actual += size
            expected[i] += ((size << _FINE) - expected[i]) >> _RATE
            moved[axis] += value - last[i]
            seen[axis] += 1
            out.append(value)
        return out


def _rounded(total: int, count: int) -> int:
    """total / count to the nearest integer, halves up."""
    return (2 * total + count) // (2 * count)
