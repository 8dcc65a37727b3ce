"""Metrics of pixels: each is a function of one frame of the input and the picture that was drawn for it.

    @frame_metric("psnr")
    def psnr(pair: FramePair) -> float: ...

The name must be one of `catalog.CATALOG`. A clip's value is the mean over the frames for which the function does not
return None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np

from fvc.evaluation.metrics.catalog import MAX_PSNR

_BLOCK = 32  # pixels: side of the blocks that "jumps" looks at
_JUMP = 12.0  # levels: mean absolute change of a block from which a jump is seen
_STATIC = 4.0  # levels: mean absolute change of a block of the input below which it is static


@dataclass(frozen=True)
class FramePair:
    """A frame of the input and the picture that was drawn for it, both uint8 RGB [256, 256, 3].

    Attributes:
        previous: the pair before; None for the first frame of a clip.
    """

    original: np.ndarray
    drawn: np.ndarray
    previous: FramePair | None = None

    def followed_by(self, original: np.ndarray, drawn: np.ndarray) -> FramePair:
        """The next pair, which knows this one but none before it."""
        return FramePair(original, drawn, replace(self, previous=None))

    @cached_property
    def error(self) -> np.ndarray:
        """int16 [256, 256, 3]: drawn minus original."""
        return self.drawn.astype(np.int16) - self.original

    @cached_property
    def changes(self) -> tuple[np.ndarray, np.ndarray] | None:
        """int16 [256, 256, 3], twice: change of the input and of the drawing since the previous pair."""
        if self.previous is None:
            return None
        return (
            self.original.astype(np.int16) - self.previous.original,
            self.drawn.astype(np.int16) - self.previous.drawn,
        )


@dataclass(frozen=True)
class FrameMetric:
    """A registered function. `is_sampled`: it is slow, and computed for every n-th frame only."""

    compute: Callable[[FramePair], float | None]
    is_sampled: bool = False


FRAME_METRICS: dict[str, FrameMetric] = {}  # by name in the catalog

_Compute = Callable[[FramePair], float | None]


def frame_metric(name: str, is_sampled: bool = False) -> Callable[[_Compute], _Compute]:
    """Registers a function as the metric `name` of the catalog."""

    def register(compute: _Compute) -> _Compute:
        FRAME_METRICS[name] = FrameMetric(compute, is_sampled)
        return compute

    return register


@frame_metric("psnr")
def psnr(pair: FramePair) -> float:
    """Peak signal-to-noise ratio of RGB, dB, at most `MAX_PSNR`."""
    mse = float(np.square(pair.error, dtype=np.float32).mean())
    return min(10 * float(np.log10(255**2 / mse)), MAX_PSNR) if mse else MAX_PSNR


@frame_metric("ssim", is_sampled=True)
def ssim(pair: FramePair) -> float:
    """Structural similarity of luma (Wang et al., 2004)."""
    from skimage.metrics import structural_similarity

    luma = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (pair.original, pair.drawn)]
    return float(
        structural_similarity(*luma, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    )


@frame_metric("flicker")
def flicker(pair: FramePair) -> float | None:
    """Mean absolute difference between the change of the drawing and that of the input, levels."""
    if pair.changes is None:
        return None
    input_change, drawn_change = pair.changes
    return float(np.abs(drawn_change - input_change).mean())


@frame_metric("jumps")
def jumps(pair: FramePair) -> float | None:
    """1 where any block of the drawing jumps while the same block of the input is static, else 0."""
    if pair.changes is None:
        return None
    input_change, drawn_change = pair.changes
    return float(((_block_means(drawn_change) >= _JUMP) & (_block_means(input_change) < _STATIC)).any())


def _block_means(change: np.ndarray) -> np.ndarray:
    """Mean absolute change of each block, levels: [256, 256, 3] -> [8, 8]."""
    size = change.shape[1] // _BLOCK, change.shape[0] // _BLOCK
    means = cv2.resize(np.abs(change).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return np.asarray(means.mean(-1))
