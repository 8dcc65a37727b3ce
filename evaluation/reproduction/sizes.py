"""Parameters, multiply-adds and speed of systems, as a table.

Published figures: the first-order model's are counted from its authors' configuration vox-256 (they print none); those
of Neural Talking Heads are in section 4 of Zakharov et al., ICCV 2019. The paper prints none of its mobile models.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.motion.sample import PART_SHAPES, DrivingSample
from fvc.evaluation.presets.systems import parse_systems
from fvc.evaluation.speed.roofline import multiply_adds
from fvc.models.inference.drawing import DrawRuntime
from fvc.models.inference.graphs import drawing_graphs
from fvc.models.presets import AT
from fvc.models.weights import manifest_preset

PUBLISHED = {  # preset -> million parameters at full width, sender's networks and generator
    "fom": "14.22 + 45.58",
    "nth": "15 + 38 (embedder, generator)",
}
_RUNS = 5  # of drawing; the fastest counts
_SOURCES = 3


def _count(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def parameters(preset: str) -> tuple[int, int]:
    """Parameters of the sender's networks and of the generator."""
    from fvc.models.model import build_network

    network = build_network(preset)
    sender, generator = (_count(part) for part in (network.motion, network.generator))
    return sender, generator


def sizes(systems: Sequence[str]) -> str:
    """Markdown: a row for each preset among the systems (`preset:profile`), beside what is published at full width."""
    lines = ["## Size and speed", ""]
    lines.append(
        "| preset | parameters, M: sender + generator | published | multiply-adds a frame, G | ms a frame here |"
    )
    lines.append("|---|---:|---:|---:|---:|")
    weights = {parsed.weights: parsed.profile.parts for parsed in parse_systems(systems)}
    for folder, parts in weights.items():
        preset = manifest_preset(folder)
        sender, generator = parameters(preset)
        macs = sum(multiply_adds(model) for model, _ in drawing_graphs(folder, _SOURCES))
        published = PUBLISHED.get(preset.partition(AT)[0], "")
        size = f"{sender / 1e6:.2f} + {generator / 1e6:.2f}"
        work = f"{macs / 1e9:.2f} | {1000 * seconds(folder, parts):.0f}"
        lines.append(f"| {preset} | {size} | {published} | {work} |")
    return "\n".join([*lines, "", f"Drawing by OpenVINO in float32 with {_SOURCES} sources, on all cores."])


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
