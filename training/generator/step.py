"""One training pass: driving samples as received -> pictures -> loss. A module, so that engines can wrap it."""

from __future__ import annotations

from collections.abc import Set
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fvc.codec.motion.quantizer import PAPER, Quantizer
from fvc.codec.motion.sample import N_EXPRESSION, N_UNSUP, NEUTRAL_EXPRESSION, Profile
from fvc.models.model import Network
from fvc.models.presets import preset_named
from fvc.models.systems.action_units import action_units
from fvc.training.generator.batches import Batch
from fvc.training.generator.losses import (
    ExpressionLoss,
    equivariance_losses,
    grain_loss,
    perceptual_loss,
    region_weights,
    temporal_loss,
)
from fvc.training.generator.recipe import Recipe

PARTS = {profile.label: frozenset(profile.parts) for profile in Profile}
REGION_EMPHASIS = 0.25  # of LPIPS: share of the weight that depends on the region; the rest is uniform


def as_received(values: Tensor, quantizer: Quantizer, coarse: Tensor) -> Tensor:
    """Values [B, ...] quantized and clamped as in the stream; gradients pass through (straight-through estimator).

    Args:
        coarse: [B], how many times coarser than by `quantizer` each sample is quantized.
    """
    step = (quantizer.high - quantizer.low) / quantizer.top * coarse.view(-1, *([1] * (values.dim() - 1)))
    with torch.no_grad():
        levels = ((values.float() - quantizer.low) / step).round()
        change = (levels * step + quantizer.low).clamp(quantizer.low, quantizer.high) - values
    return values + change


def find_motion(network: Network, batch: Batch, parts: Set[str], learn: bool = True) -> tuple[Tensor, ...]:
    """Unsup keypoints, Jacobians and expression code of all frames, sources first, by the sender's networks.

    Returns placeholders if the networks do not learn and the stream carries none of these parts.
    """
    frames = torch.cat([batch.sources.flatten(0, 1), batch.driving.flatten(0, 1)])
    if parts == {"sup"} and not learn:
        return (
            frames.new_zeros(len(frames), N_UNSUP, 2),
            frames.new_zeros(len(frames), N_UNSUP, 2, 2),
            frames.new_full((len(frames), N_EXPRESSION), NEUTRAL_EXPRESSION),
        )
    with torch.set_grad_enabled(torch.is_grad_enabled() and learn):
        found: tuple[Tensor, ...] = network.motion(frames)
    return found


class Drawn(NamedTuple):
    """What one pass gives for B samples of D driving frames; all but the pictures is of the first of them."""

    pictures: Tensor  # [B, D, 3, 256, 256]
    unsup: Tensor  # [B, 10, 2]
    jacobians: Tensor  # [B, 10, 2, 2]
    code: Tensor  # [B, 16], the expression code
    embedding: tuple[Tensor, ...]  # of the sources


def draw_batch(network: Network, batch: Batch, parts: Set[str], learn_motion: bool = True) -> Drawn:
    """Draws the driving frames as receivers of a stream with these parts would.

    Sources are embedded once, uncoded (without the restorer), and drawn from D times; driving samples
    are quantized as in the stream.
    """
    count, many = batch.driving.shape[:2]
    unsup, jacobians, code = find_motion(network, batch, parts, learn_motion)
    split = count * batch.sources.shape[1]  # sources come first
    kp_source = network.points(batch.source_keypoints.flatten(0, 1), unsup[:split], jacobians[:split], parts)
    embedding = network.generator.embed(batch.sources, kp_source)
    found = {"unsup": unsup, "jac": jacobians, "expr": code}
    driving = {name: value[split:].unflatten(0, (count, many)) for name, value in found.items()}
    sent = {"sup": batch.driving_keypoints, **driving}
    received = {name: as_received(value, PAPER[name], batch.coarse) for name, value in sent.items()}
    pictures = []
    for n in range(many):
        sup, unsup, jacobians, expression = (received[name][:, n] for name in ("sup", "unsup", "jac", "expr"))
        kp_driving = network.points(sup, unsup, jacobians, parts)
        if "expr" not in parts:
            expression = torch.full_like(expression, NEUTRAL_EXPRESSION)
        pictures.append(network.generator.draw(embedding, kp_driving, expression))
    unsup, jacobians, code = (driving[name][:, 0] for name in ("unsup", "jac", "expr"))
    return Drawn(torch.stack(pictures, 1), unsup, jacobians, code, embedding)


class TrainingStep(nn.Module):
    """Network and loss. The networks that only measure the loss are kept out of its parameters: they do not learn."""

    def __init__(self, network: Network, recipe: Recipe, perceptual: Any, expression: ExpressionLoss | None) -> None:
        super().__init__()
        self.network, self._recipe = network, recipe
        self._measuring = (perceptual, expression)  # a tuple: modules in it are not registered
        self._expression_steps = preset_named(recipe.preset).expression_loss

    def draw(self, batch: Batch, parts: Set[str]) -> Drawn:
        """See `draw_batch`."""
        return draw_batch(self.network, batch, parts, not self._recipe.keep_motion)

    def forward(self, batch: Batch, parts: Set[str]) -> tuple[Tensor, Drawn, dict[str, Tensor]]:
        """Returns the loss without its adversarial terms, what was drawn, and the terms by name, detached."""
        drawn = self.draw(batch, parts)
        terms = self._terms(batch, drawn.pictures, parts)
        if not self._recipe.keep_motion:
            terms |= self._motion_terms(batch, drawn)
        loss = torch.stack([getattr(self._recipe.weights, name) * value for name, value in terms.items()]).sum()
        return loss, drawn, {name: value.detach() for name, value in terms.items()}

    def _motion_terms(self, batch: Batch, drawn: Drawn) -> dict[str, Tensor]:
        """The losses of the sender's networks, as far as they have any."""
        weights, motion = self._recipe.weights, self.network.motion
        terms = {}
        if motion.keypoints is not None and (weights.equivariance or weights.equivariance_jacobian):
            small = motion.shrink(batch.driving[:, 0])
            found = equivariance_losses(motion.keypoints, small, drawn.unsup, drawn.jacobians, batch.theta)
            terms["equivariance"], terms["equivariance_jacobian"] = found
        if motion.kind_of_expression == "supervised":
            terms["code"] = (drawn.code - action_units(batch.driving_keypoints[:, 0])).abs().mean()
        return terms

    def _expression_of(self, parts: Set[str]) -> ExpressionLoss | None:
        """The expression loss, if a step with these parts has it (`models.presets.Preset.expression_loss`)."""
        steps = self._expression_steps
        return None if steps == "none" or (steps == "coded" and "expr" not in parts) else self._measuring[1]

    def _terms(self, batch: Batch, pictures: Tensor, parts: Set[str]) -> dict[str, Tensor]:
        weights, perceptual, expression = self._recipe.weights, self._measuring[0], self._expression_of(parts)
        picture, target = pictures.flatten(0, 1), batch.driving.flatten(0, 1)
        keypoints = batch.driving_keypoints.flatten(0, 1)
        error = (picture - target).abs()
        regions = region_weights(keypoints, target.shape[-1])
        terms = {"l1": error.mean(), "faces": (error * regions).mean()}
        emphasis = 1 - REGION_EMPHASIS + REGION_EMPHASIS * regions
        terms["relative"], terms["lpips"] = perceptual_loss(perceptual, picture, target, emphasis, self._recipe.scales)
        if expression is not None and (weights.expression or weights.landmarks):
            terms["expression"], terms["landmarks"] = expression(picture, target, keypoints)
        if weights.grain:
            terms["grain"] = grain_loss(picture, target)
        if weights.temporal and pictures.shape[1] > 1:
            terms["temporal"] = temporal_loss(pictures, batch.driving, batch.neighbours)
        return terms
