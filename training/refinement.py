"""What integers and predictions say of the landmarks beyond a step -> `codec/refine.bin` (bitstream_spec.md, 8.2).

    python -m fvc.training.refinement DIR OUT [--every 9] [--seconds 20] [--quality 55 65 75] [--cache DIR]

Every n-th clip of DIR is tracked and coded at the given qualities, as `fvc encode` does. A ridge regression, over all
frames but keyframes, finds the tracked landmarks, as distances from the integers that were sent, in the features of
`codec.refinement`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from fvc.codec.crop import to_crop
from fvc.codec.decisions import Targets, ThriftyWriter
from fvc.codec.prediction import MotionState
from fvc.codec.priors import FINE
from fvc.codec.quantizer import DEFAULT
from fvc.codec.refinement import PART, features, pack
from fvc.codec.sample import DrivingSample
from fvc.evaluation.clips import Cache, find_clips, opened

_RIDGE = 30.0  # for each quality, against the sum of square distances in steps
_GROUP = 75  # frames from one keyframe to the next


class _Watcher(ThriftyWriter):
    """Remembers values and predictions of a frame, [66, 2] in coding order."""

    def __init__(self, targets: Targets, quality: float) -> None:
        super().__init__(targets, quality)
        self.seen: list[tuple[int, int]] = []

    def value(self, value: int, part: str, prediction: int, spread: int) -> int:
        """See `ThriftyWriter.value`."""
        taken = super().value(value, part, prediction, spread)
        self.seen.append((taken, prediction))
        return taken


def observe(faces: np.ndarray, quality: float) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks [T, 33, 2] in [-1, 1] -> features [T', 132] and distances [T', 66] in steps, without keyframes."""
    state, rows, distances = MotionState((PART,), {PART: DEFAULT[PART].bits}), list[np.ndarray](), list[np.ndarray]()
    for number, face in enumerate(faces):
        targets = Targets(DrivingSample({PART: face}), DEFAULT, (PART,))
        watcher = _Watcher(targets, quality)
        state.code(watcher, {PART: [0] * face.size}, number % _GROUP == 0)
        values, predictions = np.array(watcher.seen, np.int64).T
        near, far = features(predictions - (values << FINE))
        if number % _GROUP:
            rows.append(np.concatenate([near / (1 << FINE), far]))
            distances.append(np.array(targets.steps[PART]) - values)
    return np.array(rows), np.array(distances)


def fit(rows: Sequence[np.ndarray], distances: Sequence[np.ndarray], ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """The matrices of `refine.bin`, [66, 66] integers."""
    x, y = np.concatenate(rows), np.concatenate(distances)
    weights = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ y)
    fractions, signs = np.rint((1 << FINE) * weights.T).astype(int).reshape(-1, 2, y.shape[1]).swapaxes(0, 1)
    return fractions, signs


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--every", type=int, default=9, help="take every n-th clip")
    parser.add_argument("--seconds", type=float, default=20, help="of each clip, at most")
    parser.add_argument("--quality", type=float, nargs="+", default=[55.0, 65.0, 75.0])
    parser.add_argument("--cache", type=Path, help="where tracks are kept; default: the platform's folder")
    args = parser.parse_args()
    rows, distances, rate = list[np.ndarray](), list[np.ndarray](), Fraction(15)
    for file in find_clips(args.folder.parent, args.folder.name)[:: args.every]:
        with opened(file, rate, Cache(args.cache)) as clip:
            faces = to_crop(clip.seen.sup, clip.crop)[: round(args.seconds * rate)]
        for quality in args.quality if len(faces) > 1 else ():
            more = observe(faces, quality)
            rows.append(more[0])
            distances.append(more[1])
        print(f"{file.path.name}: {sum(map(len, rows))} frames", flush=True)
    args.out.write_bytes(pack(*fit(rows, distances, _RIDGE * len(args.quality))))


if __name__ == "__main__":
    main()
