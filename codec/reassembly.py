"""Packets -> integers, in any order, with gaps, duplicates and late arrivals: the bit-exact half of the receiver.

bitstream_spec.md, sections 5 and 9.1. Knows nothing of time or pixels. A frame's integers depend on all frames since a
keyframe. So packets wait here (at most `REORDERING_WINDOW` of them) until the missing ones before them arrive, or until
a later keyframe makes those unnecessary. Late packets repair the state for the frames after them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fvc.codec.base.constants import MAX_SLICES, REORDERING_WINDOW
from fvc.codec.base.errors import StreamError
from fvc.codec.motion import coding
from fvc.codec.motion.entropy import RangeReader, format_tables
from fvc.codec.motion.predictor import Integers, MotionModel
from fvc.codec.motion.priors import load
from fvc.codec.wire.bitstream import Header, KeyPayload, Kind, Packet, RefreshPayload


class MotionDecoder:
    """Decodes the motion of one stream: `put` takes packets, `advance` decodes what can be decoded up to a frame.

    Invariants: every number in `_waiting` is at least `_oldest` and above `_newest - REORDERING_WINDOW`; the state is
    that after frame `_expected - 1`, if `_expected` is not None.

    Attributes:
        recovered: how often a keyframe restarted the decoding after frames that could not be decoded.
    """

    def __init__(self, header: Header) -> None:
        self._model, self._tables = MotionModel(header.bits, load()), format_tables()
        self._expected: int | None = None  # the only frame that may follow; None: wait for a keyframe
        self._waiting: dict[int, Packet | RefreshPayload] = {}
        self._oldest = 0  # frames before it are decoded or given up
        self._newest = -1
        self._started = False
        self.recovered = 0
        self._fault: StreamError | None = None

    @property
    def waiting(self) -> int:
        """How many packets wait for earlier ones; at most REORDERING_WINDOW."""
        return len(self._waiting)

    def take_fault(self) -> StreamError | None:
        """The error of the last frame refused since the previous call of this; None if none was."""
        fault, self._fault = self._fault, None
        return fault

    def lose(self) -> None:
        """Call it after a gap in which six-bit frame numbers may have wrapped: decoding waits for the next keyframe.

        Slices from before the gap stay: they have their numbers in full, and may be completed by those after it.
        """
        self._expected = None
        self._waiting = {n: item for n, item in self._waiting.items() if isinstance(item, RefreshPayload)}

    def put(self, packet: Packet) -> bool:
        """Takes a MOTION, KEY or REFRESH packet with its full number; False if it comes twice or too late.

        Raises StreamError (E04, E05, E23) if its payload cannot be parsed.
        """
        number = packet.number
        if number < self._oldest or number <= self._newest - REORDERING_WINDOW or number in self._waiting:
            return False
        if packet.kind == Kind.KEY:
            KeyPayload.parse(packet.payload)
        self._waiting[number] = RefreshPayload.parse(packet.payload) if packet.kind == Kind.REFRESH else packet
        if number > self._newest:
            self._newest = number
            for old in [n for n in self._waiting if n <= number - REORDERING_WINDOW]:
                del self._waiting[old]
        return True

    def advance(self, number: int) -> list[tuple[int, Integers | None]]:
        """Decodes as far as packets are there, at most up to frame `number`.

        Returns (frame, integers) of what is newly decoded, in order; None stands for a frame without a face. A frame
        whose payload is invalid (E12, E13) is left out (see `take_fault`); decoding resumes at the next keyframe.
        """
        decoded: list[tuple[int, Integers | None]] = []
        while True:
            expected = self._expected
            if expected is not None and expected <= number and expected in self._waiting:
                self._decode(expected, decoded)
            elif (start := self._keyframe(number)) is not None:
                self._restart(start, decoded)
            else:
                return decoded

    def keyframe_after(self, number: int) -> int | None:
        """The first whole keyframe after frame `number` among the waiting packets, if any."""
        keys = (n for n, item in self._waiting.items() if isinstance(item, Packet) and item.kind == Kind.KEY)
        return min((n for n in keys if n > number), default=None)

    def decode(self, packet: Packet) -> Integers | None:
        """For packets in order: the integers of this one, or None where the last picture is to be held.

        Raises StreamError (E04, E05, E12, E13, E23) for damaged data; the decoder then waits for the next keyframe.
        """
        self.take_fault()
        self.put(packet)
        decoded = self.advance(packet.number)
        if (fault := self.take_fault()) is not None:
            raise fault
        return decoded[-1][1] if decoded and decoded[-1][0] == packet.number else None

    def _keyframe(self, number: int) -> int | None:
        """The newest frame up to `number` whose keyframe is here as a whole, so that decoding can start at it."""
        for at in sorted((n for n in self._waiting if n <= number), reverse=True):
            item = self._waiting[at]
            if isinstance(item, RefreshPayload):
                first = at - item.slice
                if item.slice == item.slices - 1 and len(self._slices(first)) == item.slices:
                    return first
            elif item.kind == Kind.KEY:
                return at
        return None

    def _slices(self, first: int) -> list[RefreshPayload]:
        """The slices of the keyframe of frame `first`, up to the first gap."""
        found: list[RefreshPayload] = []
        for n in range(MAX_SLICES):
            item = self._waiting.get(first + n)
            if not isinstance(item, RefreshPayload) or item.slice != n or (found and item.slices != found[0].slices):
                break
            found.append(item)
        return found

    def _restart(self, start: int, decoded: list[tuple[int, Integers | None]]) -> None:
        self.recovered += self._started
        item = self._waiting[start]
        if not isinstance(item, RefreshPayload):
            self._decode(start, decoded)
            return
        data = b"".join(part.coded for part in self._slices(start))
        with self._attempt(start):
            decoded.append((start, coding.decode(self._model, RangeReader(data, self._tables), keyframe=True)))

    def _decode(self, number: int, decoded: list[tuple[int, Integers | None]]) -> None:
        """Decodes the frame from its packet; the state before it must be right unless it is a KEY."""
        item = self._waiting[number]
        with self._attempt(number):
            is_key = isinstance(item, Packet) and item.kind == Kind.KEY
            if isinstance(item, RefreshPayload):
                data = item.motion
            else:
                data = KeyPayload.parse(item.payload).coded if is_key else item.payload
            integers = None
            if data or is_key:
                integers = coding.decode(self._model, RangeReader(data, self._tables), is_key)
            if integers is not None and isinstance(item, RefreshPayload) and item.slice == 0:
                coding.replay(self._model, integers, keyframe=True)  # the keyframe in slices has the same integers
            decoded.append((number, integers))

    @contextmanager
    def _attempt(self, number: int) -> Iterator[None]:
        """Decodes one frame in its block. Then the next frame is expected or, after a StreamError, a keyframe."""
        self._expected = None
        try:
            yield
        except StreamError as error:
            self._fault = error
        else:
            self._expected, self._started = number + 1, True
        finally:
            self._oldest = number + 1
            for old in [n for n in self._waiting if n <= number]:
                del self._waiting[old]
