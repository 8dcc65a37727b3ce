"""Entropy coding of integers around a prediction, with integer tables (bitstream_spec.md, section 6).

A value comes with a prediction finer than a step and the spread to expect, as a logarithm. Spread, fraction of the
prediction and shape (of the part's errors, see `codec.priors`) choose a table of 34 frequencies. Above a spread of
3.7 steps, the lower bits of the difference are sent as they are.

constriction's range coder (32-bit words, 64-bit state, 24-bit probabilities) does the coding. It ends on a word
boundary; `RangeWriter.finish` keeps the shortest byte string that still decodes, since the decoder reads zeros past
the end.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import constriction
import numpy as np

from fvc.codec.errors import StreamError
from fvc.codec.priors import FINE, SHAPE_STEPS, load

_REACH = 16  # q in [-16, 16] has a symbol of its own; symbol 33 is the escape
ESCAPE = 2 * _REACH + 1
_TOTAL = 1 << 16
N_SPREADS = 48  # classes of spread, 1/8 octave each, before the shift
_MAX_SHIFT = 12
_MAX_ESCAPE_BITS = 20
_NARROW = (65536, 60097, 55109, 50535, 46341, 42495, 38968, 35734)  # 65536 / 2^(n/8)


@cache
def frequencies(part: str, spread: int, phase: int) -> tuple[int, ...]:
    """The 34 frequencies (sum 2^16, each at least 1) of errors q = -16 .. 16, then the escape.

    Args:
        part: whose shape.
        spread: class in [0, N_SPREADS).
        phase: the prediction lies (phase + 1/2) / 16 of a step above q = 0, phase in [0, 8).
    """
    shape = load()[part].shape

    def below(q: int) -> int:
        """65536 times the probability of everything up to q."""
        edge = 32 * q + 15 - 2 * phase
        size = int(shape[min(abs(edge) * _NARROW[spread % 8] >> (11 + spread // 8), SHAPE_STEPS - 1)])
        return 32768 + (size if edge > 0 else -size)

    room = _TOTAL - (ESCAPE + 1)
    sums = [below(q) for q in range(-_REACH - 1, _REACH + 1)]
    counts = [1 + ((b - a) * room >> 16) for a, b in pairwise(sums)]
    counts.append(1 + ((_TOTAL - sums[-1] + sums[0]) * room >> 16))
    counts[_REACH] += _TOTAL - sum(counts)
    return tuple(counts)


@cache
def _model(part: str, spread: int, phase: int) -> Any:
    probabilities = (np.array(frequencies(part, spread, phase), np.float64) / _TOTAL).astype(np.float32)
    return constriction.stream.model.Categorical(probabilities, perfect=False)


@cache
def _bits_model(bits: int) -> Any:
    return constriction.stream.model.Uniform(1 << bits)


class Place(NamedTuple):
    """How a value is coded: value = base + sign * (q << shift) + low bits, q with the table of spread and phase."""

    spread: int
    phase: int
    base: int
    sign: int
    shift: int


def place(prediction: int, spread: int) -> Place:
    """From a prediction in 1/4096 of a step and a spread in 1/32 octave, for any integers."""
    spread = max(spread, 0) >> 2
    shift = min(max((spread - N_SPREADS + 8) >> 3, 0), _MAX_SHIFT)
    base = (prediction + (1 << (FINE - 1)) - (((1 << shift) - 1) << (FINE - 1))) >> FINE
    phase = 0 if shift else (prediction - (base << FINE)) >> (FINE - 4)
    spread = min(spread - 8 * shift, N_SPREADS - 1)
    return Place(spread, phase, base, 1, shift) if phase >= 0 else Place(spread, -1 - phase, base, -1, shift)


def cost(value: int, part: str, prediction: int, spread: int) -> float:
    """Bits that `RangeWriter.value` needs, ideally."""
    at = place(prediction, spread)
    q, counts = (value - at.base) >> at.shift, frequencies(part, at.spread, at.phase)
    if -_REACH <= q <= _REACH:
        return at.shift + 16 - math.log2(counts[at.sign * q + _REACH])
    return at.shift + 16 - math.log2(counts[ESCAPE]) + 6 + (abs(q) - _REACH).bit_length() - 1


class RangeWriter:
    """Collects symbols; `finish` returns the shortest bytes that decode to them."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()
        self._symbols: list[tuple[int, Any]] = []

    def _put(self, symbol: int, model: Any) -> None:
        self._coder.encode(symbol, model)
        self._symbols.append((symbol, model))

    def bits(self, value: int, count: int) -> int:
        """Codes `value` in [0, 2^count), count <= 40, in chunks of at most 16 bits, most significant first."""
        for low in range((count - 1) // 16 * 16 if count else 0, -1, -16):
            width = min(16, count - low)
            if width > 0:
                self._put(value >> low & ((1 << width) - 1), _bits_model(width))
        return value

    def value(self, value: int, part: str, prediction: int, spread: int) -> int:
        """Codes an integer; both sides know part, prediction (1/4096 of a step) and spread (1/32 octave)."""
        table, phase, base, sign, shift = place(prediction, spread)
        model, q = _model(part, table, phase), (value - base) >> shift
        if -_REACH <= q <= _REACH:
            self._put(sign * q + _REACH, model)
        else:
            self._put(ESCAPE, model)
            rest = abs(q) - _REACH
            width = rest.bit_length()
            self.bits(int(q < 0), 1)
            self.bits(width, 5)
            self.bits(rest - (1 << (width - 1)), width - 1)
        self.bits((value - base) & ((1 << shift) - 1), shift)
        return value

    def finish(self) -> bytes:
        """Ends the message."""
        data = self._coder.get_compressed().astype(">u4").tobytes().rstrip(b"\0")
        best = data
        while best:
            shorter = best[:-1]
            raised = (int.from_bytes(shorter, "big") + 1).to_bytes(len(shorter) + 1, "big")
            candidates = [shorter, raised[1:]] if raised[0] == 0 else [shorter]
            found = next((c for c in candidates if self._decodes(c)), None)
            if found is None:
                return best
            best = found
        return best

    def _decodes(self, data: bytes) -> bool:
        decoder = _decoder(data)
        try:
            return all(int(decoder.decode(model)) == symbol for symbol, model in self._symbols)
        except AssertionError:  # how constriction says that no message begins like this
            return False


def _decoder(data: bytes) -> Any:
    padded = data + bytes(-len(data) % 4)
    return constriction.stream.queue.RangeDecoder(np.frombuffer(padded, ">u4").astype(np.uint32))


class RangeReader:
    """The inverse of `RangeWriter`: same calls, the given values are ignored and the coded ones returned."""

    def __init__(self, data: bytes) -> None:
        self._coder = _decoder(data)

    def _get(self, model: Any) -> int:
        try:
            return int(self._coder.decode(model))
        except (AssertionError, ValueError, RuntimeError) as error:
            raise StreamError("E12", "the entropy-coded data is invalid") from error

    def bits(self, _: int, count: int) -> int:
        """See `RangeWriter.bits`."""
        value = 0
        for low in range((count - 1) // 16 * 16 if count else 0, -1, -16):
            width = min(16, count - low)
            if width > 0:
                value = value << width | self._get(_bits_model(width))
        return value

    def value(self, _: int, part: str, prediction: int, spread: int) -> int:
        """See `RangeWriter.value`."""
        table, phase, base, sign, shift = place(prediction, spread)
        q = self._get(_model(part, table, phase)) - _REACH
        if q == ESCAPE - _REACH:
            negative, width = self.bits(0, 1), self.bits(0, 5)
            if not 1 <= width <= _MAX_ESCAPE_BITS:
                raise StreamError("E12", "the entropy-coded data is invalid: escape width")
            q = _REACH + (1 << (width - 1)) + self.bits(0, width - 1)
            q = -q if negative else q
        else:
            q *= sign
        return base + (q << shift) + self.bits(0, shift)
