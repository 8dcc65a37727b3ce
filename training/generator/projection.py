"""The projection discriminator of Neural Talking Heads (Zakharov et al., ICCV 2019), for training only.

picture, landmarks as lines -> trunk -> v [512];  score = v . (W_clip + w_0) + b

It knows each clip of the training data by a vector W. Training pulls the embedder's vector of a clip towards it
(`Weights.identity`), so that for a new person the embedder's vector can take W's place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fvc.codec.base.constants import SIDE
from fvc.models.systems.dense_layers import scaled
from fvc.models.systems.landmark_maps import LandmarkMaps
from fvc.models.systems.talking_heads import IDENTITY, IdentityTrunk
from fvc.training.generator.discriminator import PatchScores


class ProjectionDiscriminator(nn.Module):
    """Has the interface of `discriminator.Discriminator`, with one score for each picture.

    Losses are least squares, as of the other presets; its authors take the hinge loss.

    Args:
        clips: number of clips of the training data.
    """

    has_identities = True

    def __init__(self, clips: int, width: float = 1.0) -> None:
        super().__init__()
        size = scaled(IDENTITY, width)
        self.maps, self.trunk = LandmarkMaps(SIDE), IdentityTrunk(width)
        self.identities = nn.Embedding(clips, size)
        self.common, self.bias = nn.Parameter(torch.zeros(size)), nn.Parameter(torch.zeros(()))
        nn.init.normal_(self.identities.weight, std=0.01)

    def forward(self, x: Tensor, keypoints: Tensor, clips: Tensor) -> PatchScores:
        """Pictures [B, 3, 256, 256] in [0, 1], sup keypoints [B, 33, 2], clips [B] -> scores [B, 1, 1, 1], features."""
        with torch.no_grad():
            lines = self.maps(keypoints.float(), torch.ones_like(keypoints[..., 0]))
        found, features = self.trunk(torch.cat([x, lines], 1))
        score = (found.float() * (self.identities(clips) + self.common)).mean(-1) + self.bias
        return [(score[:, None, None, None], features)]
