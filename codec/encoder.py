"""The sender: frame -> face -> driving sample -> integers -> packet. One frame in, one packet out, bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from fvc.codec.base.constants import SIDE
from fvc.codec.base.errors import UsageError
from fvc.codec.face.crop import cut, is_in_crop, to_crop
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.resizing import resized
from fvc.codec.media.video import Frame
from fvc.codec.motion.ratecontrol import ConstantQuality, Plan
from fvc.codec.motion.sample import DrivingSample
from fvc.codec.motion.smoothing import FILTERS, LEARNED, Filters, SampleSmoother
from fvc.codec.sample_encoder import SampleEncoder
from fvc.codec.wire.bitstream import Header, Packet

MotionNetwork = Callable[[np.ndarray], Mapping[str, np.ndarray]]


def make_sample(picture: np.ndarray, sup: np.ndarray, network: MotionNetwork | None) -> DrivingSample:
    """All parts of a driving sample, from a crop (uint8 [S, S, 3]) and its sup landmarks ([33, 2] in [-1, 1]).

    Without a network the sample has the part sup only; a network sees 256x256 pixels.
    """
    return DrivingSample({"sup": sup, **(network(resized(picture, SIDE)) if network is not None else {})})


def check_picture(picture: np.ndarray, size: tuple[int, int] | None = None) -> tuple[int, int]:
    """The (height, width) of a picture that a program gave. Raises UsageError: not uint8 [H, W, 3] of this size."""
    wanted = "H, W" if size is None else f"{size[0]}, {size[1]}"
    is_right = picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3 and picture.size > 0
    if not is_right or picture.shape[:2] != (size or picture.shape[:2]):
        raise UsageError(f"a picture of {picture.dtype} {list(picture.shape)}; give uint8 [{wanted}, 3]")
    return int(picture.shape[0]), int(picture.shape[1])


@dataclass(frozen=True)
class Found:
    """What a tracker found in a frame.

    Attributes:
        sup: landmarks [33, 2] in pixels of the frame; None: no face.
        is_cut: the frame begins a new scene.
    """

    sup: np.ndarray | None
    is_cut: bool = False


class Encoder:
    """Codes the frames of one stream in order.

    Args:
        header: profile, quantizers, crop and keyframe interval are taken from it.
        network: crop -> unsup keypoints, Jacobians, expression (see `models.inference.motion.MotionRuntime`); None is
            allowed for a profile that has none of them.
        tracker: finds the face in frames for which the caller gives no `found`; None: one is made when first needed.
        refresh, plan: see `SampleEncoder`.
        filters: of each part before it is coded (`codec.motion.smoothing`); None: the default for the plan.
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
        plan = plan or ConstantQuality(None)
        if filters is None:
            filters = FILTERS if plan.quality is None else LEARNED
        self._smooth = SampleSmoother(float(header.fps), filters)
        self._samples = SampleEncoder(header, refresh, plan)
        self._next_index = 0

    @property
    def looks(self) -> bool:
        """Whether `encode` needs a frame's pixels even if `found` is given."""
        return self._network is not None

    @property
    def skipped(self) -> int:
        """Frames with a face that were left out so far, because the plan had no room for them."""
        return self._samples.skipped

    def encode(
        self,
        frame: Frame | np.ndarray,
        found: Found | None = None,
        *,
        audio_packets: int = 0,
        force_keyframe: bool = False,
    ) -> Packet:
        """Codes a frame.

        Args:
            frame: with its number, or only its pixels, uint8 [H, W, 3]: then it is the one after the last.
            found: its face, if the caller has tracked it; None: the encoder's tracker looks for one. A face outside the
                crop counts as none.
            audio_packets: how many packets of sound precede it; keyframes carry this number.
            force_keyframe: the receiver asked for one: this frame, or the next one with a face, becomes a keyframe.

        Raises UsageError: bare pixels of another type, or not of the size that the header states.
        """
        if isinstance(frame, np.ndarray):
            check_picture(frame, (self._header.crop.height, self._header.crop.width))
            frame = Frame(frame, self._next_index)
        self._next_index = frame.index + 1
        if found is None:
            found = self._look(frame)
        if found.is_cut or force_keyframe:
            self._samples.restart()
        crop = self._header.crop
        sup = None if found.sup is None else to_crop(found.sup, crop)
        is_there = sup is not None and is_in_crop(sup)
        if found.is_cut or not is_there:
            self._smooth.reset()
        if sup is None or not is_there:
            return self._samples.hold(frame.index, audio_packets)
        picture = frame.rgb if self._network is None else cut(frame.rgb, crop)  # only the network looks at it
        sample = self._smooth(make_sample(picture, sup, self._network))
        return self._samples.encode(frame.index, sample, audio_packets)

    def _look(self, frame: Frame) -> Found:
        if self._tracker is None:
            self._tracker = FaceTracker()
        face = self._tracker.track(frame.rgb)
        return Found(None if face is None else face.sup, self._tracker.is_cut)
