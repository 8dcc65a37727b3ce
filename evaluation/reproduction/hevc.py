"""A clip as HEVC shows it at the paper's 8 kbit/s, for its figure 8."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fvc.codec.dataset import Clip
from fvc.evaluation.compare.anchors import anchors
from fvc.evaluation.pictures import Originals, read_pictures, write_lossless
from fvc.evaluation.presets.strips import column

_KBPS = 8.0
_EFFORT = "slow"  # which codes the clip in seconds; a figure needs no better one


def as_hevc(clip: Clip, frames: Sequence[int]) -> list[np.ndarray]:
    """A column of these frames by the finest setting of x265 that needs at most 8 kbit/s; if none does, the coarsest.

    No column where x265 is not there. Raises FvcError: it fails.
    """
    anchor = anchors(_EFFORT)["x265"]
    if anchor.why_unavailable():
        return []
    indices: list[int] = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)

        def pictures() -> Iterator[np.ndarray]:
            for frame, picture in clip.frames():
                indices.append(frame.index)
                yield picture

        path = folder / "originals.mkv"
        count, digest = write_lossless(path, pictures(), clip.rate)
        originals, kept, kbps = Originals(path, clip.rate, count, digest), b"", 0.0
        for value in anchor.ladder:
            coded = anchor.encode(value, originals, folder)
            needed = 8 * int(coded.frame_bytes.sum()) / originals.seconds / 1000
            if kept and needed > _KBPS:
                break
            kept, kbps = coded.matroska, needed
        (folder / "kept.mkv").write_bytes(kept)
        shown = dict(zip(indices, read_pictures(folder / "kept.mkv"), strict=True))
    return [column(f"HEVC, {kbps:.1f} kbit/s", [shown[n] for n in frames])]
