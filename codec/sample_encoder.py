"""Driving samples -> packets: which frames are keyframes, how finely each is coded, and what becomes of those that do
not fit. Knows nothing of faces and pixels.
"""

from __future__ import annotations

from fvc.codec.keyframes import KeyframeSchedule, Slot
from fvc.codec.motion.motion_encoder import CodedFrame, MotionEncoder
from fvc.codec.motion.ratecontrol import COARSEST, ConstantQuality, Plan, attempts
from fvc.codec.motion.sample import DrivingSample
from fvc.codec.wire.bitstream import Header, Packet

_NO_CHANGE = b"\0"  # a message of certain integers only: an empty motion would mean that there is no face


class SampleEncoder:
    """Codes the driving samples of one stream in order.

    Args:
        header: quantizers and keyframe interval are taken from it.
        refresh: 0, or into how many slices (2 to 16) each keyframe but the first is cut; they travel with as many
            frames, so that no packet is large (specification, 4.4).
        plan: how finely frames are coded; None: the nearest integers, lossless but for the header's quantizers.

    Attributes:
        skipped: frames that were left out, because the plan had no room for them.
    """

    def __init__(self, header: Header, refresh: int = 0, plan: Plan | None = None) -> None:
        self._schedule = KeyframeSchedule(header.keyframe_interval, refresh)
        self._motion = MotionEncoder(header.quantizers)
        self._plan: Plan = plan or ConstantQuality(None)
        self.skipped = 0

    def restart(self) -> None:
        """The next sample becomes a whole keyframe."""
        self._schedule.restart()

    def hold(self, index: int, audio_packets: int = 0) -> Packet:
        """The packet of a frame without a face: the receiver holds its last picture."""
        return self._schedule.motion_packet(index, audio_packets, b"")

    def encode(self, index: int, sample: DrivingSample, audio_packets: int = 0) -> Packet:
        """Codes a sample as frame `index`: as finely as the plan wants, more coarsely where it has less room.

        A keyframe for which there is no room is put off; a frame for which there is none is left out. The first frame
        of a stream, and of a new beginning, is sent in any case.
        """
        schedule, plan = self._schedule, self._plan
        first_choice = schedule.slot(index)
        for slot in dict.fromkeys((first_choice, Slot.MOTION)):
            room = plan.motion_room if slot == Slot.MOTION else plan.room
            for quality in attempts(plan.quality):
                coded = self._motion.encode(sample, quality, slot == Slot.KEY, slot == Slot.SLICED_KEY)
                bits = 8 * (max(len(coded.data), 1) + len(coded.sliced) + schedule.overhead(index, slot, audio_packets))
                must_send = schedule.is_start and (quality is None or quality <= COARSEST)
                if bits <= room or must_send:
                    plan.spend(bits, quality if slot == Slot.MOTION else None)
                    return self._sent(index, slot, coded, audio_packets)
            if slot != Slot.MOTION:
                plan.defer_keyframe()
        self.skipped += 1
        plan.spend(8 * schedule.overhead(index, Slot.MOTION, audio_packets), None)
        return self.hold(index, audio_packets)

    def _sent(self, index: int, slot: Slot, coded: CodedFrame, audio_packets: int) -> Packet:
        """The packet of a coded frame; the next one follows it."""
        self._motion.accept(coded)
        if slot == Slot.KEY:
            return self._schedule.key_packet(index, audio_packets, coded.data)
        if slot == Slot.SLICED_KEY:
            self._schedule.begin_slices(index, coded.sliced)
        return self._schedule.motion_packet(index, audio_packets, coded.data or _NO_CHANGE)
