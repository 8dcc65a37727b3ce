"""A long silent call: the shipped sample's landmarks, forwards and backwards, coded with the default profile."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np
from conftest import SAMPLE

from fvc.codec.call.setup import Setup
from fvc.codec.encoder import make_sample
from fvc.codec.face.crop import to_crop
from fvc.codec.face.survey import survey
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.video import VideoReader
from fvc.codec.motion.ratecontrol import ConstantQuality
from fvc.codec.motion.sample import Profile
from fvc.codec.motion.smoothing import FILTERS, SampleSmoother
from fvc.codec.sample_encoder import SampleEncoder
from fvc.codec.source_builder import TrackedClip, stream_header
from fvc.codec.wire.bitstream import Packet
from fvc.codec.wire.source_set import code_pictures
from fvc.models.inference.installed import InstalledModel

FPS = Fraction(15)


@cache
def setup_and_samples() -> tuple[Setup, list[np.ndarray], Setup]:
    """A set-up of three pictures, the landmarks of each frame, and a set-up of one small picture."""
    with VideoReader(SAMPLE) as video:
        frames = list(video.frames(FPS))
    with FaceTracker() as tracker:
        seen = survey(frames, tracker)
    clip = TrackedClip(seen, FPS, seen.crop(frames[0].rgb.shape[1], frames[0].rgb.shape[0]))
    chosen = seen.by_group()[0].sources(3)
    crops, landmarks = clip.cut_sources({f.index: f.rgb for f in frames}, chosen, {})
    builder = InstalledModel.named().source_builder(Profile.named("sup"))
    sets = [builder.source_set(code_pictures(crops[:n], 35, most), landmarks[:n]) for n, most in ((3, 2650), (1, 900))]
    full, small = (Setup(stream_header(one, clip, 75), one) for one in sets)
    return full, [to_crop(sup, clip.crop) for sup in seen.sup], small


class Talker:
    """Codes frames one by one, with a keyframe where one is asked for."""

    def __init__(self) -> None:
        setup, self._landmarks, _ = setup_and_samples()
        self._encoder = SampleEncoder(setup.header, plan=ConstantQuality(80.0))
        self._smooth, self._crop = SampleSmoother(15.0, FILTERS), np.zeros((256, 256, 3), np.uint8)
        self.frames = 0

    def packet(self, keyframe: bool = False) -> Packet:
        """The next frame's packet."""
        if keyframe:
            self._encoder.restart()
        there_and_back = self._landmarks + self._landmarks[::-1]
        sup = there_and_back[self.frames % len(there_and_back)]
        self.frames += 1
        return self._encoder.encode(self.frames - 1, self._smooth(make_sample(self._crop, sup, None)))
