"""The paper's dense Frontalizer (Oquab et al., CVPRW 2022, sections 3.2.1 and 6.1.1).

    once       source_n -> encoder -> features_n at 64x64
               Frontalizer(reference -> source_n), a dense motion network -> flow_n, confidence_n
               embedding = sum over n of softmax_n(confidence) * warp(features_n, flow_n)

    per frame  dense motion(driving -> reference) -> flow, occlusion
               embedding --warp, occlude--> decoder(+ expression code) -> picture

Both networks have the published dense motion network's architecture, which also looks at the picture that is sampled.
The paper writes Fr(x_i, p_i, p_r) for the Frontalizer. It does not say which picture the dense motion network sees, as
its "source" is the embedding. Here it is the sources' small pictures, fused as the features are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fvc.models.flow import Points, Reference
from fvc.models.layers import warp
from fvc.models.systems.dense_first_order import FirstOrderMotion
from fvc.models.systems.dense_layers import DenseDecoder, DenseEncoder, Shrink


class DenseFrontalizerGenerator(nn.Module):
    """See `models.interface.Generator`.

    Embedding: features in the reference position [B, 256 * width, 64, 64], and the fused picture [B, 3, 64, 64].

    Args:
        width: of the published channels.
    """

    def __init__(self, mean_sup: Tensor, n_unsup: int, width: float = 1.0) -> None:
        super().__init__()
        n_points = len(mean_sup) + n_unsup
        self.reference = Reference(mean_sup, n_unsup)
        self.shrink, self.encoder = Shrink(), DenseEncoder(width)
        self.frontalizer, self.dense_motion = FirstOrderMotion(n_points, width), FirstOrderMotion(n_points, width)
        self.decoder = DenseDecoder(width, has_code=True)

    def embed(self, pictures: Tensor, kp_source: Points) -> tuple[Tensor, ...]:
        """See `models.interface.Generator.embed`."""
        batch, count = pictures.shape[:2]
        rgb = pictures.flatten(0, 1)
        small = self.shrink(rgb).float()  # [B * N, 3, 64, 64]
        flow, confidence = self.frontalizer(self.reference.like(kp_source), kp_source, small)
        weights = confidence.unflatten(0, (batch, count)).softmax(1)  # [B, N, 1, 64, 64]

        def fused(maps: Tensor) -> Tensor:
            return (warp(maps, flow).unflatten(0, (batch, count)) * weights).sum(1)

        return fused(self.encoder(rgb).float()), fused(small)

    def draw(
        self, embedding: tuple[Tensor, ...], kp_driving: Points, expression: Tensor, recent: Tensor | None = None
    ) -> Tensor:
        """See `models.interface.Generator.draw`; `recent` is ignored."""
        features, small = embedding
        flow, occlusion = self.dense_motion(kp_driving, self.reference.like(kp_driving), small)
        return self.decoder(warp(features, flow) * torch.sigmoid(occlusion), expression)
