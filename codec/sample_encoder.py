"""Driving samples -> packets: which frames are keyframes, how finely each is coded, and what happens to those
that exceed the rate. Knows nothing of faces and pixels.
"""

from __future__ import annotations

from fvc.codec.keyframes import KeyframeSchedule, Slot
from fvc.codec.motion.motion_encoder import CodedFrame, MotionEncoder
from fvc.codec.motion.ratecontrol import COARSEST, ConstantQuality, Plan, attempts
from fvc.codec.motion.sample import DrivingSample
from fvc.codec.wire.bitstream import Header, Packet

_EMPTY = b"\0"  # decodes as an empty message does, which would mean that the frame shows no face


class SampleEncoder:
    """Codes the driving samples of one stream in order.

    Args:
        header: quantizers and keyframe interval are taken from it.
        refresh: 0, or the number of slices (2 to 16) of each keyframe but the first; each travels with another frame,
            so that no packet is large (specification, 4.4).
        plan: how finely frames are coded; None: the nearest integers, lossless apart from the header's quantizers.

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

        A keyframe that does not fit is deferred and the frame coded as motion; a frame that does not fit even so is
        skipped. The first frame of a stream, and the first one after `restart`, is always sent.
        """
        schedule, plan = self._schedule, self._plan
        first_choice = schedule.slot(index)
        for slot in dict.fromkeys((first_choice, Slot.MOTION)):  # a keyframe that is due, else motion
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
        """The packet of a coded frame, from which the next one will be predicted."""
        self._motion.accept(coded)
        if slot == Slot.KEY:
            return self._schedule.key_packet(index, audio_packets, coded.data)
        if slot == Slot.SLICED_KEY:
            self._schedule.begin_slices(index, coded.sliced)
        return self._schedule.motion_packet(index, audio_packets, coded.data or _EMPTY)
