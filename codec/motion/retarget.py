"""Cross-reenactment: applies one person's movements to another person's face, for research.

Absolute keypoints carry the shape of the driving face, and would deform another face towards it. Relative motion (the
first-order model's demo mode; Siarohin et al., NeurIPS 2019, section 3.3) adds the driving keypoints' displacement
since the first frame to the source's own keypoints.
"""

from __future__ import annotations

import numpy as np

from fvc.codec.motion.sample import KEYPOINTS, DrivingSample


def _spread(points: np.ndarray) -> float:
    """Root mean square distance from the centre."""
    return float(np.sqrt(((points - points.mean(0)) ** 2).sum(1).mean()))


class Retarget:
    """Turns driving samples of one person into those of another, whose frontal source has the sample `rest`.

    The first sample counts as the driving person's rest pose: its face should be frontal, as in `rest`. Displacements
    are scaled by the sizes of the faces; expression codes stay in [0, 1].
    """

    def __init__(self, rest: DrivingSample) -> None:
        self._rest = rest
        self._first: DrivingSample | None = None

    def __call__(self, sample: DrivingSample) -> DrivingSample:
        """The other person's sample with the same movement; both have the same parts."""
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
