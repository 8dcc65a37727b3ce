"""The options of `fvc measure`, checked once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from fvc.codec.base.constants import SIDE
from fvc.codec.base.errors import OptionError
from fvc.codec.base.workers import BACKENDS
from fvc.codec.motion.sample import Profile
from fvc.codec.options import EncoderOptions
from fvc.evaluation.compare.anchors import ANCHORS, EFFORTS, LOW_DELAY, anchors

MIN_SECONDS = 0.5  # of a clip


@dataclass(frozen=True)
class OperatingPoint:
    """One way to run fvc's encoder. `kbps`: the rate of motion that it is asked for; None: its default quality."""

    profile: str
    kbps: float | None = None

    @property
    def label(self) -> str:
        """Name in tables, e.g. "fvc sup", "fvc sup at 4 kbps"."""
        return f"fvc {self.profile}" + ("" if self.kbps is None else f" at {self.kbps:g} kbps")


@dataclass(frozen=True)
class MeasureOptions:
    """Options of one run. Raises OptionError for values that are out of range, before work that takes minutes.

    Attributes:
        codecs: the anchors, of `anchors.ANCHORS`; the first is in the pictures.
        fps: frames per second of all systems: a number or text as "15", "29.97", "30000/1001".
        motion_kbps: further operating points of fvc, beside its default one: rates of motion that its encoder is
            asked for, kbit/s.
        profiles: of fvc; the first is compared with the anchors.
        metric_weights: a folder of networks (see `instruments`); None: only metrics that need none.
        every: networks, LPIPS and SSIM look at every n-th frame.
        effort: preset of x265 and x264, of `anchors.EFFORTS`.
        seconds: measure only the start of each clip; None: all of it.
        frames_per_packet: frames in a datagram, for the rate on the wire.
        source_frames, source_bytes: number and bytes of fvc's source pictures, as in `EncoderOptions`.
        size: side of the pictures of all systems, 256 or 512 pixels; clips of smaller faces are left out.
        jobs: clips at a time, in processes of their own.
        backend: "process", or "ray": over the cluster that `RAY_ADDRESS` names (`codec.base.workers`).
        keep: whether the decoded frames of all points are kept, in the folder `frames`.
        cache: folder for encodes and metrics; None: the user's cache folder.
    """

    codecs: Sequence[str] = LOW_DELAY
    fps: str | float | Fraction = 15
    motion_kbps: Sequence[float] = ()
    profiles: Sequence[str] = ("sup",)
    metric_weights: Path | None = None
    every: int = 10
    effort: str = EFFORTS[0]
    seconds: float | None = None
    frames_per_packet: int = 1
    source_frames: int | None = None
    source_bytes: int | None = None
    size: int = SIDE
    jobs: int = 1
    backend: str = "process"
    keep: bool = False
    cache: Path | None = None

    def __post_init__(self) -> None:
        self._check_codecs()
        if not self.profiles:
            raise OptionError("profiles", "", "at least one is needed")
        if self.seconds is not None and not MIN_SECONDS <= self.seconds < math.inf:
            raise OptionError("seconds", self.seconds, f"must be {MIN_SECONDS} or more")
        for name in ("every", "frames_per_packet", "jobs"):
            if getattr(self, name) < 1:
                raise OptionError(name, getattr(self, name), "must be 1 or more")
        if self.backend not in BACKENDS:
            raise OptionError("backend", self.backend[:40], f"choose from {', '.join(BACKENDS)}")
        for point in self.operating_points:
            self.encoder(point)

    def _check_codecs(self) -> None:
        if self.effort not in EFFORTS:
            raise OptionError("effort", self.effort[:40], f"choose from {', '.join(EFFORTS)}")
        if not set(self.codecs) <= set(ANCHORS) or len(set(self.codecs)) != len(self.codecs):
            raise OptionError("codecs", ",".join(self.codecs)[:80], f"choose from {','.join(ANCHORS)}, each once")
        known = anchors(self.effort)
        for name in self.codecs:
            if why := known[name].why_unavailable():
                raise OptionError("codecs", name, f"{why}; or leave it out")

    @property
    def rate(self) -> Fraction:
        """Frames per second."""
        return self.encoder(self.operating_points[0]).rate

    @property
    def operating_points(self) -> tuple[OperatingPoint, ...]:
        """Those of fvc, each once: of each profile the default one, then those at asked rates. Raises OptionError."""
        try:
            profiles = dict.fromkeys(Profile.named(name).label for name in self.profiles)
        except OptionError as error:
            raise OptionError("profiles", error.value, error.fault) from None
        rates = (None, *sorted(set(self.motion_kbps)))
        return tuple(OperatingPoint(profile, kbps) for profile in profiles for kbps in rates)

    def encoder(self, point: OperatingPoint) -> EncoderOptions:
        """Options of fvc's encoder: the one place where an operating point becomes these. Raises OptionError."""
        return EncoderOptions(
            fps=self.fps,
            profile=point.profile,
            motion_kbps=point.kbps,
            audio_bitrate=None,
            canvas=False,
            source_frames=self.source_frames,
            source_bytes=self.source_bytes,
            size=self.size,
        )
