"""One training pass: what the wire delivers is drawn and judged. A module, so that engines can wrap it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvc.codec.motion.quantizer import PAPER, Quantizer
from fvc.codec.motion.sample import N_EXPRESSION, N_UNSUP, NEUTRAL_EXPRESSION
from fvc.models.model import Network
from fvc.training.generator.batches import Batch
from fvc.training.generator.losses import (
    ExpressionLoss,
    equivariance_loss,
    grain_loss,
    perceptual_loss,
    region_weights,
    temporal_loss,
)
from fvc.training.generator.recipe import Recipe


def as_received(values: Tensor, quantizer: Quantizer, coarse: Tensor) -> Tensor:
    """Values [B, ...] as the decoder gets them, with quantizers `coarse` [B] times coarser; gradients pass through.

    Values beyond the quantizer's range are clamped, as the encoder does.
    """
    step = (quantizer.high - quantizer.low) / quantizer.top * coarse.view(-1, *([1] * (values.dim() - 1)))
    with torch.no_grad():
        levels = ((values.float() - quantizer.low) / step).round()
        change = (levels * step + quantizer.low).clamp(quantizer.low, quantizer.high) - values
    return values + change


class TrainingStep(nn.Module):
    """Network and loss. The judging networks are held from outside its parameters: they are not trained."""

    def __init__(self, network: Network, recipe: Recipe, perceptual: Any, expression: ExpressionLoss | None) -> None:
        super().__init__()
        self.network, self._recipe = network, recipe
        self._judges = (perceptual, expression)  # a tuple: modules in it are not registered

    def draw(self, batch: Batch, parts: set[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures [B, D, 3, 256, 256], and of the first driving frames unsup [B, K, 2] and Jacobians [B, K, 2, 2].

        The sources are embedded once and drawn from D times.
        """
        network, (count, many) = self.network, batch.driving.shape[:2]
        unsup, jacobians, code = self._motion(batch, parts)
        split = count * batch.sources.shape[1]
        points = network.points(batch.source_keypoints.flatten(0, 1), unsup[:split], jacobians[:split], parts)
        embedding = network.generator.embed(batch.sources, points)
        later = {"unsup": unsup, "jac": jacobians, "expr": code}
        driving = {name: value[split:].unflatten(0, (count, many)) for name, value in later.items()}
        received = {"sup": batch.driving_keypoints, **driving}
        received = {name: as_received(value, PAPER[name], batch.coarse) for name, value in received.items()}
        pictures = []
        for n in range(many):
            sup, moved, turned, said = (received[name][:, n] for name in ("sup", "unsup", "jac", "expr"))
            expression = said if "expr" in parts else torch.full_like(said, NEUTRAL_EXPRESSION)
            pictures.append(network.generator.draw(embedding, network.points(sup, moved, turned, parts), expression))
        return torch.stack(pictures, 1), driving["unsup"][:, 0], driving["jac"][:, 0]

    def _motion(self, batch: Batch, parts: set[str]) -> tuple[Tensor, Tensor, Tensor]:
        """What the sender's networks say of all frames, sources first; not asked where nobody learns or listens."""
        frames = torch.cat([batch.sources.flatten(0, 1), batch.driving.flatten(0, 1)])
        if parts == {"sup"} and self._recipe.keep_motion:
            return (
                frames.new_zeros(len(frames), N_UNSUP, 2),
                frames.new_zeros(len(frames), N_UNSUP, 2, 2),
                frames.new_full((len(frames), N_EXPRESSION), NEUTRAL_EXPRESSION),
            )
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._recipe.keep_motion):
            return self.network.motion(frames)

    def forward(self, batch: Batch, parts: set[str]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Returns the loss without its adversarial terms, the pictures, and the terms by name, detached."""
        pictures, unsup, jacobians = self.draw(batch, parts)
        terms = self._terms(batch, pictures)
        small = F.avg_pool2d(batch.driving[:, 0], batch.driving.shape[-1] // 64)
        keypoints = self.network.motion.keypoints
        if self._recipe.weights.equivariance and not self._recipe.keep_motion:
            terms["equivariance"] = equivariance_loss(keypoints, small, unsup, jacobians, batch.theta)
        loss = torch.stack([getattr(self._recipe.weights, name) * value for name, value in terms.items()]).sum()
        return loss, pictures, {name: value.detach() for name, value in terms.items()}

    def _terms(self, batch: Batch, pictures: Tensor) -> dict[str, Tensor]:
        weights, (perceptual, expression) = self._recipe.weights, self._judges
        picture, target = pictures.flatten(0, 1), batch.driving.flatten(0, 1)
        keypoints = batch.driving_keypoints.flatten(0, 1)
        error = (picture - target).abs()
        regions = region_weights(keypoints, target.shape[-1])
        terms = {"l1": error.mean(), "faces": (error * regions).mean()}
        emphasis = 0.75 + 0.25 * regions
        terms["relative"], terms["lpips"] = perceptual_loss(perceptual, picture, target, emphasis, self._recipe.scales)
        if expression is not None and (weights.expression or weights.landmarks):
            terms["expression"], terms["landmarks"] = expression(picture, target, keypoints)
        if weights.grain:
            terms["grain"] = grain_loss(picture, target)
        if weights.temporal and pictures.shape[1] > 1:
            terms["temporal"] = temporal_loss(pictures, batch.driving, batch.neighbours)
        return terms
