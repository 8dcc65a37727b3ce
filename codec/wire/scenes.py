"""Which source pictures draw which frames of a stream, where these are not all of them (bitstream_spec.md, 4.1)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fvc.codec.base.constants import MAX_NUMBER, MAX_SOURCES
from fvc.codec.base.errors import StreamError
from fvc.codec.wire.leb128 import leb128, parse_leb128


@dataclass(frozen=True)
class Scenes:
    """The table of scenes in a header.

    Attributes:
        sets: one to eight sets of source pictures, each as bits: bit n for picture n.
        changes: (frame, index of the set that draws this frame and those after it); frames rise.
    """

    sets: tuple[int, ...]
    changes: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, shown: Sequence[tuple[int, int]], sets: Sequence[int], most_bytes: int) -> Scenes:
        """A table of at most so many bytes; frames after the last change that it has room for get all pictures.

        Args:
            shown: (frame, index of its set) of frames in order, at least one.
            sets: at most eight.
        """
        changes = [now for last, now in zip([(0, -1), *shown], shown, strict=False) if last[1] != now[1]]
        steps = [now - last for (last, _), (now, _) in zip([(0, 0), *changes], changes, strict=False)]
        ends = np.cumsum([len(leb128(step * MAX_SOURCES)) for step in steps])
        room = int(np.searchsorted(ends, most_bytes - len(sets) - 2, "right"))
        if room >= len(changes):
            return cls(tuple(sets), tuple(changes))
        known = tuple(sets[: MAX_SOURCES - 1])
        kept = [(frame, min(index, len(known))) for frame, index in changes[: room - 1]]
        return cls((*known, 0), (*kept, (changes[room - 1][0], len(known))))

    def pictures(self, frame: int, count: int) -> tuple[int, ...]:
        """The numbers of the pictures, of `count`, that draw a frame; all where the table names none that is there."""
        at = bisect_right(self.changes, frame, key=lambda change: change[0]) - 1
        mask = self.sets[self.changes[at][1]] if at >= 0 else 0
        return tuple(n for n in range(count) if mask >> n & 1) or tuple(range(count))

    def __bytes__(self) -> bytes:
        out, last = bytearray([len(self.sets), *self.sets]), 0
        for frame, index in self.changes:
            out += leb128((frame - last) * MAX_SOURCES + index)
            last = frame
        return bytes(out)

    @classmethod
    def parse(cls, data: bytes) -> Scenes:
        """Raises StreamError (E27)."""
        count = data[0] if data else 0
        if not 1 <= count <= MAX_SOURCES or len(data) <= count:
            raise StreamError("E27", f"the header's scenes have {count} sets of pictures, or end within them")
        at, frame, changes = 1 + count, 0, list[tuple[int, int]]()
        while at < len(data):
            try:
                value, at = parse_leb128(data, at, "a change of scene")
            except StreamError:
                raise StreamError("E27", "the header's scenes end in no valid number") from None
            delta, index = divmod(value, MAX_SOURCES)
            frame += delta
            if index >= count or frame > MAX_NUMBER or (changes and not delta):
                raise StreamError("E27", f"the header's scenes name set {index} of {count} from frame {frame} on")
            changes.append((frame, index))
        return cls(tuple(data[1 : 1 + count]), tuple(changes))
