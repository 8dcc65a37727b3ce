"""The first-order model in its published, dense form (Siarohin et al., NeurIPS 2019), and with an expression code.

    once       source_n -> encoder -> 256x64x64;  source_n at 64x64;  kp_source_n

    per frame  n = the source whose keypoints are nearest (the paper's "FOM mult"; training has one source)
               kp_driving, kp_source_n -> K + 1 motions, of which the first is the background's identity
               heatmaps, the source deformed by each motion -> hourglass -> weights of the motions, occlusion
               flow = weighted sum of the motions
               features_n --warp, occlude--> 6 residual blocks, 2 up blocks -> picture

The configuration is the authors' "vox-256": 10 keypoints with Jacobians; encoder and decoder 64 to 256 channels; dense
motion 64 to 1024, from pictures at 64x64. The expression code of Oquab et al. (section 3.2.2, Table 2) enters the dense
motion network or the decoder as constant maps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fvc.codec.motion.sample import N_EXPRESSION
from fvc.models.baselines import nearest_source
from fvc.models.flow import Points, inverse
from fvc.models.layers import identity_grid, warp
from fvc.models.systems.dense_layers import (
    DENSE_SIDE,
    DenseDecoder,
    DenseEncoder,
    DenseHourglass,
    Shrink,
    as_maps,
    scaled,
)

_VARIANCE = 0.01  # of the Gaussians in the heatmaps
_ABSENT = 1e4  # subtracted from the weights' logits of absent keypoints
CODE_ENTERS = ("nowhere", "motion", "decoder")


class FirstOrderMotion(nn.Module):
    """The published dense motion network, for any number of keypoints, some of which may be absent.

    It also serves as the dense Frontalizer's network, which has the same architecture (Oquab et al., section 6.1.1).

    Args:
        n_points: K. has_code: whether an expression code enters.
    """

    grid: Tensor

    def __init__(self, n_points: int, width: float, has_code: bool = False) -> None:
        super().__init__()
        inputs = 4 * (n_points + 1) + (N_EXPRESSION if has_code else 0)
        self.has_code = has_code
        self.hourglass = DenseHourglass(inputs, scaled(64, width), scaled(1024, width))
        self.weights = nn.Conv2d(self.hourglass.outputs, n_points + 1, 7, padding=3)
        self.map = nn.Conv2d(self.hourglass.outputs, 1, 7, padding=3)
        self.register_buffer("grid", identity_grid(DENSE_SIDE).reshape(-1, 2), persistent=False)

    def motions(self, at: Points, to: Points) -> Tensor:
        """Where each keypoint's local motion takes each pixel: [B, K + 1, P, 2]; the first is the identity (eq. 4)."""
        matrix = to.jacobian @ inverse(at.jacobian)  # [B, K, 2, 2]
        offset = self.grid - at.position[:, :, None]  # [B, K, P, 2]
        moved = to.position[:, :, None] + offset @ matrix.transpose(-1, -2)
        moved = self.grid + at.presence[:, :, None, None] * (moved - self.grid)
        return torch.cat([self.grid.expand(at.position.shape[0], 1, -1, -1), moved], 1)

    def heatmaps(self, at: Points, to: Points) -> Tensor:
        """Gaussians at the keypoints minus those of the other picture: [B, K, P]; absent ones are 0."""

        def gaussians(position: Tensor) -> Tensor:
            return torch.exp(-((self.grid - position[:, :, None]) ** 2).sum(-1) / (2 * _VARIANCE))

        return (gaussians(at.position) - gaussians(to.position)) * at.presence[:, :, None]

    def forward(self, at: Points, to: Points, small: Tensor, expression: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Flow [B, 64, 64, 2] from the picture of `at` to that of `to`, and a map of logits [B, 1, 64, 64].

        Args:
            at, to: keypoints [B, K, ...]. small: the picture that is sampled, [B, 3, 64, 64]. expression: [B, 16], if
                a code enters.
        """
        side, kinds = DENSE_SIDE, at.position.shape[1] + 1
        with torch.autocast(small.device.type, enabled=False):
            motions = self.motions(at, to)
            # All deformed pictures from one sampling: K + 1 grids, one below the other
            deformed = warp(small.float(), motions.reshape(-1, kinds * side, side, 2))  # [B, 3, (K + 1) * 64, 64]
            deformed = deformed.unflatten(2, (kinds, side)).flatten(1, 2)
            heat = self.heatmaps(at, to).unflatten(2, (side, side))
        parts = [torch.zeros_like(heat[:, :1]), heat, deformed]
        if self.has_code and expression is not None:
            parts.append(as_maps(expression, heat))
        y, _ = self.hourglass(torch.cat(parts, 1))
        logits = self.weights(y).float().flatten(2)  # [B, K + 1, P]
        logits = torch.cat([logits[:, :1], logits[:, 1:] + (at.presence[:, :, None] - 1) * _ABSENT], 1)
        flow = (logits.softmax(1)[..., None] * motions).sum(1).unflatten(1, (side, side))
        return flow, self.map(y).float()


class DenseFirstOrderGenerator(nn.Module):
    """See `models.interface.Generator`. It uses learned keypoints only: tracked ones have no influence.

    Embedding: features [B * N, 256 * width, 64, 64], pictures [B * N, 3, 64, 64], keypoints and Jacobians.

    Args:
        code: where the expression code enters, one of `CODE_ENTERS`.
        width: of the published channels.
    """

    def __init__(self, mean_sup: Tensor, n_unsup: int, code: str = "nowhere", width: float = 1.0) -> None:
        super().__init__()
        if code not in CODE_ENTERS:
            raise ValueError(f"code {code}: choose from {', '.join(CODE_ENTERS)}")
        self.first = len(mean_sup)  # of the learned keypoints
        self.shrink, self.encoder = Shrink(), DenseEncoder(width)
        self.dense_motion = FirstOrderMotion(n_unsup, width, code == "motion")
        self.decoder = DenseDecoder(width, code == "decoder")

    def _learned(self, points: Points) -> Points:
        return Points(*(tensor[:, self.first :] for tensor in points))

    def embed(self, pictures: Tensor, kp_source: Points) -> tuple[Tensor, ...]:
        """See `models.interface.Generator.embed`."""
        rgb, learned = pictures.flatten(0, 1), self._learned(kp_source)
        return self.encoder(rgb).float(), self.shrink(rgb).float(), learned.position, learned.jacobian

    def draw(
        self, embedding: tuple[Tensor, ...], kp_driving: Points, expression: Tensor, recent: Tensor | None = None
    ) -> Tensor:
        """See `models.interface.Generator.draw`; `recent` is ignored."""
        driving = self._learned(kp_driving)
        features, small, position, jacobian = embedding
        (features, small), source = nearest_source([features, small], position, jacobian, driving)
        flow, occlusion = self.dense_motion(driving, source, small, expression)
        return self.decoder(warp(features, flow) * torch.sigmoid(occlusion), expression)
