"""Presets: which generator, and how often training shows it each profile. Systems are named here only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fvc.codec.motion.sample import N_SUP

if TYPE_CHECKING:  # a receiver reads this file too, and has no torch
    from torch import Tensor

    from fvc.models.model import Network

DEFAULT = "composed"


@dataclass(frozen=True)
class Preset:
    """A system that can be trained and shipped.

    Attributes:
        name: its folder under `models/weights`.
        generator: "composed" (see `models.generator`), "fused", "multi-scale" or "first-order" (`models.baselines`).
        profiles: profile -> share of the training steps that see only this profile's parts.
        max_sources: how many source frames a training sample has at most.
        size: channels that differ from `models.generator.Size`, of "composed" only.
    """

    name: str
    generator: str
    profiles: dict[str, float] = field(
        default_factory=lambda: {"sup": 0.8, "sup+unsup": 0.03, "sup+unsup+expr": 0.1, "unsup+jac": 0.07}
    )
    max_sources: int = 3
    size: dict[str, int] = field(default_factory=dict)

    def build(self, mean_sup: Tensor | None = None) -> Network:
        """The untrained network (needs torch). `mean_sup` [33, 2] starts the reference position."""
        import torch

        from fvc.models.model import Network

        return Network(self.generator, torch.zeros(N_SUP, 2) if mean_sup is None else mean_sup, **self.size)


_TINY = dict(deep_kept=24, middle_kept=8, deep=48, blocks=2, middle=32, fine=12)
PRESETS = {
    preset.name: preset
    for preset in (
        Preset("composed", "composed", max_sources=5),
        # two thirds of its multiply-adds; pruned from it (`fvc.training.generator.pruning`)
        Preset("tiny", "composed", max_sources=5, size=_TINY),
        # the paper's, trained for its three profiles alike
        Preset("frontalizer-mobile", "fused", {"sup": 0.4, "sup+unsup": 0.3, "sup+unsup+expr": 0.3}, 2),
        Preset("frontalizer-multiscale", "multi-scale", {"sup": 0.7, "sup+unsup+expr": 0.3}),
        # the first-order model is trained with one source; with more at inference it is the paper's FOM-Mult
        Preset("fom-mobile", "first-order", {"unsup+jac": 1.0}, max_sources=1),
    )
}
