"""The codecs that fvc is compared with: the one table of their settings.

"Low delay" means that no picture waits for a later one: no B-frames, no lookahead.
"""

from __future__ import annotations

from collections.abc import Callable

from fvc.evaluation.compare.anchor import Anchor
from fvc.evaluation.compare.ffmpeg_anchor import FfmpegAnchor
from fvc.evaluation.compare.rates import Knob

EFFORTS = ("veryslow", "slower", "slow")  # presets of x265 and x264

_X265 = "keyint=-1:min-keyint=1:scenecut=0:aq-strength={aq}:info=0:log-level=none:pools=none:frame-threads=1"
_X265_LOW_DELAY = f"{_X265}:bframes=0:ref=4:aq-mode=1"
_X265_KNOB = Knob("crf", 8, 54.95, 0.05, 6.5)
_X264 = "keyint=infinite:scenecut=0:bframes=0:sliced-threads=0:threads=1"
_SVT_AV1 = "pred-struct=1:keyint=-1:lookahead=0:scd=0:lp=1:crf={q}"


def _x265(effort: str) -> Anchor:
    told = {"preset": effort, "tune": "zerolatency", "x265-params": _X265_LOW_DELAY}
    return FfmpegAnchor(
        system="x265",
        label="x265 low delay",
        codec="HEVC",
        encoder="libx265",
        options={**told, "crf": "{q}"},
        knob=_X265_KNOB,
        note="HEVC. Past CRF 51 aq-strength goes from 1 to 0, then QP is 49, 50, and 51 at the floor, HEVC's coarsest.",
        floor={**told, "x265-params": _X265_LOW_DELAY.format(aq=1), "qp": "51"},
    )


def _x265_random_access(effort: str) -> Anchor:
    told = {"preset": effort, "x265-params": _X265}
    return FfmpegAnchor(
        system="x265-ra",
        label="x265 random access",
        codec="HEVC random access",
        encoder="libx265",
        options={**told, "crf": "{q}"},
        knob=_X265_KNOB,
        note="HEVC with B-frames and lookahead: seconds of delay, no codec for a call; an upper bound.",
        floor={**told, "x265-params": _X265.format(aq=1), "qp": "51"},
    )


def _svt_av1(_: str) -> Anchor:
    return FfmpegAnchor(
        system="svtav1",
        label="SVT-AV1 low delay",
        codec="AV1",
        encoder="libsvtav1",
        options={"preset": "4", "svtav1-params": _SVT_AV1},
        knob=Knob("crf", 10, 70, 0.25, 9),
        note="AV1. CRF in quarter steps; 70 is the coarsest.",
        may_hang=True,
    )


def _x264(effort: str) -> Anchor:
    return FfmpegAnchor(
        system="x264",
        label="x264 low delay",
        codec="H.264",
        encoder="libx264",
        options={"preset": effort, "tune": "zerolatency", "x264-params": _X264, "crf": "{q}"},
        knob=Knob("crf", 8, 51, 0.05, 6),
        note="H.264. CRF 51 is the coarsest.",
    )


def _vp9(_: str) -> Anchor:
    low_delay = {"deadline": "good", "cpu-used": "1", "lag-in-frames": "0", "auto-alt-ref": "0"}
    return FfmpegAnchor(
        system="vp9",
        label="VP9 low delay",
        codec="VP9",
        encoder="libvpx-vp9",
        options={**low_delay, "g": "999999", "b": "0", "crf": "{q}"},
        knob=Knob("crf", 10, 63, 1, 10, 0.5),
        note="Whole quantizer steps, each 5 to 13 % of the rate; 63 is the coarsest. For a rate that they miss by more"
        " than 5 % the loop filter has sharpness 1, which takes 4 to 12 % more bits at the same step.",
        between={"sharpness": "1"},
    )


ANCHORS: dict[str, Callable[[str], Anchor]] = {  # system -> makes the anchor for one of EFFORTS
    "x265": _x265,
    "x265-ra": _x265_random_access,
    "svtav1": _svt_av1,
    "x264": _x264,
    "vp9": _vp9,
}


def anchors(effort: str = EFFORTS[0]) -> dict[str, Anchor]:
    """System -> anchor, of all in `ANCHORS`."""
    return {system: make(effort) for system, make in ANCHORS.items()}
