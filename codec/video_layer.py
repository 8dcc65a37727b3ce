"""The video layer of a stream: LAYER packets <-> pictures (bitstream_spec.md, section 4.5).

A layer is AV1 low delay of the coded square. Each packet precedes the packet of its frame, and tells how many frames
after the layer's last one it comes, so that a receiver notices one that is missing: what follows would be predicted
from a wrong picture, and is left out until the layer starts anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fvc.codec.base.constants import MIN_LAYER_SIDE, SIDE
from fvc.codec.base.errors import StreamError
from fvc.codec.media.resizing import resized
from fvc.codec.wire.av1_video import VideoDecoder
from fvc.codec.wire.bitstream import leb128, parse_leb128

MAX_STEP = 255  # frames from one picture of the layer to the next


@dataclass(frozen=True)
class LayerPayload:
    """Payload of a LAYER packet.

    Attributes:
        step: frames since the layer's picture before this one, 1 to 255; 0: the layer starts here.
        frame: with step 0: the number of the picture's frame in full; else None.
        coded: one AV1 temporal unit without its temporal delimiter.
    """

    step: int
    frame: int | None
    coded: bytes

    def __bytes__(self) -> bytes:
        return bytes([self.step]) + (b"" if self.frame is None else leb128(self.frame)) + self.coded

    @classmethod
    def parse(cls, data: bytes) -> LayerPayload:
        """Raises StreamError (E04, E05, E26)."""
        if not data:
            raise StreamError("E04", "step is truncated")
        frame, at = parse_leb128(data, 1, "frame") if data[0] == 0 else (None, 1)
        if at == len(data):
            raise StreamError("E26", "a layer packet has no picture")
        return cls(data[0], frame, data[at:])


class LayerDecoder:
    """The pictures of a stream's layer. Holds one picture and AV1's reference pictures, of at most 256x256 each.

    Attributes:
        pictures: how many were decoded so far; damaged: packets that were of no use.
    """

    def __init__(self) -> None:
        self.pictures = self.damaged = 0
        self._decoder: VideoDecoder | None = None  # none: waits for a packet that starts the layer
        self._newest = -1  # number of the newest picture's frame
        self._picture: tuple[int, np.ndarray] | None = None

    def put(self, number: int, payload: bytes) -> None:
        """Takes the payload of a LAYER packet that precedes frame `number`. Never raises, whatever its payload."""
        self._picture = None
        try:
            self._picture = number, self._decode(number, LayerPayload.parse(payload))
            self.pictures += 1
        except StreamError:
            self._decoder = None
            self.damaged += 1

    def take(self, number: int) -> np.ndarray | None:
        """The picture of frame `number`, uint8 RGB [256, 256, 3]; None: the layer has none for it."""
        return self._picture[1] if self._picture is not None and self._picture[0] == number else None

    def _decode(self, number: int, layer: LayerPayload) -> np.ndarray:
        is_start = layer.step == 0
        expected = layer.frame if is_start else self._newest + layer.step
        if expected != number or number <= self._newest or (not is_start and self._decoder is None):
            raise StreamError("E26", "a layer packet before this one is missing")
        self._newest = number
        if is_start:
            self._decoder = VideoDecoder(SIDE)
        assert self._decoder is not None
        picture = self._decoder.decode(layer.coded)
        height, width = picture.shape[:2]
        if height != width or not MIN_LAYER_SIDE <= height <= SIDE:
            raise StreamError("E26", f"a layer picture of {width}x{height}")
        return resized(picture, SIDE)
