"""The range coder behind `codec.motion.entropy`: constriction's where it is installed, else one in Python integers.

32-bit words, 64-bit state, 24-bit probabilities (bitstream_spec.md, sections 6.2 to 6.4 and 6.6). Both give the same
bytes, state and errors; constriction has no wheel for Linux on ARM. Ours keeps the lower end of the interval as one
integer of any length: a message is one packet, so that is short, and no carry needs care.

Symbols are coded with a *model*, of a table of frequencies or of plain bits. It is of no use to the other coder.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

import numpy as np

try:
    import constriction
except ImportError:  # no wheel for this platform, or another Python
    constriction = None

_WORD, _STATE, _PROBABILITY = 32, 64, 24  # bits
_SYMBOLS_TOTAL = 16  # bits of the sum of a table's frequencies


class InvalidDataError(Exception):
    """No message is coded like this."""


class Encoder(Protocol):
    """Collects symbols."""

    def put(self, symbol: int, model: Any) -> None:
        """Codes one symbol."""

    @property
    def state(self) -> tuple[int, int]:
        """(lower, range), 64 bits each, as a decoder has them after the last symbol."""

    def finish(self) -> bytes:
        """The shortest bytes that, followed by zeros, decode to the symbols (specification, 6.6)."""


class Decoder(Protocol):
    """The inverse of an `Encoder`."""

    def get(self, model: Any) -> int:
        """The next symbol. Raises InvalidDataError."""


class RangeCoder(Protocol):
    """Makes models, encoders and decoders that belong together."""

    def table(self, frequencies: Sequence[int]) -> Any:
        """A model of symbols 0 .. n-1 with these frequencies, whose sum is 2^16."""

    def bits(self, count: int) -> Any:
        """A model of 2^count symbols that are equally likely; `count` in [1, 16]."""

    def encoder(self) -> Encoder:
        """An empty message."""

    def decoder(self, data: bytes) -> Decoder:
        """Reads a message; it goes on in zeros."""


def _rounded(number: int) -> int:
    """To 24 significant bits, halves to even: what single precision does (specification, 6.2)."""
    drop = number.bit_length() - _PROBABILITY
    if drop <= 0:
        return number
    kept, rest, half = number >> drop, number & ((1 << drop) - 1), 1 << (drop - 1)
    return (kept + (rest > half or (rest == half and kept & 1 == 1))) << drop


class _Bits(NamedTuple):
    """Model of `width` = 24 - count bits a symbol."""

    width: int


class _Table(NamedTuple):
    """Model of cumulative probabilities, 0 .. 2^24."""

    cumulative: list[int]


class IntegerEncoder:
    """`Encoder` in Python integers."""

    def __init__(self) -> None:
        self._lower, self._range = 0, (1 << _STATE) - 1  # `_lower` has `_words` words more than the state
        self._words = 0

    def put(self, symbol: int, model: _Bits | _Table) -> None:
        """See `Encoder`."""
        scale = self._range >> _PROBABILITY
        if isinstance(model, _Bits):
            start, size = symbol << model.width, 1 << model.width
        else:
            start = model.cumulative[symbol]
            size = model.cumulative[symbol + 1] - start
        self._lower += scale * start
        self._range = scale * size
        if self._range < 1 << _WORD:
            self._lower <<= _WORD
            self._range <<= _WORD
            self._words += 1

    @property
    def state(self) -> tuple[int, int]:
        """See `Encoder`."""
        return self._lower & ((1 << _STATE) - 1), self._range

    def finish(self) -> bytes:
        """See `Encoder`. Of n bytes the smallest number that is not below the interval, for the smallest n."""
        total = _STATE + _WORD * self._words
        for count in range(total // 8 + 1):
            dropped = total - 8 * count
            value = -(-self._lower >> dropped)
            if value << dropped < self._lower + self._range and value >> (8 * count) == 0:
                return value.to_bytes(count, "big")
        raise AssertionError("an interval without a number")


class IntegerDecoder:
    """`Decoder` in Python integers."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 8
        self._offset = int.from_bytes(data[:8].ljust(8, b"\0"), "big")  # of the message in the interval
        self._range = (1 << _STATE) - 1

    def get(self, model: _Bits | _Table) -> int:
        """See `Decoder`."""
        scale = self._range >> _PROBABILITY
        quantile = self._offset // scale
        if quantile >> _PROBABILITY:
            raise InvalidDataError
        if isinstance(model, _Bits):
            symbol, size = quantile >> model.width, 1 << model.width
            start = symbol << model.width
        else:
            symbol = bisect_right(model.cumulative, quantile) - 1
            start = model.cumulative[symbol]
            size = model.cumulative[symbol + 1] - start
        self._offset -= scale * start
        self._range = scale * size
        if self._range < 1 << _WORD:
            word = self._data[self._at : self._at + 4].ljust(4, b"\0")
            self._at += 4
            self._offset = self._offset << _WORD | int.from_bytes(word, "big")
            self._range <<= _WORD
        return symbol


class IntegerCoder:
    """`RangeCoder` in Python integers."""

    def table(self, frequencies: Sequence[int]) -> _Table:
        """See `RangeCoder`."""
        room = (1 << _PROBABILITY) - len(frequencies)
        below = accumulate(frequencies, initial=0)
        cumulative = [n + (_rounded(c * room) >> _SYMBOLS_TOTAL) for n, c in enumerate(below)]
        cumulative[-1] = 1 << _PROBABILITY
        return _Table(cumulative)

    def bits(self, count: int) -> _Bits:
        """See `RangeCoder`."""
        return _Bits(_PROBABILITY - count)

    def encoder(self) -> IntegerEncoder:
        """See `RangeCoder`."""
        return IntegerEncoder()

    def decoder(self, data: bytes) -> IntegerDecoder:
        """See `RangeCoder`."""
        return IntegerDecoder(data)


class ConstrictionEncoder:
    """`Encoder` of constriction."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()
        self._symbols: list[tuple[int, Any]] = []

    def put(self, symbol: int, model: Any) -> None:
        """See `Encoder`."""
        self._coder.encode(symbol, model)
        self._symbols.append((symbol, model))

    @property
    def state(self) -> tuple[int, int]:
        """See `Encoder`."""
        _, (lower, size) = self._coder.pos()
        return lower, size

    def finish(self) -> bytes:
        """See `Encoder`. constriction ends on a word's boundary; what can be left out of that is tried."""
        best: bytes = self._coder.get_compressed().astype(">u4").tobytes().rstrip(b"\0")
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
        decoder = ConstrictionDecoder(data)
        try:
            return all(decoder.get(model) == symbol for symbol, model in self._symbols)
        except InvalidDataError:
            return False


class ConstrictionDecoder:
    """`Decoder` of constriction."""

    def __init__(self, data: bytes) -> None:
        padded = data + bytes(-len(data) % 4)
        self._coder = constriction.stream.queue.RangeDecoder(np.frombuffer(padded, ">u4").astype(np.uint32))

    def get(self, model: Any) -> int:
        """See `Decoder`."""
        try:
            return int(self._coder.decode(model))
        except (AssertionError, ValueError, RuntimeError) as error:
            raise InvalidDataError from error


class ConstrictionCoder:
    """`RangeCoder` of constriction."""

    def table(self, frequencies: Sequence[int]) -> Any:
        """See `RangeCoder`."""
        probabilities = (np.array(frequencies, np.float64) / (1 << _SYMBOLS_TOTAL)).astype(np.float32)
        return constriction.stream.model.Categorical(probabilities, perfect=False)

    def bits(self, count: int) -> Any:
        """See `RangeCoder`."""
        return constriction.stream.model.Uniform(1 << count)

    def encoder(self) -> ConstrictionEncoder:
        """See `RangeCoder`."""
        return ConstrictionEncoder()

    def decoder(self, data: bytes) -> ConstrictionDecoder:
        """See `RangeCoder`."""
        return ConstrictionDecoder(data)


def installed_coder() -> RangeCoder:
    """constriction's, else our own."""
    return IntegerCoder() if constriction is None else ConstrictionCoder()
