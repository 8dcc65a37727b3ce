"""The codecs that fvc is compared with: the one table of their settings.

"Low delay" means that no picture waits for a later one: no B-frames, no lookahead. A test shows that: the first
packets of a clip are the same bytes, whatever pictures follow.
"""

from __future__ import annotations

from collections.abc import Callable

from fvc.evaluation.compare.anchor import Anchor
from fvc.evaluation.compare.ffmpeg_anchor import FfmpegAnchor

EFFORTS = ("veryslow", "slower", "slow")  # presets of x265 and x264

_X265 = "keyint=-1:min-keyint=1:scenecut=0:info=0:log-level=none:pools=none:frame-threads=1"
_X265_LADDER = (51, 46, 40, 35, 30, 25, 20, 15)
_X265_FLOOR = {"qp": "51"}  # HEVC's coarsest quantizer; adaptive quantization, which CRF brings, is off with it
_VVENC = "gopsize=8:picreordering=0:intraperiod=-1:decodingrefreshtype=0:lookahead=0:mctf=0:bim=0"
_SVT_AV1 = "pred-struct=1:keyint=-1:lookahead=0:scd=0:lp=1:crf={q}"


def _svt_av1(_: str) -> Anchor:
    return FfmpegAnchor(
        system="svtav1",
        label="SVT-AV1 low delay",
        codec="AV1",
        encoder="libsvtav1",
        quality="crf",
        ladder=(70, 63, 56, 49, 42, 35, 28, 21),
        options={"preset": "4", "svtav1-params": _SVT_AV1},
        note="AV1. CRF 70 is the coarsest.",
    )


def _vvenc(_: str) -> Anchor:
    return FfmpegAnchor(
        system="vvenc",
        label="VVenC low delay",
        codec="VVC",
        encoder="libvvenc",
        quality="qp",
        ladder=(63, 50, 43, 37, 32, 27, 22, 17),
        options={"preset": "fast", "qpa": "0", "qp": "{q}", "vvenc-params": _VVENC},
        note="VVC in 10 bits. QP 63 is the coarsest. Without its temporal filter, which looks ahead.",
    )


def _x265(effort: str) -> Anchor:
    return FfmpegAnchor(
        system="x265",
        label="x265 low delay",
        codec="HEVC",
        encoder="libx265",
        quality="crf",
        ladder=_X265_LADDER,
        options={
            "preset": effort,
            "tune": "zerolatency",
            "x265-params": f"{_X265}:bframes=0:ref=4:aq-mode=1",
            "crf": "{q}",
        },
        note="HEVC. QP 51 is the coarsest.",
        floor=_X265_FLOOR,
    )


def _x265_random_access(effort: str) -> Anchor:
    return FfmpegAnchor(
        system="x265-ra",
        label="x265 random access",
        codec="HEVC random access",
        encoder="libx265",
        quality="crf",
        ladder=_X265_LADDER,
        options={"preset": effort, "x265-params": _X265, "crf": "{q}"},
        note="HEVC with B-frames and lookahead: seconds of delay, no codec for a call; an upper bound.",
        floor=_X265_FLOOR,
    )


def _x264(effort: str) -> Anchor:
    return FfmpegAnchor(
        system="x264",
        label="x264 low delay",
        codec="H.264",
        encoder="libx264",
        quality="crf",
        ladder=(51, 46, 41, 36, 31, 26, 21, 16),
        options={
            "preset": effort,
            "tune": "zerolatency",
            "x264-params": "keyint=infinite:scenecut=0:bframes=0:sliced-threads=0:threads=1",
            "crf": "{q}",
        },
        note="H.264. CRF 51 is the coarsest.",
    )


def _vp9(_: str) -> Anchor:
    low_delay = {"deadline": "good", "cpu-used": "1", "lag-in-frames": "0", "auto-alt-ref": "0"}
    return FfmpegAnchor(
        system="vp9",
        label="VP9 low delay",
        codec="VP9",
        encoder="libvpx-vp9",
        quality="crf",
        ladder=(63, 59, 54, 48, 41, 34, 27, 20),
        options={**low_delay, "g": "999999", "b:v": "0", "crf": "{q}"},
        note="VP9. CRF 63 is the coarsest.",
    )


ANCHORS: dict[str, Callable[[str], Anchor]] = {  # system -> makes the anchor for one of EFFORTS
    "svtav1": _svt_av1,
    "vvenc": _vvenc,
    "x265": _x265,
    "x265-ra": _x265_random_access,
    "x264": _x264,
    "vp9": _vp9,
}
LOW_DELAY = ("svtav1", "vvenc", "x265")  # what fvc is measured against by default


def anchors(effort: str = EFFORTS[0]) -> dict[str, Anchor]:
    """System -> anchor, of all in `ANCHORS`."""
    return {system: make(effort) for system, make in ANCHORS.items()}
