"""A generator as small as the interface allows, to show what a new one needs: this file and its lines in presets.py."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fvc.models.flow import Points


class FlatGenerator(nn.Module):
    """The mean of the source pictures, tinted by the expression code and by where the keypoints are."""

    def __init__(self, mean_sup: Tensor, n_unsup: int, hidden: int = 4) -> None:
        super().__init__()
        keypoints = len(mean_sup) + n_unsup
        self.tint = nn.Sequential(nn.Linear(2 * keypoints + 16, hidden), nn.ReLU(), nn.Linear(hidden, 3))

    def embed(self, pictures: Tensor, kp_source: Points) -> tuple[Tensor, ...]:
        return pictures.mean(1), kp_source.position  # [B, 3, 256, 256], and a row per source [B * N, K, 2]

    def draw(
        self, embedding: tuple[Tensor, ...], kp_driving: Points, expression: Tensor, recent: Tensor | None = None
    ) -> Tensor:
        mean, position = embedding
        centre = position.unflatten(0, (mean.shape[0], -1)).mean(1)  # [B, K, 2]
        moved = (kp_driving.position - centre) * kp_driving.presence[..., None]
        tint = self.tint(torch.cat([moved.flatten(1), expression], 1))  # [B, 3]
        return torch.sigmoid(mean + tint[:, :, None, None])
