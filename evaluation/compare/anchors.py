"""The codecs that fvc is compared with, as PyAV's wheel carries them, and the one table of their settings.

All code the same 256x256 crops at the same rate, one intra picture at the start, one thread. "Low delay" means that
no picture waits for a later one: no B-frames, no lookahead. What counts as their bits is what an RTP payload would
carry: parameter sets once and coded pictures. Containers, start codes, temporal delimiters and SEI messages (x264
signs its streams with one) do not count.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np

from fvc.codec.face.crop import SIDE
from fvc.codec.media.scheduling import leave_real_time
from fvc.evaluation.compare.pictures import Originals, to_yuv
from fvc.evaluation.compare.rates import Knob

LIBRARIES = f"PyAV {av.__version__}, libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}"


@dataclass(frozen=True)
class Anchor:
    """An encoder and how it is told to work.

    Attributes:
        system, label: short and full name; encoder: ffmpeg's name of it.
        options: of the encoder; "{q}" stands for the value that is searched, "{aq}" for x265's aq-strength.
        knob: what is searched to reach a rate.
        between: options for a value between whole steps, beside the next coarser whole step.
        floor: options that replace `options` for the lowest rate that it can reach; empty: the end of the knob.
        note: what a reader of the settings should know.
        may_hang: whether it has been seen to wait for itself for ever.
    """

    system: str
    label: str
    encoder: str
    options: dict[str, str]
    knob: Knob
    note: str
    floor: dict[str, str] = field(default_factory=dict)
    between: dict[str, str] = field(default_factory=dict)
    may_hang: bool = False

    def at(self, value: float | None) -> dict[str, str]:
        """The encoder's options for a value of the knob; None: its floor."""
        if (constant := self._constant(value)) is not None:
            return self.floor | {"qp": str(constant)}
        quality, strength = self._split(self.knob.worst if value is None else value)
        options = self.options | (self.between if self._is_between(value) else {})
        return {n: o.replace("{q}", f"{quality:g}").replace("{aq}", f"{strength:g}") for n, o in options.items()}

    def setting(self, value: float | None) -> str:
        """What distinguishes this point, e.g. "crf 37.25"."""
        if (constant := self._constant(value)) is not None:
            return f"qp {constant}"
        quality, strength = self._split(self.knob.worst if value is None else value)
        more = "".join(f" {n} {o}" for n, o in self.between.items()) if self._is_between(value) else ""
        return f"{self.knob.name} {quality:g}" + (f" aq-strength {strength:g}" if strength < 1 else "") + more

    def _constant(self, value: float | None) -> int | None:
        """The QP of all pictures, at x265's floor and in the steps before it."""
        if not self.floor or (value is not None and value <= _LAST_CRF):
            return None
        return _MAX_QP if value is None else _MAX_QP - math.floor(self.knob.worst - value)

    def _is_between(self, value: float | None) -> bool:
        return bool(self.between) and value is not None and value % self.knob.step > 0

    def _split(self, value: float) -> tuple[float, float]:
        """(crf, aq-strength): past CRF 51, x265 gets coarser as its adaptive quantization is taken back."""
        if self.between:
            return float(math.ceil(value)), 1
        if "{aq}" not in "".join(self.options.values()):
            return value, 1
        return min(value, 51), round(min(max(_LAST_CRF - value, 0), 1), 6)

    def described(self) -> dict[str, str]:
        """A row of the table of settings."""
        text = " ".join(f"{name}={value}" for name, value in self.options.items()).replace("{aq}", "1")
        worst = self._split(self.knob.worst)[0]
        return {
            "system": self.system,
            "label": self.label,
            "encoder": self.encoder,
            "options": text.replace("{q}", f"<{self.knob.best:g}..{worst:g}, searched>"),
            "note": self.note,
        }


_X265 = "keyint=-1:min-keyint=1:scenecut=0:aq-strength={aq}:info=0:log-level=none:pools=none:frame-threads=1"
_X265_LOW = f"{_X265}:bframes=0:ref=4:aq-mode=1"
_LAST_CRF, _MAX_QP = 52, 51  # x265: beyond this value of the knob come constant QPs, the last of which is the floor
_HEVC_KNOB = Knob("crf", 8, 54.95, 0.05, 6.5)
_X264 = "keyint=infinite:scenecut=0:bframes=0:sliced-threads=0:threads=1"
_SVT = "pred-struct=1:keyint=-1:lookahead=0:scd=0:lp=1:crf={q}"


def anchors(effort: str = "veryslow") -> dict[str, Anchor]:
    """System -> anchor. `effort`: preset of x265 and x264, "veryslow", "slower" or "slow"."""
    low = {"preset": effort, "tune": "zerolatency", "x265-params": _X265_LOW}
    access = {"preset": effort, "x265-params": _X265}
    known = [
        Anchor(
            "x265",
            "x265 low delay",
            "libx265",
            {**low, "crf": "{q}"},
            _HEVC_KNOB,
            "HEVC. Past CRF 51 aq-strength goes from 1 to 0, then QP is 49, 50, and 51 at the floor, HEVC's coarsest.",
            {**low, "x265-params": _X265_LOW.format(aq=1), "qp": "51"},
        ),
        Anchor(
            "x265-ra",
            "x265 random access",
            "libx265",
            {**access, "crf": "{q}"},
            _HEVC_KNOB,
            "HEVC with B-frames and lookahead: seconds of delay, no codec for a call; an upper bound.",
            {**access, "x265-params": _X265.format(aq=1), "qp": "51"},
        ),
        Anchor(
            "svtav1",
            "SVT-AV1 low delay",
            "libsvtav1",
            {"preset": "4", "svtav1-params": _SVT},
            Knob("crf", 10, 70, 0.25, 9),
            "AV1. CRF in quarter steps; 70 is the coarsest.",
            may_hang=True,
        ),
        Anchor(
            "x264",
            "x264 low delay",
            "libx264",
            {"preset": effort, "tune": "zerolatency", "x264-params": _X264, "crf": "{q}"},
            Knob("crf", 8, 51, 0.05, 6),
            "H.264. CRF 51 is the coarsest.",
        ),
        Anchor(
            "vp9",
            "VP9 low delay",
            "libvpx-vp9",
            {
                "deadline": "good",
                "cpu-used": "1",
                "lag-in-frames": "0",
                "auto-alt-ref": "0",
                "g": "999999",
                "b": "0",
                "crf": "{q}",
            },
            Knob("crf", 10, 63, 1, 10, 0.5),
            "Whole quantizer steps, each 5 to 13 % of the rate; 63 is the coarsest. For a rate that they miss by more"
            " than 5 % the loop filter has sharpness 1, which takes 4 to 12 % more bits at the same step.",
            between={"sharpness": "1"},
        ),
    ]
    return {anchor.system: anchor for anchor in known}


@dataclass(frozen=True)
class Encoded:
    """A coded clip.

    Attributes:
        matroska: the file's bytes, for decoding.
        frame_bytes: int [T], bytes that count for each packet, in coding order; parameter sets are in the first.
    """

    matroska: bytes
    frame_bytes: np.ndarray

    @property
    def bits(self) -> int:
        """Of the whole clip."""
        return 8 * int(self.frame_bytes.sum())

    def save(self, path: Path) -> None:
        """Writes a .npz."""
        with open(path, "wb") as file:
            np.savez(file, matroska=np.frombuffer(self.matroska, np.uint8), frame_bytes=self.frame_bytes)

    @classmethod
    def load(cls, path: Path) -> Encoded:
        """Reads what `save` wrote. Raises OSError, ValueError, KeyError for other files."""
        with np.load(path, allow_pickle=False) as stored:
            return cls(stored["matroska"].tobytes(), stored["frame_bytes"])


def encode(anchor: Anchor, value: float | None, pictures: Iterable[np.ndarray], fps: Fraction, folder: Path) -> Encoded:
    """Codes RGB pictures [256, 256, 3] with one value of the knob (None: the encoder's floor).

    `folder` holds the file while it is written. Raises av.FFmpegError where the encoder fails.
    """
    path = folder / f"{anchor.system}-{anchor.setting(value)}.mkv"
    sizes: list[int] = []
    try:
        with av.open(str(path), "w", format="matroska") as container:
            stream: Any = container.add_stream(anchor.encoder, fps, anchor.at(value))
            stream.width = stream.height = SIDE
            stream.pix_fmt, context = "yuv420p", stream.codec_context
            context.thread_count, context.time_base, context.bit_rate = 1, 1 / fps, 0
            context.open()
            leave_real_time()
            for frame in chain(to_yuv(pictures, fps), (None,)):  # None: flush
                for packet in stream.encode(frame):
                    sizes.append(counted_bytes(context.name, bytes(packet)))
                    container.mux(packet)
            if sizes and context.name in _ANNEX_B:
                sizes[0] += counted_bytes(context.name, context.extradata or b"")
        return Encoded(path.read_bytes(), np.array(sizes, np.int64))
    finally:
        path.unlink(missing_ok=True)


def encode_clip(anchor: Anchor, value: float | None, clip: Originals, folder: Path) -> Encoded:
    """`encode` of a clip's pictures."""
    return encode(anchor, value, clip.pictures(), clip.fps, folder)


_ANNEX_B = {
    "libx264": lambda head: (head & 31) == 6,
    "libx265": lambda head: (head >> 1 & 63) in (39, 40),
}  # is it SEI?
_OBU_TEMPORAL_DELIMITER = 2


def counted_bytes(encoder: str, packet: bytes) -> int:
    """Bytes of a packet that an RTP payload would carry (see the module)."""
    if encoder in _ANNEX_B:
        units = (unit.rstrip(b"\0") for unit in re.split(b"\0\0\1", packet))
        return sum(len(unit) for unit in units if unit and not _ANNEX_B[encoder](unit[0]))
    if encoder == "libsvtav1" and packet[:1] and packet[0] >> 3 & 15 == _OBU_TEMPORAL_DELIMITER:
        return len(packet) - 2  # header with has_size_field, size 0
    return len(packet)
