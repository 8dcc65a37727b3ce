"""Our own tracker against MediaPipe's: landmarks, lost faces, jitter, time, and what comes out of the codec.

    python -m fvc.evaluation.studies.trackers PATH... [--seconds S] [--draw N] [--metric-weights DIR]

PATH are videos, or folders of them. Both trackers look at the same frames (15 a second) in sequence:

    NME, %      mean distance of the landmarks over that of the outer eye corners, frames in which both have a face
    lost        frames without a face
    jitter, %   mean distance that a landmark moves from frame to frame, in the quarter of the frames whose picture
                changes least, same unit as NME
    ms          processor time per frame

The first N videos are coded and drawn with each tracker's landmarks, source pictures and crop as `fvc encode` chooses
them: bits of motion per frame, LPIPS-squeeze, and NME of MediaPipe's landmarks in what is drawn, every fifth frame.
Videos are binned by the median of MediaPipe's absolute yaw.

At the end: what a sender's start costs with each tracker, in processes of their own, median of five.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from fvc.codec.base.errors import FvcError
from fvc.codec.face.crop import cut
from fvc.codec.face.detection import Face
from fvc.codec.face.finders import MEDIAPIPE, OWN
from fvc.codec.face.landmarks import eye_distance, landmark_error
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.video import VideoReader
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.options import EncoderOptions
from fvc.codec.source_builder import track_video
from fvc.evaluation.metrics.instruments import Networks
from fvc.evaluation.speed.whole_process import first_face
from fvc.evaluation.system_run import SystemRun
from fvc.models.inference.installed import InstalledModel
from fvc.models.presets import DEFAULT

FPS = Fraction(15)
_STILL = 0.25  # share of the frames that count for jitter
_EVERY = 5  # frames, of those drawn
YAW_BINS = (0.0, 0.15, 0.4, np.inf)  # rad
COLUMNS = ("NME", "worst", "lost", "lost own", "jitter", "jitter own", "ms", "ms own")
DRAWN = ("bits", "bits own", "LPIPS", "LPIPS own", "drawn NME", "drawn NME own")


class Followed:
    """What one tracker makes of a video."""

    def __init__(self, name: str) -> None:
        self.tracker = FaceTracker(tracker=name)
        self.faces: list[Face | None] = []
        self.seconds = 0.0

    def look(self, rgb: np.ndarray) -> None:
        """Tracks one more frame."""
        start = time.process_time()
        self.faces.append(self.tracker.track(rgb))
        self.seconds += time.process_time() - start

    def speed(self, steps: np.ndarray) -> float:
        """Mean motion of a landmark after the frames `steps`, in percent of the eyes' distance; NaN without any."""
        pairs = [(self.faces[n], self.faces[n + 1]) for n in steps]
        moved = [
            100 * float(np.linalg.norm(b.sup - a.sup, axis=1).mean() / eye_distance(a.sup)) for a, b in pairs if a and b
        ]
        return float(np.mean(moved)) if moved else float("nan")


def compare(path: Path, seconds: float) -> tuple[list[float], float]:
    """`COLUMNS` of a video, and its median absolute yaw."""
    theirs, ours = Followed(MEDIAPIPE), Followed(OWN)
    small: list[np.ndarray] = []
    with VideoReader(path) as video, theirs.tracker, ours.tracker:
        for frame in itertools.takewhile(lambda f: f.index < seconds * FPS, video.frames(FPS)):
            theirs.look(frame.rgb)
            ours.look(frame.rgb)
            small.append(frame.rgb[::4, ::4].astype(np.float32))
    change = np.array([np.abs(b - a).mean() for a, b in itertools.pairwise(small)])
    still = np.argsort(change)[: max(int(_STILL * len(change)), 1)] if len(change) else np.zeros(0, int)
    pairs = [(a, b) for a, b in zip(theirs.faces, ours.faces, strict=True) if a and b]
    errors = [100 * float(landmark_error(b.sup, a.sup)) for a, b in pairs] or [float("nan")]
    yaw = float(np.median([abs(face.pose[0]) for face in theirs.faces if face] or [0.0]))
    both, count = (theirs, ours), len(small)
    lost = [float(sum(face is None for face in one.faces)) for one in both]
    row = [float(np.mean(errors)), max(errors), *lost, *(one.speed(still) for one in both)]
    return [*row, *(1000 * one.seconds / count for one in both)], yaw


def drawn(path: Path, tracker: str, networks: Networks, seconds: float) -> tuple[float, float, float]:
    """Bits of motion per frame, LPIPS (NaN without its network) and NME of the drawn pictures, percent."""
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    inputs: DrawInputs | None = None
    with VideoReader(path) as video:
        clip = track_video(video, FPS, tracker=tracker)
        run = SystemRun(video, clip, InstalledModel(DEFAULT), EncoderOptions(fps=FPS))
        for frame in itertools.takewhile(lambda f: f.index < seconds * FPS, video.frames(FPS)):
            inputs = run.send(frame) or inputs
            if frame.index % _EVERY == 0 and inputs is not None:
                pairs.append((cut(frame.rgb, clip.crop), run.renderer.draw(inputs)))
    network = networks.lpips.get("lpips")
    lpips = float(np.mean(network(*zip(*pairs, strict=True)).tolist())) if network else float("nan")
    with FaceTracker(still=True, tracker=MEDIAPIPE) as still:
        seen = [(still.track(a), still.track(b)) for a, b in pairs]
    errors = [100 * float(landmark_error(b.sup, a.sup)) for a, b in seen if a and b]
    return 8 * sum(run.payload_bytes) / run.frames, lpips, float(np.mean(errors))


def _line(name: str, values: list[float]) -> str:
    return f"| {name} | {' | '.join(f'{value:.3g}' for value in values)} |"


def _videos(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        yield from sorted(path.glob("*.mp4")) if path.is_dir() else [path]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH")
    parser.add_argument("--seconds", type=float, default=4, help="of each video; default: %(default)s")
    parser.add_argument("--draw", type=int, default=0, help="how many videos to code and draw; default: none")
    parser.add_argument("--metric-weights", type=Path)
    args = parser.parse_args()
    rows, yaws = list[list[float]](), list[float]()
    print(f"| video | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 1)}")
    for path in _videos(args.paths):
        row, yaw = compare(path, args.seconds)
        rows.append(row)
        yaws.append(yaw)
        print(_line(f"{path.stem} (yaw {yaw:.2f})", row), flush=True)
    for low, high in itertools.pairwise(YAW_BINS):
        of_bin = [row for row, yaw in zip(rows, yaws, strict=True) if low <= yaw < high]
        if of_bin:
            print(_line(f"**yaw from {low} rad, {len(of_bin)}**", np.nanmean(of_bin, 0).tolist()))
    print(_line(f"**mean of {len(rows)}**", np.nanmean(rows, 0).tolist()), flush=True)
    if args.draw:
        _draw(list(_videos(args.paths))[: args.draw], Networks(args.metric_weights), args.seconds)
    _start(next(_videos(args.paths)))


def _draw(paths: list[Path], networks: Networks, seconds: float) -> None:
    rows = []
    print(f"\n| video | {' | '.join(DRAWN)} |\n|{'---|' * (len(DRAWN) + 1)}")
    for path in paths:
        try:
            theirs, ours = (drawn(path, name, networks, seconds) for name in (MEDIAPIPE, OWN))
        except FvcError as error:
            print(f"| {path.stem} | {error} |")
            continue
        rows.append([value for pair in zip(theirs, ours, strict=True) for value in pair])
        print(_line(path.stem, rows[-1]), flush=True)
    if rows:
        print(_line(f"**mean of {len(rows)}**", np.mean(rows, 0).tolist()))


def _start(path: Path) -> None:
    print("\n| tracker | imports, s | first face, s | most memory, MB |\n|---|---|---|---|")
    for tracker in (MEDIAPIPE, OWN):
        runs = [list(first_face(path, tracker).values()) for _ in range(6)][1:]
        print(_line(tracker, np.median(runs, 0).tolist()), flush=True)


if __name__ == "__main__":
    main()
