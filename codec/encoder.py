"""The sender: frame -> face -> driving sample -> integers -> packet. One frame in, one packet out, bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np

from fvc.codec.bitstream import MAX_SLICES, Header, KeyPayload, Kind, Packet, RefreshPayload
from fvc.codec.crop import cut, to_crop
from fvc.codec.entropy import RangeWriter
from fvc.codec.errors import UsageError
from fvc.codec.prediction import MotionState
from fvc.codec.quantizer import to_integers
from fvc.codec.sample import DrivingSample
from fvc.codec.smoothing import SampleSmoother
from fvc.codec.tracking import FaceTracker
from fvc.codec.video import Frame

MotionNetwork = Callable[[np.ndarray], Mapping[str, np.ndarray]]


def make_sample(picture: np.ndarray, sup: np.ndarray, network: MotionNetwork | None) -> DrivingSample:
    """All parts of a driving sample, from a crop (uint8 [256, 256, 3]) and its sup landmarks ([33, 2] in [-1, 1]).

    Without a network there is no other part than sup.
    """
    return DrivingSample({"sup": sup, **(network(picture) if network is not None else {})})


class Encoder:
    """Codes the frames of one stream in order.

    Args:
        header: what the stream says of itself; profile, quantizers, crop and keyframe interval are taken from it.
        network: crop -> unsup keypoints, Jacobians, expression (see `models.runtime.MotionRuntime`); None is enough
            for a profile that has none of them.
        tracker: used by `encode` when it is not told the face.
        refresh: 0, or into how many slices (2 to 16) each keyframe but the first is cut; they travel with as many
            frames, so that no packet is large (specification, 4.4).
    """

    def __init__(
        self, header: Header, network: MotionNetwork | None, tracker: FaceTracker | None = None, refresh: int = 0
    ) -> None:
        if network is None and header.profile.is_learned:
            raise ValueError(f"profile {header.profile.label} needs a motion network")
        self._header, self._tracker = header, tracker
        self._network = network if header.profile.is_learned else None
        self._refresh, self._slices = check_refresh(refresh, header.keyframe_interval), list[bytes]()
        bits = {part: header.quantizers[part].bits for part in header.profile.parts}
        self._state = MotionState(header.profile.parts, bits)
        self._last_key: int | None = None
        self._smooth = SampleSmoother(float(header.fps))
        self.audio_packets = 0  # how many audio packets precede the next frame; keyframes tell the receiver

    @property
    def looks(self) -> bool:
        """Whether `encode_tracked` looks at the pixels."""
        return self._network is not None

    def encode(self, frame: Frame) -> Packet:
        """Tracks and codes a frame."""
        if self._tracker is None:
            self._tracker = FaceTracker()
        face = self._tracker.track(frame.rgb)
        return self.encode_tracked(frame, None if face is None else face.sup)

    def encode_tracked(self, frame: Frame, sup: np.ndarray | None) -> Packet:
        """Codes a frame whose sup landmarks ([33, 2], pixels) are known; None: no face, the receiver holds.

        The pixels are not looked at where the profile has no learned parts (see `looks`).
        """
        if sup is None:
            self._smooth.reset()
            return self._motion(frame.index, b"")
        crop = self._header.crop
        picture = frame.rgb if self._network is None else cut(frame.rgb, crop)
        sample = make_sample(picture, to_crop(sup, crop), self._network)
        return self.encode_sample(frame.index, self._smooth(sample))

    def restart(self) -> None:
        """The next frame with a face becomes a whole keyframe: the receiver asked for one."""
        self._last_key, self._slices = None, []

    def encode_sample(self, index: int, sample: DrivingSample) -> Packet:
        """Codes a driving sample as frame `index`."""
        header = self._header
        arrays = to_integers(sample, header.profile.parts, header.quantizers)
        integers = {part: array.tolist() for part, array in arrays.items()}
        if self._last_key is None or (header.keyframe_interval and index - self._last_key >= header.keyframe_interval):
            return self._keyframe(index, integers)
        return self._motion(index, self._code(integers, key=False))

    def _keyframe(self, index: int, integers: dict[str, list[int]]) -> Packet:
        if self._last_key is None or not self._refresh:
            self._last_key = index
            return Packet(Kind.KEY, index, bytes(KeyPayload(index, self.audio_packets, self._code(integers, key=True))))
        self._last_key = index
        motion, whole = self._code(integers, key=False), self._code(integers, key=True)
        cuts = [len(whole) * n // self._refresh for n in range(self._refresh + 1)]
        self._slices = [whole[start:stop] for start, stop in pairwise(cuts)]
        return self._motion(index, motion)

    def _code(self, integers: dict[str, list[int]], key: bool) -> bytes:
        writer = RangeWriter()
        self._state.code(writer, integers, key)
        return writer.finish() or (b"" if key else b"\0")  # an empty motion would mean: no face

    def _motion(self, index: int, motion: bytes) -> Packet:
        """The packet of a frame that is no whole keyframe; it takes along the slice that is due."""
        number = index - (self._last_key or 0)
        if not number < len(self._slices):
            self._slices = []
            return Packet(Kind.MOTION, index, motion)
        part = RefreshPayload(index, self.audio_packets, number, len(self._slices), motion, self._slices[number])
        return Packet(Kind.REFRESH, index, bytes(part))


def check_refresh(slices: int, keyframe_interval: int) -> int:
    """The number of slices, if a keyframe can be cut so; raises UsageError."""
    if slices and not 2 <= slices <= MAX_SLICES:
        raise UsageError(f"refresh {slices}: must be 0 or 2 to {MAX_SLICES} slices")
    if slices > keyframe_interval > 0:
        raise UsageError(f"refresh {slices}: more slices than frames between two keyframes ({keyframe_interval})")
    return slices
