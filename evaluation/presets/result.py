"""The figures of a run of `fvc evaluate`: a row for each clip and system, and their means over groups of clips."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

LARGE_ROTATIONS = "large rotations"
GROUPS = ("rotations", LARGE_ROTATIONS, "frontal", "all")
LARGE_TURN = 1.5  # radians: clips of the paper's DFDC-rotations turn by more, from the least to the greatest yaw
NO_CLIP = "no clip of this kind was evaluated"
NO_FACE = "no frame with a face in it on both sides"


@dataclass
class Result:
    """All figures of a run.

    Attributes:
        systems: their names, in order.
        values: the names of metrics and rates.
        default: the system that `fvc encode` uses, if it is among them.
        missing: metric -> why.
        settings: the options of the run.
        rows: one for each clip and system: "clip", "system", "rotation", "yaw_range" (without the last percent at
            either end), "turn" (with it, where known), "frames" and the values.
        failed: system -> clip -> why.
    """

    systems: list[str]
    values: tuple[str, ...]
    default: str | None
    missing: dict[str, str]
    settings: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    failed: dict[str, dict[str, str]] = field(default_factory=dict)

    def group(self, system: str, name: str) -> dict[str, Any]:
        """Means over the clips of a group; with "standard_error" of each, "clips" (how many), "missing" (why)."""
        rows = [row for row in self.rows if row["system"] == system and _belongs(row, name)]
        means: dict[str, Any] = {}
        errors: dict[str, float | None] = {}
        missing: dict[str, str] = {}
        for value in self.values:
            known = [row[value] for row in rows if row[value] is not None]
            means[value] = _round(float(np.mean(known))) if known else None
            errors[value] = _round(float(np.std(known, ddof=1)) / math.sqrt(len(known))) if len(known) > 1 else None
            if not known:
                missing[value] = self.missing.get(value) or (NO_FACE if rows else NO_CLIP)
        return {**means, "clips": len(rows), "standard_error": errors, "missing": missing}

    def has(self, name: str) -> bool:
        """Whether there are clips in a group."""
        return any(_belongs(row, name) for row in self.rows)

    def report(self) -> dict[str, Any]:
        """The object that `fvc evaluate --json` prints."""
        systems: dict[str, Any] = {}
        for system in self.systems:
            systems[system] = {name: self.group(system, name) for name in GROUPS}
            systems[system]["all"]["failed"] = self.failed.get(system, {})
        return {"systems": systems, "default": self.default}


def _belongs(row: dict[str, Any], group: str) -> bool:
    if group == LARGE_ROTATIONS:
        return bool(row.get("turn", 0.0) > LARGE_TURN)
    return group == "all" or row["rotation"] == (group == "rotations")


def _round(value: float) -> float:
    return float(f"{value:.6g}")
