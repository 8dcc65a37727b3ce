"""The interface of a codec that `fvc measure` compares fvc with.

To add a codec, write a subclass of `Anchor` in a file of its own and name it in `anchors.ANCHORS`. For another encoder
of libavcodec an entry in `anchors` is enough: see `ffmpeg_anchor.FfmpegAnchor`.

All anchors code the same 256x256 crops at the same frame rate. Only what a datagram's payload would carry
counts as their bits: parameter sets once and coded pictures, no container, no packet headers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from fvc.evaluation.compare.rates import Knob


@dataclass(frozen=True)
class Encoded:
    """A coded clip.

    Attributes:
        matroska: a file that `pictures.read_pictures` decodes into the pictures that the codec's receiver shows. A
            codec that libavcodec does not know decodes its own bits, and stores the pictures losslessly.
        frame_bytes: int [T], the counted bytes of each packet, in coding order; parameter sets are in the first.
    """

    matroska: bytes
    frame_bytes: np.ndarray

    @property
    def bits(self) -> int:
        """Counted bits of the whole clip."""
        return 8 * int(self.frame_bytes.sum())

    def save(self, path: Path) -> None:
        """Writes a .npz."""
        with open(path, "wb") as file:
            np.savez(file, matroska=np.frombuffer(self.matroska, np.uint8), frame_bytes=self.frame_bytes)

    @classmethod
    def load(cls, path: Path) -> Encoded:
        """Reads a file of `save`. Raises OSError, ValueError, KeyError for other files."""
        with np.load(path, allow_pickle=False) as stored:
            return cls(stored["matroska"].tobytes(), stored["frame_bytes"])


class Anchor(ABC):
    """A codec with one number, the knob, that sets its rate. Objects must be picklable.

    Attributes:
        system: short name, in results.json and on the command line.
        label: full name, in tables.
        codec: name of the format, in headlines, e.g. "HEVC".
        knob: the parameter that is searched to reach a rate.
        note: remark for readers of the table of settings.
        may_hang: whether an encode may never end; it then runs in a process of its own, with a time limit.

    A `value` below is one of the knob, or None: the lowest rate that the codec can reach, its floor.
    """

    system: str
    label: str
    codec: str
    knob: Knob
    note: str
    may_hang: bool

    @abstractmethod
    def encode(self, value: float | None, pictures: Iterable[np.ndarray], fps: Fraction, folder: Path) -> Encoded:
        """Codes uint8 RGB pictures [256, 256, 3]; `folder` is for temporary files. Raises av.FFmpegError, FvcError."""

    @abstractmethod
    def setting(self, value: float | None) -> str:
        """A short name of this setting for tables and file names, e.g. "crf 37.25"."""

    @abstractmethod
    def identity(self, value: float | None) -> tuple[str, ...]:
        """Everything that an encode depends on besides its pictures; names it in the cache."""

    @abstractmethod
    def described(self) -> dict[str, str]:
        """A row of the table of settings: "system", "label", "codec", "encoder", "options", "note"."""

    def why_unavailable(self) -> str | None:
        """Why the codec cannot be used on this machine; None: it can."""
        return None
