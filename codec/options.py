"""The options of an encoder and their checks. Names are as in Python; the command line turns them into flags."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from fvc.codec.base.constants import MAX_FPS, MAX_SOURCES, MIN_FPS, SIDE, SIDES
from fvc.codec.base.errors import OptionError
from fvc.codec.face.face_choice import MOVING, FaceChoice
from fvc.codec.face.finders import tracker_named
from fvc.codec.keyframes import check_refresh
from fvc.codec.media.opus import BITRATES
from fvc.codec.motion.quantizer import QUANTIZERS, Quantizer
from fvc.codec.motion.ratecontrol import ConstantQuality, ConstantRate, Plan
from fvc.codec.motion.sample import Profile

KEYFRAME_INTERVAL = 5.0  # seconds
MAX_KBPS = 1000  # of everything: far above what the finest layer takes
AUDIO_BITRATE = 6000  # bit/s, the least that Opus takes
_MAX_INTERVAL = 0xFFFF  # frames: 16 bits in the header


@dataclass(frozen=True)
class EncoderOptions:
    """Options of one encode. Raises OptionError for values that are out of range or do not go together.

    Attributes:
        fps: frames per second of the stream, 0.1 to 240: a number, or text such as "15", "29.97", "30000/1001".
        profile: what each frame carries: a label of `codec.motion.sample.Profile`, e.g. "sup+unsup".
        quantizer: "default", or "paper": the steps of Oquab et al., coding the nearest integers whatever they cost.
        quality: constant quality, 0 (smallest) to 100 (best); None: 80.
        motion_kbps: constant rate instead: kbit/s of motion in any two seconds, 0.5 or more.
        kbps: kbit/s of everything (motion, source pictures, sound, video layer) on average over a whole file; None:
            pictures as good as they need to be, and no video layer. Of files only: a call has no end.
        layer: whether a video layer may take a part of `kbps`.
        keyframe_interval: seconds from one keyframe to the next; 0: only the first frame is one.
        refresh: 0, or the number of slices (2 to 16) of each keyframe but the first: each slice travels in another
            packet, so that no packet is large.
        audio_bitrate: bit/s of the Opus track, 6000 to 256000; None: no sound.
        canvas: whether the source set carries the whole first source frame for `decode(canvas="full")`.
        source_frames: how many source pictures, 1 to 8: more cost about 3 kB each and draw better; None: 3 to 6, more
            where the head moves about (`codec.face.source_choice`). Another one is added, the first with shut eyes or
            another mouth pasted in, where the clip shows these and the networks can use it.
        size: side of source pictures and of what is drawn, 256 or 512 pixels. A face of fewer pixels than 512 is coded
            with 256. Not with `kbps`.
        source_bytes: how many bytes all source pictures may take; None: as many as they need to look well.
        face: which of several faces is followed: "moving" (the largest of those whose mouth and eyes move), "largest",
            "left", "right" (in the picture), or a number as 2, counted from the left, from 1.
        tracker: what finds the face: "mediapipe", "own" (our own networks) or "auto": MediaPipe where it is installed;
            None: what the environment variable FVC_TRACKER says, else "auto".
        video_stream, audio_stream: which of the input's video and audio streams, from 0; None: as players choose.
    """

    fps: str | float | Fraction = 15
    profile: str = "sup"
    quantizer: str = "default"
    quality: float | None = None
    motion_kbps: float | None = None
    kbps: float | None = None
    layer: bool = True
    keyframe_interval: float = KEYFRAME_INTERVAL
    refresh: int = 0
    audio_bitrate: int | None = AUDIO_BITRATE
    canvas: bool = True
    source_frames: int | None = None
    source_bytes: int | None = None
    size: int = SIDE
    face: str | int = MOVING
    tracker: str | None = None
    video_stream: int | None = None
    audio_stream: int | None = None

    def __post_init__(self) -> None:
        Profile.named(self.profile)
        check_refresh(self.refresh, self.interval)
        self.plan()
        if self.kbps is not None and not 0 < self.kbps <= MAX_KBPS:
            raise OptionError("kbps", f"{self.kbps:g}", f"must be above 0 and at most {MAX_KBPS}")
        if self.size not in SIDES:
            raise OptionError("size", self.size, f"must be {' or '.join(map(str, SIDES))}")
        if self.size != SIDE and self.kbps is not None:
            raise OptionError("size", self.size, f"does not go with kbps, whose video layer has {SIDE} pixels")
        FaceChoice(self.face)
        tracker_named(self.tracker)
        if self.source_frames is not None and not 1 <= self.source_frames <= MAX_SOURCES:
            raise OptionError("source_frames", self.source_frames, f"must be 1 to {MAX_SOURCES}")
        for option in ("video_stream", "audio_stream"):
            if (number := getattr(self, option)) is not None and number < 0:
                raise OptionError(option, number, "must be 0 or more")
        low, high = BITRATES
        if self.audio_bitrate is not None and not low <= self.audio_bitrate <= high:
            raise OptionError("audio_bitrate", self.audio_bitrate, f"must be {low // 1000}k to {high // 1000}k")

    @property
    def rate(self) -> Fraction:
        """Frames per second of the stream, a fraction of 16-bit numbers."""
        return parse_fps(self.fps)

    @property
    def kind(self) -> Profile:
        """The profile."""
        return Profile.named(self.profile)

    @property
    def face_choice(self) -> FaceChoice:
        """Which of several faces is followed."""
        return FaceChoice(self.face)

    @property
    def quantizers(self) -> dict[str, Quantizer]:
        """By coded part."""
        return QUANTIZERS[self.quantizer]

    @property
    def interval(self) -> int:
        """Frames from one keyframe to the next; 0: only the first frame is one."""
        seconds, rate = self.keyframe_interval, self.rate
        if not math.isfinite(seconds) or seconds < 0:
            raise OptionError("keyframe_interval", seconds, "must be 0 or more seconds")
        if seconds * rate > _MAX_INTERVAL:
            fault = "too long; 0 means that only the first frame is a keyframe"
            raise OptionError("keyframe_interval", seconds, fault)
        return max(round(seconds * rate), 1) if seconds > 0 else 0

    def plan(self) -> Plan:
        """The rate plan: how finely frames are coded. Each stream needs a new one."""
        if self.quantizer not in QUANTIZERS:
            raise OptionError("quantizer", self.quantizer[:40], f"must be {' or '.join(QUANTIZERS)}")
        if self.quantizer == "paper":
            for option in ("quality", "motion_kbps"):
                if (value := getattr(self, option)) is not None:
                    raise OptionError(
                        option, value, "does not go with quantizer paper, which codes the nearest integers"
                    )
            return ConstantQuality(None)
        if self.quality is not None and self.motion_kbps is not None:
            raise OptionError("motion_kbps", self.motion_kbps, "does not go with quality; choose one")
        if self.motion_kbps is not None:
            return ConstantRate(self.motion_kbps, float(self.rate))
        return ConstantQuality() if self.quality is None else ConstantQuality(self.quality)


def parse_fps(text: str | float | Fraction) -> Fraction:
    """ "15", "29.97", "30000/1001" -> Fraction with 16-bit parts. Raises OptionError for anything else."""
    try:
        if len(str(text)) > 40 or "e" in str(text).lower():  # Fraction("1e999999999") would compute all its digits
            raise ValueError
        value = Fraction(text if isinstance(text, str | Fraction) else str(text))
    except (ValueError, ZeroDivisionError, OverflowError):
        fault = "not a frame rate; say 15 or 29.97 or 30000/1001"
        raise OptionError("fps", str(text)[:40], fault) from None
    if not MIN_FPS <= value <= MAX_FPS:
        raise OptionError("fps", text, f"must be between {float(MIN_FPS)} and {MAX_FPS}")
    short = value.limit_denominator(1001)
    return short if short.numerator < 1 << 16 else Fraction(round(value))
