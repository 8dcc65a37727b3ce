"""Trains `models.restorer.Restorer`.

    python -m fvc.training.others.restoration DATA OUT --perceptual FOLDER [--minutes 40]

It codes source pictures of DATA/train: those that `fvc encode` would choose, as it would code them, and random sets of
three, finer and coarser. The network gets decoded squares of 128x128 and learns to restore the originals. The loss is
LPIPS, relative L1 of the same features, and L1. The weights' running averages are evaluated (on DATA/val, coded by the
defaults) and kept. Coded pictures stay in OUT/train.npy and OUT/val.npy; resumes from OUT/last.pt; writes
OUT/restorer.safetensors and a line of OUT/log.jsonl per evaluation.

    python -m fvc.training.others.restoration --join RUN/weights.safetensors OUT/restorer.safetensors WEIGHTS

puts the restorer into weights of `composed` (for `fvc.export.openvino_graphs`).
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from fvc.codec.base.cache import Cache
from fvc.codec.dataset import Clip, find_clips, open_clip
from fvc.codec.source_builder import SOURCE_CRF
from fvc.codec.wire.av1_pictures import MOST_OFFSET, decode_series, encode_series
from fvc.codec.wire.source_set import code_pictures
from fvc.models.model import RESTORER
from fvc.models.restorer import Restorer
from fvc.training.generator.engine import computes_in_half
from fvc.training.generator.losses import load_perceptual
from fvc.training.others.averaged_run import PictureRun

SQUARE = 128  # pixels
FPS = Fraction(2)  # frames per second from which sources are chosen
AVERAGE_DECAY = 0.999  # of the running averages; less in the first steps


def coded_sets(clip: Clip, others: int, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs (original, decoded), uint8 [256, 256, 3], of the clip's sources and of `others` random sets."""
    crops = {frame.index: crop for frame, crop in clip.frames()}
    chosen = [crops[index] for index in clip.seen.by_group()[0].sources() if index in crops]
    yield from zip(chosen, code_pictures(chosen, SOURCE_CRF)[1], strict=True)
    for _ in range(others):
        picked = [crops[int(index)] for index in rng.choice(list(crops), min(3, len(crops)), replace=False)]
        crf = round(float(np.exp(rng.uniform(np.log(5), np.log(40)))))
        coded = encode_series(picked, crf, int(rng.integers(0, MOST_OFFSET + 1)))
        yield from zip(picked, decode_series(coded, 256, 256), strict=True)


def collect(data: Path, split: str, others: int, cache: Cache, out: Path) -> np.ndarray:
    """uint8 [N, 2, 256, 256, 3]: originals and decoded pictures; read from `out` where an earlier call made it."""
    if not out.exists():
        rng, pairs = np.random.default_rng(0), list[np.ndarray]()
        for file in tqdm(find_clips(data, split), desc=split):
            with open_clip(file, FPS, cache) as clip:
                pairs += [np.stack(pair) for pair in coded_sets(clip, others, rng)]
        np.save(out.with_suffix(".part.npy"), np.stack(pairs))
        out.with_suffix(".part.npy").replace(out)
    return np.asarray(np.load(out, mmap_mode="r"))


def batch_of(pairs: np.ndarray, size: int, step: int) -> tuple[Tensor, Tensor]:
    """(original, decoded), [size, 3, 128, 128] in [0, 1]: mostly from the middle, some mirrored, some darker."""
    rng = np.random.default_rng([0, step])
    squares = []
    for index in rng.integers(0, len(pairs), size):
        y, x = np.clip(rng.normal(64, 40, 2), 0, 128).astype(int) // 2 * 2
        square = pairs[index, :, y : y + SQUARE, x : x + SQUARE]
        squares.append(square[:, :, ::-1] if rng.random() < 0.5 else square)
    both = torch.from_numpy(np.stack(squares)).permute(1, 0, 4, 2, 3).float() / 255
    gains = rng.uniform(0.7, 1, (size, 1, 1, 1)) * rng.uniform(0.85, 1, (size, 3, 1, 1))
    gains[rng.random(size) < 0.6] = 1
    both = both * torch.from_numpy(gains).float()
    return both[0].contiguous(memory_format=torch.channels_last), both[1].contiguous(memory_format=torch.channels_last)


class Training(PictureRun[Restorer]):
    """One run, see `AveragedRun`."""

    def __init__(self, folder: Path, minutes: float, rate: float, perceptual: Any) -> None:
        torch.manual_seed(0)
        network: Restorer = Restorer().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(network, folder, minutes, rate, perceptual, AVERAGE_DECAY)
        self.half = computes_in_half("cpu")

    def train(self, pairs: np.ndarray, val: np.ndarray, batch: int, every: int) -> None:
        """Trains until `minutes` are over, all calls together; evaluates every `every` steps."""
        while self.is_running:
            start = time.monotonic()
            losses = self._update(*batch_of(pairs, batch, self.step))
            self.step += 1
            self.seconds += time.monotonic() - start
            if self.step % every == 0:
                self._note(losses, val)
        self._note(losses, val)

    def _update(self, original: Tensor, decoded: Tensor) -> dict[str, float]:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            losses = self.losses(self.network(decoded), original, (1, 2))
        return self.learn(losses)

    def _note(self, losses: dict[str, float], val: np.ndarray) -> None:
        self.record({**losses, "val": evaluate(self.average, self.perceptual, val)})
        self.save_average("restorer.safetensors")


@torch.no_grad()
def evaluate(network: Restorer, perceptual: Any, pairs: np.ndarray) -> dict[str, float]:
    """LPIPS-squeeze and PSNR against the originals, of decoded pictures before and after restoring."""
    values = []
    for pair in pairs:
        original, decoded = (torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255 for picture in pair)
        row = []
        for picture in (decoded, network(decoded)):
            row.append(float(perceptual(picture, original, normalize=True)))
            row.append(-10 * math.log10(float((picture - original).square().mean()) + 1e-6))
        values.append(row)
    names = ("coded_lpips", "coded_psnr", "lpips", "psnr")
    return {name: round(float(mean), 4) for name, mean in zip(names, np.mean(values, 0), strict=True)}


def join(weights: Path, restorer: Path, out: Path) -> None:
    """Writes the weights with this restorer instead of their own."""
    state = {name: tensor for name, tensor in load_file(weights).items() if not name.startswith(RESTORER)}
    save_file(state | {RESTORER + name: tensor for name, tensor in load_file(restorer).items()}, out)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--join", type=Path, nargs=3, metavar=("WEIGHTS", "RESTORER", "OUT"))
    parser.add_argument("--perceptual", type=Path, help="folder with load_lpips_squeeze.py")
    parser.add_argument("--minutes", type=float, default=40, help="of the clock, all calls; default: %(default)s")
    parser.add_argument("--sets", type=int, default=2, help="random sets of each clip; default: %(default)s")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--every", type=int, default=400, help="steps between evaluations; default: %(default)s")
    parser.add_argument("--cache", type=Path, help="where tracks are kept; default: the platform's folder")
    args = parser.parse_args()
    if args.join:
        return join(*args.join)
    if args.out is None or args.perceptual is None:
        parser.error("DATA, OUT and --perceptual, or --join")
    args.out.mkdir(parents=True, exist_ok=True)
    cache = Cache(args.cache)
    val = collect(args.data, "val", 0, cache, args.out / "val.npy")
    pairs = collect(args.data, "train", args.sets, cache, args.out / "train.npy")
    perceptual = load_perceptual(args.perceptual, "cpu")
    training = Training(args.out, args.minutes, args.rate, perceptual)
    return training.train(pairs, val, args.batch, args.every)


if __name__ == "__main__":
    main()
