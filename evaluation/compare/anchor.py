"""The interface of a codec that `fvc measure` compares fvc with.

To add a codec, write a subclass of `Anchor` in a file of its own and name it in `anchors.ANCHORS`. For another encoder
of ffmpeg an entry in `anchors` is enough: see `ffmpeg_anchor.FfmpegAnchor`.

All anchors code the same 256x256 crops at the same frame rate. Only what a datagram's payload would carry
counts as their bits: parameter sets once and coded pictures, no container, no packet headers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fvc.evaluation.pictures import Originals


@dataclass(frozen=True)
class Encoded:
    """A coded clip.

    Attributes:
        matroska: a file that `pictures.read_pictures` decodes into the pictures that the codec's receiver shows. A
            codec that libavcodec does not know decodes its own bits, and stores the pictures losslessly.
        frame_bytes: int [T], the counted bytes of each picture, in order of display; parameter sets are in the first.
    """

    matroska: bytes
    frame_bytes: np.ndarray

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
    """A codec with one number that sets its quality. Objects must be picklable.

    Attributes:
        system: short name, in results.json and on the command line.
        label: full name, in tables.
        codec: name of the format, in headlines, e.g. "HEVC".
        note: remark for readers of the table of settings.
        ladder: values of the number, from the one with the lowest rate that the codec can reach, its floor, up to the
            finest. They are coded in this order until rate and quality are high enough.
    """

    system: str
    label: str
    codec: str
    note: str
    ladder: tuple[float, ...]

    @abstractmethod
    def encode(self, value: float, clip: Originals, folder: Path) -> Encoded:
        """Codes a clip; `folder` is for temporary files. Raises FvcError."""

    @abstractmethod
    def setting(self, value: float) -> str:
        """A short name of this setting for tables and file names, e.g. "crf 37"."""

    @abstractmethod
    def identity(self, value: float) -> tuple[str, ...]:
        """Everything that an encode depends on besides its pictures; names it in the cache."""

    @abstractmethod
    def described(self) -> dict[str, str]:
        """A row of the table of settings: "system", "label", "codec", "encoder", "options", "note"."""

    def why_unavailable(self) -> str | None:
        """Why the codec cannot be used on this machine; None: it can."""
        return None
