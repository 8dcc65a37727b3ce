"""Fits the landmark basis (`codec/motion/shape.bin`) and the priors of its coefficients (in `priors.bin`).

    python -m fvc.training.tables.shape DIR [--basis] [--nearest] [--seconds 60] [--quality Q] [--cache DIR]
        [--out codec/motion]

Every clip of DIR is tracked at 15 fps. With --basis: the basis that diagonalizes two forms at once, the influence of an
error on the drawn face (`influence.bin`), which becomes the identity, and the covariance of changes between frames,
each frame divided by its activity, as in `training.tables.priors`.

Without --basis: the priors, which `fvc fit-priors` fits too, together with those of all parts. They are fitted on the
integers that `fvc encode` sends, and these depend on the priors. So after --basis run it with --nearest, on the nearest
integers, and then again without. (A third run gains nothing: rare values only become rarer.)
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fvc.codec.base.cache import Cache
from fvc.codec.dataset import ClipFile, open_clip
from fvc.codec.face.crop import to_crop
from fvc.codec.motion import coding, landmark_basis, priors
from fvc.codec.motion.entropy import RangeWriter, format_tables
from fvc.codec.motion.predictor import MotionModel
from fvc.codec.motion.quantizer import DEFAULT, to_integers
from fvc.codec.motion.rdo import DEFAULT_QUALITY, RateDistortion, Targets
from fvc.codec.motion.sample import DrivingSample
from fvc.models.inference.tracks import FPS, Track, clips_of
from fvc.training.tables.influence import unpack_influence
from fvc.training.tables.priors import GROUP, fit_part

_QUANTIZERS = {"shape": DEFAULT["shape"]}
ACTIVITY_FLOOR = 0.2 / 128  # added to a frame's activity, in half sides of the crop


def basis(faces: Sequence[np.ndarray], influence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks [T, 33, 2] of each clip, M [66, 66] -> mean [66] and basis [66, 66], see `codec.motion.landmark_basis`.

    M is the identity in this basis: the influence of an error is the sum of its squared coefficients.
    """
    covariance = np.zeros((landmark_basis.COUNT, landmark_basis.COUNT))
    for face in faces:
        changes = np.diff(face.reshape(len(face), -1), axis=0).astype(np.float64)
        activity = (
            np.convolve(np.abs(changes).mean(1), np.full(5, 1 / 5), "same")[: len(changes), None] + ACTIVITY_FLOOR
        )
        covariance += (changes / activity).T @ (changes / activity)
    values, axes = np.linalg.eigh(influence)
    root, inverse = (axes * values**power @ axes.T for power in (0.5, -0.5))
    main = np.linalg.eigh(root @ covariance @ root)[1][:, ::-1]  # largest variance first
    return np.mean([face.reshape(len(face), -1).mean(0) for face in faces], 0), (inverse @ main).T


def sent(face: np.ndarray, quality: float) -> np.ndarray:
    """Landmarks [T, 33, 2] -> int64 [T, 66], the coefficients that are sent."""
    tables, rows = format_tables(), list[list[int]]()
    model = MotionModel({"shape": DEFAULT["shape"].bits}, priors.load())
    for number, sup in enumerate(face):
        choose = RateDistortion(Targets(model, DrivingSample({"sup": sup}), _QUANTIZERS), quality, tables)
        rows.append(coding.encode(model, choose, RangeWriter(tables), number % GROUP == 0)["shape"])
    return np.array(rows, np.int64)


def nearest(face: np.ndarray) -> np.ndarray:
    """Landmarks [T, 33, 2] -> int64 [T, 66], the nearest coefficients."""
    return np.array([to_integers(DrivingSample({"sup": sup}), _QUANTIZERS)["shape"] for sup in face], np.int64)


def _clips(folder: Path, seconds: float, cache: Path | None, half: str = "") -> Iterator[tuple[str, str, np.ndarray]]:
    """Name, person and landmarks [T, 33, 2] of each clip; at most `seconds` of each person."""
    kept, limit = Cache(cache), round(seconds * FPS)
    left = defaultdict[str, int](lambda: limit)
    for path, name, person in clips_of(folder, half):
        with open_clip(ClipFile(path, None, folder), FPS, kept) as clip:
            face = to_crop(clip.seen.sup, clip.crop)[: left[person]]
        left[person] -= len(face)
        if len(face) > 1:
            yield name, person, face


def coefficient_tracks(
    folder: Path, seconds: float, cache: Path | None, quality: float | None, half: str = ""
) -> list[Track]:
    """The part `shape` of the clips of a folder, as it is sent, or (quality None) as its nearest integers."""
    return [
        Track(name, person, {"shape": nearest(face) if quality is None else sent(face, quality)})
        for name, person, face in _clips(folder, seconds, cache, half)
    ]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--basis", action="store_true")
    parser.add_argument("--nearest", action="store_true")
    parser.add_argument("--seconds", type=float, default=60, help="of each person, at most")
    parser.add_argument("--quality", type=float, default=DEFAULT_QUALITY)
    parser.add_argument("--cache", type=Path, help="where tracks are kept; default: the platform's folder")
    parser.add_argument("--out", type=Path, default=Path("codec/motion"))
    args = parser.parse_args()
    if args.basis:
        clips = list(_clips(args.folder, args.seconds, args.cache))
        influence = unpack_influence(Path(__file__).with_name("influence.bin").read_bytes())
        (args.out / "shape.bin").write_bytes(landmark_basis.pack(*basis([face for _, _, face in clips], influence)))
        print(f"{args.out / 'shape.bin'}: written; run again, with --nearest, for its priors")
        return
    tracks = coefficient_tracks(args.folder, args.seconds, args.cache, None if args.nearest else args.quality)
    parts = priors.load() | {"shape": fit_part(tracks, "shape")}
    (args.out / "priors.bin").write_bytes(priors.pack(parts))


if __name__ == "__main__":
    main()
