"""Overfits a preset on two frames of one face, to see that it can learn; for tests, and with LPIPS from the shell.

    python tests/models/overfitting.py PACK LPIPS_FOLDER [PRESET...]

prints a row for each preset: how far the perceptual distance of its two drawings falls in its number of `STEPS`, dense
presets with an eighth of their channels.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fvc.codec.face.landmarks import SUP, SUP_MIRROR
from fvc.models.model import build_network
from fvc.models.presets import PRESETS, preset_named
from fvc.training.data.pack import Pack
from fvc.training.generator.batches import Batch, FileFrames
from fvc.training.generator.losses import load_perceptual
from fvc.training.generator.sampling import BatchPlan
from fvc.training.generator.step import PARTS, draw_batch

SAME_NETWORK = "frontalizer-new-sampling"  # as `frontalizer`, trained on other frames
# Rows of the paper's tables -> steps after which LPIPS-squeeze of the drawings is below half of its start
STEPS = {
    "fom-mobile": 60,
    "frontalizer-mobile": 40,
    "frontalizer-mobile-spade": 60,
    "hybrid-spade": 40,
    "fom": 30,
    "fom-fau": 30,
    "fom-dm-expr": 30,
    "fom-dec-expr": 30,
    "fom-light-expr": 30,
    "fom-light-free": 30,
    "frontalizer": 90,
    "frontalizer-jac": 160,
    "nth": 60,
}


def small_name(name: str) -> str:
    """A dense preset with an eighth of its channels, any other as it is: for tests."""
    return PRESETS[name].narrowed(0.125).name if PRESETS[name].is_dense else name


def two_frames(pack: Pack) -> Batch:
    """One sample: two sources and two driving frames, from the ends and the middle of the pack's first clip."""
    frames = pack.clips[0].frames
    chosen = frames[[0, -1, len(frames) // 3, 2 * len(frames) // 3]]
    plan = BatchPlan(
        frames=chosen[None],
        sources=2,
        window=np.array([[0, 0, 256]]),
        mirror=np.zeros(1, bool),
        gain=np.ones((1, 3), np.float32),
        bias=np.zeros(1, np.float32),
        theta=np.eye(2, 3, dtype=np.float32)[None],
        coarse=np.ones(1, np.float32),
        neighbours=np.zeros(1, bool),
        patch=np.zeros(1, int),
    )
    return FileFrames(pack, SUP_MIRROR).batch(plan)


def overfit(preset: str, batch: Batch, perceptual: Any, steps: int, rate: float = 4e-3) -> tuple[float, float]:
    """The perceptual distance of the drawings after the first and after the last step."""
    torch.manual_seed(0)
    network = build_network(preset, batch.source_keypoints.mean((0, 1)))
    parts = PARTS[max(preset_named(preset).profiles, key=len)]
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], rate, (0.5, 0.99))
    target, distances = batch.driving.flatten(0, 1), []
    for _ in range(steps):
        pictures = draw_batch(network, batch, parts).pictures.flatten(0, 1)
        distance = perceptual(pictures, target, normalize=True).mean()
        optimizer.zero_grad(set_to_none=True)
        (distance + (pictures - target).abs().mean()).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        distances.append(distance.item())
    return distances[0], distances[-1]


def main(pack: Path, lpips: Path, presets: list[str]) -> None:
    """Prints a Markdown table."""
    batch, perceptual = two_frames(Pack(pack, SUP)), load_perceptual(lpips, "cpu")
    print("| row | steps | LPIPS, first | last | share |\n|---|---|---|---|---|")
    for preset in presets or list(STEPS):
        name, steps = small_name(preset), STEPS[preset]
        first, last = overfit(name, batch, perceptual, steps)
        print(f"| `{name}` | {steps} | {first:.3f} | {last:.3f} | {last / first:.2f} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
