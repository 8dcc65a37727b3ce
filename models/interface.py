"""The interface of a generator, the networks that draw, for training, the runtime's graphs and all exports.

To add one, write a module with a class that has these methods, and name it in `models.presets`: one line in
`GENERATORS`, one in `PRESETS`. Nothing else must change; tests/models/test_registry.py shows it.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from fvc.models.flow import Points


class Generator(Protocol):
    """The receiver's networks; a `torch.nn.Module`.

    Built as `cls(mean_sup, n_unsup, **channels)`: the mean sup landmarks of the training data, float32 [33, 2] (zeros
    where weights are loaded afterwards), the number of learned keypoints, and the preset's `size`.

    In the shapes, B is the batch (1 at a receiver), N the number of source pictures, K = 33 + `n_unsup` the number of
    keypoints (sup first), M the number of recent moments (`codec.motion.pose_history.MOMENTS`). Coordinates are in
    [-1, 1] of the crop, x right, y down. Keypoints that the stream's profile does not carry have presence 0
    (`models.flow.Points`), and their positions must not matter.

    Both methods are traced for export with N left free: take N from a tensor's shape (`shape[0] // batch`), never from
    `len()`, and do not branch on values.

    A generator may have an attribute `reference` (`models.flow.Reference`): a learned position of the keypoints in a
    face seen from the front. Exports take plausible example inputs from it.
    """

    def embed(self, pictures: Tensor, kp_source: Points) -> tuple[Tensor, ...]:
        """Computes what is needed once per source set.

        Args:
            pictures: decoded source pictures, float32 [B, N, 3, 256, 256] in [0, 1].
            kp_source: their keypoints, N innermost in the batch: [B * N, K, ...].

        Returns:
            One or more tensors, [B * N, ...] (a row per source) or [B, ...].
        """
        ...

    def draw(
        self, embedding: tuple[Tensor, ...], kp_driving: Points, expression: Tensor, recent: Tensor | None = None
    ) -> Tensor:
        """Draws the picture of one frame.

        Args:
            embedding: what `embed` returned.
            kp_driving: keypoints of the frame [B, K, ...].
            expression: the expression code [B, 16] in [0, 1]; `NEUTRAL_EXPRESSION` where the stream has none.
            recent: positions of the same keypoints at M earlier moments, [B, M, K, 2]; None: the head has been still.
                A generator may ignore them.

        Returns:
            float32 [B, 3, 256, 256] in [0, 1].
        """
        ...
