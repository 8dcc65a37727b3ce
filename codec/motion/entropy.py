"""Entropy coding of integers around a prediction, with integer tables (bitstream_spec.md, section 6).

A value comes with a `Context`: a prediction finer than a step, and its expected error as a logarithm, the spread. The
spread, the fraction of the prediction and the part's error distribution (`codec.motion.priors`) select a table of 34
frequencies. Above a spread of 3.7 steps, the lower bits of the difference are sent uncompressed.

The range coder itself is `codec.base.range_coder`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from fvc.codec.base.errors import StreamError
from fvc.codec.base.range_coder import InvalidDataError, RangeCoder, installed_coder
from fvc.codec.motion.adaptation import FRACTION_BITS
from fvc.codec.motion.predictor import Context
from fvc.codec.motion.priors import SHAPE_STEPS, PartPriors, load

_REACH = 16  # q in [-16, 16] has a symbol of its own
ESCAPE = 2 * _REACH + 1  # the symbol of all other q
_TOTAL = 1 << 16  # sum of the frequencies of a table
N_SPREADS = 48  # classes of spread, 1/8 octave each, before the shift
_MAX_SHIFT = 12
_MAX_ESCAPE_BITS = 20
NARROW = (65536, 60097, 55109, 50535, 46341, 42495, 38968, 35734)  # 65536 / 2^(n/8)


def residual(prediction: int, spread: int) -> tuple[int, int, int, int, int]:
    """How a value is coded (specification, 6.5): value = base + sign * (q << shift) + low bits.

    Tables are made for predictions above the nearest integer; where the prediction lies below, `sign` is -1 and the
    table is used mirrored. A plain tuple, because it is made for every value and every candidate.

    Args:
        prediction: any integer, in 1/4096 of a step.
        spread: any integer, in 1/32 octave.

    Returns:
        (spread and phase: the table of q, base, sign, shift).
    """
    spread = spread >> 2 if spread > 0 else 0
    shift = (spread - N_SPREADS + 8) >> 3
    if shift <= 0:
        base = (prediction + (1 << (FRACTION_BITS - 1))) >> FRACTION_BITS
        phase = (prediction - (base << FRACTION_BITS)) >> (FRACTION_BITS - 4)
        return (spread, phase, base, 1, 0) if phase >= 0 else (spread, -1 - phase, base, -1, 0)
    shift = min(shift, _MAX_SHIFT)
    base = (prediction + (1 << (FRACTION_BITS - 1)) - (((1 << shift) - 1) << (FRACTION_BITS - 1))) >> FRACTION_BITS
    return min(spread - 8 * shift, N_SPREADS - 1), 0, base, 1, shift


class SymbolTables:
    """The frequency tables of some priors. Each table is made when first needed, and kept.

    Attributes:
        coder: the range coder that the models are made for; None: the one that is installed.
    """

    def __init__(self, priors: Mapping[str, PartPriors], coder: RangeCoder | None = None) -> None:
        self.coder = installed_coder() if coder is None else coder
        self._shapes = {part: of.shape for part, of in priors.items()}
        self._frequencies: dict[tuple[str, int, int], tuple[int, ...]] = {}
        self._models: dict[tuple[str, int, int], Any] = {}
        self._bits: dict[int, Any] = {}

    def frequencies(self, part: str, spread: int, phase: int) -> tuple[int, ...]:
        """The 34 frequencies (sum 2^16, each at least 1) of errors q = -16 .. 16, then the escape.

        Args:
            part: whose error distribution.
            spread: class in [0, N_SPREADS).
            phase: the prediction lies (phase + 1/2) / 16 of a step above q = 0, phase in [0, 8).
        """
        key = part, spread, phase
        if key not in self._frequencies:
            self._frequencies[key] = _frequencies(self._shapes[part], spread, phase)
        return self._frequencies[key]

    def model(self, part: str, spread: int, phase: int) -> Any:
        """The same frequencies as a model of the range coder."""
        key = part, spread, phase
        if key not in self._models:
            self._models[key] = self.coder.table(self.frequencies(*key))
        return self._models[key]

    def bits(self, count: int) -> Any:
        """A model of `count` plain bits, 1 to 16."""
        if count not in self._bits:
            self._bits[count] = self.coder.bits(count)
        return self._bits[count]

    def cost(self, value: int, context: Context) -> float:
        """Bits that `RangeWriter.put` needs for the value, ideally."""
        part, prediction, spread = context
        table, phase, base, sign, shift = residual(prediction, spread)
        q, counts = (value - base) >> shift, self.frequencies(part, table, phase)
        if -_REACH <= q <= _REACH:
            return shift + 16 - math.log2(counts[sign * q + _REACH])
        return shift + 16 - math.log2(counts[ESCAPE]) + 6 + (abs(q) - _REACH).bit_length() - 1


@cache
def format_tables() -> SymbolTables:
    """The tables of this version of the format."""
    return SymbolTables(load())


def _frequencies(shape: np.ndarray, spread: int, phase: int) -> tuple[int, ...]:
    """See `SymbolTables.frequencies` (specification, 6.1)."""

    def below(q: int) -> int:
        """65536 times the probability of everything up to q."""
        edge = 32 * q + 15 - 2 * phase
        size = int(shape[min(abs(edge) * NARROW[spread % 8] >> (11 + spread // 8), SHAPE_STEPS - 1)])
        return 32768 + (size if edge > 0 else -size)

    room = _TOTAL - (ESCAPE + 1)
    sums = [below(q) for q in range(-_REACH - 1, _REACH + 1)]
    counts = [1 + ((b - a) * room >> 16) for a, b in pairwise(sums)]
    counts.append(1 + ((_TOTAL - sums[-1] + sums[0]) * room >> 16))
    counts[_REACH] += _TOTAL - sum(counts)
    return tuple(counts)


def _chunks(count: int) -> list[tuple[int, int]]:
    """(lowest bit, width) of the pieces in which `count` raw bits travel: at most 16 each, most significant first."""
    return [(low, min(16, count - low)) for low in range((count - 1) // 16 * 16 if count else -1, -1, -16)]


class RangeWriter:
    """Collects symbols; `finish` returns the shortest bytes that decode to them.

    Attributes:
        tables: what values are coded with.
    """

    def __init__(self, tables: SymbolTables) -> None:
        self.tables = tables
        self._coder = tables.coder.encoder()

    def symbol(self, symbol: int, model: Any) -> None:
        """Codes one symbol of a model of the tables."""
        self._coder.put(symbol, model)

    def bits(self, value: int, count: int) -> None:
        """Codes `value` in [0, 2^count), count <= 40, all values equally likely."""
        for low, width in _chunks(count):
            self.symbol(value >> low & ((1 << width) - 1), self.tables.bits(width))

    def put(self, value: int, context: Context) -> None:
        """Codes an integer; both sides know its context."""
        part, prediction, spread = context
        table, phase, base, sign, shift = residual(prediction, spread)
        model, q = self.tables.model(part, table, phase), (value - base) >> shift
        if -_REACH <= q <= _REACH:
            self.symbol(sign * q + _REACH, model)
        else:
            self.symbol(ESCAPE, model)
            rest = abs(q) - _REACH
            width = rest.bit_length()
            self.bits(int(q < 0), 1)
            self.bits(width, 5)
            self.bits(rest - (1 << (width - 1)), width - 1)
        if shift:
            self.bits((value - base) & ((1 << shift) - 1), shift)

    @property
    def state(self) -> tuple[int, int]:
        """The coder's (lower, range), as a decoder has them after the last symbol (specification, Annex C)."""
        return self._coder.state

    def finish(self) -> bytes:
        """Ends the message (specification, 6.6)."""
        return self._coder.finish()


class RangeReader:
    """The inverse of `RangeWriter`. All methods raise StreamError (E12) if the data is not a valid message."""

    def __init__(self, data: bytes, tables: SymbolTables) -> None:
        self._tables = tables
        self._coder = tables.coder.decoder(data)

    def symbol(self, model: Any) -> int:
        """The next symbol of a model of the tables."""
        try:
            return self._coder.get(model)
        except InvalidDataError as error:
            raise StreamError("E12", "the entropy-coded data is invalid") from error

    def bits(self, count: int) -> int:
        """See `RangeWriter.bits`."""
        value = 0
        for _, width in _chunks(count):
            value = value << width | self.symbol(self._tables.bits(width))
        return value

    def get(self, context: Context) -> int:
        """See `RangeWriter.put`."""
        part, prediction, spread = context
        table, phase, base, sign, shift = residual(prediction, spread)
        q = self.symbol(self._tables.model(part, table, phase)) - _REACH
        if q == ESCAPE - _REACH:
            negative, width = self.bits(1), self.bits(5)
            if not 1 <= width <= _MAX_ESCAPE_BITS:
                raise StreamError("E12", "the entropy-coded data is invalid: escape width")
            q = _REACH + (1 << (width - 1)) + self.bits(width - 1)
            q = -q if negative else q
        else:
            q *= sign
        return base + (q << shift) + (self.bits(shift) if shift else 0)
