"""Anchors that the ffmpeg program of imageio-ffmpeg encodes and libavcodec decodes.

One intra picture at the start, one thread. Start codes, length fields, access unit delimiters and SEI messages (x264
signs its streams with one) do not count as bits.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.bitstream import BitStreamFilterContext

from fvc.codec.base.errors import FvcError
from fvc.codec.media.video import reason
from fvc.evaluation import ffmpeg
from fvc.evaluation.compare.anchor import Anchor, Encoded
from fvc.evaluation.pictures import TO_YUV, Originals

_PATIENCE = 120  # seconds that any encode may take
_MIN_SPEED = 0.1  # frames per second on a busy machine; an encode that is slower and takes longer than that hangs


@dataclass(frozen=True)
class FfmpegAnchor(Anchor):
    """An encoder of ffmpeg and its options.

    Attributes:
        encoder: ffmpeg's name of it.
        options: of the encoder; "{q}" stands for the value of the ladder, which `quality` names.
        floor: options that replace those of the same name at the first value of the ladder; without "{q}".
    """

    system: str
    label: str
    codec: str
    encoder: str
    quality: str
    ladder: tuple[float, ...]
    options: dict[str, str]
    note: str
    floor: dict[str, str] = field(default_factory=dict)

    def encode(self, value: float, clip: Originals, folder: Path) -> Encoded:
        path = folder / f"{self.system}-{self.setting(value)}.mkv".replace(" ", "-")
        seconds = _PATIENCE + clip.frames / _MIN_SPEED
        try:
            ffmpeg.run([*self.arguments(value, str(clip.path)), str(path)], seconds)
            return Encoded(path.read_bytes(), counted_bytes(path))
        except av.FFmpegError as error:
            raise FvcError(f"{self.label}: its own stream cannot be read ({reason(error)})") from error
        finally:
            path.unlink(missing_ok=True)

    def arguments(self, value: float, name: str) -> list[str]:
        """Of ffmpeg, up to the output's name; `name`: of the input."""
        options = [text for key, told in self.options_at(value).items() for text in (f"-{key}", told)]
        reading = ["-threads", "1", "-i", name, "-vf", TO_YUV, "-fps_mode", "passthrough"]
        return [*reading, "-c:v", self.encoder, "-threads", "1", *options, "-f", "matroska"]

    def options_at(self, value: float) -> dict[str, str]:
        """The encoder's options for a value of the ladder."""
        if self.floor and value == self.ladder[0]:
            return {n: o for n, o in self.options.items() if o != "{q}"} | self.floor
        return {n: o.replace("{q}", f"{value:g}") for n, o in self.options.items()}

    def setting(self, value: float) -> str:
        is_floor = self.floor and value == self.ladder[0]
        return " ".join(f"{n} {o}" for n, o in self.floor.items()) if is_floor else f"{self.quality} {value:g}"

    def identity(self, value: float) -> tuple[str, ...]:
        return *self.arguments(value, "input"), ffmpeg.version()

    def described(self) -> dict[str, str]:
        text = " ".join(f"-{name} {value}" for name, value in self.options.items())
        settings = ", ".join(self.setting(value) for value in self.ladder)
        return {
            "system": self.system,
            "label": self.label,
            "codec": self.codec,
            "encoder": self.encoder,
            "options": f"{text.replace('{q}', 'Q')}; {settings}",
            "note": self.note,
        }

    def why_unavailable(self) -> str | None:
        return ffmpeg.why_missing("encoders", self.encoder)


_UNCOUNTED: dict[str, Callable[[bytes], bool]] = {  # codec of NAL units -> whether one is a delimiter or SEI message
    "h264": lambda unit: unit[0] & 31 in (6, 9),
    "hevc": lambda unit: unit[0] >> 1 & 63 in (35, 39, 40),
    "vvc": lambda unit: unit[1] >> 3 in (20, 23, 24),
}


def counted_bytes(path: Path) -> np.ndarray:
    """Bytes of each picture of a coded file that an RTP payload would carry, in order of display (see the module).

    int [T]. Raises av.FFmpegError.
    """
    sizes: dict[int, int] = {}
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context.codec.canonical_name
        in_units = BitStreamFilterContext(f"{codec}_mp4toannexb", stream) if codec in _UNCOUNTED else None
        for packet in container.demux(stream):
            if packet.size and (pts := packet.pts) is not None:
                parts: list[Any] = in_units.filter(packet) if in_units else [packet]  # which takes the packet away
                sizes[pts] = sum(_counted(codec, bytes(part)) for part in parts)
    return np.array([sizes[pts] for pts in sorted(sizes)], np.int64)


def _counted(codec: str, packet: bytes) -> int:
    if codec not in _UNCOUNTED:
        return len(packet)
    units = (unit.rstrip(b"\0") for unit in re.split(b"\0\0\1", packet))
    return sum(len(unit) for unit in units if unit and not _UNCOUNTED[codec](unit))
