"""Trains `models.fusion.network.Fusion` on the pictures of `training.others.layered_pictures`.

    python -m fvc.training.others.fusion PICTURES OUT --perceptual FOLDER [--minutes 40]

The network gets squares of 128x128 of a layer and of the drawn picture, and learns to give the original. Now and then
it gets the layer twice: it then restores the layer, which is what is shown where there is no face. Often it gets the
drawn picture of another moment: in clips of a few seconds the generator is seldom lost, in longer ones it may be. The
loss is that of `training.others.restoration`: LPIPS, relative L1 of the same features, and L1. Clips that appear in
PICTURES/train while it runs are taken up. Resumes from OUT/last.pt; writes OUT/fusion.safetensors and a line of
OUT/log.jsonl per evaluation on PICTURES/val.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fvc.models.fusion.network import Fusion
from fvc.training.generator.losses import load_perceptual
from fvc.training.others.averaged_run import PictureRun

SQUARE = 128  # pixels
AVERAGE_DECAY = 0.998  # of the running averages; less in the first steps
_LAYER_ALONE = 0.06  # share of squares without a drawn picture
_LOST = 0.35  # share with the drawn picture of another moment, as where the generator is lost
_VAL_MOMENTS = 1  # of each clip


def load_clips(folder: Path) -> list[np.ndarray]:
    """The clips' arrays, memory-mapped, by name."""
    return [np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))]


def batch_of(clips: list[np.ndarray], size: int, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """(original, layer, drawn), [size, 3, 128, 128] in [0, 1]: mostly from the middle, some mirrored, some darker."""
    rng = np.random.default_rng([1, step])
    squares = []
    for _ in range(size):
        clip = clips[rng.integers(len(clips))]
        y, x = np.clip(rng.normal(64, 40, 2), 0, 128).astype(int) // 4 * 4
        moment, layer = rng.integers(len(clip)), rng.integers(2, clip.shape[1])
        other = rng.integers(len(clip)) if rng.random() < _LOST else moment
        rows = [(moment, 0), (moment, layer), (moment, layer) if rng.random() < _LAYER_ALONE else (other, 1)]
        square = np.stack([clip[when, row, y : y + SQUARE, x : x + SQUARE] for when, row in rows])
        squares.append(square[:, :, ::-1] if rng.random() < 0.5 else square)
    batch = torch.from_numpy(np.stack(squares)).permute(1, 0, 4, 2, 3).float() / 255
    gains = rng.uniform(0.7, 1, (size, 1, 1, 1)) * rng.uniform(0.85, 1, (size, 3, 1, 1))
    gains[rng.random(size) < 0.6] = 1
    original, layer, drawn = batch * torch.from_numpy(gains).float()
    return original, layer, drawn


class Training(PictureRun[Fusion]):
    """One run, see `AveragedRun`."""

    def __init__(self, folder: Path, minutes: float, rate: float, perceptual: Any) -> None:
        torch.manual_seed(0)
        super().__init__(Fusion(), folder, minutes, rate, perceptual, AVERAGE_DECAY)

    def train(self, pictures: Path, batch: int, every: int) -> None:
        """Trains until `minutes` are over, all calls together; evaluates every `every` steps."""
        clips, losses = load_clips(pictures / "train"), dict[str, float]()
        while self.is_running:
            start = time.monotonic()
            losses = self._update(*batch_of(clips, batch, self.step))
            self.step += 1
            self.seconds += time.monotonic() - start
            if self.step % every == 0:
                clips = load_clips(pictures / "train")
                self._note({**losses, "clips": len(clips)}, pictures)
        self._note(losses, pictures)

    def _update(self, original: Tensor, layer: Tensor, drawn: Tensor) -> dict[str, float]:
        return self.learn(self.losses(self.network(layer, drawn), original, (1,)))

    def _note(self, losses: dict[str, float], pictures: Path) -> None:
        self.record({**losses, "val": evaluate(self.average, self.perceptual, load_clips(pictures / "val"))})
        self.save_average("fusion.safetensors")


@torch.no_grad()
def evaluate(network: Fusion, perceptual: Any, clips: list[np.ndarray]) -> dict[str, list[float]]:
    """LPIPS-squeeze against the originals: of the drawn pictures, of each layer, and of both fused."""
    rows = []
    for clip in clips:
        for moment in clip[:_VAL_MOMENTS]:
            original, drawn, *layers = torch.from_numpy(np.array(moment)).permute(0, 3, 1, 2).float() / 255
            alike = torch.stack([drawn, *layers, *network(torch.stack(layers), drawn.expand(len(layers), -1, -1, -1))])
            rows.append(perceptual(alike, original.expand_as(alike), normalize=True).flatten().numpy())
    means, count = np.mean(rows, 0), clips[0].shape[1] - 2
    named = {"drawn": means[:1], "layers": means[1 : count + 1], "fused": means[count + 1 :]}
    return {name: [round(float(value), 4) for value in values] for name, values in named.items()}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--perceptual", type=Path, required=True, help="folder with load_lpips_squeeze.py")
    parser.add_argument("--minutes", type=float, default=40, help="of the clock, all calls; default: %(default)s")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--every", type=int, default=500, help="steps between evaluations; default: %(default)s")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    training = Training(args.out, args.minutes, args.rate, load_perceptual(args.perceptual, "cpu"))
    return training.train(args.pictures, args.batch, args.every)


if __name__ == "__main__":
    main()
