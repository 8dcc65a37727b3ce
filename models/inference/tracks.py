"""Videos of faces -> tracks of the integers that the encoder would code, for fitting priors and counting bits.

One .npz for each clip, kept in a folder, so that a second run finds them again; the name carries the weights' hash
and one of the filters (`codec.motion.smoothing`).
"""

from __future__ import annotations

import csv
import math
import zlib
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fvc.codec.base.cache import written_whole
from fvc.codec.dataset import half_of
from fvc.codec.layouts import clip_name, find_videos, person_of
from fvc.codec.motion.sample import PART_SHAPES
from fvc.codec.motion.smoothing import FILTERS, Filters

FPS = Fraction(15)


@dataclass(frozen=True)
class Track:
    """The integers of one clip.

    Attributes:
        clip: name of the video; person: identity of the face.
        parts: part -> int64 [T, n], the paper's quantizers, of the T frames that show a face.
    """

    clip: str
    person: str
    parts: dict[str, np.ndarray]


def clips_of(folder: Path, half: str = "") -> list[tuple[Path, str, str]]:
    """Path, name and person of the clips below a folder (`codec.layouts`), or of a half of them.

    The person is that of the `catalog.csv` (columns `clip`, `identity`) above the folder, else VoxCeleb's; else each
    clip shows a person of its own. Raises InputError, OptionError.
    """
    catalog, who = folder.parent / "catalog.csv", dict[str, str]()
    if catalog.exists():
        with catalog.open(newline="") as file:
            who = {row["clip"]: row["identity"] for row in csv.DictReader(file)}
    found = []
    for path in half_of(find_videos(folder), half):
        name = clip_name(path, folder)
        person = who.get(name) or person_of(path.relative_to(folder), folder)
        found.append((path, name, person or Path(name).stem))
    return found


def track_folder(
    folder: Path,
    cache: Path,
    preset: str,
    seconds: float = 60,
    workers: int = 2,
    filters: Filters = FILTERS,
    half: str = "",
) -> list[Track]:
    """Tracks the clips below a folder (square face tubes), at most `seconds` of each person; finished ones are kept.

    `half`: see `codec.dataset.half_of`. Raises InputError, OptionError.
    """
    from fvc.models.weights import model_hash

    left: dict[str, float] = defaultdict(lambda: seconds)
    stamp = f"{model_hash(preset).hex()}-{zlib.crc32(repr(filters).encode()):08x}"
    jobs = [
        (path, name, cache / f"{Path(name).stem}.{stamp}.npz", person, preset, filters)
        for path, name, person in clips_of(folder, half)
    ]
    cache.mkdir(parents=True, exist_ok=True)
    tracks = []
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        results: Iterable[Track] = pool.map(_track_clip, jobs)
        for track in tqdm(results, total=len(jobs), desc="track", unit="clip", disable=None):
            count = min(len(next(iter(track.parts.values()))), math.ceil(min(left[track.person], 1e6) * FPS))
            left[track.person] -= count / float(FPS)
            if count:
                tracks.append(Track(track.clip, track.person, {p: v[:count] for p, v in track.parts.items()}))
    return tracks


def _track_clip(job: tuple[Path, str, Path, str, str, Filters]) -> Track:
    clip, name, kept, person, preset, filters = job
    if not kept.exists():
        parts = _read(clip, preset, filters)
        with written_whole(kept) as part, part.open("wb") as file:
            np.savez_compressed(file, **parts)  # type: ignore[arg-type]
    with np.load(kept) as arrays:
        return Track(name, person, {part: arrays[part].astype(np.int64) for part in PART_SHAPES})


def _read(clip: Path, preset: str, filters: Filters) -> dict[str, np.ndarray]:
    from fvc.codec.encoder import make_sample
    from fvc.codec.face.crop import cut, to_crop
    from fvc.codec.face.tracker import FaceTracker
    from fvc.codec.media.video import VideoReader
    from fvc.codec.motion.quantizer import PAPER, to_integers
    from fvc.codec.motion.smoothing import SampleSmoother
    from fvc.codec.wire.bitstream import Crop
    from fvc.models.inference.motion import MotionRuntime

    network, rows, smooth = MotionRuntime(preset), [], SampleSmoother(float(FPS), filters)
    with VideoReader(clip) as video, FaceTracker() as tracker:
        for frame in video.frames(FPS):
            face = tracker.track(frame.rgb)
            if face is None:
                smooth.reset()
                continue
            height, width = frame.rgb.shape[:2]
            side = min(height, width)
            crop = Crop(width, height, (width - side) // 2, (height - side) // 2, side)
            sample = make_sample(cut(frame.rgb, crop), to_crop(face.sup, crop), network)
            rows.append(to_integers(smooth(sample), PAPER))
    return {
        part: np.array([row[part] for row in rows], np.int32).reshape(len(rows), int(np.prod(shape)))
        for part, shape in PART_SHAPES.items()
    }
