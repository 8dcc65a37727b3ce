"""Frames of clips with all landmarks of MediaPipe's face mesh, to teach a tracker.

    python -m fvc.training.others.tracked_frames CLIPS OUT [--fps 8] [--keep 2] [--per-person 120]

CLIPS is a folder of videos of 256x256 named PERSON-N.mp4. Each is tracked at `--fps`; every n-th frame (`--keep`) with
exactly one face is kept, at most `--per-person` of each person, evenly. OUT gets `pictures.npy` (uint8
[N, 256, 256, 3]), `landmarks.npy` (float32 [N, 478, 3], pixels) and `people.npy` (int32 [N]).
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from fractions import Fraction
from pathlib import Path

import numpy as np

from fvc.codec.base.constants import SIDE
from fvc.codec.face.finders import MEDIAPIPE
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.video import VideoReader

Seen = tuple[np.ndarray, np.ndarray]  # a picture and its landmarks


class TrackedFrames:
    """What `write` wrote, read without loading the pictures.

    Attributes:
        pictures: uint8 [N, 256, 256, 3].
        landmarks: float32 [N, 478, 3], x and y in pixels, z in the same unit.
        people: int32 [N].
    """

    def __init__(self, folder: Path) -> None:
        self.pictures = np.load(folder / "pictures.npy", mmap_mode="r")
        self.landmarks, self.people = np.load(folder / "landmarks.npy"), np.load(folder / "people.npy")


def track(clip: Path, fps: int, keep: int) -> list[Seen]:
    """Every `keep`-th tracked frame of a clip that shows one face."""
    seen = []
    with VideoReader(clip) as video, FaceTracker(tracker=MEDIAPIPE) as tracker:
        for number, frame in enumerate(video.frames(Fraction(fps))):
            face = tracker.track(frame.rgb)
            if number % keep == 0 and face is not None and face.count == 1 and frame.rgb.shape == (SIDE, SIDE, 3):
                seen.append((frame.rgb.copy(), face.landmarks))
    return seen


def write(clips: Path, out: Path, fps: int, keep: int, per_person: int) -> int:
    """Tracks all clips of a folder; returns how many frames were kept."""
    people: dict[str, list[Seen]] = defaultdict(list)
    for clip in sorted(clips.glob("*.mp4")):
        people[clip.stem.partition("-")[0]] += track(clip, fps, keep)
        print(clip.stem, sum(map(len, people.values())), flush=True)
    rows = []
    for person, seen in enumerate(people.values()):
        chosen = np.linspace(0, len(seen) - 1, min(per_person, len(seen))).round().astype(int)
        rows += [(person, *seen[n]) for n in chosen]
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "people.npy", np.array([row[0] for row in rows], np.int32))
    np.save(out / "pictures.npy", np.array([row[1] for row in rows]))
    np.save(out / "landmarks.npy", np.array([row[2] for row in rows], np.float32))
    return len(rows)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--fps", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--keep", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--per-person", type=int, default=120, help="default: %(default)s")
    args = parser.parse_args()
    print(write(args.clips, args.out, args.fps, args.keep, args.per_person), "frames")


if __name__ == "__main__":
    main()
