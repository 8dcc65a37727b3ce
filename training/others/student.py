"""Distils the tracker into `models.landmark_net.LandmarkNet`.

    python -m fvc.training.others.student TRAIN.pack VAL.pack OUT

The teacher's landmarks are in the packs. The network's two parts learn side by side from the same frames: the locator
from whole pictures, rotated, scaled and moved; the head from squares near where the locator should look. Augmentation
of both: mirrored, tinted, blurred, partly covered. Losses are mean distances, like the error that is reported: of
landmarks, in percent of the distance of the outer eye corners. The weights' running averages are evaluated and kept.
Resumes from OUT/last.pt; writes OUT/landmarks.safetensors (fp16) and a line of OUT/log.jsonl per evaluation.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from fvc.codec.base.constants import SIDE
from fvc.codec.face.landmarks import OUTER_EYE_CORNERS, SUP, SUP_MIRROR, landmark_error
from fvc.models.landmark_net import FACE_SIDE, LOOK_SIDE, LandmarkNet
from fvc.training.data.pack import Pack
from fvc.training.generator.engine import computes_in_half
from fvc.training.others.averaged_run import AveragedRun

SQUARE_SCALE = 1.3  # half side of the square, in distances of the mean face's farthest landmark from its middle
AVERAGE_DECAY = 0.999  # of the running averages; less in the first steps


def distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean distance of landmarks [B, 33, 2], in % of the distance of each face's eye corners."""
    eyes = (wanted[:, OUTER_EYE_CORNERS[0]] - wanted[:, OUTER_EYE_CORNERS[1]]).norm(dim=-1).clamp(min=0.2)
    return ((1e4 * (found - wanted).square().sum(-1) / eyes[:, None].square()) + 0.01).sqrt().mean()


def mean_face(pack: Pack) -> np.ndarray:
    """[33, 2] about 0, symmetric: the mean of a pack's people."""
    face = np.mean([np.concatenate([pack.keypoints[c.frames] for c in person]).mean(0) for person in pack.people], 0)
    face = face - face.mean(0)
    return np.asarray((face + face[list(SUP_MIRROR)] * [-1, 1]) / 2)


def place_of(points: np.ndarray, face: np.ndarray, scale: float = SQUARE_SCALE) -> np.ndarray:
    """The locator's target [4]: the square around the mean face, moved, rotated and scaled to points [33, 2]."""
    middle = points.mean(0)
    found, mean = (points - middle) @ [1, 1j], face @ [1, 1j]
    turn = np.vdot(mean, found) / np.vdot(mean, mean) * scale * np.abs(face).max()
    return np.array([*middle, turn.real, turn.imag], np.float32)


@dataclass(frozen=True)
class View:
    """A square of a picture: q in [-1, 1] of the square is at `turn` q + `shift` in [-1, 1] of the picture."""

    turn: np.ndarray
    shift: np.ndarray

    @classmethod
    def of(cls, place: np.ndarray, mirrored: bool) -> View:
        """The square at `place`, see `place_of`."""
        _, _, right, down = place
        return cls(np.array([[right, -down], [down, right]]) @ np.diag([-1.0 if mirrored else 1.0, 1.0]), place[:2])

    def picture(self, image: np.ndarray, side: int, border: int) -> np.ndarray:
        """uint8 [256, 256, 3] -> [side, side, 3], sampled at twice that and halved, as the network does."""
        turn = SIDE / 2 * self.turn
        start = SIDE / 2 * (self.shift + 1) - 0.5 + turn.sum(1) * (1 / (2 * side) - 1)
        matrix = np.concatenate([turn / side, start[:, None]], 1)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        fine = cv2.warpAffine(image, matrix, (2 * side, 2 * side), flags=flags, borderMode=border)
        return cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA)

    def points(self, points: np.ndarray) -> np.ndarray:
        """Points [N, 2] of the picture -> of the square."""
        return (points - self.shift) @ np.linalg.inv(self.turn).T


def blurred(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture uint8 [256, 256, 3], perhaps blurred, coarser or partly covered."""
    kind = rng.random()
    if kind < 0.15:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2.0))
    elif kind < 0.3:
        side = int(rng.integers(64, 160))
        image = cv2.resize(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), (SIDE, SIDE))
    elif kind < 0.45:
        image, (x, y), (width, height) = image.copy(), rng.integers(0, 200, 2), rng.integers(20, 80, 2)
        image[y : y + height, x : x + width] = rng.integers(0, 256, 3)
    return image


def tinted(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture uint8 [H, W, 3], lighter or darker, of another colour, perhaps grey."""
    gain, bias = rng.uniform(0.65, 1.35) * rng.uniform(0.9, 1.1, 3), rng.normal(0, 14)
    table = np.clip(np.arange(256)[:, None] * gain + bias, 0, 255).astype(np.uint8)
    if rng.random() < 0.1:
        image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    return cv2.LUT(image, table[:, None, :])


Batch = tuple[Tensor, Tensor, Tensor, Tensor]  # whole pictures, their places, squares, landmarks within these


class Samples:
    """Augmented frames of a pack, equally many of each person; decoded pictures stay in memory."""

    def __init__(self, pack: Pack, batch: int) -> None:
        self._pack, self._batch, self._face = pack, batch, mean_face(pack)
        self._by_person = [np.concatenate([clip.frames for clip in person]) for person in pack.people]
        self._decoded: dict[int, np.ndarray] = {}

    def __call__(self, step: int) -> Batch:
        """The batch of a step."""
        rng = np.random.default_rng([0, step])
        weight = np.array([math.sqrt(len(frames)) for frames in self._by_person])
        people = rng.choice(len(weight), self._batch, p=weight / weight.sum())
        rows = [self._one(int(rng.choice(self._by_person[person])), rng) for person in people]
        looks, places, faces, points = (np.stack(column) for column in zip(*rows, strict=True))
        return _tensor(looks), torch.from_numpy(places), _tensor(faces), torch.from_numpy(points)

    def _one(self, frame: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        if frame not in self._decoded:
            self._decoded[frame] = np.ascontiguousarray(self._pack.image(frame))
        image, points = blurred(self._decoded[frame], rng), self._pack.keypoints[frame]
        mirrored = bool(rng.random() < 0.5)
        border = cv2.BORDER_REPLICATE if rng.random() < 0.8 else cv2.BORDER_CONSTANT
        named = points[list(SUP_MIRROR)] if mirrored else points
        whole = _moved(np.array([0, 0, 1, 0]), rng, 0.12, 10)
        look = View(View.of(whole, mirrored).turn, whole[:2] + rng.normal(0, 0.08, 2))
        square = View.of(_moved(place_of(points, self._face), rng, 0.07 * rng.uniform(0, 1.5), 5), mirrored)
        return (
            tinted(look.picture(image, LOOK_SIDE, border), rng),
            place_of(look.points(named), self._face),
            tinted(square.picture(image, FACE_SIDE, border), rng),
            square.points(named).astype(np.float32),
        )


def _moved(place: np.ndarray, rng: np.random.Generator, spread: float, degrees: float) -> np.ndarray:
    """A place [4], moved and scaled by standard deviation `spread` (relative), rotated by `degrees`."""
    x, y, right, down = place
    turn = (right + 1j * down) * np.exp(rng.normal(0, spread) + 1j * np.radians(rng.normal(0, degrees)))
    shift = rng.normal(0, spread, 2) * abs(turn)
    return np.array([x + shift[0], y + shift[1], turn.real, turn.imag])


def _tensor(pictures: np.ndarray) -> Tensor:
    """uint8 [B, H, W, 3] -> float [B, 3, H, W] in [0, 1], channels last."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def evaluate(network: LandmarkNet, pack: Pack) -> float:
    """Mean NME over the clips of a pack, percent; about 12 frames of each."""
    network.eval()
    per_clip = []
    for clip in pack.clips:
        frames = clip.frames[:: max(len(clip.frames) // 12, 1)]
        found = network(pack.images(frames)).numpy()
        per_clip.append(100 * landmark_error(found, pack.keypoints[frames]).mean())
    return float(np.mean(per_clip))


class Student(AveragedRun[LandmarkNet]):
    """One run, see `AveragedRun`."""

    def __init__(self, folder: Path, minutes: float, rate: float) -> None:
        torch.manual_seed(0)
        network: LandmarkNet = LandmarkNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.02)
        super().__init__(network, optimizer, folder, minutes, rate, AVERAGE_DECAY)
        self.half = computes_in_half("cpu")

    def train(self, samples: Samples, val: Pack, every: int) -> None:
        """Trains until `minutes` are over, all calls together; evaluates every `every` steps."""
        self.run_ahead(samples, self._update, lambda losses: self._note(losses, samples, val), every)

    def _losses(self, network: LandmarkNet, batch: Batch) -> list[Tensor]:
        looks, places, faces, points = batch
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            place, found = network.locator(looks), network.head(faces)
        off = 100 * (place - places).square().sum(-1).add(1e-6).sqrt() / places[:, 2:].norm(dim=-1)
        return [distance(found, points), off.mean()]

    def _update(self, batch: Batch) -> list[float]:
        rate = self.rate * min((self.step + 1) / 200, 0.5 * (1 + math.cos(math.pi * self.share)) + 0.002)
        self.network.train()
        losses = self._losses(self.network, batch)
        self.descend(sum(losses, torch.zeros(())), rate)
        return [float(loss.detach()) for loss in losses]

    def _note(self, losses: list[float], samples: Samples, val: Pack) -> None:
        self.recalibrate(lambda n: self._losses(self.average, samples(1_000_000_000 + n)), 20)
        self.record({"loss": [round(loss, 3) for loss in losses], "val_nme": evaluate(self.average, val)})
        half = {n: t.half().contiguous() for n, t in self.average.state_dict().items() if "num_batches" not in n}
        save_file(half, self.folder / "landmarks.safetensors")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("val", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--minutes", type=float, default=60, help="of the clock, all calls together; default: %(default)s"
    )
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--every", type=int, default=1000, help="steps between evaluations; default: %(default)s")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    student = Student(args.out, args.minutes, args.rate)
    student.train(Samples(Pack(args.train, SUP), args.batch), Pack(args.val, SUP), args.every)


if __name__ == "__main__":
    main()
