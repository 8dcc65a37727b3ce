"""Prediction and coding of one frame's integers (see bitstream_spec.md). Integers only: the same on every platform.

Each component is predicted, to a fraction of a step, by weights learned on other people (`codec.priors`): from the
changes that the components coded before it made in this frame, from all last changes, and from how far all are from
their running mean. How far off that will be is expected from how far off it was lately, scaled by how lively this
frame is so far. Where the last value itself has been the better prediction lately, it is taken instead. Keyframes are
predicted from the mean face and the components before.

`code` runs the same for encoder and decoder: a RangeWriter codes the given value, a RangeReader returns the coded one.

Sizes: integers have at most 16 bits, weights are below 8, parts have at most 66 components. So predictions stay below
66 * 8 * (1 + 1 + 1) * 2^16 steps, 2^39 in 1/4096; with the eight bits that running means have more, below 2^48.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Protocol

import numpy as np

from fvc.codec.errors import StreamError
from fvc.codec.priors import FINE, OCTAVE, PartPriors, load
from fvc.codec.quantizer import USUAL_BITS

_MEAN = 8  # running means are in 1/256 of a step
_FLOOR = 80  # added to expected errors, 1/4096 of a step
_ONE = 256  # log2 of what spread 0 means, 1/16 of a step


Integers = dict[str, list[int]]  # by coded part


class Coder(Protocol):
    """RangeWriter or RangeReader."""

    def value(self, value: int, part: str, prediction: int, spread: int) -> int: ...  # noqa: D102


def log2(number: int) -> int:
    """About the logarithm of a positive integer, in 1/32 octave: exact at powers of two, linear between."""
    octave = number.bit_length() - 1
    return OCTAVE * (octave - 1) + (number * OCTAVE >> octave)


def coding_order(part: str) -> list[int]:
    """The component that is coded first, second ..."""
    order: list[int] = load()[part].order.tolist()
    return order


class MotionState:
    """What both sides remember between frames. `code(..., key=True)` codes without memory and restarts it."""

    def __init__(self, bits: Mapping[str, int]) -> None:
        """Takes the bits of the coded parts, in coding order."""
        self._parts = {part: _PartState(part, load()[part], count) for part, count in bits.items()}

    def code(self, coder: Coder, integers: Mapping[str, list[int]] | None, key: bool) -> Integers:
        """Codes one frame; returns its integers. `integers` is None on the decoding side. Raises StreamError."""
        return {
            name: part.code(coder, integers[name] if integers is not None else None, key)
            for name, part in self._parts.items()
        }

    def copy(self) -> MotionState:
        """Another state that is equal so far: for coding a frame on trial."""
        twin = copy(self)  # arrays are replaced, never changed, so that parts can share them
        twin._parts = {name: copy(part) for name, part in self._parts.items()}
        return twin

    def restart(self, integers: Mapping[str, list[int]]) -> None:
        """Sets the state that a keyframe with these integers leaves; codes nothing."""
        self.code(_Given(), integers, key=True)


class _Given:
    """A coder that codes nothing: all values are known."""

    def value(self, value: int, part: str, prediction: int, spread: int) -> int:
        return value


def _scaled(errors: np.ndarray, finer: int) -> np.ndarray:
    """Errors in a step that is halved `finer` times, or doubled -`finer` times; at least 1."""
    return np.maximum(errors << finer if finer >= 0 else errors >> -finer, 1)


class _PartState:
    """One part. Arrays are int64 [n] in coding order; errors are in 1/4096 of a step."""

    def __init__(self, name: str, priors: PartPriors, bits: int) -> None:
        self._name, self._priors, self._top = name, priors, (1 << bits) - 1
        self._mean_face = priors.mean >> (16 - bits)
        finer = bits - USUAL_BITS[name]  # how many times the usual step is halved
        self._fine = OCTAVE * finer
        self._start, self._key_error = (_scaled(error, finer) for error in (priors.error, priors.key_error))
        self._now, self._key = (np.ascontiguousarray(w.T) for w in (priors.now_weights, priors.key_weights))
        self._order = priors.order.tolist()
        self._frames = 0  # since the keyframe
        self._last = self._change = self._usual = self._error = self._hold_error = self._quick = self._start

    def code(self, coder: Coder, given: list[int] | None, key: bool) -> list[int]:
        """See `MotionState.code`."""
        ordered = None if given is None else [given[i] for i in self._order]
        values = self._code_key(coder, ordered) if key else self._code_changes(coder, ordered)
        out = [0] * len(values)
        for place, value in zip(self._order, values.tolist(), strict=True):
            out[place] = value
        return out

    def _code_key(self, coder: Coder, given: list[int] | None) -> np.ndarray:
        expected = self._key_error.tolist()
        constant = int(self._priors.mix[0]) - 128
        spreads = [constant + log2(error) - _ONE for error in expected]
        origin = self._mean_face
        hold = [False] * len(origin)
        self._last = self._run(
            coder, given, origin, origin << FINE, self._key, hold, expected, spreads, int(self._priors.mix[4])
        )
        self._change = np.zeros_like(self._last)
        self._usual = self._last << _MEAN
        self._error, self._hold_error, self._quick = self._start, 2 * self._start, self._start
        self._frames = 0
        return self._last

    def _code_changes(self, coder: Coder, given: list[int] | None) -> np.ndarray:
        priors, last = self._priors, self._last
        apart = (last << _MEAN) - self._usual
        learned = (last << FINE) + priors.last_weights @ self._change + (priors.mean_weights @ apart >> _MEAN)
        hold = 64 * self._hold_error < priors.mix[5] * self._error
        expected = np.where(hold, self._hold_error, self._error) + _FLOOR
        lively = int(priors.mix[2]) * (log2(int(self._quick.sum()) + _FLOOR * len(last)) - log2(int(expected.sum())))
        usual, exponent = expected.tolist(), int(priors.mix[1])
        own = [exponent * (log2(error) - self._fine) for error in usual]
        spreads = [c + (e + lively >> 6) + self._fine - _ONE for c, e in zip(priors.spread.tolist(), own, strict=True)]
        values = self._run(coder, given, last, learned, self._now, hold.tolist(), usual, spreads, int(priors.mix[3]))
        self._usual = self._usual + (5 * apart >> 5)
        self._change, self._last = values - last, values
        error = np.abs((values << FINE) - np.clip(learned, 0, self._top << FINE))
        hold_error = np.abs(self._change) << FINE
        pace = min(self._frames + 3, 8)
        self._frames += 1
        self._quick = self._quick + (3 * (np.where(hold, hold_error, error) - self._quick) >> 3)
        self._error = self._error + (error - self._error) // pace
        self._hold_error = self._hold_error + (hold_error - self._hold_error) // pace
        return values

    def _run(
        self, coder: Coder, given: list[int] | None, origin: np.ndarray, learned: np.ndarray, weights: np.ndarray,
        hold: list[bool], expected: list[int], spreads: list[int], exponent: int,
    ) -> np.ndarray:  # fmt: skip
        """Codes all components; adds to the predictions `learned` what each change from `origin` says of the rest."""
        name, top, values = self._name, self._top, []
        usual = actual = 4 * sum(expected) // len(expected)  # a prior: the frame is as lively as expected
        for i, (start, error) in enumerate(zip(origin.tolist(), expected, strict=True)):
            prediction = start << FINE if hold[i] else min(max(int(learned[i]), 0), top << FINE)
            spread = spreads[i] + (exponent * (log2(actual) - log2(usual)) >> 6)
            value = coder.value(given[i] if given is not None else 0, name, prediction, spread)
            if not 0 <= value <= top:
                raise StreamError("E13", f"a component of {name} leaves its range")
            if value != start:
                learned[i + 1 :] += weights[i, i + 1 :] * (value - start)
            actual += abs((value << FINE) - prediction)
            usual += error
            values.append(value)
        return np.array(values, np.int64)
