"""Codes the video layer of a clip into a number of bytes: chooses its size and how coarse it is.

At equal rate a large coarse picture serves the receiver better than a small fine one, down to a point
(training/LOG.md): so the largest size is taken at which the rate is reached without the coarsest settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from fvc.codec.base.constants import MAX_LAYER_PAYLOAD, SIDE
from fvc.codec.media.resizing import resized
from fvc.codec.video_layer import LayerPayload
from fvc.codec.wire.av1_video import VideoDecoder, encode_video
from fvc.codec.wire.bitstream import Kind, Packet

SIDES = (256, 192, 128)
FINEST, COARSEST = 24.0, 64.0  # CRF; beyond the coarsest a smaller picture is better at the same rate
_FIRST_GUESS = 57.0
_SLOPE = 0.085  # by how much the logarithm of the size falls with each step of CRF, until it is known
_CLOSE = 0.05  # share of the bytes that may stay unused
_TRIES = 4  # for each size and number of bytes
Crops = Callable[[], Iterable[np.ndarray]]  # gives the coded squares, uint8 [256, 256, 3], from the first frame on


@dataclass(frozen=True)
class CodedLayer:
    """A layer with a picture for every frame.

    Attributes:
        side: of its pictures, in pixels; crf: AV1's constant rate factor.
        coded: AV1 data of frames 0, 1, 2 ...
    """

    side: int
    crf: float
    coded: tuple[bytes, ...]

    def packet(self, frame: int) -> Packet:
        """The LAYER packet that precedes the packet of a frame."""
        payload = LayerPayload(int(frame > 0), None if frame else 0, self.coded[frame])
        return Packet(Kind.LAYER, frame, bytes(payload))

    @cached_property
    def bytes(self) -> int:
        """Size of all packets."""
        return sum(len(bytes(self.packet(frame))) for frame in range(len(self.coded)))

    @property
    def fits_packets(self) -> bool:
        """Whether no picture is too large for a packet."""
        return all(len(data) + 2 <= MAX_LAYER_PAYLOAD for data in self.coded)

    def pictures(self, frames: Collection[int]) -> dict[int, np.ndarray]:
        """What a receiver decodes of these frames, uint8 [256, 256, 3] each."""
        decoder, found = VideoDecoder(SIDE), dict[int, np.ndarray]()
        for frame, data in enumerate(self.coded[: max(frames, default=-1) + 1]):
            picture = decoder.decode(data)
            if frame in frames:
                found[frame] = resized(picture, SIDE)
        return found


def code_layer(crops: Crops, fps: Fraction, side: int, crf: float) -> CodedLayer:
    """Codes a layer with these settings."""
    return CodedLayer(side, crf, tuple(encode_video((resized(crop, side) for crop in crops()), crf, fps)))


class LayerCoder:
    """Codes one clip's layer for any number of bytes, and remembers what it has tried."""

    def __init__(self, crops: Crops, fps: Fraction) -> None:
        self._crops, self._fps = crops, fps
        self._tried: dict[int, dict[float, CodedLayer]] = {side: {} for side in SIDES}

    def within(self, most_bytes: int) -> CodedLayer | None:
        """The layer that uses `most_bytes` best; None: not even the smallest and coarsest fits."""
        found = (self._finest_within(side, most_bytes) for side in SIDES)
        return next((layer for layer in found if layer is not None), None)

    def _finest_within(self, side: int, most_bytes: int) -> CodedLayer | None:
        """The layer of this size with the lowest CRF that is found to fit; None: none fits."""
        tried = self._tried[side]
        target = math.log(max(most_bytes, 1) * (1 - _CLOSE / 2))
        for _ in range(_TRIES):
            fitting = [layer for layer in tried.values() if layer.bytes <= most_bytes and layer.fits_packets]
            best = min(fitting, key=lambda layer: layer.crf, default=None)
            if best is not None and (best.bytes >= (1 - _CLOSE) * most_bytes or best.crf == FINEST):
                return best
            sizes = [(crf, math.log(layer.bytes)) for crf, layer in tried.items()]
            crf = _next_crf(sizes, target) if sizes else _FIRST_GUESS
            if crf in tried:
                return best
            tried[crf] = code_layer(self._crops, self._fps, side, crf)
        fitting = [layer for layer in tried.values() if layer.bytes <= most_bytes and layer.fits_packets]
        return min(fitting, key=lambda layer: layer.crf, default=None)


def _next_crf(tried: list[tuple[float, float]], target: float) -> float:
    """Where the line through the two nearest tries meets the target, in quarter steps."""
    (crf, size), *others = sorted(tried, key=lambda one: abs(one[1] - target))
    slope = _SLOPE
    if others and others[0][0] != crf:
        slope = max((size - others[0][1]) / (others[0][0] - crf), _SLOPE / 3)
    steps = round(4 * (crf + (size - target) / slope)) / 4
    return min(max(steps, FINEST), COARSEST)
