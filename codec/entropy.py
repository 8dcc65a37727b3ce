"""Entropy coding of integers with integer frequency tables (bitstream_spec.md, section 6). Knows nothing about faces.

A value's expected magnitude picks one of `N_CLASSES` classes. A class has a shift s and a table: the value is split
into high part q = (value + half) >> s and s low bits; q is coded with the table (an escape takes the rare rest), the
low bits as they are. The tables are two-sided geometric with a heavy tail, built by integer arithmetic only and
pinned by a digest.

constriction's range coder (32-bit words, 64-bit state, 24-bit probabilities) does the coding. It ends on a word
boundary; `RangeWriter.finish` keeps the shortest byte string that still decodes, since the decoder reads zeros past
the end.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import constriction
import numpy as np

from fvc.codec.errors import StreamError

_REACH = 16  # q in [-16, 16] has a symbol of its own; symbol 33 is the escape
ESCAPE = 2 * _REACH + 1
_TOTAL = 1 << 16
MAGNITUDE_ONE = 16  # expected magnitudes are in sixteenths of a step
# Upper bounds of expected magnitude (sixteenths of a step) for the classes without shift: about six per octave.
_BOUNDS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 15, 17, 20, 23, 26, 30, 34, 39, 45, 52, 60)
_MAX_SHIFT = 12
N_CLASSES = len(_BOUNDS) + 6 * _MAX_SHIFT
_MAX_ESCAPE_BITS = 20


def _class_of_small(magnitude: int) -> int:
    for index, bound in enumerate(_BOUNDS):
        if magnitude <= bound:
            return index
    raise AssertionError(magnitude)


_SMALL = tuple(_class_of_small(m) for m in range(_BOUNDS[-1] + 1))


def class_of(magnitude: int) -> int:
    """Expected magnitude in sixteenths of a step (>= 0) -> class in [0, N_CLASSES)."""
    shift = 0
    while magnitude > _BOUNDS[-1] and shift < _MAX_SHIFT:
        magnitude >>= 1
        shift += 1
    magnitude = min(magnitude, _BOUNDS[-1])
    if shift == 0:
        return _SMALL[magnitude]
    return len(_BOUNDS) - 6 + 6 * shift + (_SMALL[magnitude] - (len(_BOUNDS) - 6))


def shift_of(index: int) -> int:
    """The number of low bits that class `index` sends as they are."""
    return 0 if index < len(_BOUNDS) else (index - len(_BOUNDS)) // 6 + 1


def _table_index(index: int) -> int:
    """Classes that differ in shift only share a table."""
    return index if index < len(_BOUNDS) else len(_BOUNDS) - 6 + (index - len(_BOUNDS)) % 6


def _geometric(magnitude: int) -> list[int]:
    """Weights of |q| = 0 .. 16 and beyond for a mean magnitude m > 0 in sixteenths, integers only.

    Each step weighs theta times the one before; a two-sided geometric distribution has the mean magnitude
    2 theta / (1 - theta^2), hence theta = (sqrt(16^2 + m^2) - 16) / m, here with 16 fractional bits.
    """
    theta = (math.isqrt((MAGNITUDE_ONE**2 + magnitude**2) << 32) - (MAGNITUDE_ONE << 16)) // magnitude
    weight, weights = 1 << 30, []
    for _ in range(_REACH + 1):
        weights.append(weight)
        weight = weight * theta >> 16
    weights.append((weight << 16) // ((1 << 16) - theta))  # the rest of the series
    return weights


@cache
def frequencies(table: int) -> tuple[int, ...]:
    """The 34 frequencies (sum 2^16, each at least 1) of table `table` in [0, 22): q = -16 .. 16, then the escape."""
    middle = (_BOUNDS[table] + (_BOUNDS[table - 1] if table else 0) + 1) // 2
    body, tail = _geometric(middle), _geometric(3 * middle + 8)
    sums = [weights[0] + 2 * sum(weights[1:]) for weights in (body, tail)]
    share = [(14 * ((body[k] << 30) // sums[0]) + 2 * ((tail[k] << 30) // sums[1])) >> 4 for k in range(_REACH + 2)]
    room = _TOTAL - (ESCAPE + 1)
    counts = [1 + (share[abs(q)] * room >> 30) for q in range(-_REACH, _REACH + 1)] + [1 + (2 * share[-1] * room >> 30)]
    counts[_REACH] += _TOTAL - sum(counts)
    return tuple(counts)


@cache
def _model(table: int) -> Any:
    probabilities = (np.array(frequencies(table), np.float64) / _TOTAL).astype(np.float32)
    return constriction.stream.model.Categorical(probabilities, perfect=False)


@cache
def _bits_model(bits: int) -> Any:
    return constriction.stream.model.Uniform(1 << bits)


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

    def value(self, value: int, magnitude: int) -> int:
        """Codes a signed integer whose expected magnitude (in sixteenths) is known to both sides."""
        index = class_of(magnitude)
        shift, model = shift_of(index), _model(_table_index(index))
        half = 1 << shift >> 1
        q = (value + half) >> shift
        if -_REACH <= q <= _REACH:
            self._put(q + _REACH, model)
        else:
            self._put(ESCAPE, model)
            rest = abs(q) - _REACH
            width = rest.bit_length()
            self.bits(int(q < 0), 1)
            self.bits(width, 5)
            self.bits(rest - (1 << (width - 1)), width - 1)
        self.bits(value + half - (q << shift), shift)
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

    def value(self, _: int, magnitude: int) -> int:
        """See `RangeWriter.value`."""
        index = class_of(magnitude)
        shift = shift_of(index)
        q = self._get(_model(_table_index(index))) - _REACH
        if q == ESCAPE - _REACH:
            negative, width = self.bits(0, 1), self.bits(0, 5)
            if not 1 <= width <= _MAX_ESCAPE_BITS:
                raise StreamError("E12", "the entropy-coded data is invalid: escape width")
            q = _REACH + (1 << (width - 1)) + self.bits(0, width - 1)
            q = -q if negative else q
        return (q << shift) + self.bits(0, shift) - (1 << shift >> 1)
