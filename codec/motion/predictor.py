"""The motion model: what both sides expect of a frame's integers (bitstream_spec.md, section 5).

Integers only, so it is the same on every platform. It knows nothing of entropy coding: it yields a `Context` for each
component of a frame, and is given the component's value in return.

    for context in model.frame(keyframe):
        value = ...                 the encoder chooses it, the decoder reads it
        model.push(value)

Each component is predicted, to a fraction of a step, by weights learned on other people (`codec.motion.priors`): from
the changes of the components coded before it in this frame, from all components' last changes, and from their distances
to their running means. The expected error is an exponential mean of past errors, scaled by this frame's activity so
far. Where repeating the last value has recently been the better prediction, the model holds it instead. A keyframe
is predicted from the mean face and the components before.

Bounds: integers have at most 16 bits, weights are below 8, parts have at most 66 components. So predictions stay below
66 * 8 * (1 + 1 + 1) * 2^16 steps, 2^39 in 1/4096; with the eight bits that running means have more, below 2^48.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from typing import NamedTuple

import numpy as np

from fvc.codec.base.errors import StreamError
from fvc.codec.motion.adaptation import (
    ACTIVITY_GAIN,
    ACTIVITY_PRIOR,
    ERROR_FLOOR,
    EXPONENT_BITS,
    FRACTION_BITS,
    HOLD_START,
    HOLD_UNIT,
    MEAN_FRACTION_BITS,
    MEAN_GAIN,
    OCTAVE,
    SPREAD_ORIGIN,
    error_window,
)
from fvc.codec.motion.priors import PartPriors
from fvc.codec.motion.quantizer import USUAL_BITS

Integers = dict[str, list[int]]  # coded part -> its integers, in the order of its components


class Context(NamedTuple):
    """What the model expects of the next component.

    Attributes:
        part: which part it belongs to, and so whose error distribution it has.
        prediction: 1/4096 of a step.
        spread: the size of error to expect, as a logarithm: 1/32 octave, 0 is 1/16 of a step.
    """

    part: str
    prediction: int
    spread: int


def log2(number: int) -> int:
    """About the logarithm of a positive integer, in 1/32 octave: exact at powers of two, linear between."""
    octave = number.bit_length() - 1
    return OCTAVE * (octave - 1) + (number * OCTAVE >> octave)


class MotionModel:
    """What both sides know of a stream's motion so far.

    Args:
        bits: coded part -> bits of its integers, in coding order.
        priors: coded part -> its priors (`priors.load`).
    """

    def __init__(self, bits: Mapping[str, int], priors: Mapping[str, PartPriors]) -> None:
        self._parts = {part: _PartModel(part, priors[part], count) for part, count in bits.items()}
        self._current: _PartModel | None = None

    def frame(self, keyframe: bool) -> Iterator[Context]:
        """The contexts of one frame's components in coding order; `push` each value before taking the next context.

        A keyframe is predicted without memory and restarts it. After a StreamError the model is of no use until the
        next keyframe.
        """
        for part in self._parts.values():
            self._current = part
            yield from part.contexts_of_keyframe() if keyframe else part.contexts()

    def push(self, value: int) -> None:
        """Takes the value of the component whose context came last. Raises StreamError (E13) beyond its range."""
        assert self._current is not None
        self._current.push(value)

    @property
    def integers(self) -> Integers:
        """The last frame's integers."""
        return {name: part.integers for name, part in self._parts.items()}

    def in_coding_order(self, values: Mapping[str, list[int]]) -> list[int]:
        """The integers (or floats) of a frame's components in the order of `frame`'s contexts."""
        return [values[name][component] for name, part in self._parts.items() for component in part.order]

    def copy(self) -> MotionModel:
        """An independent copy, for coding a frame on trial."""
        twin = copy(self)  # arrays are replaced, never changed, so that copies can share them
        twin._parts = {name: copy(part) for name, part in self._parts.items()}
        return twin


class _PartModel:
    """One part. Arrays are int64 [n] in coding order.

    Invariants between frames, after the first keyframe: `_last` is the newest frame; `_change` what it added to the
    one before (0 after a keyframe); `_mean` the running mean, 1/256 of a step; `_error`, `_hold_error` and `_activity`
    are exponential means of errors in 1/4096 of a step: of the learned prediction, of holding the last value, and (the
    fastest) of the prediction that was used. `_frames` counts frames since the keyframe.
    """

    def __init__(self, name: str, priors: PartPriors, bits: int) -> None:
        self._name, self._priors, self._top = name, priors, (1 << bits) - 1
        self._mean_face = priors.mean >> (16 - bits)
        finer = bits - USUAL_BITS[name]  # how many times the usual step is halved
        self._fine = OCTAVE * finer
        self._start_error = _scaled(priors.error, finer)
        self._key_error = _scaled(priors.key_error, finer)
        self._frame_weights = np.ascontiguousarray(priors.now_weights.T)
        self._key_weights = np.ascontiguousarray(priors.key_weights.T)
        self.order: list[int] = priors.order.tolist()
        self._pushed = 0
        self._values = self._last = self._change = self._mean = self._mean_face
        self._error = self._hold_error = self._activity = self._start_error
        self._frames = 0

    def push(self, value: int) -> None:
        """See `MotionModel.push`."""
        if not 0 <= value <= self._top:
            raise StreamError("E13", f"a component of {self._name} is out of its range 0..{self._top}")
        self._pushed = value

    @property
    def integers(self) -> list[int]:
        """The last frame's integers, in the order of the components."""
        out = [0] * len(self.order)
        for component, value in zip(self.order, self._last.tolist(), strict=True):
            out[component] = value
        return out

    def contexts_of_keyframe(self) -> Iterator[Context]:
        """The part's contexts in a keyframe; then restarts the state."""
        priors, origin = self._priors, self._mean_face
        expected = self._key_error.tolist()
        spreads = [priors.key_spread_offset + log2(error) - SPREAD_ORIGIN for error in expected]
        yield from self._components(
            origin,
            origin << FRACTION_BITS,
            self._key_weights,
            [False] * len(origin),
            expected,
            spreads,
            priors.key_activity_exponent,
        )
        self._restart(self._values)

    def contexts(self) -> Iterator[Context]:
        """The part's contexts in any other frame; then adapts the state to it."""
        priors, last = self._priors, self._last
        from_mean = (last << MEAN_FRACTION_BITS) - self._mean
        learned = (
            (last << FRACTION_BITS)
            + priors.last_weights @ self._change
            + (priors.mean_weights @ from_mean >> MEAN_FRACTION_BITS)
        )
        hold = HOLD_UNIT * self._hold_error < priors.hold_threshold * self._error
        expected = np.where(hold, self._hold_error, self._error) + ERROR_FLOOR
        recent = log2(int(self._activity.sum()) + ERROR_FLOOR * len(last)) - log2(int(expected.sum()))
        recent *= priors.recent_activity_exponent
        own = [priors.error_exponent * (log2(error) - self._fine) for error in expected.tolist()]
        offset = self._fine - SPREAD_ORIGIN
        spreads = [
            constant + (error + recent >> EXPONENT_BITS) + offset
            for constant, error in zip(priors.spread.tolist(), own, strict=True)
        ]
        yield from self._components(
            last,
            learned,
            self._frame_weights,
            hold.tolist(),
            expected.tolist(),
            spreads,
            priors.frame_activity_exponent,
        )
        self._learn(from_mean, learned, hold)

    def _components(
        self,
        origin: np.ndarray,
        learned: np.ndarray,
        weights: np.ndarray,
        hold: list[bool],
        expected: list[int],
        spreads: list[int],
        activity_exponent: int,
    ) -> Iterator[Context]:
        """Yields all contexts (specification, 5.3); each change from `origin` corrects the predictions after it.

        Fills `_values`, and leaves the corrected predictions in `learned`.
        """
        name, highest, values = self._name, self._top << FRACTION_BITS, []
        actual = usual = ACTIVITY_PRIOR * sum(expected) // len(expected)
        for i, (start, error) in enumerate(zip(origin.tolist(), expected, strict=True)):
            prediction = start << FRACTION_BITS if hold[i] else min(max(int(learned[i]), 0), highest)
            activity = activity_exponent * (log2(actual) - log2(usual)) >> EXPONENT_BITS
            yield Context(name, prediction, spreads[i] + activity)
            value = self._pushed
            if value != start:
                learned[i + 1 :] += weights[i, i + 1 :] * (value - start)
            actual += abs((value << FRACTION_BITS) - prediction)
            usual += error
            values.append(value)
        self._values = np.array(values, np.int64)

    def _learn(self, from_mean: np.ndarray, learned: np.ndarray, hold: np.ndarray) -> None:
        """Adapts the state to the frame in `_values`."""
        values = self._values
        gain, shift = MEAN_GAIN
        self._mean = self._mean + (gain * from_mean >> shift)
        self._change, self._last = values - self._last, values
        error = np.abs((values << FRACTION_BITS) - np.clip(learned, 0, self._top << FRACTION_BITS))
        hold_error = np.abs(self._change) << FRACTION_BITS
        gain, shift = ACTIVITY_GAIN
        self._activity = self._activity + (gain * (np.where(hold, hold_error, error) - self._activity) >> shift)
        window = error_window(self._frames)
        self._error = self._error + (error - self._error) // window
        self._hold_error = self._hold_error + (hold_error - self._hold_error) // window
        self._frames += 1

    def _restart(self, values: np.ndarray) -> None:
        """The state after a keyframe with these values."""
        self._last = values
        self._change = np.zeros_like(values)
        self._mean = values << MEAN_FRACTION_BITS
        self._error = self._activity = self._start_error
        self._hold_error = HOLD_START * self._start_error
        self._frames = 0


def _scaled(errors: np.ndarray, finer: int) -> np.ndarray:
    """Errors in a step that is halved `finer` times, or doubled -`finer` times; at least 1."""
    return np.maximum(errors << finer if finer >= 0 else errors >> -finer, 1)
