"""The landmark network against the tracker whose student it is: error, bits, pictures.

    python -m fvc.evaluation.student DIR [--seconds 4] [--limit N] [--metric-weights DIR] [--smooth CALM QUICKNESS]

For each clip (square face tubes, fixed crop), at 15 fps: NME (mean landmark distance over the distance of the outer
eye corners), bits per frame of profile `sup+unsup+expr` with the paper's quantizers, and LPIPS-squeeze of every 5th
drawn picture; each with the tracker's and with the student's landmarks. The student sees each frame by itself; its
landmarks go through a One Euro filter (`--smooth`), as the learned keypoints do.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from fvc.codec.bitstream import Crop
from fvc.codec.crop import cut, to_crop
from fvc.codec.encoder import make_sample
from fvc.codec.quantizer import PAPER, to_integers, to_sample
from fvc.codec.sample import DrivingSample, Profile
from fvc.codec.smoothing import OneEuro, SampleSmoother
from fvc.codec.tracking import FaceTracker
from fvc.codec.video import VideoReader
from fvc.evaluation.bits import ours
from fvc.evaluation.networks import Networks
from fvc.export.shipped import LANDMARKS, load_landmarks
from fvc.models.presets import DEFAULT
from fvc.models.runtime import DrawRuntime, MotionRuntime
from fvc.models.weights import folder_of
from fvc.training.student import nme
from fvc.training.tracks import Track

FPS = Fraction(15)
PROFILE = Profile.SUP_UNSUP_EXPR


class Student:
    """Landmarks of crops, uint8 [256, 256, 3] -> float32 [33, 2] in [-1, 1]; filtered over time."""

    def __init__(self, weights: Path, calm: float, quickness: float) -> None:
        self._network = load_landmarks(weights)
        self._filter = OneEuro(float(FPS), calm, quickness)

    @torch.no_grad()
    def __call__(self, crop: np.ndarray) -> np.ndarray:
        """See the class."""
        picture = torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1)[None].float() / 255
        return self._filter(self._network(picture)[0].numpy())


def look(clip: Path, seconds: float) -> tuple[list[np.ndarray], np.ndarray]:
    """Crops [256, 256, 3] of the frames in which the tracker finds a face, and its landmarks [T, 33, 2]."""
    crops, landmarks = [], []
    with VideoReader(clip) as video, FaceTracker() as tracker:
        for frame in video.frames(FPS):
            if frame.index >= seconds * FPS:
                break
            face = tracker.track(frame.rgb)
            if face is not None:
                height, width = frame.rgb.shape[:2]
                side = min(height, width)
                crop = Crop(width, height, (width - side) // 2, (height - side) // 2, side)
                crops.append(cut(frame.rgb, crop))
                landmarks.append(to_crop(face.sup, crop))
    return crops, np.array(landmarks)


def samples_of(crops: Sequence[np.ndarray], landmarks: np.ndarray, network: MotionRuntime) -> list[DrivingSample]:
    """What an encoder would code."""
    smooth = SampleSmoother(float(FPS))
    return [smooth(make_sample(crop, sup, network)) for crop, sup in zip(crops, landmarks, strict=True)]


def bits_of(samples: Sequence[DrivingSample]) -> float:
    """Bits per frame of real payloads."""
    rows = [to_integers(sample, PROFILE.parts, PAPER) for sample in samples]
    return ours(Track("", "", {part: np.array([row[part] for row in rows]) for part in PROFILE.parts}), PROFILE.parts)[
        "total"
    ]


def draw(crops: Sequence[np.ndarray], samples: Sequence[DrivingSample], shown: Sequence[int]) -> list[np.ndarray]:
    """The frames `shown`, drawn from three sources: the widest apart in the nose's place and the middle one."""
    order = np.argsort([float(sample.parts["sup"][2, 0]) for sample in samples])
    picked = [int(order[len(order) // 2]), int(order[0]), int(order[-1])]
    parts = [samples[n].only(PROFILE.parts).parts for n in picked]
    runtime = DrawRuntime(DEFAULT, [crops[n] for n in picked], parts)
    wire = [to_sample(to_integers(samples[n], PROFILE.parts, PAPER), PAPER) for n in shown]
    return [runtime(sample.parts) for sample in wire]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, default=folder_of(LANDMARKS) / "weights.safetensors")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--smooth", type=float, nargs=2, default=(1.5, 4.0), metavar=("CALM", "QUICKNESS"))
    args = parser.parse_args()
    lpips = Networks(args.metric_weights).lpips.get("squeeze") if args.metric_weights else None
    network, rows = MotionRuntime(DEFAULT), []
    print(
        "| clip | NME, % | bits: tracker | bits: student | LPIPS: tracker | LPIPS: student |\n|---|---|---|---|---|---|"
    )
    for clip in sorted(args.folder.glob("*.mp4"))[: args.limit]:
        crops, teacher = look(clip, args.seconds)
        if len(crops) < 8:
            continue
        student = Student(args.weights, *args.smooth)
        found = np.array([student(crop) for crop in crops])
        row = [100 * float(nme(found, teacher).mean())]
        both = [samples_of(crops, landmarks, network) for landmarks in (teacher, found)]
        row += [bits_of(samples) for samples in both]
        if lpips is not None:
            shown = range(0, len(crops), 5)
            row += [float(np.mean(lpips([crops[n] for n in shown], draw(crops, s, shown)))) for s in both]
        rows.append(row)
        print(f"| {clip.stem} | " + " | ".join(f"{x:.3f}" for x in row) + " |", flush=True)
    print("| **mean** | " + " | ".join(f"{x:.3f}" for x in np.mean(rows, 0)) + " |")


if __name__ == "__main__":
    main()
