"""How good a network is on a validation pack: LPIPS, and a strip of pictures to look at."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fvc.codec.motion.quantizer import PAPER
from fvc.codec.motion.sample import NEUTRAL_EXPRESSION, Profile
from fvc.models.flow import Points
from fvc.models.model import Network
from fvc.training.data.pack import Clip, Pack
from fvc.training.generator.step import as_received

PARTS = {profile.label: set(profile.parts) for profile in Profile}


@torch.no_grad()
def draw_clip(network: Network, pack: Pack, clip: Clip, chosen: np.ndarray, driving: np.ndarray, profile: str) -> Any:
    """Sources [N, 3, 256, 256], targets [D, ...] and the pictures [D, ...] drawn from dequantized samples."""
    device, parts, n = next(network.parameters()).device, PARTS[profile], len(chosen)
    sources, target = pack.images(chosen).to(device), pack.images(driving).to(device)
    unsup, jacobians, code = network.motion(torch.cat([sources, target]))
    sup = torch.from_numpy(pack.keypoints[np.append(chosen, driving)]).to(device)

    def received(values: Tensor, name: str) -> Tensor:
        sent = as_received(values[n:], PAPER[name], torch.ones(len(driving), device=device))
        return torch.cat([values[:n], sent])

    values = received(sup, "sup"), received(unsup, "unsup"), received(jacobians, "jac")
    points, code = network.points(*values, parts), received(code, "expr")
    embedding = network.generator.embed(sources[None], Points(*(t[:n] for t in points)))
    pictures = []
    for i in range(n, n + len(driving)):
        one = slice(i, i + 1)
        expression = code[one] if "expr" in parts else torch.full_like(code[one], NEUTRAL_EXPRESSION)
        pictures.append(network.generator.draw(embedding, Points(*(t[one] for t in points)), expression))
    return sources, target, torch.cat(pictures).clamp(0, 1)


def _driving(pack: Pack, clip: Clip, n_sources: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    chosen = pack.choose_sources(clip, n_sources)
    rest = np.setdiff1d(clip.frames, chosen)
    return chosen, rest[np.linspace(0, len(rest) - 1, min(frames, len(rest))).round().astype(int)]


@torch.no_grad()
def validate(
    network: Network, perceptual: Any, pack: Pack, n_sources: int = 3, frames: int = 6, profile: str = "sup+unsup+expr"
) -> float:
    """Mean LPIPS over clips: `frames` driving frames spread over each, sources chosen as at inference."""
    before = network.training
    network.eval()
    scores = []
    for clip in pack.clips:
        chosen, driving = _driving(pack, clip, n_sources, frames)
        _, target, pictures = draw_clip(network, pack, clip, chosen, driving, profile)
        scores += [
            float(perceptual(drawn[None], real[None], normalize=True)) / len(driving)
            for drawn, real in zip(pictures, target, strict=True)
        ]
    network.train(before)
    return sum(scores) / len(pack.clips)


@torch.no_grad()
def strip(
    network: Network, pack: Pack, n_sources: int = 3, rows: int = 6, profile: str = "sup+unsup+expr"
) -> np.ndarray:
    """uint8 [rows * 128, (N + 4) * 128, 3]: per clip its sources, then two pairs of driving frame and drawing."""
    before = network.training
    network.eval()
    lines = []
    for clip in pack.clips[:: max(1, len(pack.clips) // rows)][:rows]:
        chosen, driving = _driving(pack, clip, n_sources, 2)
        sources, target, pictures = draw_clip(network, pack, clip, chosen, driving, profile)
        pairs = torch.stack([target, pictures], 1).flatten(0, 1)
        line = torch.nn.functional.avg_pool2d(torch.cat([sources, pairs]), 2)
        lines.append(torch.cat(list(line), -1))
    width = max(line.shape[-1] for line in lines)
    lines = [torch.nn.functional.pad(line, (0, width - line.shape[-1])) for line in lines]
    network.train(before)
    return (torch.cat(lines, 1).permute(1, 2, 0) * 255).round().byte().cpu().numpy()
