"""A small multi-scale patch discriminator, for training only (Siarohin et al., 2019, after pix2pixHD).

picture at each of SCALES -> 4 x (4x4 convolution, instance norm, leaky ReLU, average pooling) -> patch scores
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SCALES = (1, 2)
PatchScores = list[tuple[Tensor, list[Tensor]]]  # per scale: patch scores [B, 1, h, w] and the features before them


class PatchNet(nn.Module):
    """[B, 3, H, W] -> patch scores [B, 1, h, w] and the feature maps of each block."""

    def __init__(self, base: int = 32, blocks: int = 4) -> None:
        super().__init__()
        widths = [3, *(min(base * 2**n, 256) for n in range(blocks))]
        self.blocks = nn.ModuleList(nn.Conv2d(widths[n], widths[n + 1], 4) for n in range(blocks))
        self.norms = nn.ModuleList(
            nn.InstanceNorm2d(widths[n + 1], affine=True) if n else nn.Identity() for n in range(blocks)
        )
        self.score = nn.Conv2d(widths[-1], 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        features = []
        for block, norm in zip(self.blocks, self.norms, strict=True):
            x = F.leaky_relu(norm(block(x)), 0.2)
            if block is not self.blocks[-1]:
                x = F.avg_pool2d(x, 2)
            features.append(x)
        return self.score(x), features


class Discriminator(nn.Module):
    """One `PatchNet` per scale."""

    has_identities = False  # whether it knows the clips; see `projection`

    def __init__(self) -> None:
        super().__init__()
        self.nets = nn.ModuleList(PatchNet() for _ in SCALES)

    def forward(self, x: Tensor, *_: Tensor) -> PatchScores:
        """[B, 3, H, W] in [0, 1]; the sup keypoints and clips that come after it are ignored."""
        return [net(F.avg_pool2d(x, s) if s > 1 else x) for net, s in zip(self.nets, SCALES, strict=True)]


def score_both(
    discriminator: nn.Module, real: Tensor, fake: Tensor, *beside: Tensor
) -> tuple[PatchScores, PatchScores]:
    """Scores of real and drawn pictures [B, 3, H, W], in one pass and without features.

    `beside`: what else the discriminator sees of each sample, [B, ...]: sup keypoints and the clip.
    """
    both = discriminator(torch.cat([real, fake]), *(torch.cat([tensor, tensor]) for tensor in beside))
    return [(score[: len(real)], []) for score, _ in both], [(score[len(real) :], []) for score, _ in both]


def discriminator_loss(real: PatchScores, fake: PatchScores) -> Tensor:
    """Least squares (LSGAN): patches of real pictures should score 1, of drawn ones 0."""
    losses = [(1 - r).square().mean() + f.square().mean() for (r, _), (f, _) in zip(real, fake, strict=True)]
    return torch.stack(losses).mean()


def generator_losses(real: PatchScores, fake: PatchScores) -> tuple[Tensor, Tensor]:
    """Adversarial loss (drawn patches should score 1) and feature matching (L1 of features, mean over all blocks)."""
    adversarial = torch.stack([(1 - score).square().mean() for score, _ in fake]).mean()
    matching = [
        (a.detach() - b).abs().mean()
        for (_, ours), (_, theirs) in zip(real, fake, strict=True)
        for a, b in zip(ours, theirs, strict=True)
    ]
    return adversarial, torch.stack(matching).mean()
