"""The registry: generators (classes that draw), senders, and presets (both, their sizes, and what training shows them).

Receivers read this file too, so it imports no torch: `models.model.build_network` imports the class of a generator when
it is needed. `models.interface` describes what a generator must offer.

A dense preset can be narrowed for small machines: `fom@0.25` is `fom` with a quarter of all channels (`preset_named`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

DEFAULT = "composed"
AT = "@"  # between the name of a dense preset and its width
ExpressionSteps = Literal["none", "coded", "given", "all"]


@dataclass(frozen=True)
class GeneratorClass:
    """A generator's class by its path, and what senders and receivers must know about it.

    Attributes:
        path: "module:Class"; the class has the interface `models.interface.Generator`.
        blends_parts: whether eyes and mouth may come from another source than the rest of the face. Then a source
            set may end with the first picture with another frame's eyes or mouth (`codec.face.patching`).
        draws_from_nearest: whether a picture is drawn from the nearest sources only, each of which is embedded by
            itself (`models.inference.nearest`); else from all.
    """

    path: str
    blends_parts: bool = False
    draws_from_nearest: bool = False

    def load(self) -> Callable[..., Any]:
        """The class (needs torch)."""
        return load_class(self.path)


def load_class(path: str) -> Callable[..., Any]:
    """The class that is named "module:Class" (needs torch)."""
    module, _, name = path.partition(":")
    loaded: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return loaded


# Classes of the sender's networks by their paths, see `models.keypoints.MotionNet`
SENDERS: dict[str, str] = {
    "mobile": "fvc.models.keypoints:MotionNet",
    "dense": "fvc.models.systems.dense_keypoints:DenseMotionNet",
    "none": "fvc.models.systems.dense_keypoints:NoMotion",
}
GENERATORS: dict[str, GeneratorClass] = {
    "composed": GeneratorClass("fvc.models.generator:ComposedGenerator", blends_parts=True, draws_from_nearest=True),
    "fused": GeneratorClass("fvc.models.baselines:FusedGenerator"),
    "multi-scale": GeneratorClass("fvc.models.baselines:MultiScaleGenerator"),
    "first-order": GeneratorClass("fvc.models.baselines:FirstOrderGenerator"),
    "fused-spade": GeneratorClass("fvc.models.systems.spade:FusedSpadeGenerator"),
    "hybrid-spade": GeneratorClass("fvc.models.systems.spade:HybridSpadeGenerator"),
    "dense-first-order": GeneratorClass("fvc.models.systems.dense_first_order:DenseFirstOrderGenerator"),
    "dense-frontalizer": GeneratorClass("fvc.models.systems.dense_frontalizer:DenseFrontalizerGenerator"),
    "talking-heads": GeneratorClass("fvc.models.systems.talking_heads:TalkingHeadsGenerator"),
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
        sender: name in `SENDERS`; sender_size: keyword arguments of that class.
        is_dense: whether generator and sender take a `width`, the share of the published channels.
        discriminator: of adversarial training, "patch" or "projection" (`training.generator.projection`).
        expression_loss: the training steps that have the loss of facial action units. none; coded: those with an
            expression code, where training is given the loss's network; given: all, where it is; all: it must be.
    """

    name: str
    generator: str
    about: str
    profiles: Mapping[str, float] = field(
        default_factory=lambda: {"sup": 0.8, "sup+unsup": 0.03, "sup+unsup+expr": 0.1, "unsup+jac": 0.07}
    )
    max_sources: int = 3
    size: Mapping[str, Any] = field(default_factory=dict)
    sender: str = "mobile"
    sender_size: Mapping[str, Any] = field(default_factory=dict)
    is_dense: bool = False
    discriminator: str = "patch"
    expression_loss: ExpressionSteps = "given"

    @property
    def blends_parts(self) -> bool:
        """See `GeneratorClass`."""
        return GENERATORS[self.generator].blends_parts

    @property
    def draws_from_nearest(self) -> bool:
        """See `GeneratorClass`."""
        return GENERATORS[self.generator].draws_from_nearest

    def narrowed(self, width: float) -> Preset:
        """The preset with this share of all channels; its name ends with `@width`. Raises ValueError."""
        if not self.is_dense:
            raise ValueError(f"{self.name}: only dense presets can be narrowed: {', '.join(dense_presets())}")
        if not 0 < width <= 1:
            raise ValueError(f"width {width:g}: must be in 0..1, without 0")
        if width == 1:
            return self
        size, sender_size = {**self.size, "width": width}, dict(self.sender_size)
        if self.sender == "dense":
            sender_size["width"] = width
        return replace(self, name=f"{self.name}{AT}{width:g}", size=size, sender_size=sender_size)


def _first_order(name: str, about: str, code: str, expression: str, expression_loss: ExpressionSteps = "all") -> Preset:
    """The dense first-order model, perhaps with an expression code (Oquab et al., Table 2)."""
    profile = "unsup+jac" if code == "nowhere" else "unsup+jac+expr"
    return Preset(
        name,
        "dense-first-order",
        about,
        {profile: 1.0},
        max_sources=1,
        size={"code": code},
        sender="dense",
        sender_size={"expression": expression},
        is_dense=True,
        expression_loss=expression_loss,
    )


def _frontalizer(name: str, about: str, profiles: Mapping[str, float]) -> Preset:
    """The paper's dense Frontalizer."""
    return Preset(
        name,
        "dense-frontalizer",
        about,
        profiles,
        max_sources=2,
        sender="dense",
        sender_size={"expression": "free"},
        is_dense=True,
        expression_loss="coded",
    )


def _mobile_frontalizer(
    name: str, generator: str, about: str, profiles: Mapping[str, float], max_sources: int = 2
) -> Preset:
    """A mobile Frontalizer."""
    return Preset(name, generator, about, profiles, max_sources, expression_loss="coded")


PAPER_PROFILES = {"sup": 0.4, "sup+unsup": 0.3, "sup+unsup+expr": 0.3}  # the paper's three, alike
# `tiny` has two thirds of the multiply-adds of `composed`; pruned from it (`training.generator.pruning`)
TINY_SIZE = {"deep_kept": 24, "middle_kept": 8, "deep": 48, "blocks": 2, "middle": 32, "fine": 12}
PRESETS = {
    preset.name: preset
    for preset in (
        Preset("composed", "composed", "the default", max_sources=5),
        Preset("tiny", "composed", "draws faster", max_sources=5, size=TINY_SIZE),
        _mobile_frontalizer("frontalizer-mobile", "fused", "the paper's Frontalizer", PAPER_PROFILES),
        _mobile_frontalizer(
            "frontalizer-multiscale", "multi-scale", "a finer one", {"sup": 0.7, "sup+unsup+expr": 0.3}, max_sources=3
        ),
        _mobile_frontalizer("frontalizer-mobile-spade", "fused-spade", "with SPADE", PAPER_PROFILES),
        # Trained with one source, as its authors do; with more at inference it is the paper's FOM-Mult
        Preset("fom-mobile", "first-order", "first-order model", {"unsup+jac": 1.0}, 1, expression_loss="none"),
        Preset("hybrid-spade", "hybrid-spade", "the same with SPADE", {"sup+unsup": 1.0}, 1, expression_loss="none"),
        _first_order("fom", "dense first-order model", "nowhere", "none", expression_loss="none"),
        _first_order("fom-fau", "with the loss of action units", "nowhere", "none"),
        _first_order("fom-dm-expr", "action units enter its dense motion", "motion", "oracle"),
        _first_order("fom-dec-expr", "action units enter its decoder", "decoder", "oracle"),
        _first_order("fom-light-expr", "a code taught by action units enters its decoder", "decoder", "supervised"),
        _first_order("fom-light-free", "a free code enters its decoder", "decoder", "free"),
        _frontalizer("frontalizer", "the paper's dense Frontalizer", PAPER_PROFILES),
        _frontalizer("frontalizer-new-sampling", "trained with the paper's new sampling", PAPER_PROFILES),
        _frontalizer("frontalizer-jac", "with Jacobians", {"sup+unsup+jac+expr": 1.0}),
        Preset(
            "nth",
            "talking-heads",
            "Neural Talking Heads",
            {"sup": 1.0},
            max_sources=8,
            sender="none",
            is_dense=True,
            discriminator="projection",
            expression_loss="none",
        ),
    )
}


def dense_presets() -> list[str]:
    """Names of the presets that have a width."""
    return [preset.name for preset in PRESETS.values() if preset.is_dense]


def preset_named(name: str) -> Preset:
    """The preset of this name, e.g. `fom`, or `fom@0.25` for a quarter of its channels. Raises ValueError."""
    base, at, width = name.partition(AT)
    if base not in PRESETS:
        raise ValueError(f"preset {name!r} is unknown; choose from {', '.join(PRESETS)}")
    if not at:
        return PRESETS[base]
    try:
        narrowed = PRESETS[base].narrowed(float(width))
    except ValueError as error:
        raise ValueError(f"preset {name!r}: {error}") from None
    if narrowed.name != name:
        raise ValueError(f"preset {name!r}: is called {narrowed.name}")
    return narrowed


def is_preset(name: str) -> bool:
    """Whether `preset_named` knows it."""
    try:
        preset_named(name)
    except ValueError:
        return False
    return True
