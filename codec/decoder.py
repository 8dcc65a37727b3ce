"""The receiver: packet -> integers -> driving sample -> picture. Imports neither torch nor mediapipe.

`codec/reassembly.py` decodes the integers, `codec/motion/concealment.py` decides what to draw while they are missing,
`codec/renderer.py` draws it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fvc.codec.base.errors import StreamError
from fvc.codec.media.video import Frame
from fvc.codec.motion.concealment import Concealment, Shown
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.motion.predictor import Integers
from fvc.codec.motion.quantizer import to_sample
from fvc.codec.reassembly import MotionDecoder
from fvc.codec.renderer import Renderer
from fvc.codec.wire.bitstream import Header, Kind, Packet
from fvc.codec.wire.container import begins_keyframe


@dataclass
class Tally:
    """Counts of what happened to the frames shown, and to the packets."""

    decoded: int = 0  # drawn from their own integers
    concealed: int = 0  # drawn from a guess
    held: int = 0  # the last picture again: no face was sent, or nothing came
    recovered: int = 0  # how often a keyframe ended a loss
    repeated: int = 0  # packets that came twice, or too late to be of use
    damaged: int = 0  # packets whose payload was invalid


class Decoder:
    """Draws the frames of one stream. Packets may be missing, come twice, out of order, late or damaged.

    In a call, `put` packets as they arrive and `show` each frame when it falls due; a packet that comes after its
    frame was shown still helps the frames after it. Of a file, whose packets are in order, `decode` one by one.
    To draw in threads, or only some frames, call `next` for every frame and pass its result to `renderer.draw`. Memory
    is bounded: at most 128 waiting packets of up to 4 kB each, a few samples and one picture.

    Args:
        header: the stream's header.
        renderer: draws the pictures; it must not be shared with other streams.

    Attributes:
        last: the newest decoded frame as (number, integers); the integers are None for a frame without a face.
        shown: where the last shown picture came from.
    """

    def __init__(self, header: Header, renderer: Renderer) -> None:
        self.header, self.renderer = header, renderer
        self._motion = MotionDecoder(header)
        self._concealment = Concealment(header.fps)
        self._picture: np.ndarray | None = None
        self._is_blank = True  # nothing is on the screen yet
        self._keyframe: int | None = None  # number of the newest one
        self._cut: int | None = None  # a frame that begins a new scene and has not been shown
        self._tally = Tally()
        self.last: tuple[int, Integers | None] | None = None
        self.shown = Shown.HELD

    @property
    def tally(self) -> Tally:
        """Counts so far."""
        self._tally.recovered = self._motion.recovered
        return self._tally

    @property
    def held(self) -> int:
        """Frames that were held or concealed."""
        return self._tally.held + self._tally.concealed

    def put(self, packet: Packet) -> None:
        """Takes a MOTION, KEY or REFRESH packet with its full number. Never raises, whatever its payload."""
        try:
            is_new = self._motion.put(packet)
            if is_new and begins_keyframe(packet):
                self._note_keyframe(packet)
            self._tally.repeated += not is_new
        except StreamError:
            self._tally.damaged += 1

    def show(self, index: int) -> Frame:
        """The picture of frame `index`, which falls due now. Indices rise from call to call."""
        inputs = self.next(index)
        if inputs is not None:
            self._picture = self.renderer.draw(inputs)
        assert self._picture is not None  # the first call of `next` never returns None
        return Frame(self._picture, index)

    def decode(self, packet: Packet) -> Frame:
        """`put` and `show` of the packet's own frame."""
        self.put(packet)
        return self.show(packet.number)

    def next(self, index: int) -> DrawInputs | None:
        """The inputs from which to draw frame `index`, which falls due now; None: show the last picture again.

        Indices rise from call to call. The first call never returns None.
        """
        self._note(self._motion.advance(index))
        if not self._concealment.knows(index):
            keyframe = self._motion.keyframe_after(index)
            if keyframe is not None and keyframe <= index + self._concealment.reach:
                self._note(self._motion.advance(keyframe))  # to interpolate towards it
        sample, self.shown = self._concealment.at(index)
        self._count(sample is not None)
        if sample is None and self._is_blank:
            sample = self.renderer.rest
        self._is_blank = False
        if sample is None:
            return None
        is_cut = self._cut is not None and self._cut <= index
        self._cut = None if is_cut else self._cut
        return self.renderer.prepare(index, sample, is_cut)

    def lose(self) -> None:
        """Call it after a gap in which six-bit frame numbers may have wrapped: decoding waits for the next keyframe."""
        self._motion.lose()

    def _note_keyframe(self, packet: Packet) -> None:
        """A KEY packet that comes before the keyframe interval has passed begins a new scene (specification, 8.2)."""
        number, interval = packet.number, self.header.keyframe_interval
        if self._keyframe is not None and number <= self._keyframe:
            return
        is_early = self._keyframe is not None and (not interval or number - self._keyframe < interval)
        if packet.kind == Kind.KEY and is_early:
            self._cut = number
        self._keyframe = number

    def _note(self, decoded: Iterable[tuple[int, Integers | None]]) -> None:
        """Takes frames that have just been decoded."""
        for number, integers in decoded:
            self.last = number, integers
            self._concealment.know(number, to_sample(integers, self.header.quantizers) if integers else None)
        self._tally.damaged += self._motion.take_fault() is not None

    def _count(self, is_new: bool) -> None:
        if self.shown == Shown.CONCEALED:
            self._tally.concealed += 1
        elif is_new:
            self._tally.decoded += 1
        else:
            self._tally.held += 1
