"""One video -> its face tubes as clips for a pack: the work of one job of `prepare`, on whatever machine it runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from fvc.codec.errors import InputError
from fvc.codec.face.crop import cut
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.video import VideoReader
from fvc.training.data.pack import ClipData
from fvc.training.data.tubes import FaceDetector, Tube, find_tubes

_LEAST = 4  # frames that the sampler needs of a clip
_FAR = np.array([0.2, 0.2, 0.08, 0.08, 0.3])  # yaw, pitch, eyes, mouth, time: steps that count as equally far


@dataclass(frozen=True)
class Settings:
    """What decides a part's content: a part made with other settings is made again.

    Attributes:
        frames: at most so many of a tube.
        fps: grid on which a video is looked at.
        quality: of WebP, 1 to 100.
        min_frames: of the video's own frames, that a tube must have; the paper's 90.
        min_side: pixels of the box in the video.
    """

    frames: int = 48
    fps: int = 10
    quality: int = 85
    min_frames: int = 90
    min_side: int = 96


Job = tuple[Path, str, str, Settings]  # video, its name in the pack, its identity or ""
Clips = tuple[list[ClipData], dict[str, int]]


def rank_frames(features: np.ndarray, count: int) -> np.ndarray:
    """Indices of up to `count` rows of [T, F], each the farthest from those before; one in five is a successor.

    A successor (the next row of one that was chosen) lets training compare neighbours in time.
    """
    chosen = [int(np.argmin(np.abs(features[:, 0])))]
    nearest = np.full(len(features), np.inf)
    while len(chosen) < min(count, len(features)):
        for new in chosen[-2:]:
            nearest = np.minimum(nearest, np.linalg.norm(features - features[new], axis=1))
        nearest[chosen] = -1
        follower = chosen[-1] + 1
        if len(chosen) % 5 == 1 and follower < len(features) and follower not in chosen:
            chosen.append(follower)
        else:
            chosen.append(int(np.argmax(nearest)))
    return np.array(chosen)


@dataclass
class _Tracked:
    """What the tracker says of a tube's frames: ticks [T], landmarks [T, 478, 2] in [-1, 1], features [T, 5]."""

    ticks: np.ndarray
    landmarks: np.ndarray
    features: np.ndarray


def _track(frames: list[np.ndarray]) -> _Tracked:
    ticks, points, features = [], [], []
    with FaceTracker(max_faces=1) as tracker:
        for tick, rgb in enumerate(frames):
            face = tracker.track(rgb)
            if face is None:
                continue
            landmarks = face.landmarks[:, :2] / (len(rgb) / 2) - 1
            mouth = np.linalg.norm(landmarks[13] - landmarks[14]) / np.linalg.norm(landmarks[10] - landmarks[152])
            ticks.append(tick)
            points.append(landmarks)
            features.append((*face.pose[:2], face.eye_openness, mouth, tick / max(len(frames) - 1, 1)))
    return _Tracked(np.array(ticks, int), np.array(points), np.array(features).reshape(-1, 5))


def read_video(job: Job) -> Clips:
    """All tubes of a video as clips, and the counts for the report. Runs in a worker, wherever that is."""
    path, name, identity, settings = job
    cv2.setNumThreads(1)
    counts: Counter[str] = Counter({"videos": 1})
    try:
        with VideoReader(path) as video, FaceDetector() as detector:
            seconds = settings.min_frames / float(video.source_fps or 25)
            least = max(_LEAST, math.floor(seconds * settings.fps))
            grid = Fraction(settings.fps)
            size = video.width, video.height
            tubes, found = find_tubes(video.frames(grid), detector, *size, least, settings.min_side)
            counts.update(found)
            clips = list(_clips(video, tubes, name, identity, settings, counts))
    except InputError:
        return [], {**counts, "videos dropped: unreadable": 1}
    counts["videos dropped: no tube"] += not tubes
    counts["videos dropped: landmarks lost in all tubes"] += bool(tubes) and not clips
    return clips, dict(counts)


def _clips(
    video: VideoReader, tubes: list[Tube], name: str, identity: str, settings: Settings, counts: Counter[str]
) -> Iterator[ClipData]:
    """Reads the video once more, for the ticks of its tubes, and finishes each tube as soon as it ends."""
    pixels: dict[int, list[np.ndarray]] = {n: [] for n in range(len(tubes))}
    wanted = {tick for tube in tubes for tick in range(tube.first, tube.last)}
    for frame in video.frames(Fraction(settings.fps), wanted):
        for n, tube in enumerate(tubes):
            if tube.first <= frame.index < tube.last:
                pixels[n].append(cut(frame.rgb, tube.crop))
            if frame.index == tube.last - 1:
                label = name if len(tubes) == 1 else f"{name}#{n}"
                person = identity and (identity if not tube.number else f"{identity}/face{tube.number}")
                clip = _clip(pixels.pop(n), label, person or label, settings, counts)
                if clip is not None:
                    yield clip


def _clip(
    frames: list[np.ndarray], name: str, identity: str, settings: Settings, counts: Counter[str]
) -> ClipData | None:
    """The best frames of a tube, uint8 [256, 256, 3] each; None where too few show a face."""
    tracked = _track(frames)
    contrast = np.array([float(frames[tick][::4, ::4].std()) for tick in tracked.ticks])
    good = np.flatnonzero(contrast > 0.5 * np.median(contrast)) if len(contrast) else np.zeros(0, int)
    lost = len(frames) - len(tracked.ticks)
    counts["frames looked at"] += len(frames)
    counts["frames dropped: no landmarks"] += lost
    counts["frames dropped: blank or faded"] += len(tracked.ticks) - len(good)
    if len(good) < _LEAST or lost > len(frames) / 2:
        counts["tubes dropped: landmarks lost"] += 1
        return None
    counts["tubes"] += 1
    chosen = rank_frames(tracked.features[good] / _FAR, settings.frames)
    rank, kept = np.argsort(chosen), good[np.sort(chosen)]  # frames by time, and the place of each in the choice
    options = [cv2.IMWRITE_WEBP_QUALITY, settings.quality]
    pictures = [cv2.imencode(".webp", frames[t][..., ::-1], options)[1].tobytes() for t in tracked.ticks[kept]]
    time = tracked.ticks[kept] / settings.fps
    return ClipData(name, identity, pictures, tracked.landmarks[kept], tracked.features[kept, 0], time, rank)
