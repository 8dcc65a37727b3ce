"""The landmark network (the student) against the tracker that it was trained on: error, bits, pictures.

    python -m fvc.evaluation.studies.student DIR [--limit N] [--seconds S] [--every 5] [--metric-weights DIR]

Each clip is encoded and decoded twice as `fvc encode` and `fvc decode` do it, with the tracker's landmarks and with the
student's; source pictures are chosen from the same landmarks. NME is the mean landmark distance between the two over
the distance of the outer eye corners, over all frames of the clip with a face; bits are those of motion per frame;
LPIPS-squeeze compares every n-th decoded frame (`--every`) with the input's crop. The student finds landmarks in each
frame by itself; with `--smooth` they pass a One Euro filter. The crop and everything else known of the face are the
tracker's.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from fvc.codec.base.cache import Cache
from fvc.codec.dataset import Clip, find_clips, open_clip
from fvc.codec.face.crop import cut, from_crop, to_crop
from fvc.codec.face.landmarks import landmark_error
from fvc.codec.media.video import Frame
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.motion.smoothing import OneEuro
from fvc.codec.options import EncoderOptions
from fvc.evaluation.metrics.instruments import Networks
from fvc.evaluation.system_run import SystemRun
from fvc.export.shipped import LANDMARKS, load_landmarks
from fvc.models.inference.installed import InstalledModel
from fvc.models.presets import DEFAULT
from fvc.models.weights import folder_of

FPS = Fraction(15)
COLUMNS = ("NME, %", "NME of the worst frame, %", "bits: tracker", "bits: student", "LPIPS: tracker", "LPIPS: student")

Landmarks = Callable[[np.ndarray], np.ndarray]


def load_student(weights: Path, smooth: tuple[float, float] | None = None) -> Landmarks:
    """Crops in order, uint8 [256, 256, 3] -> float32 [33, 2] in [-1, 1]."""
    network = load_landmarks(weights)
    steady = OneEuro(float(FPS), *smooth) if smooth else None

    @torch.no_grad()
    def find(crop: np.ndarray) -> np.ndarray:
        picture = torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1)[None].float() / 255
        points = network(picture)[0].numpy()
        return steady(points) if steady else points

    return find


def seen_by(student: Landmarks, clip: Clip) -> Clip:
    """The clip with the student's landmarks, in the frames in which the tracker finds a face."""
    crop, faces = clip.crop, set(clip.seen.index.tolist())

    def look(frame: Frame) -> np.ndarray:
        return from_crop(student(cut(frame.rgb, crop)), crop)

    sup = [look(frame) for frame in clip.video.frames(clip.rate) if frame.index in faces]
    return replace(clip, seen=replace(clip.seen, sup=np.array(sup, np.float32)))


def bits_and_lpips(clip: Clip, every: int, networks: Networks, seconds: float | None = None) -> tuple[float, float]:
    """Motion bits per frame of the clip, and LPIPS-squeeze of its pictures (NaN without its network).

    Sources are chosen from all of the clip; `seconds` of it are coded, and the first of `every` frames is drawn.
    """
    run = SystemRun(clip.video, clip.tracked, InstalledModel(DEFAULT), EncoderOptions(fps=clip.rate))
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    inputs: DrawInputs | None = None
    for frame, original in clip.frames():
        if seconds is not None and frame.index >= seconds * clip.rate:
            break
        inputs = run.send(frame) or inputs
        if frame.index % every == 0 and inputs is not None:
            pairs.append((original, run.renderer.draw(inputs)))
    network = networks.lpips.get("lpips")
    lpips = float(np.mean(network(*zip(*pairs, strict=True)).tolist())) if network else float("nan")
    return 8 * sum(run.payload_bytes) / run.frames, lpips


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, default=folder_of(LANDMARKS) / "weights.safetensors")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--seconds", type=float, help="of each clip to code and draw; default: all")
    parser.add_argument("--every", type=int, default=5, help="LPIPS looks at every n-th frame; default: %(default)s")
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--smooth", type=float, nargs=2, metavar=("MIN_CUTOFF", "BETA"))
    args = parser.parse_args()
    networks, rows = Networks(args.metric_weights), list[list[float]]()
    print(f"| clip | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 1)}")
    folder = args.folder.resolve()
    for file in find_clips(folder.parent, folder.name, args.limit):
        with open_clip(file, FPS, Cache()) as clip:
            other = seen_by(load_student(args.weights, args.smooth), clip)
            errors = 100 * landmark_error(to_crop(other.seen.sup, clip.crop), to_crop(clip.seen.sup, clip.crop))
            (bits, lpips), (bits_student, lpips_student) = (
                bits_and_lpips(c, args.every, networks, args.seconds) for c in (clip, other)
            )
        rows.append([float(errors.mean()), float(errors.max()), bits, bits_student, lpips, lpips_student])
        print(f"| {Path(file.name).stem} | {' | '.join(f'{x:.4g}' for x in rows[-1])} |", flush=True)
    mean = np.mean(rows, 0)
    print(f"| **mean of {len(rows)}** | {' | '.join(f'{x:.4g}' for x in mean)} |")
    print(
        f"\nWith the student {100 * (mean[3] / mean[2] - 1):+.1f} % bits, {100 * (mean[5] / mean[4] - 1):+.1f} % LPIPS."
    )


if __name__ == "__main__":
    main()
