"""The receiver: packet -> integers -> driving sample -> picture. Imports neither torch nor mediapipe.

Loss: a gap in the frame numbers or damaged data makes the decoder hold the last picture until the next keyframe; it
never shows a picture drawn from guessed integers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from fvc.codec.bitstream import Header, KeyPayload, Kind, Packet
from fvc.codec.entropy import RangeReader
from fvc.codec.errors import StreamError
from fvc.codec.prediction import MotionState
from fvc.codec.quantizer import to_sample
from fvc.codec.sample import DrivingSample
from fvc.codec.video import Frame

DrawNetwork = Callable[[Mapping[str, np.ndarray]], np.ndarray]


class MotionDecoder:
    """Packets -> integers: the exact half of the receiver, usable without any network."""

    def __init__(self, header: Header) -> None:
        self._header = header
        bits = {part: header.quantizers[part].bits for part in header.profile.parts}
        self._state = MotionState(header.profile.parts, bits)
        self._expected: int | None = None  # the only frame number that may follow; None: wait for a keyframe

    def lose(self) -> None:
        """See `Decoder.lose`."""
        self._expected = None

    def decode(self, packet: Packet) -> dict[str, list[int]] | None:
        """Integers of a MOTION or KEY packet, or None where the last picture is to be held.

        Raises StreamError for damaged data (E04, E05, E12, E13); the decoder then waits for the next keyframe.
        """
        key, coded = packet.kind == Kind.KEY, packet.payload
        if not key and (self._expected != packet.number or not coded):
            if self._expected == packet.number:
                self._expected = packet.number + 1
            else:
                self._expected = None
            return None
        self._expected = None
        if key:
            coded = KeyPayload.parse(coded).coded
        integers = self._state.code(RangeReader(coded), None, key)
        self._expected = packet.number + 1
        return integers


class Decoder:
    """Draws the frames of one stream.

    Args:
        header: the stream's header.
        draw: parts of a driving sample -> uint8 [256, 256, 3] (see `models.runtime.DrawRuntime`).
        rest: the sample to show before the first face arrives (the frontal source's own).
    """

    def __init__(self, header: Header, draw: DrawNetwork, rest: DrivingSample) -> None:
        self._header, self._draw, self._rest = header, draw, rest
        self._motion = MotionDecoder(header)
        self._picture: np.ndarray | None = None
        self.held = 0  # frames shown again because nothing newer could be drawn

    def decode(self, packet: Packet) -> Frame:
        """The picture of a MOTION or KEY packet; damaged or undecodable ones give the last picture again."""
        try:
            integers = self._motion.decode(packet)
        except StreamError:
            integers = None
        if integers is None:
            return self.hold(packet.number)
        arrays = {part: np.array(values) for part, values in integers.items()}
        self._picture = self._draw(to_sample(arrays, self._header.quantizers).parts)
        return Frame(self._picture, packet.number)

    def lose(self) -> None:
        """Packets were lost, too many for their numbers to tell: wait for the next keyframe."""
        self._motion.lose()

    def hold(self, index: int) -> Frame:
        """The last picture (before any: the frontal source at rest) as frame `index`."""
        if self._picture is None:
            self._picture = self._draw(self._rest.only(self._header.profile.parts).parts)
        self.held += 1
        return Frame(self._picture, index)
