"""Which weights stand for a system of the paper here: installed ones and those in `evaluation/presets/weights`."""

from __future__ import annotations

from fvc.evaluation.presets.baselines import trained
from fvc.evaluation.reproduction.paper import PaperRow
from fvc.models.presets import AT
from fvc.models.weights import shipped


def weights_of(preset: str) -> str | None:
    """The widest weights of a preset that are here, e.g. `fom@0.25` for `fom`; None: there are none."""
    found = [name for name in {*shipped(), *trained()} if name.partition(AT)[0] == preset]
    return max(found, key=lambda name: float(name.partition(AT)[2] or 1), default=None)


def system_of(row: PaperRow) -> str | None:
    """`weights:profile` of the system that stands for a row here; None: there are no weights."""
    for system in row.systems:
        preset, _, profile = system.partition(":")
        if (weights := weights_of(preset)) is not None:
            return f"{weights}:{profile}"
    return None
