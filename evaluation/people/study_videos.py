"""The videos that a study shows: each system's drawing of each clip, and the original."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from fvc.codec.base.constants import SIDE
from fvc.codec.media.video_writer import VideoWriter

VIDEOS = "videos"  # the folder within the study's


class StudyVideos:
    """Writes the videos of a study as they are drawn, under names that say nothing about the systems.

    Args:
        folder: of the study. systems: their names, in the order of the evaluation.
    """

    def __init__(self, folder: Path, systems: tuple[str, ...]) -> None:
        self._folder, self._systems = folder / VIDEOS, systems
        self._folder.mkdir(parents=True, exist_ok=True)

    def path(self, clip: str, system: str | None) -> Path:
        """Of a system's video of a clip; None: the original's."""
        letter = "o" if system is None else chr(ord("a") + self._systems.index(system))
        return self._folder / f"{Path(clip).stem}-{letter}.mp4"

    def recorded(
        self, pairs: Iterable[tuple[np.ndarray, np.ndarray]], clip: str, system: str, fps: Fraction
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The same pairs (original, drawn), uint8 [256, 256, 3]; both are written, originals unless they are there."""
        original = self.path(clip, None)
        with VideoWriter(self.path(clip, system), SIDE, SIDE, fps, overwrite=True) as drawn:
            if original.exists():
                for pair in pairs:
                    drawn.write(pair[1])
                    yield pair
                return
            with VideoWriter(original, SIDE, SIDE, fps) as video:
                for pair in pairs:
                    drawn.write(pair[1])
                    video.write(pair[0])
                    yield pair
