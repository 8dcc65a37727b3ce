"""Videos of faces -> one packed training file. The only file of `fvc.training` that tracks faces and reads video.

Input: a folder of face tubes (square clips, fixed crop, one person each). A `catalog.csv` in the folder above it with
the columns `clip` and `identity`, where there is one, says who is who; else each clip is its own person. Output: a
pack (see `training.data`): JPEG frames, 478 landmarks and yaw per frame, capped per person so that nobody dominates.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from fvc.codec.tracking import FaceTracker
from fvc.training.data import SIDE, PackWriter

_MIN_FRAMES = 4


def _identities(folder: Path) -> dict[str, str]:
    catalog = folder.parent / "catalog.csv"
    if not catalog.exists():
        return {}
    with catalog.open(newline="") as file:
        return {row["clip"]: row["identity"] for row in csv.DictReader(file)}


def _pick(yaw: np.ndarray, sharp: np.ndarray, count: int) -> np.ndarray:
    """Indices of `count` frames: half spread over time, half over yaw; blank or faded frames are left out."""
    good = np.flatnonzero(sharp > 0.5 * np.median(sharp))
    if len(good) <= count:
        return good
    over_time = good[np.linspace(0, len(good) - 1, (count + 1) // 2).round().astype(int)]
    by_yaw = good[np.argsort(yaw[good], kind="stable")]
    over_yaw = by_yaw[np.linspace(0, len(by_yaw) - 1, count - len(over_time) + 2).round().astype(int)]
    return np.unique(np.concatenate([over_time, over_yaw]))


def _read_tube(job: tuple[Path, int, Fraction, int]) -> tuple[str, list[bytes], np.ndarray, np.ndarray, int]:
    """Returns (clip, JPEGs, landmarks [T,478,2] in [-1,1], yaw [T], frames without a face)."""
    from fvc.codec.video import VideoReader

    cv2.setNumThreads(1)
    path, count, fps, quality = job
    frames, landmarks, yaw, lost = [], [], [], 0
    with VideoReader(path) as video, FaceTracker() as tracker:
        for frame in video.frames(fps):
            face = tracker.track(frame.rgb)
            if face is None:
                lost += 1
                continue
            rgb = frame.rgb
            if rgb.shape[:2] != (SIDE, SIDE):
                rgb = cv2.resize(rgb, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            frames.append(rgb)
            landmarks.append(face.landmarks[:, :2] / [frame.rgb.shape[1] / 2, frame.rgb.shape[0] / 2] - 1)
            yaw.append(face.pose[0])
    if len(frames) < _MIN_FRAMES:
        return path.name, [], np.zeros((0, 478, 2)), np.zeros(0), lost
    sharp = np.array([float(frame[::4, ::4].std()) for frame in frames])
    keep = _pick(np.array(yaw), sharp, count)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    jpegs = [cv2.imencode(".jpg", frames[i][..., ::-1], options)[1].tobytes() for i in keep]
    return path.name, jpegs, np.array(landmarks)[keep], np.array(yaw)[keep], lost


def prepare(
    folder: Path, out: Path, frames_per_person: int = 48, fps: int = 10, quality: int = 92, workers: int = 2
) -> dict[str, int]:
    """Packs the clips of `folder` into `out`; returns counts for the report."""
    clips = sorted(p for p in folder.iterdir() if p.suffix.lower() in {".mp4", ".mov", ".mkv", ".webm", ".avi"})
    who = _identities(folder)
    clips_of: dict[str, int] = defaultdict(int)
    for clip in clips:
        clips_of[who.get(clip.name, clip.stem)] += 1
    jobs = []
    for clip in clips:
        share = frames_per_person // clips_of[who.get(clip.name, clip.stem)]
        jobs.append((clip, max(_MIN_FRAMES, share), Fraction(fps), quality))
    report: dict[str, int] = defaultdict(int)
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool, PackWriter(out) as pack:
        results: Iterable = pool.map(_read_tube, jobs)
        for name, jpegs, landmarks, yaw, lost in tqdm(
            results, total=len(jobs), desc="prepare", unit="clip", disable=None
        ):
            report["clips"] += 1
            report["frames without a face"] += lost
            report["clips dropped: no face"] += not jpegs
            report["frames packed"] += len(jpegs)
            if jpegs:
                pack.add(name, who.get(name, Path(name).stem), jpegs, landmarks, yaw)
    return dict(report)
