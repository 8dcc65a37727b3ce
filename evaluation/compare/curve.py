"""One anchor on one clip: the encodes that a search for rates tried."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from fvc.codec.base.cache import Cache
from fvc.codec.base.reporting import Progress
from fvc.evaluation.compare import rates
from fvc.evaluation.compare.anchor import Anchor, Encoded
from fvc.evaluation.compare.own_process import in_own_process
from fvc.evaluation.pictures import Originals

_PATIENCE = 60  # seconds that any encode may take
_MIN_SPEED = 4  # frames per second; an encode that is slower than that and takes longer than `_PATIENCE` hangs
_MIN_DISTANCE = 0.1  # a point that the search only tried is shown if its rate differs by at least this share


@dataclass
class Curve:
    """One anchor on one clip: all encodes that were tried, by value of the knob (None: its floor).

    Attributes:
        work: folder of the coded files.
        frame_bytes: value -> bytes of each packet.
        found: target rate, kbit/s -> the value whose rate is nearest.
    """

    anchor: Anchor
    clip: Originals
    work: Path
    cache: Cache
    progress: Progress
    frame_bytes: dict[float | None, np.ndarray] = field(default_factory=dict)
    found: dict[float, float | None] = field(default_factory=dict)

    def reach(self, targets: set[float]) -> None:
        """Searches for these rates; where whole steps of the knob miss one, between them too."""
        knob = self.anchor.knob
        self._search(knob, targets)
        if knob.between:
            missed = {t for t in targets if self.found[t] is not None and self._miss(t) > rates.TOLERANCE}
            self._search(replace(knob, step=knob.between), missed)

    def _search(self, knob: rates.Knob, targets: set[float]) -> None:
        tried = {value: self.kbps(value) for value in self.frame_bytes}
        self.found.update(rates.search(self.kbps, knob, sorted(targets), tried=tried))

    def _miss(self, target: float) -> float:
        """Relative difference of the rate that was found from the target."""
        return abs(self.kbps(self.found[target]) / target - 1)

    def kbps(self, value: float | None) -> float:
        """Rate of a value, coded now or before."""
        if value not in self.frame_bytes:
            encoded = self.cache.get(self.name(value), Encoded.load, partial(self._coded, value), Encoded.save)
            self.file(value).write_bytes(encoded.matroska)
            self.frame_bytes[value] = encoded.frame_bytes
        return self.bits(value) / self.clip.seconds / 1000

    def _coded(self, value: float | None) -> Encoded:
        if self.anchor.may_hang:
            seconds = _PATIENCE + self.clip.frames / _MIN_SPEED
            return in_own_process(
                encode_clip, self.anchor, value, self.clip, self.work, seconds=seconds, each=self._tick
            )
        return self.anchor.encode(value, self._pictures(), self.clip.fps, self.work)

    def _tick(self) -> None:
        self.progress(self.anchor.label, len(self.frame_bytes), None)

    def _pictures(self) -> Iterator[np.ndarray]:
        for picture in self.clip.pictures():
            self._tick()
            yield picture

    def bits(self, value: float | None) -> int:
        """Bits of the clip at a value that was tried."""
        return 8 * int(self.frame_bytes[value].sum())

    def file(self, value: float | None) -> Path:
        """The coded file of a value."""
        return self.work / f"{self.anchor.system} {self.anchor.setting(value)} kept.mkv"

    def name(self, value: float | None) -> tuple[str, ...]:
        """Everything that an encode depends on."""
        return ("anchor", self.clip.digest, str(self.clip.fps), *self.anchor.identity(value))

    def shown(self) -> dict[float | None, list[float]]:
        """Values to show -> the targets that each serves: all found ones, and tried ones whose rates differ clearly."""
        shown: dict[float | None, list[float]] = {}
        for target, value in sorted(self.found.items()):
            shown.setdefault(value, []).append(target)
        for value in self.frame_bytes:
            distances = (abs(self.kbps(value) / self.kbps(other) - 1) for other in shown)
            if value not in shown and min(distances) > _MIN_DISTANCE:
                shown[value] = []
        return shown


def encode_clip(anchor: Anchor, value: float | None, clip: Originals, folder: Path) -> Encoded:
    """Codes a clip's pictures; a function of its own for `in_own_process`."""
    return anchor.encode(value, clip.pictures(), clip.fps, folder)
