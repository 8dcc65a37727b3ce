"""Parameters, multiply-adds and speed of systems, as a table. A narrowed preset is followed by that of full width.

Published figures: the first-order model's are counted from its authors' configuration vox-256 (they print none); those
of Neural Talking Heads are in section 4 of Zakharov et al., ICCV 2019. The paper prints none of its mobile models.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.motion.sample import PART_SHAPES, DrivingSample
from fvc.evaluation.presets.systems import parse_systems
from fvc.evaluation.reproduction.counts import counted
from fvc.models.inference.drawing import DrawRuntime
from fvc.models.presets import AT
from fvc.models.weights import manifest_preset

PUBLISHED = {  # preset -> million parameters of sender's networks and generator, billion multiply-adds a frame
    "fom": ("14.22 + 45.58", "43.36"),
    "nth": ("15 + 38 (embedder, generator)", ""),
}
_PHONE = (
    "Core ML: no speed is given, since no phone and no Mac took part. Multiply-adds are above; operations, bytes and a"
    " guess with its assumptions for the exported presets: `export/README.md` and the report.json of `fvc export"
    " coreml`. The paper's mobile models, with its tracker, run at 30 frames per second on an iPhone 8."
)
_RUNS = 5  # of drawing; the fastest counts
_SOURCES = 3


def sizes(systems: Sequence[str]) -> str:
    """Markdown: a row for each preset among the systems (`preset:profile`), published figures in brackets."""
    lines = ["## Size and speed", ""]
    lines.append("| preset | parameters, M: sender + generator | multiply-adds a frame, G | ms a frame here |")
    lines.append("|---|---:|---:|---:|")
    weights = {parsed.weights: parsed.profile.parts for parsed in parse_systems(systems)}
    for folder, parts in weights.items():
        preset = manifest_preset(folder)
        lines.append(_line(preset, f"{1000 * seconds(folder, parts):.0f}"))
        if AT in preset:
            lines.append(_line(preset.partition(AT)[0], "not trained here"))
    told = f"Drawing by OpenVINO in float32 with {_SOURCES} sources, on all cores. {_PHONE}"
    return "\n".join([*lines, "", told])


def _line(preset: str, speed: str) -> str:
    """A row of the table."""
    counts, published = counted(preset, _SOURCES), PUBLISHED.get(preset, ("", ""))
    found = f"{counts.sender / 1e6:.2f} + {counts.generator / 1e6:.2f}", f"{counts.draw / 1e9:.2f}"
    cells = [f"{ours} ({theirs})" if theirs else ours for ours, theirs in zip(found, published, strict=True)]
    return f"| {preset} | {' | '.join(cells)} | {speed} |"


def seconds(weights: str, parts: Sequence[str]) -> float:
    """The shortest time in which a picture is drawn."""
    rng = np.random.default_rng(0)
    sample = DrivingSample({part: rng.uniform(0, 0.5, PART_SHAPES[part]).astype(np.float32) for part in parts})
    pictures = [rng.integers(0, 255, (256, 256, 3)).astype(np.uint8) for _ in range(_SOURCES)]
    draw, inputs = DrawRuntime(weights, pictures, [sample] * _SOURCES, exact=True), DrawInputs.still(sample)
    draw(inputs)
    times = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        draw(inputs)
        times.append(time.perf_counter() - start)
    return min(times)
