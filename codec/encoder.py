"""The sender: frame -> face -> driving sample -> integers -> packet. One frame in, one packet out, bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from fvc.codec.face.crop import cut, to_crop
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.keyframes import KeyframeSchedule, Slot
from fvc.codec.media.video import Frame
from fvc.codec.motion.motion_encoder import CodedFrame, MotionEncoder
from fvc.codec.motion.ratecontrol import ConstantQuality, Plan, fit
from fvc.codec.motion.sample import DrivingSample
from fvc.codec.motion.smoothing import FILTERS, LEARNED, Filters, SampleSmoother
from fvc.codec.wire.bitstream import Header, KeyPayload, Packet

MotionNetwork = Callable[[np.ndarray], Mapping[str, np.ndarray]]
_NO_CHANGE = b"\0"  # a message of certain integers only: an empty motion would mean that there is no face


def make_sample(picture: np.ndarray, sup: np.ndarray, network: MotionNetwork | None) -> DrivingSample:
    """All parts of a driving sample, from a crop (uint8 [256, 256, 3]) and its sup landmarks ([33, 2] in [-1, 1]).

    Without a network there is no other part than sup.
    """
    return DrivingSample({"sup": sup, **(network(picture) if network is not None else {})})


@dataclass(frozen=True)
class _Attempt:
    """A frame coded at some quality (None: the nearest integers), in one of the slots.

    Attributes:
        sliced: the keyframe that travels beside the motion; empty in other slots.
        bits: of everything that the frame's payload holds.
    """

    frame: CodedFrame
    sliced: bytes
    bits: int
    quality: float | None


class Encoder:
    """Codes the frames of one stream in order.

    Args:
        header: profile, quantizers, crop and keyframe interval are taken from it.
        network: crop -> unsup keypoints, Jacobians, expression (see `models.runtime.MotionRuntime`); None is enough
            for a profile that has none of them.
        tracker: used by `encode`; made when first needed.
        refresh: 0, or into how many slices (2 to 16) each keyframe but the first is cut; they travel with as many
            frames, so that no packet is large (specification, 4.4).
        plan: how finely frames are coded; None: the nearest integers, lossless but for the header's quantizers.
        filters: of each part before it is coded (`codec.motion.smoothing`); None: those that go with the plan.

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
        self._schedule = KeyframeSchedule(header.keyframe_interval, refresh)
        self._plan: Plan = plan or ConstantQuality(None)
        if filters is None:
            filters = FILTERS if self._plan.quality is None else LEARNED
        self._smooth = SampleSmoother(float(header.fps), filters)
        self._motion = MotionEncoder(header.quantizers)
        self._next_index = 0
        self.skipped = 0

    @property
    def looks(self) -> bool:
        """Whether `encode_tracked` looks at the pixels."""
        return self._network is not None

    def encode(self, frame: Frame | np.ndarray, *, audio_packets: int = 0, force_keyframe: bool = False) -> Packet:
        """Tracks and codes a frame.

        Args:
            frame: with its number, or only its pixels, uint8 [H, W, 3]: then it is the one after the last.
            audio_packets: how many packets of sound precede it; keyframes tell the receiver.
            force_keyframe: the receiver asked for one: this frame, or the next one with a face, becomes a keyframe.
        """
        if isinstance(frame, np.ndarray):
            frame = Frame(frame, self._next_index)
        if self._tracker is None:
            self._tracker = FaceTracker()
        face = self._tracker.track(frame.rgb)
        sup = None if face is None else face.sup
        is_cut = self._tracker.is_cut
        return self.encode_tracked(
            frame, sup, is_cut=is_cut, audio_packets=audio_packets, force_keyframe=force_keyframe
        )

    def encode_tracked(
        self,
        frame: Frame,
        sup: np.ndarray | None,
        *,
        is_cut: bool = False,
        audio_packets: int = 0,
        force_keyframe: bool = False,
    ) -> Packet:
        """Codes a frame whose sup landmarks ([33, 2], pixels) are known; None: no face, the receiver holds.

        The pixels are not looked at where the profile has no learned parts (see `looks`).

        Args:
            is_cut: the frame begins a new scene: it, or the next one with a face, becomes a keyframe, and is not
                smoothed with those before.
            audio_packets, force_keyframe: as in `encode`.
        """
        self._next_index = frame.index + 1
        if is_cut:
            self._smooth.reset()
        if is_cut or force_keyframe:
            self._schedule.restart()
        if sup is None:
            self._smooth.reset()
            return self._schedule.motion_packet(frame.index, audio_packets, b"")
        crop = self._header.crop
        picture = frame.rgb if self._network is None else cut(frame.rgb, crop)
        sample = self._smooth(make_sample(picture, to_crop(sup, crop), self._network))
        return self.encode_sample(frame.index, sample, audio_packets=audio_packets)

    def encode_sample(self, index: int, sample: DrivingSample, *, audio_packets: int = 0) -> Packet:
        """Codes a driving sample as frame `index`."""
        slot = self._schedule.slot(index)
        attempt = self._fit(index, sample, slot, audio_packets)
        if attempt is None and slot != Slot.MOTION:
            self._plan.defer_keyframe()
            slot = Slot.MOTION
            attempt = self._fit(index, sample, slot, audio_packets)
        if attempt is None:
            self.skipped += 1
            self._plan.spend(8 * self._schedule.slice_bytes(index), None)
            return self._schedule.motion_packet(index, audio_packets, b"")
        self._motion.accept(attempt.frame)
        self._plan.spend(attempt.bits, attempt.quality if slot == Slot.MOTION else None)
        if slot == Slot.KEY:
            return self._schedule.key_packet(index, audio_packets, attempt.frame.data)
        if slot == Slot.SLICED_KEY:
            self._schedule.begin_slices(index, attempt.sliced)
        return self._schedule.motion_packet(index, audio_packets, attempt.frame.data or _NO_CHANGE)

    def _fit(self, index: int, sample: DrivingSample, slot: Slot, audio_packets: int) -> _Attempt | None:
        """The frame as finely as the plan has room for; None where it has none."""

        def attempt(quality: float | None) -> _Attempt:
            return self._attempt(index, sample, slot, audio_packets, quality)

        room = self._plan.motion_room if slot == Slot.MOTION else self._plan.room
        return fit(self._plan.quality, attempt, room, must_send=self._schedule.is_start)

    def _attempt(
        self, index: int, sample: DrivingSample, slot: Slot, audio_packets: int, quality: float | None
    ) -> _Attempt:
        keyframe = slot == Slot.KEY
        if quality is None:
            frame = self._motion.nearest(sample, keyframe)
        else:
            frame = self._motion.cheapest(sample, quality, keyframe)
        sliced = self._motion.as_keyframe(frame) if slot == Slot.SLICED_KEY else b""
        if slot == Slot.MOTION:
            extra = self._schedule.slice_bytes(index)
        else:
            extra = len(bytes(KeyPayload(index, audio_packets, b"")))
        bits = 8 * (max(len(frame.data), 1) + len(sliced) + extra)
        return _Attempt(frame, sliced, bits, quality)
