"""Cross-reenactment: one person's movements for another person's face, for research.

Absolute keypoints carry the shape of the face that made them, and bend another face towards it. Relative motion (the
first-order model's demo mode; Siarohin et al., NeurIPS 2019, section 3.3) adds to the source's own keypoints what the
driving keypoints have moved since the first frame.
"""

from __future__ import annotations

import numpy as np

from fvc.codec.motion.sample import KEYPOINTS, DrivingSample


def _spread(points: np.ndarray) -> float:
    """Root mean square distance from the centre."""
    return float(np.sqrt(((points - points.mean(0)) ** 2).sum(1).mean()))


class Retarget:
    """Driving samples of one person -> driving samples of the person whose source's sample is `rest`.

    The first sample it is given counts as the driving person's rest: as in `rest`, its face should be frontal.
    Movements are scaled by the faces' sizes; expression codes stay in [0, 1].
    """

    def __init__(self, rest: DrivingSample) -> None:
        self._rest, self._first = rest, None  # type: DrivingSample, DrivingSample | None

    def __call__(self, sample: DrivingSample) -> DrivingSample:
        """The sample with which the other person makes the same movement. Both have the same parts."""
        self._first = self._first or sample
        return DrivingSample({part: self._moved(part, values) for part, values in sample.parts.items()})

    def _moved(self, part: str, values: np.ndarray) -> np.ndarray:
        assert self._first is not None
        rest, first = self._rest.parts[part], self._first.parts[part]
        if part == "jac":
            return (values @ np.linalg.pinv(first) @ rest).astype(np.float32)
        scale = _spread(rest) / max(_spread(first), 1e-3) if part in KEYPOINTS else 1.0
        moved = rest + scale * (values - first)
        return moved.astype(np.float32) if part in KEYPOINTS else moved.clip(0, 1).astype(np.float32)
