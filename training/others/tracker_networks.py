"""Trains the networks of our own tracker (`models.landmark_net`) against MediaPipe's landmarks.

    python -m fvc.training.others.tracker_networks {landmarks,detector} TRAIN VAL OUT [--start landmarks.safetensors]

TRAIN and VAL are folders of `training.others.tracked_frames`. `--start` are weights of `models.landmark_net`, from
which the landmark network goes on. Samples: `training.others.tracker_samples`. The weights' running averages are
evaluated and kept. Resumes from OUT/last.pt; writes OUT/weights.safetensors and a line of OUT/log.jsonl per evaluation.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from fvc.codec.face.landmarks import landmark_error
from fvc.models.landmark_net import CELLS, FaceDetector, TrackerHead
from fvc.training.generator.checkpoint import save_weights
from fvc.training.others.averaged_run import AveragedRun
from fvc.training.others.student import AVERAGE_DECAY, distance
from fvc.training.others.tracked_frames import TrackedFrames
from fvc.training.others.tracker_samples import SQUARE_SCALE, DetectorSamples, HeadSamples, Tensors

Samples = HeadSamples | DetectorSamples
_DEPTH, _PRESENCE = 0.1, 1.0  # weights beside the landmarks' mean distance in percent
_GEOMETRY = 2.0  # of the place, size and angle beside the score


def head_loss(network: nn.Module, batch: Tensors) -> list[Tensor]:
    """Mean distance of the landmarks in % of the eyes' distance, of depths, and cross-entropy of presence."""
    faces, points, present = batch
    found, seen = network(faces)
    shown = present > 0
    depth = 100 * (found[shown, :, 2] - points[shown, :, 2]).abs().mean()
    logits = F.binary_cross_entropy_with_logits(seen, present)
    return [distance(found[shown, :, :2], points[shown, :, :2]), _DEPTH * depth, _PRESENCE * logits]


def detector_loss(network: nn.Module, batch: Tensors) -> list[Tensor]:
    """Focal loss (Lin et al., 2017; gamma 2) of the cells' scores, and L1 of the faces' geometry."""
    pictures, wanted, weight = batch
    found = network(pictures)
    target, has = wanted[:, 0], wanted[:, 0] > 0
    entropy = F.binary_cross_entropy_with_logits(found[:, 0], target, reduction="none")
    miss = (found[:, 0].sigmoid() - target).abs().square()
    count = has.sum().clamp(min=1)
    geometry = (found[:, 1:] - wanted[:, 1:]).abs().sum(1)[has].sum() / count
    return [(weight * miss * entropy).sum() / count, _GEOMETRY * geometry / 4]


@torch.no_grad()
def head_report(network: nn.Module, samples: HeadSamples) -> dict[str, float]:
    """NME in percent on plain squares of the frames, and how often presence is right on altered ones."""
    errors = []
    for start in range(0, len(samples.frames.people), 64):
        faces, points = samples.plain(range(start, min(start + 64, len(samples.frames.people))))
        errors.append(landmark_error(network(faces)[0][..., :2].numpy(), points.numpy()))
    right = [(network(faces)[1] > 0) == (present > 0) for faces, _, present in map(samples, range(4))]
    return {"val_nme": 100 * float(np.concatenate(errors).mean()), "present": float(torch.cat(right).float().mean())}


@torch.no_grad()
def detector_report(network: nn.Module, samples: DetectorSamples) -> dict[str, float]:
    """On altered frames: share of faces whose cell scores 0.5, false cells a picture, mean error in half sides."""
    hits, faces, false, off = 0, 0, 0, 0.0
    for pictures, wanted, weight in map(samples, range(12)):
        found = network(pictures)
        has, seen = wanted[:, 0] > 0, found[:, 0] > 0
        hits, faces = hits + int((has & seen).sum()), faces + int(has.sum())
        false += int((seen & ~has & (weight > 0)).sum())
        cells = (found[:, 1:3] - wanted[:, 1:3]).square().sum(1).sqrt()[has]
        off += float((cells / (CELLS / 2 * 2.0 ** wanted[:, 3][has])).sum())
    return {"recall": hits / faces, "false": false / (12 * samples.batch), "off": off / faces}


class Trainer(AveragedRun[nn.Module]):
    """One run, see `AveragedRun`.

    Args:
        minutes: of the clock, all calls together.
    """

    def __init__(self, kind: str, folder: Path, minutes: float, rate: float, start: Path | None) -> None:
        self.kind = kind
        torch.manual_seed(0)
        network: nn.Module = TrackerHead() if kind == "landmarks" else FaceDetector()
        if start is not None:
            known = {n.removeprefix("head."): t.float() for n, t in load_file(start).items() if n.startswith("head.")}
            network.load_state_dict(known, strict=False)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.02)
        super().__init__(network, optimizer, folder, minutes, rate, AVERAGE_DECAY, most_gradient=50.0)

    def train(self, samples: Samples, val: Samples, every: int) -> None:
        """Trains until `minutes` are over; evaluates every `every` steps."""
        self.run_ahead(samples, self._update, lambda losses: self._note(losses, samples, val), every)

    def _losses(self, network: nn.Module, batch: Tensors) -> list[Tensor]:
        return head_loss(network, batch) if self.kind == "landmarks" else detector_loss(network, batch)

    def _update(self, batch: Tensors) -> list[float]:
        rate = self.rate * min((self.step + 1) / 100, 0.5 * (1 + math.cos(math.pi * self.share)) + 0.002)
        self.network.train()
        losses = self._losses(self.network, batch)
        self.descend(sum(losses, torch.zeros(())), rate)
        return [float(loss.detach()) for loss in losses]

    def _note(self, losses: list[float], samples: Samples, val: Samples) -> None:
        self.recalibrate(lambda n: self._losses(self.average, samples(1_000_000_000 + n)), 15)
        report = head_report if isinstance(val, HeadSamples) else detector_report
        found = {name: round(value, 4) for name, value in report(self.average, val).items()}  # type: ignore[arg-type]
        self.record({"loss": [round(loss, 3) for loss in losses], **found})
        save_weights(self.average, self.folder)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("landmarks", "detector"))
    parser.add_argument("train", type=Path)
    parser.add_argument("val", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--minutes", type=float, default=60, help="of the clock, all calls; default: %(default)s")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--every", type=int, default=400, help="steps between evaluations; default: %(default)s")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(args.kind, args.out, args.minutes, args.rate, args.start)
    kind = HeadSamples if args.kind == "landmarks" else DetectorSamples
    samples = kind(TrackedFrames(args.train), args.batch)
    about = {"mean_face": samples.face.round(5).tolist(), "square_scale": SQUARE_SCALE}
    (args.out / "about.json").write_text(json.dumps(about) + "\n")  # what `export.tracker_graphs` needs beside weights
    trainer.train(samples, kind(TrackedFrames(args.val), args.batch, samples.face), args.every)


if __name__ == "__main__":
    main()
