"""The registry: generators (classes that draw) and presets (a generator, its size, and what training shows it).

Receivers read this file too, so it imports no torch: `models.model.build_network` imports the class of a generator when
it is needed. `models.interface` describes what a generator must offer.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

DEFAULT = "composed"


@dataclass(frozen=True)
class GeneratorClass:
    """A generator's class by its path, and what senders and receivers must know about it.

    Attributes:
        path: "module:Class"; the class has the interface `models.interface.Generator`.
        blends_parts: whether eyes and mouth may come from another source than the rest of the face. Then a source
            set may end with the first picture with another frame's eyes or mouth (`codec.face.patching`).
    """

    path: str
    blends_parts: bool = False

    def load(self) -> Callable[..., Any]:
        """The class (needs torch)."""
        module, _, name = self.path.partition(":")
        loaded: Callable[..., Any] = getattr(importlib.import_module(module), name)
        return loaded


GENERATORS: dict[str, GeneratorClass] = {
    "composed": GeneratorClass("fvc.models.generator:ComposedGenerator", blends_parts=True),
    "fused": GeneratorClass("fvc.models.baselines:FusedGenerator"),
    "multi-scale": GeneratorClass("fvc.models.baselines:MultiScaleGenerator"),
    "first-order": GeneratorClass("fvc.models.baselines:FirstOrderGenerator"),
}


@dataclass(frozen=True)
class Preset:
    """A system that can be trained and shipped.

    Attributes:
        name: what users call it; its folder under `models/weights`.
        generator: name in `GENERATORS`.
        about: a few words for the help text.
        profiles: profile -> share of the training steps that see only this profile's parts.
        max_sources: how many source frames a training sample has at most.
        size: keyword arguments of the generator's class, e.g. the channels of `models.generator.Size`.
    """

    name: str
    generator: str
    about: str
    profiles: Mapping[str, float] = field(
        default_factory=lambda: {"sup": 0.8, "sup+unsup": 0.03, "sup+unsup+expr": 0.1, "unsup+jac": 0.07}
    )
    max_sources: int = 3
    size: Mapping[str, int] = field(default_factory=dict)

    @property
    def blends_parts(self) -> bool:
        """See `GeneratorClass`."""
        return GENERATORS[self.generator].blends_parts


PAPER_PROFILES = {"sup": 0.4, "sup+unsup": 0.3, "sup+unsup+expr": 0.3}  # the paper's three, alike
# `tiny` has two thirds of the multiply-adds of `composed`; pruned from it (`training.generator.pruning`)
TINY_SIZE = {"deep_kept": 24, "middle_kept": 8, "deep": 48, "blocks": 2, "middle": 32, "fine": 12}
PRESETS = {
    preset.name: preset
    for preset in (
        Preset("composed", "composed", "the default", max_sources=5),
        Preset("tiny", "composed", "draws faster", max_sources=5, size=TINY_SIZE),
        Preset("frontalizer-mobile", "fused", "the paper's Frontalizer", PAPER_PROFILES, max_sources=2),
        Preset("frontalizer-multiscale", "multi-scale", "a finer one", {"sup": 0.7, "sup+unsup+expr": 0.3}),
        # Trained with one source, as its authors do; with more at inference it is the paper's FOM-Mult
        Preset("fom-mobile", "first-order", "first-order model", {"unsup+jac": 1.0}, max_sources=1),
    )
}
