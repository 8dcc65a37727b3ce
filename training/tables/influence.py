"""Measures how errors of the sup landmarks change the drawn face -> `training/tables/influence.bin`.

    python -m fvc.training.tables.influence DIR OUT [--every 9] [--frames 20] [--cache DIR]

The result weights landmark errors in the basis of `codec.motion.landmark_basis` (`training.tables.shape`), and so in
`codec.motion.rdo`. Every n-th clip of DIR gives source pictures, as `fvc encode` chooses them, and some frames. Each
frame is drawn twice, with the tracked landmarks plus and minus a random error e (of single landmarks, and of the whole
head), and tracked again: half the difference between the two is the effect y. A ridge regression gives y = G e, and

    M = (1 - OWN) / s * G^T W G + OWN * identity

where W gives lids and inner lips (blinks and speech) triple weight, and s makes the mean of the diagonal 1. OWN, the
weight of the error itself, stands for the effects that the tracker does not see. Components are in row-major order.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from fvc.codec.base.cache import Cache
from fvc.codec.dataset import Clip, find_clips, open_clip
from fvc.codec.face.crop import to_crop
from fvc.codec.face.landmarks import INNER_LIPS, LIDS
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.motion.landmark_basis import COUNT
from fvc.codec.motion.sample import DrivingSample, Profile
from fvc.models.inference.installed import InstalledModel
from fvc.models.presets import DEFAULT

OWN = 0.6
INTEGERS_PER_UNIT = 4096  # of the integers in influence.bin
RIDGE = 50.0  # added to sums of squared errors, square pixels
DETAILS = (*(lid for lids in LIDS for lid in lids), *INNER_LIPS)  # sup indices
DETAIL_WEIGHT = 3.0  # of these landmarks' vertical components
# Standard deviations of the random errors, in pixels of 256: of each landmark, of the head's position, of its size.
LANDMARK_NOISE, SHIFT_NOISE, STRETCH_NOISE = 0.45, 0.5, 0.4


def random_error(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random error of landmarks [33, 2], in pixels of 256."""
    centred = face - face.mean(0)
    stretch = (centred / np.sqrt((centred**2).mean())) @ rng.normal(0, STRETCH_NOISE, (2, 2))
    return rng.normal(0, LANDMARK_NOISE, face.shape) + rng.normal(0, SHIFT_NOISE, 2) + stretch


def effects(clip: Clip, frames: int, rng: np.random.Generator) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Random errors and their effects at `frames` frames of a clip: lists of [66], in pixels of 256."""
    model, tracked = InstalledModel(DEFAULT), clip.tracked
    sources = model.source_builder(Profile.SUP).choose(clip.video, tracked).source_set
    renderer = model.renderer(sources, Profile.SUP, clip.rate)
    faces = to_crop(clip.seen.sup, clip.crop)
    inputs = [
        renderer.prepare(int(index), DrivingSample({"sup": face}))
        for index, face in zip(clip.seen.index, faces, strict=True)
    ]
    errors, found = list[np.ndarray](), list[np.ndarray]()
    with FaceTracker() as tracker:
        for n in np.linspace(0, len(faces) - 1, frames).astype(int):
            error = random_error(faces[n], rng)
            moved = [(faces[n] + sign * error / 128).astype(np.float32) for sign in (1, -1)]
            seen = [tracker.track(renderer.draw(replace(inputs[n], parts={"sup": sup}))) for sup in moved]
            if seen[0] is not None and seen[1] is not None:
                errors.append(error.ravel())
                found.append((seen[0].sup - seen[1].sup).ravel() / 2)
    return errors, found


def influence(errors: np.ndarray, found: np.ndarray) -> np.ndarray:
    """M, float64 [66, 66], from errors and effects [N, 66]."""
    n = errors.shape[1]
    effect = np.linalg.solve(errors.T @ errors + RIDGE * np.eye(n), errors.T @ found)  # y = e @ effect
    weights = np.ones((n // 2, 2))
    weights[list(DETAILS), 1] = DETAIL_WEIGHT
    matrix = effect @ (weights.reshape(-1, 1) * effect.T)
    return np.asarray((1 - OWN) / np.diag(matrix).mean() * matrix + OWN * np.eye(n))


def pack_influence(matrix: np.ndarray) -> bytes:
    """A symmetric matrix [66, 66] of the components of sup, by row and column, -> the bytes of `influence.bin`."""
    return np.rint(INTEGERS_PER_UNIT * matrix[np.tril_indices(len(matrix))]).astype(">i2").tobytes()


def unpack_influence(data: bytes) -> np.ndarray:
    """The inverse of `pack_influence`, float64 [66, 66]; raises ValueError for other sizes."""
    matrix = np.zeros((COUNT, COUNT))
    matrix[np.tril_indices(COUNT)] = np.frombuffer(data, ">i2") / INTEGERS_PER_UNIT
    return matrix + np.tril(matrix, -1).T


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--every", type=int, default=9, help="take every n-th clip")
    parser.add_argument("--frames", type=int, default=20, help="of each clip")
    parser.add_argument("--cache", type=Path, help="where tracks are kept; default: the platform's folder")
    args = parser.parse_args()
    rng, errors, found = np.random.default_rng(0), list[np.ndarray](), list[np.ndarray]()
    for file in find_clips(args.folder.parent, args.folder.name)[:: args.every]:
        with open_clip(file, Fraction(15), Cache(args.cache)) as clip:
            more = effects(clip, args.frames, rng)
            errors += more[0]
            found += more[1]
            print(f"{clip.name}: {len(errors)} frames", flush=True)
    args.out.write_bytes(pack_influence(influence(np.array(errors), np.array(found))))


if __name__ == "__main__":
    main()
