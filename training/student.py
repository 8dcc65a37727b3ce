"""Distils the tracker into `models.landmarks.LandmarkNet`: python -m fvc.training.student TRAIN.pack VAL.pack OUT

The teacher's landmarks stand in the packs. Frames are turned, scaled, moved, mirrored, tinted and blurred; the loss is
the Wing loss (Feng et al., CVPR 2018) of landmarks in units of 1 % of the distance of the outer eye corners, so that
small errors, which tremble, keep counting. Resumes from OUT/last.pt; writes OUT/landmarks.safetensors (fp16) and a line
of OUT/log.jsonl per evaluation.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from fvc.codec.tracking import SUP, SUP_MIRROR
from fvc.models.landmarks import LANDMARK_SIDE, LandmarkNet
from fvc.training.pack import SIDE, Pack

EYE_CORNERS = SUP.index(33), SUP.index(263)
_OMEGA, _EPSILON = 4.0, 0.5  # Wing loss: where it becomes linear, and how steep it is below; 1 % of the eye distance


def wing_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean over landmarks [B, 33, 2] of both, each clip's errors relative to the distance of its eye corners."""
    eyes = (wanted[:, EYE_CORNERS[0]] - wanted[:, EYE_CORNERS[1]]).norm(dim=-1).clamp(min=0.1)
    error = 100 * (found - wanted).abs() / eyes[:, None, None]
    constant = _OMEGA - _OMEGA * math.log1p(_OMEGA / _EPSILON)
    return torch.where(error < _OMEGA, _OMEGA * torch.log1p(error / _EPSILON), error - constant).mean()


def nme(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """[T]: mean landmark distance over the distance of the outer eye corners, of [T, 33, 2] each."""
    eyes = np.linalg.norm(wanted[:, EYE_CORNERS[0]] - wanted[:, EYE_CORNERS[1]], axis=-1)
    return np.asarray(np.linalg.norm(found - wanted, axis=-1).mean(-1) / eyes)


def alter(image: np.ndarray, points: np.ndarray, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A picture uint8 [256, 256, 3] and its landmarks [33, 2] in [-1, 1], turned, moved, scaled, tinted, blurred."""
    angle, scale = np.radians(draw.normal(0, 9)), math.exp(draw.normal(0, 0.12))
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    shift = draw.normal(0, 0.08, 2)
    if draw.random() < 0.5:
        turn, points = turn @ np.diag([-1.0, 1.0]), points[list(SUP_MIRROR)]
    pixels = np.concatenate([turn, (SIDE / 2 * shift + (SIDE / 2 - 0.5) * (np.ones(2) - turn.sum(1)))[:, None]], 1)
    border = cv2.BORDER_REPLICATE if draw.random() < 0.7 else cv2.BORDER_CONSTANT
    image = cv2.warpAffine(image, pixels, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=border)
    kind = draw.random()
    if kind < 0.15:
        image = cv2.GaussianBlur(image, (0, 0), draw.uniform(0.5, 2.0))
    elif kind < 0.3:
        side = int(draw.integers(64, 160))
        image = cv2.resize(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), (SIDE, SIDE))
    gain, bias = draw.uniform(0.65, 1.35) * draw.uniform(0.9, 1.1, 3), draw.normal(0, 14)
    table = np.clip(np.arange(256)[:, None] * gain + bias, 0, 255).astype(np.uint8)
    if draw.random() < 0.1:
        image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    return cv2.LUT(image, table[:, None, :]), mirrored_points(points, turn, shift)


def mirrored_points(points: np.ndarray, turn: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Points [33, 2] in [-1, 1] after the picture was mapped by x -> turn x + shift."""
    return (points @ turn.T + shift).astype(np.float32)


def _tensor(pictures: Sequence[np.ndarray]) -> Tensor:
    """uint8 [256, 256, 3] each -> float [B, 3, 128, 128] in [0, 1], the network's own reduction done."""
    small = [cv2.resize(p, (LANDMARK_SIDE, LANDMARK_SIDE), interpolation=cv2.INTER_AREA) for p in pictures]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def evaluate(network: LandmarkNet, pack: Pack) -> float:
    """Mean NME over the clips of a pack, percent."""
    network.eval()
    per_clip = []
    for clip in pack.clips:
        frames = clip.frames[:: max(len(clip.frames) // 12, 1)]
        found = network(_tensor([pack.image(int(f)) for f in frames])).numpy()
        per_clip.append(100 * nme(found, pack.keypoints[frames]).mean())
    network.train()
    return float(np.mean(per_clip))


class Student:
    """The network, its optimizer, and how far training has come."""

    def __init__(self, folder: Path, minutes: float, batch: int, rate: float) -> None:
        self.folder, self.minutes, self.batch, self.rate = folder, minutes, batch, rate
        torch.manual_seed(0)
        self.network = LandmarkNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(self.network.parameters(), rate, weight_decay=0.01)
        self.step, self.seconds = 0, 0.0
        if (folder / "last.pt").exists():
            state = torch.load(folder / "last.pt", weights_only=True)
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds = state["step"], state["seconds"]

    def train(self, pack: Pack, val: Pack) -> None:
        """Trains until `minutes` of CPU time (of all threads) are over, all calls together."""
        by_person = [np.concatenate([clip.frames for clip in person]) for person in pack.people]
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(self._batch, pack, by_person, self.step)
            while self.seconds < 60 * self.minutes:
                start = time.process_time()
                pictures, points = ahead.result()
                ahead = pool.submit(self._batch, pack, by_person, self.step + 1)
                loss = self._update(pictures, points)
                self.step += 1
                self.seconds += time.process_time() - start
                if self.step % 300 == 0:
                    self._note(loss, evaluate(self.network, val))
        self._note(loss, evaluate(self.network, val))

    def _batch(self, pack: Pack, by_person: list[np.ndarray], step: int) -> tuple[Tensor, Tensor]:
        draw = np.random.default_rng([0, step])
        people = draw.integers(len(by_person), size=self.batch)
        frames = [int(draw.choice(by_person[person])) for person in people]
        pairs = [alter(pack.image(f), pack.keypoints[f], draw) for f in frames]
        return _tensor([p for p, _ in pairs]), torch.from_numpy(np.stack([q for _, q in pairs]))

    def _update(self, pictures: Tensor, points: Tensor) -> float:
        done = self.seconds / (60 * self.minutes)
        rate = self.rate * min((self.step + 1) / 100, 0.5 * (1 + math.cos(math.pi * min(done, 1))) + 0.002)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = wing_loss(self.network(pictures.contiguous(memory_format=torch.channels_last)), points)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        return float(loss.detach())

    def _note(self, loss: float, error: float) -> None:
        line = {"minutes": round(self.seconds / 60, 1), "step": self.step, "loss": round(loss, 3), "val_nme": error}
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        print(line, flush=True)
        state = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save(state | {"step": self.step, "seconds": self.seconds}, self.folder / "new.pt")
        (self.folder / "new.pt").replace(self.folder / "last.pt")
        half = {
            name: t.half().contiguous() for name, t in self.network.state_dict().items() if "num_batches" not in name
        }
        save_file(half, self.folder / "landmarks.safetensors")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("val", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=60, help="CPU time, all calls together; default: %(default)s")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-3)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    student = Student(args.out, args.minutes, args.batch, args.rate)
    student.train(Pack(args.train, SUP), Pack(args.val, SUP))


if __name__ == "__main__":
    main()
