"""One video -> its face tubes as clips for a pack: one job of `prepare`, which may run on any machine."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from fvc.codec.base.errors import InputError
from fvc.codec.face.crop import cut
from fvc.codec.face.finders import MEDIAPIPE
from fvc.codec.face.landmarks import Mesh
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.video import VideoReader
from fvc.training.data.pack import MIN_CLIP_FRAMES, ClipData
from fvc.training.data.tubes import FaceDetector, Tube, find_tubes

FEATURE_UNITS = np.array([0.2, 0.2, 0.08, 0.08, 0.3])  # differences that count alike: yaw, pitch, eyes, mouth, time
MIN_CONTRAST = 0.5  # of the median contrast of a tube's frames: below, a frame is blank or faded
SUCCESSOR_EVERY = 5  # one in this many chosen frames is the direct successor of the one chosen before it


@dataclass(frozen=True)
class PrepareOptions:
    """The options that decide a part's content: if they change, the part is made again.

    Attributes:
        frames: most frames of a tube.
        fps: frames per second at which a video is examined.
        quality: of the WebP pictures, 1 to 100.
        min_frames: length of a tube at least, in frames of the video; the paper's 90.
        min_side: side of a tube's box at least, in pixels of the video.
        min_turn: a tube's yaw must range over more radians than this; the paper's DFDC-rotations: 1.5.
        max_frames: length of a tube at most, in frames of the video; the paper's DFDC-rotations: 350. None: any.
    """

    frames: int = 48
    fps: int = 10
    quality: int = 85
    min_frames: int = 90
    min_side: int = 96
    min_turn: float = 0.0
    max_frames: int | None = None


Job = tuple[Path, str, str, PrepareOptions]  # video, its name in the pack, its identity or ""
Clips = tuple[list[ClipData], dict[str, int]]


def rank_frames(features: np.ndarray, count: int) -> np.ndarray:
    """Farthest-point sampling: up to `count` rows of features [T, F], each the farthest from those chosen before.

    One in SUCCESSOR_EVERY is the next row of the one chosen before it, so that training has neighbours in time.
    """
    chosen = [int(np.argmin(np.abs(features[:, 0])))]
    nearest = np.full(len(features), np.inf)
    while len(chosen) < min(count, len(features)):
        for new in chosen[-2:]:
            nearest = np.minimum(nearest, np.linalg.norm(features - features[new], axis=1))
        nearest[chosen] = -1
        follower = chosen[-1] + 1
        if len(chosen) % SUCCESSOR_EVERY == 1 and follower < len(features) and follower not in chosen:
            chosen.append(follower)
        else:
            chosen.append(int(np.argmax(nearest)))
    return np.array(chosen)


@dataclass
class _Tracked:
    """Tracker output for a tube: ticks [T], landmarks [T, 478, 2] in [-1, 1], features [T, 5] as in FEATURE_UNITS."""

    ticks: np.ndarray
    landmarks: np.ndarray
    features: np.ndarray


def _track(frames: list[np.ndarray]) -> _Tracked:
    ticks, points, features = [], [], []
    with FaceTracker(max_faces=1, tracker=MEDIAPIPE) as tracker:
        for tick, rgb in enumerate(frames):
            face = tracker.track(rgb)
            if face is None:
                continue
            landmarks = face.landmarks[:, :2] / (len(rgb) / 2) - 1
            opening = np.linalg.norm(landmarks[Mesh.INNER_LIP_TOP] - landmarks[Mesh.INNER_LIP_BOTTOM])
            mouth = opening / np.linalg.norm(landmarks[Mesh.FOREHEAD] - landmarks[Mesh.CHIN])
            ticks.append(tick)
            points.append(landmarks)
            features.append((*face.pose[:2], face.eye_openness, mouth, tick / max(len(frames) - 1, 1)))
    return _Tracked(np.array(ticks, int), np.array(points), np.array(features).reshape(-1, 5))


def read_video(job: Job) -> Clips:
    """All tubes of a video as clips, and the counts for the report. Runs in a worker process."""
    path, name, identity, options = job
    cv2.setNumThreads(1)
    counts: Counter[str] = Counter({"videos": 1})
    try:
        with VideoReader(path) as video, FaceDetector() as detector:
            ticks = options.fps / float(video.source_fps or 25)  # for each frame of the video
            least = max(MIN_CLIP_FRAMES, math.floor(options.min_frames * ticks))
            most = math.inf if options.max_frames is None else math.ceil(options.max_frames * ticks)
            grid = Fraction(options.fps)
            size = video.width, video.height
            tubes, found = find_tubes(video.frames(grid), detector, *size, least, options.min_side, most)
            counts.update(found)
            clips = list(_clips(video, tubes, name, identity, options, counts))
    except InputError:
        return [], {**counts, "videos dropped: unreadable": 1}
    counts["videos dropped: no tube"] += not tubes
    counts["videos dropped: landmarks lost in all tubes"] += bool(tubes) and not clips
    return clips, dict(counts)


def _clips(
    video: VideoReader, tubes: list[Tube], name: str, identity: str, options: PrepareOptions, counts: Counter[str]
) -> Iterator[ClipData]:
    """Reads the video a second time, only the ticks of its tubes, and yields each tube as soon as it ends."""
    pixels: dict[int, list[np.ndarray]] = {n: [] for n in range(len(tubes))}
    wanted = {tick for tube in tubes for tick in range(tube.first, tube.last)}
    for frame in video.frames(Fraction(options.fps), wanted):
        for n, tube in enumerate(tubes):
            if tube.first <= frame.index < tube.last:
                pixels[n].append(cut(frame.rgb, tube.crop))
            if frame.index == tube.last - 1:
                label = name if len(tubes) == 1 else f"{name}#{n}"
                person = identity and (identity if not tube.number else f"{identity}/face{tube.number}")
                clip = _clip(pixels.pop(n), label, person or label, options, counts)
                if clip is not None:
                    yield clip


def _clip(
    frames: list[np.ndarray], name: str, identity: str, options: PrepareOptions, counts: Counter[str]
) -> ClipData | None:
    """The most varied frames of a tube, uint8 [256, 256, 3] each; None where too few show a face."""
    tracked = _track(frames)
    contrast = np.array([float(frames[tick][::4, ::4].std()) for tick in tracked.ticks])
    good = np.flatnonzero(contrast > MIN_CONTRAST * np.median(contrast)) if len(contrast) else np.zeros(0, int)
    lost = len(frames) - len(tracked.ticks)
    counts["frames looked at"] += len(frames)
    counts["frames dropped: no landmarks"] += lost
    counts["frames dropped: blank or faded"] += len(tracked.ticks) - len(good)
    if len(good) < MIN_CLIP_FRAMES or lost > len(frames) / 2:
        counts["tubes dropped: landmarks lost"] += 1
        return None
    if np.ptp(tracked.features[:, 0]) <= options.min_turn:
        counts["tubes dropped: turn too little"] += 1
        return None
    counts["tubes"] += 1
    chosen = rank_frames(tracked.features[good] / FEATURE_UNITS, options.frames)
    rank, kept = np.argsort(chosen), good[np.sort(chosen)]  # frames by time, and when each was chosen
    webp = [cv2.IMWRITE_WEBP_QUALITY, options.quality]
    pictures = [cv2.imencode(".webp", frames[t][..., ::-1], webp)[1].tobytes() for t in tracked.ticks[kept]]
    time = tracked.ticks[kept] / options.fps
    return ClipData(name, identity, pictures, tracked.landmarks[kept], tracked.features[kept, 0], time, rank)
