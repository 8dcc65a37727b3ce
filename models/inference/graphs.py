"""The graphs of installed networks: read, compiled for this CPU, and the tensors that go into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fvc.codec.base.constants import SIDE
from fvc.codec.base.inference import EXACT, ONE_AT_A_TIME, core
from fvc.codec.motion.pose_history import MOMENTS, DrawInputs
from fvc.codec.motion.sample import N_EXPRESSION, N_SUP, N_UNSUP, NEUTRAL_EXPRESSION, DrivingSample
from fvc.models.inference.nearest import drawn_from
from fvc.models.weights import folder_of, large_folder, verify


@cache
def _verified(preset: str) -> Path:
    folder = folder_of(preset)
    verify(folder)
    return folder


@cache
def read_graph(preset: str, graph: str, side: int = SIDE) -> Any:
    """OpenVINO's model of one of an installed preset's graphs. Raises FvcError where a file is damaged.

    `side`: of the pictures; for 512 pixels see `models.weights.draws_large`.
    """
    folder = _verified(preset) if side == SIDE else large_folder(preset)
    return read_model(folder / f"{graph}.xml")


def read_model(path: Path) -> Any:
    """OpenVINO's model of a graph file."""
    with ONE_AT_A_TIME:
        return core().read_model(path)


def _graph(preset: str, graph: str, sources: int | None, side: int = SIDE) -> Any:
    model = read_graph(preset, graph, side).clone()
    if sources is not None:
        shapes = [port.get_partial_shape() for port in model.inputs]
        model.reshape({i: [sources, *list(s)[1:]] for i, s in enumerate(shapes) if s[0].is_dynamic})
    return model


def compile_like_ours(model: Any, streams: int = 1, exact: bool = False) -> Any:
    """Compiles an OpenVINO model as `DrawRuntime` does.

    Args:
        streams: above 1: this many concurrent inferences, each on one thread; 1: one inference on all cores.
        exact: float32 on any CPU; else the precision that OpenVINO chooses for the CPU.
    """
    how: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if streams > 1:
        how = {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": streams}
    with ONE_AT_A_TIME:
        return core().compile_model(model, "CPU", how | (EXACT if exact else {}))


def compile_graph(
    preset: str, graph: str, sources: int | None = None, streams: int = 1, exact: bool = False, side: int = SIDE
) -> Any:
    """A graph of an installed preset, compiled for so many sources (None: as it is). See `compile_like_ours`."""
    return compile_like_ours(_graph(preset, graph, sources, side), streams, exact)


def draw_graph(preset: str, sources: int, side: int = SIDE) -> tuple[Any, Any]:
    """The graph that `DrawRuntime` runs for so many sources, as OpenVINO's model and compiled: to count operations."""
    model = _graph(preset, "draw", drawn_from(preset, sources), side)
    return model, compile_like_ours(model)


def points(parts: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A sample's keypoints for the networks: position [1, 43, 2], jacobian [1, 43, 2, 2], presence [1, 43]."""
    position = np.zeros((1, N_SUP + N_UNSUP, 2), np.float32)
    jacobian = np.tile(np.eye(2, dtype=np.float32), (1, N_SUP + N_UNSUP, 1, 1))
    presence = np.zeros((1, N_SUP + N_UNSUP), np.float32)
    if "sup" in parts:
        position[0, :N_SUP], presence[0, :N_SUP] = parts["sup"], 1
    if "unsup" in parts:
        position[0, N_SUP:], presence[0, N_SUP:] = parts["unsup"], 1
    if "jac" in parts:
        jacobian[0, N_SUP:] = parts["jac"]
    return position, jacobian, presence


def source_inputs(
    pictures: Sequence[np.ndarray], samples: Sequence[DrivingSample]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Inputs of the graph `embed`: pictures uint8 [N, S, S, 3]; position, jacobian, presence, see `points`."""
    each = [points(sample.parts) for sample in samples]
    position, jacobian, presence = (np.concatenate(tensors) for tensors in zip(*each, strict=True))
    return np.stack(pictures), position, jacobian, presence


def driving_inputs(inputs: DrawInputs) -> tuple[np.ndarray, ...]:
    """Inputs of the graph `draw` after the embedding.

    position [1, 43, 2], jacobian [1, 43, 2, 2], presence [1, 43], expression [1, 16], recent [MOMENTS, 43, 2]; all
    float32.
    """
    position, jacobian, presence = points(inputs.parts)
    recent = position.repeat(MOMENTS, 0)
    recent[:, presence[0] > 0] = inputs.recent_positions
    expression = np.asarray(inputs.parts.get("expr", np.full(N_EXPRESSION, NEUTRAL_EXPRESSION)), np.float32)[None]
    return position, jacobian, presence, expression, recent
