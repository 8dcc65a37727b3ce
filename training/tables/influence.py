"""What errors of the sup landmarks do to the drawn face -> `training/tables/influence.bin`, for `codec.motion.rdo`.

    python -m fvc.training.tables.influence DIR OUT [--every 9] [--frames 20] [--cache DIR]

Every n-th clip of DIR gives source pictures as `fvc encode` chooses them and some frames. Each frame is drawn twice,
with the landmarks as they were tracked plus and minus a random error e (of each landmark by itself, and of the head as
a whole), and the tracker looks at both: half the difference of what it finds is the effect y. A ridge regression gives
y = G e, and

    M = (1 - OWN) / s * G^T W G + OWN * identity

where W counts the lids and the inner lips, which are blinks and speech, three times, and s makes the mean of the
diagonal 1. OWN stands for what a tracker does not see. Components are in row-major order.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from fvc.codec.face.crop import to_crop
from fvc.codec.face.landmarks import SUP
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.motion.landmark_basis import COUNT
from fvc.codec.motion.sample import DrivingSample, Profile
from fvc.codec.source_builder import TrackedClip
from fvc.evaluation.clips import Cache, Clip, find_clips, opened
from fvc.models.installed import InstalledModel
from fvc.models.presets import DEFAULT

OWN = 0.6
_UNIT = 4096  # of the integers in influence.bin
_RIDGE = 50.0  # against the sum of square errors, in pixels
_LIDS, _INNER_LIPS, _MORE = (159, 145, 386, 374), (13, 14), 3.0
_ALONE, _SHIFT, _STRETCH = 0.45, 0.5, 0.4  # standard deviations of errors, pixels


def random_error(face: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """For landmarks [33, 2]: [33, 2], in pixels of 256."""
    apart = face - face.mean(0)
    stretch = (apart / np.sqrt((apart**2).mean())) @ draw.normal(0, _STRETCH, (2, 2))
    return draw.normal(0, _ALONE, face.shape) + draw.normal(0, _SHIFT, 2) + stretch


def effects(clip: Clip, frames: int, draw: np.random.Generator) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Errors and their effects, [66] each, pixels of 256."""
    model, tracked = InstalledModel(DEFAULT), TrackedClip(clip.seen, clip.rate, clip.crop)
    sources, _ = model.source_builder(Profile.SUP).choose(clip.video, tracked)
    renderer = model.renderer(sources, Profile.SUP, clip.rate)
    faces = to_crop(clip.seen.sup, clip.crop)
    inputs = [
        renderer.prepare(int(index), DrivingSample({"sup": face}))
        for index, face in zip(clip.seen.index, faces, strict=True)
    ]
    errors, found = list[np.ndarray](), list[np.ndarray]()
    with FaceTracker() as tracker:
        for n in np.linspace(0, len(faces) - 1, frames).astype(int):
            error = random_error(faces[n], draw)
            moved = [(faces[n] + sign * error / 128).astype(np.float32) for sign in (1, -1)]
            seen = [tracker.track(renderer.draw(replace(inputs[n], parts={"sup": sup}))) for sup in moved]
            if seen[0] is not None and seen[1] is not None:
                errors.append(error.ravel())
                found.append((seen[0].sup - seen[1].sup).ravel() / 2)
    return errors, found


def influence(errors: np.ndarray, found: np.ndarray) -> np.ndarray:
    """M, float64 [66, 66], from errors and effects [N, 66]."""
    n = errors.shape[1]
    effect = np.linalg.solve(errors.T @ errors + _RIDGE * np.eye(n), errors.T @ found)  # of a row e: e @ effect
    weights = np.ones((n // 2, 2))
    weights[[SUP.index(landmark) for landmark in (*_LIDS, *_INNER_LIPS)], 1] = _MORE
    matrix = effect @ (weights.reshape(-1, 1) * effect.T)
    return np.asarray((1 - OWN) / np.diag(matrix).mean() * matrix + OWN * np.eye(n))


def pack_influence(matrix: np.ndarray) -> bytes:
    """A symmetric matrix [66, 66] of the components of sup, by row and column, -> the bytes of `influence.bin`."""
    return np.rint(_UNIT * matrix[np.tril_indices(len(matrix))]).astype(">i2").tobytes()


def unpack_influence(data: bytes) -> np.ndarray:
    """The inverse of `pack_influence`, float64 [66, 66]; raises ValueError for other sizes."""
    matrix = np.zeros((COUNT, COUNT))
    matrix[np.tril_indices(COUNT)] = np.frombuffer(data, ">i2") / _UNIT
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
    draw, errors, found = np.random.default_rng(0), list[np.ndarray](), list[np.ndarray]()
    for file in find_clips(args.folder.parent, args.folder.name)[:: args.every]:
        with opened(file, Fraction(15), Cache(args.cache)) as clip:
            more = effects(clip, args.frames, draw)
            errors += more[0]
            found += more[1]
            print(f"{clip.name}: {len(errors)} frames", flush=True)
    args.out.write_bytes(pack_influence(influence(np.array(errors), np.array(found))))


if __name__ == "__main__":
    main()
