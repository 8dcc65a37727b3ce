"""Anchors that libavcodec encodes, as PyAV's wheel carries it.

One intra picture at the start, one thread. Start codes, temporal delimiters and SEI messages (x264 signs its streams
with one) do not count as bits.
"""

from __future__ import annotations

import json
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

from fvc.codec.base.constants import SIDE
from fvc.codec.media.native import open_encoder
from fvc.evaluation.compare.anchor import Anchor, Encoded
from fvc.evaluation.compare.rates import Knob
from fvc.evaluation.pictures import to_yuv

LIBRARIES = f"PyAV {av.__version__}, libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}"
MAX_QP = 51  # of HEVC: the coarsest quantizer, x265's floor
MAX_CRF = 51  # of x265
LAST_CRF_VALUE = 52  # of x265's knob: above it come constant QPs
_OBU_TEMPORAL_DELIMITER = 2  # AV1, 6.2.2


@dataclass(frozen=True)
class FfmpegAnchor(Anchor):
    """An encoder of libavcodec and its options.

    Attributes:
        encoder: libavcodec's name of it.
        options: of the encoder; "{q}" stands for the value that is searched, "{aq}" for x265's aq-strength.
        floor: options that replace `options` for the lowest rate that it can reach; empty: the end of the knob.
        between: options that are added to the next coarser whole step for a value between two.
    """

    system: str
    label: str
    codec: str
    encoder: str
    options: dict[str, str]
    knob: Knob
    note: str
    floor: dict[str, str] = field(default_factory=dict)
    between: dict[str, str] = field(default_factory=dict)
    may_hang: bool = False

    def encode(self, value: float | None, pictures: Iterable[np.ndarray], fps: Fraction, folder: Path) -> Encoded:
        path = folder / f"{self.system}-{self.setting(value)}.mkv"
        sizes: list[int] = []
        try:
            with av.open(str(path), "w", format="matroska") as container:
                stream: Any = container.add_stream(self.encoder, fps, self.options_at(value))
                stream.width = stream.height = SIDE
                stream.pix_fmt, context = "yuv420p", stream.codec_context
                context.thread_count, context.time_base, context.bit_rate = 1, 1 / fps, 0
                open_encoder(context)
                for frame in chain(to_yuv(pictures, fps), (None,)):  # None: flush
                    for packet in stream.encode(frame):
                        sizes.append(counted_bytes(context.name, bytes(packet)))
                        container.mux(packet)
                if sizes and context.name in _IS_SEI:
                    sizes[0] += counted_bytes(context.name, context.extradata or b"")
            return Encoded(path.read_bytes(), np.array(sizes, np.int64))
        finally:
            path.unlink(missing_ok=True)

    def options_at(self, value: float | None) -> dict[str, str]:
        """The encoder's options for a value of the knob."""
        if (constant := self._constant_qp(value)) is not None:
            return self.floor | {"qp": str(constant)}
        quality, strength = self._quality_and_strength(self.knob.worst if value is None else value)
        options = self.options | (self.between if self._is_between(value) else {})
        return {n: o.replace("{q}", f"{quality:g}").replace("{aq}", f"{strength:g}") for n, o in options.items()}

    def setting(self, value: float | None) -> str:
        if (constant := self._constant_qp(value)) is not None:
            return f"qp {constant}"
        quality, strength = self._quality_and_strength(self.knob.worst if value is None else value)
        more = "".join(f" {n} {o}" for n, o in self.between.items()) if self._is_between(value) else ""
        return f"{self.knob.name} {quality:g}" + (f" aq-strength {strength:g}" if strength < 1 else "") + more

    def identity(self, value: float | None) -> tuple[str, ...]:
        return self.encoder, json.dumps(self.options_at(value), sort_keys=True), LIBRARIES

    def described(self) -> dict[str, str]:
        text = " ".join(f"{name}={value}" for name, value in self.options.items()).replace("{aq}", "1")
        worst = self._quality_and_strength(self.knob.worst)[0]
        return {
            "system": self.system,
            "label": self.label,
            "codec": self.codec,
            "encoder": self.encoder,
            "options": text.replace("{q}", f"<{self.knob.best:g}..{worst:g}, searched>"),
            "note": self.note,
        }

    def why_unavailable(self) -> str | None:
        try:
            av.codec.Codec(self.encoder, "w")
        except av.codec.codec.UnknownCodecError:
            return f"this PyAV has no {self.encoder}"
        return None

    def _constant_qp(self, value: float | None) -> int | None:
        """The QP of all pictures, at x265's floor and in the steps before it; None: quality is not set by a QP."""
        if not self.floor or (value is not None and value <= LAST_CRF_VALUE):
            return None
        return MAX_QP if value is None else MAX_QP - math.floor(self.knob.worst - value)

    def _is_between(self, value: float | None) -> bool:
        return bool(self.between) and value is not None and value % self.knob.step > 0

    def _quality_and_strength(self, value: float) -> tuple[float, float]:
        """(crf, aq-strength): above CRF 51, x265 gets coarser as its adaptive quantization is reduced to nothing."""
        if self.between:
            return float(math.ceil(value)), 1
        if "{aq}" not in "".join(self.options.values()):
            return value, 1
        return min(value, MAX_CRF), round(min(max(LAST_CRF_VALUE - value, 0), 1), 6)


_IS_SEI = {  # encoders that write NAL units with start codes -> whether the first byte of a unit is that of an SEI
    "libx264": lambda first: (first & 31) == 6,
    "libx265": lambda first: (first >> 1 & 63) in (39, 40),
}


def counted_bytes(encoder: str, packet: bytes) -> int:
    """Bytes of a packet that an RTP payload would carry (see the module)."""
    if encoder in _IS_SEI:
        units = (unit.rstrip(b"\0") for unit in re.split(b"\0\0\1", packet))
        return sum(len(unit) for unit in units if unit and not _IS_SEI[encoder](unit[0]))
    if encoder == "libsvtav1" and packet[:1] and packet[0] >> 3 & 15 == _OBU_TEMPORAL_DELIMITER:
        return len(packet) - 2  # header with has_size_field, size 0
    return len(packet)
