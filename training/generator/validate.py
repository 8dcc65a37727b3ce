"""Validates a network on a pack: mean LPIPS, and a strip of pictures to look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fvc.codec.face.source_choice import SOURCES
from fvc.models.model import Network
from fvc.training.data.pack import Clip, Pack
from fvc.training.generator.batches import Batch
from fvc.training.generator.step import PARTS, draw_batch


@torch.no_grad()
def draw_clip(
    network: Network, pack: Pack, chosen: np.ndarray, driving: np.ndarray, profile: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Sources [N, 3, 256, 256], targets [D, 3, 256, 256] and drawn pictures [D, 3, 256, 256] in [0, 1].

    `chosen` and `driving` are frames of the pack. Driving samples are quantized as in the stream.
    """
    device = next(network.parameters()).device
    sources, target = pack.images(chosen).to(device), pack.images(driving).to(device)
    source_keypoints, driving_keypoints = (
        torch.from_numpy(pack.keypoints[frames]).to(device) for frames in (chosen, driving)
    )
    batch = Batch(
        sources[None],
        source_keypoints[None],
        target[None],
        driving_keypoints[None],
        theta=torch.zeros(1, 2, 3, device=device),
        coarse=torch.ones(1, device=device),
        neighbours=torch.zeros(1, device=device),
        clips=torch.zeros(1, dtype=torch.int64, device=device),
    )
    pictures = draw_batch(network, batch, PARTS[profile]).pictures
    return sources, target, pictures[0].clamp(0, 1)


def choose_frames(pack: Pack, clip: Clip, n_sources: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Source frames as at inference, and at most `frames` driving frames, spread over the rest of the clip."""
    chosen = pack.choose_sources(clip, n_sources)
    rest = np.setdiff1d(clip.frames, chosen)
    return chosen, rest[np.linspace(0, len(rest) - 1, min(frames, len(rest))).round().astype(int)]


@contextmanager
def _evaluating(network: Network) -> Iterator[None]:
    before = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(before)


@torch.no_grad()
def validate(
    network: Network,
    perceptual: Any,
    pack: Pack,
    n_sources: int = SOURCES,
    frames: int = 6,
    profile: str = "sup+unsup+expr",
) -> float:
    """Mean LPIPS over clips: `frames` driving frames spread over each, sources chosen as at inference."""
    scores = []
    with _evaluating(network):
        for clip in pack.clips:
            _, target, pictures = draw_clip(network, pack, *choose_frames(pack, clip, n_sources, frames), profile)
            scores += [
                float(perceptual(picture[None], real[None], normalize=True)) / len(target)
                for picture, real in zip(pictures, target, strict=True)
            ]
    return sum(scores) / len(pack.clips)


@torch.no_grad()
def strip(
    network: Network, pack: Pack, n_sources: int = SOURCES, rows: int = 6, profile: str = "sup+unsup+expr"
) -> np.ndarray:
    """uint8 [rows * 128, (N + 4) * 128, 3]: per clip its sources, then two pairs of driving frame and drawing."""
    lines = []
    with _evaluating(network):
        for clip in pack.clips[:: max(1, len(pack.clips) // rows)][:rows]:
            sources, target, pictures = draw_clip(network, pack, *choose_frames(pack, clip, n_sources, 2), profile)
            pairs = torch.stack([target, pictures], 1).flatten(0, 1)
            line = torch.nn.functional.avg_pool2d(torch.cat([sources, pairs]), 2)
            lines.append(torch.cat(list(line), -1))
    width = max(line.shape[-1] for line in lines)
    lines = [torch.nn.functional.pad(line, (0, width - line.shape[-1])) for line in lines]
    return (torch.cat(lines, 1).permute(1, 2, 0) * 255).round().byte().cpu().numpy()
