"""Keyframe schedule: when a keyframe is due, and how it is sent.

It is sent in a packet of its own, or in slices that travel with the motion of several frames (bitstream_spec.md, 4.3
and 4.4). Sender only. Knows nothing of what is in a keyframe.
"""

from __future__ import annotations

from enum import Enum
from itertools import pairwise

from fvc.codec.base.constants import MAX_SLICES
from fvc.codec.base.errors import OptionError
from fvc.codec.wire.bitstream import KeyPayload, Kind, Packet, RefreshPayload

_SLICE_NUMBERS = 14  # bytes of the numbers in a REFRESH payload, at most


class Slot(Enum):
    """How a frame is sent."""

    MOTION = "motion"
    KEY = "keyframe"
    SLICED_KEY = "keyframe in slices"


class KeyframeSchedule:
    """Keyframes of one stream.

    Args:
        interval: frames from one keyframe to the next; 0: only the first frame is one.
        slices: 0, or the number of slices (2 to 16) of each keyframe but the first.
    """

    def __init__(self, interval: int, slices: int = 0) -> None:
        self._interval, self._count = interval, check_refresh(slices, interval)
        self._last: int | None = None
        self._slices: list[bytes] = []

    @property
    def is_start(self) -> bool:
        """Whether the next frame must be a keyframe: the receiver has none to continue from."""
        return self._last is None

    def restart(self) -> None:
        """The next frame becomes a whole keyframe."""
        self._last, self._slices = None, []

    def slot(self, index: int) -> Slot:
        """How frame `index` should be sent."""
        if self._last is None:
            return Slot.KEY
        if not self._interval or index - self._last < self._interval:
            return Slot.MOTION
        return Slot.SLICED_KEY if self._count else Slot.KEY

    def overhead(self, index: int, slot: Slot, audio_packets: int) -> int:
        """Most bytes of a payload besides the frame's own message: numbers, and the slice of an earlier keyframe."""
        if slot != Slot.MOTION:
            return len(bytes(KeyPayload(index, audio_packets, b"")))
        number = index - (self._last or 0)
        return len(self._slices[number]) + _SLICE_NUMBERS if number < len(self._slices) else 0

    def key_packet(self, index: int, audio_packets: int, data: bytes) -> Packet:
        """The packet of a whole keyframe; the interval begins anew."""
        self._last = index
        return Packet(Kind.KEY, index, bytes(KeyPayload(index, audio_packets, data)))

    def begin_slices(self, index: int, keyframe: bytes) -> None:
        """Cuts the keyframe of frame `index` into slices, which are sent from this frame on."""
        cuts = [len(keyframe) * n // self._count for n in range(self._count + 1)]
        self._last = index
        self._slices = [keyframe[start:stop] for start, stop in pairwise(cuts)]

    def motion_packet(self, index: int, audio_packets: int, motion: bytes) -> Packet:
        """The packet of a frame that is not a whole keyframe; it includes the slice that is due, if any."""
        number = index - (self._last or 0)
        if not number < len(self._slices):
            self._slices = []
            return Packet(Kind.MOTION, index, motion)
        part = RefreshPayload(index, audio_packets, number, len(self._slices), motion, self._slices[number])
        return Packet(Kind.REFRESH, index, bytes(part))


def check_refresh(slices: int, interval: int) -> int:
    """Returns `slices` if keyframes can be cut into that many. Raises OptionError."""
    if slices and not 2 <= slices <= MAX_SLICES:
        raise OptionError("refresh", slices, f"must be 0 or 2 to {MAX_SLICES} slices")
    if slices > interval > 0:
        raise OptionError("refresh", slices, f"more slices than frames between two keyframes ({interval})")
    return slices
