"""Pictures to look at: a clip's sources, some of its frames, and what each system draws for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np

from fvc.codec.base.constants import SIDE
from fvc.codec.face.landmarks import INNER_LIPS, LIDS, eye_distance
from fvc.codec.media.output import encode_png
from fvc.evaluation.metrics.reference import Reference

_CAPTION_HEIGHT = 22  # pixels


def telling_frames(reference: Reference) -> dict[int, str]:
    """The frames in which systems differ most: index -> what it shows. In order; at most five."""
    sup, yaw = reference.columns["sup"], reference.columns["pose"][:, 0]
    seen = np.flatnonzero(~np.isnan(yaw))

    def gap(pair: tuple[int, int]) -> np.ndarray:
        return np.asarray(np.linalg.norm(sup[seen, pair[0]] - sup[seen, pair[1]], axis=1) / eye_distance(sup[seen]))

    if not len(seen):
        return {0: "first"}
    picks = {
        "yaw -": yaw[seen].argmin(),
        "yaw +": yaw[seen].argmax(),
        "mouth open": gap(INNER_LIPS).argmax(),
        "eyes shut": np.sum([gap(lids) for lids in LIDS], axis=0).argmin(),
        "middle": len(seen) // 2,
    }
    texts: dict[int, list[str]] = {}
    for text, row in picks.items():
        texts.setdefault(int(seen[row]), []).append(text)
    return {index: ", ".join(texts[index]) for index in sorted(texts)}


class Strip:
    """Collects the pictures of one clip: sources in the first column, then the clip's frames, then each system."""

    def __init__(self, reference: Reference) -> None:
        self._texts = telling_frames(reference)
        self._sources: list[np.ndarray] = []
        self._columns: dict[str, dict[int, np.ndarray]] = {}

    def watched(
        self, pairs: Iterable[tuple[np.ndarray, np.ndarray]], system: str, sources: Sequence[np.ndarray]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The same (original, drawn) pairs; those of the telling frames are kept."""
        self._sources = list(sources)
        originals, drawings = self._columns.setdefault("input", {}), self._columns.setdefault(system, {})
        for index, (original, drawn) in enumerate(pairs):
            if index in self._texts:
                originals[index], drawings[index] = original, drawn
            yield original, drawn

    def png(self) -> bytes:
        """The strip as a PNG file; nothing where all systems failed before the first such frame."""
        if not self._columns:
            return b""
        blank = np.full((SIDE, SIDE, 3), 255, np.uint8)
        rows = max(len(self._texts), len(self._sources))
        first = [*self._sources, *[blank] * (rows - len(self._sources))]
        columns = [column("sources", first)]
        for name, pictures in self._columns.items():
            shown = [pictures.get(index, blank) for index in self._texts]
            texts = list(self._texts.values()) if name == "input" else [""] * len(shown)
            filled = rows - len(shown)
            columns.append(column(name, [*shown, *[blank] * filled], [*texts, *[""] * filled]))
        return encode_png(np.hstack(columns))


def column(title: str, pictures: Sequence[np.ndarray], texts: Sequence[str] = ()) -> np.ndarray:
    """Pictures, uint8 [256, 256, 3], one below the other under a title; each may have a text of its own."""
    head = np.full((_CAPTION_HEIGHT, SIDE, 3), 255, np.uint8)
    cv2.putText(head, title, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    cells = []
    for picture, text in zip(pictures, texts or [""] * len(pictures), strict=True):
        cell = picture.copy()
        for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            cv2.putText(cell, text, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, width, cv2.LINE_AA)
        cells.append(cell)
    return np.vstack([head, *cells])
