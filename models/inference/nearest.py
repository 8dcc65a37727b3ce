"""Which source pictures a frame is drawn from: the few whose face is most like its own.

A picture that is far away adds blur rather than content, and each one costs time. So a composed generator draws from
the nearest `DRAWN_FROM`, however many there are. The farthest of these fades out before another takes its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fvc.codec.motion.pose_history import DrawInputs, positions
from fvc.codec.motion.sample import DrivingSample
from fvc.models.weights import draws_from_nearest

DRAWN_FROM = 4
# Where a generator takes how far it may trust a source: a tensor of `models.generator.Embedding`, and its channel.
CONFIDENCE_TENSOR, CONFIDENCE_CHANNEL = 3, 2
_FADING = 0.3  # of the first left out's distance: over these last 30 % a source fades out
_LEAST_SHARE = 1e-4  # of one that has faded out


def drawn_from(preset: str, count: int) -> int:
    """How many of `count` sources draw a frame of an installed preset."""
    return min(count, DRAWN_FROM) if draws_from_nearest(preset) else count


@dataclass(frozen=True)
class Nearest:
    """The sources of a frame.

    Attributes:
        numbers: of the sources, ascending, so that the same choice has the same order.
        log_shares: float32, one for each, at most 0: added to the logits of the blend weights.
    """

    numbers: tuple[int, ...]
    log_shares: np.ndarray


def nearest(inputs: DrawInputs, sources: np.ndarray, count: int = DRAWN_FROM) -> Nearest:
    """Chooses `count` sources, or all where there are no more.

    The distance is the square distance of keypoints about their mean, at present and at the recent moments. A chosen
    source that is nearly as far away as the first which is left out loses its share of the blend, until the other one
    takes its place.

    Args:
        sources: positions of their keypoints, float32 [N, K, 2], in the coordinates and the order of the frame's.
    """
    if len(sources) <= count:
        return Nearest(tuple(range(len(sources))), np.zeros(len(sources), np.float32))
    poses = _centred(np.concatenate([positions(inputs.parts)[None], inputs.recent_positions]))  # [1 + M, K, 2]
    apart = np.square(poses[:, None] - _centred(sources)).sum((0, 2, 3))  # [N]
    order = np.argsort(apart, kind="stable")
    numbers, limit = np.sort(order[:count]), apart[order[count]]
    shares = (1 - apart[numbers] / limit) / _FADING if limit > 0 else np.ones(count)
    return Nearest(tuple(map(int, numbers)), np.log(np.clip(shares, _LEAST_SHARE, 1)).astype(np.float32))


def with_shares(rows: Sequence[np.ndarray], log_shares: np.ndarray) -> list[np.ndarray]:
    """The rows of an embedding [K, ...], with these added to the confidences of its K sources."""
    confidence = rows[CONFIDENCE_TENSOR].copy()
    confidence[:, CONFIDENCE_CHANNEL] += log_shares[:, None, None]
    return [confidence if index == CONFIDENCE_TENSOR else row for index, row in enumerate(rows)]


class NearestRows:
    """For exported graphs: the embedding of all sources -> that of a frame's.

    Args:
        samples: of the sources; embedding: [N, ...] each, or anything else where all sources draw.
        most: how many sources draw a frame.
    """

    def __init__(self, samples: Sequence[DrivingSample], embedding: Sequence[np.ndarray], most: int) -> None:
        self._most = most
        self._positions, self._embedding = np.stack([positions(sample.parts) for sample in samples]), embedding

    def __call__(self, inputs: DrawInputs) -> list[np.ndarray]:
        """The embedding that the graph `draw` takes for a frame."""
        if len(self._positions) <= self._most:
            return list(self._embedding)
        chosen = nearest(inputs, self._positions, self._most)
        return with_shares([rows[list(chosen.numbers)] for rows in self._embedding], chosen.log_shares)


def _centred(keypoints: np.ndarray) -> np.ndarray:
    """[..., K, 2], about their mean."""
    centred: np.ndarray = keypoints - keypoints.mean(-2, keepdims=True)
    return centred
