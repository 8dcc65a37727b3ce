"""The sender: frame -> face -> driving sample -> integers -> packet. One frame in, one packet out, bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np

from fvc.codec.bitstream import MAX_SLICES, Header, KeyPayload, Kind, Packet, RefreshPayload
from fvc.codec.crop import cut, to_crop
from fvc.codec.decisions import Targets, ThriftyWriter, worth_of
from fvc.codec.entropy import RangeWriter
from fvc.codec.errors import UsageError
from fvc.codec.prediction import Integers, MotionState
from fvc.codec.quantizer import to_integers
from fvc.codec.ratecontrol import COARSEST, ConstantQuality, Plan
from fvc.codec.sample import DrivingSample
from fvc.codec.smoothing import FILTERS, LEARNED, Filters, SampleSmoother
from fvc.codec.tracking import FaceTracker
from fvc.codec.video import Frame

# State afterwards, motion or keyframe, keyframe in slices; bits and quality.
Trial = tuple[MotionState, bytes, bytes, tuple[int, float | None]]
_TRIALS = (-6.0, 0.0, 6.0)  # of quality, about that of the plan
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
        plan: how finely frames are coded; None: the nearest integers, lossless but for the header's quantizers.
        filters: of each part before it is coded (`codec.smoothing`); None: those that go with the plan.

    Attributes:
        skipped: frames with a face that were left out, because the plan had no room for them.
    """

    def __init__(
        self,
        header: Header,
        network: MotionNetwork | None,
        tracker: FaceTracker | None = None,
        refresh: int = 0,
        plan: Plan | None = None,
        filters: Filters | None = None,
    ) -> None:
        if network is None and header.profile.is_learned:
            raise ValueError(f"profile {header.profile.label} needs a motion network")
        self._header, self._tracker = header, tracker
        self._network = network if header.profile.is_learned else None
        self._refresh, self._slices = check_refresh(refresh, header.keyframe_interval), list[bytes]()
        self._state = MotionState(header.bits)
        self._last_key: int | None = None
        self._plan: Plan = plan or ConstantQuality(None)
        if filters is None:
            filters = FILTERS if self._plan.quality is None else LEARNED
        self._smooth = SampleSmoother(float(header.fps), filters)
        self.skipped = 0
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
        interval = self._header.keyframe_interval
        is_first = self._last_key is None
        is_due = is_first or bool(interval and index - (self._last_key or 0) >= interval)
        in_slices = not is_first and bool(self._refresh)
        trial = self._fitting(index, sample, is_due, is_due and in_slices, is_first)
        if trial is None and is_due:
            self._plan.save()
            is_due = False
            trial = self._fitting(index, sample, False, False, False)
        if trial is None:
            self.skipped += 1
            self._plan.spend(8 * self._slice_bytes(index), None)
            return self._motion(index, b"")
        self._state, coded, whole, (bits, quality) = trial
        self._plan.spend(bits, None if is_due else quality)
        if not is_due:
            return self._motion(index, coded or b"\0")  # an empty motion would mean: no face
        self._last_key = index
        if not in_slices:
            return Packet(Kind.KEY, index, bytes(KeyPayload(index, self.audio_packets, coded)))
        cuts = [len(whole) * n // self._refresh for n in range(self._refresh + 1)]
        self._slices = [whole[start:stop] for start, stop in pairwise(cuts)]
        return self._motion(index, coded or b"\0")

    def _fitting(self, index: int, sample: DrivingSample, key: bool, in_slices: bool, is_first: bool) -> Trial | None:
        """Codes a frame on trial, more and more coarsely, until the plan has room for it.

        Args:
            key: as a keyframe; `in_slices`: by its motion, with a keyframe beside it.
            is_first: it must be sent, whether there is room or not.
        """
        header, plan = self._header, self._plan
        quality, room = plan.quality, plan.room if key else plan.motion_room
        targets = None if quality is None else Targets(sample, header.quantizers)
        extra = len(bytes(KeyPayload(index, self.audio_packets, b""))) if key else self._slice_bytes(index)
        while True:
            whole, is_whole = b"", key and not in_slices
            state, coded, taken = (
                self._nearest(sample, is_whole) if targets is None or quality is None
                else self._thriftiest(targets, quality, is_whole)
            )  # fmt: skip
            if in_slices:  # it says what the motion says, so that all receivers agree
                again = RangeWriter()
                state.code(again, taken, True)
                whole = again.finish()
            bits = 8 * (max(len(coded), 1) + len(whole) + extra)
            is_last = quality is None or quality <= COARSEST
            if bits <= room or (is_first and is_last):
                return state, coded, whole, (bits, quality)
            if quality is None or is_last:
                return None
            quality = max(quality - 15, COARSEST)

    def _nearest(self, sample: DrivingSample, key: bool) -> tuple[MotionState, bytes, Integers]:
        integers = {part: x.tolist() for part, x in to_integers(sample, self._header.quantizers).items()}
        state, writer = self._state.copy(), RangeWriter()
        taken = state.code(writer, integers, key)
        return state, writer.finish(), taken

    def _thriftiest(self, targets: Targets, quality: float, key: bool) -> tuple[MotionState, bytes, Integers]:
        """State afterwards, message and integers, of the best of some trials about a quality.

        A message is a whole number of bytes: on average two bits of the last one would say nothing. One of the trials
        fills its bytes better.
        """
        best, least = None, math.inf
        for more in _TRIALS:
            state, writer = self._state.copy(), ThriftyWriter(targets, quality + more)
            taken = state.code(writer, None, key)
            coded = writer.finish()
            value = 8 * len(coded) + worth_of(quality) * writer.distortion
            if value < least:
                best, least = (state, coded, taken), value
        assert best is not None
        return best

    def _slice_bytes(self, index: int) -> int:
        """How much the slice of a keyframe takes that frame `index` carries, at most."""
        number = index - (self._last_key or 0)
        return len(self._slices[number]) + 14 if number < len(self._slices) else 0

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
