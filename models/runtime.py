"""Inference without torch: the shipped networks on a CPU through OpenVINO.

`MotionRuntime` is the sender's (unsup keypoints, Jacobians, expression) and computes in float32. `DrawRuntime` is the
receiver's; it computes in bfloat16 where the CPU can (a fifth faster, pictures no worse: training/LOG.md), in float32
elsewhere. Pictures are not normative. What depends on the source set only is computed once, in the constructor.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import platformdirs

from fvc.codec.motion.pose_history import MOMENTS, DrawInputs
from fvc.codec.motion.sample import N_EXPRESSION, N_SUP, N_UNSUP, NEUTRAL_EXPRESSION, DrivingSample
from fvc.models.weights import folder_of, verify

# OpenVINO sets the process's locale to "C" and back while it reads a network: two at once would leave it so.
_ONE_AT_A_TIME = threading.Lock()
_F32 = {"INFERENCE_PRECISION_HINT": "f32"}


@lru_cache(maxsize=1)
def _openvino() -> Any:
    """The package without its model converter, which takes twice as long to import as all the rest."""
    converter = "openvino.tools.ovc"
    if "openvino" in sys.modules or converter in sys.modules:
        return importlib.import_module("openvino")
    sys.modules[converter] = None  # type: ignore[assignment]
    try:
        openvino: Any = importlib.import_module("openvino")
    finally:
        del sys.modules[converter]
    openvino.convert_model = lambda *args, **named: importlib.import_module(converter).convert_model(*args, **named)
    return openvino


@lru_cache(maxsize=1)
def _core() -> Any:
    """OpenVINO, which keeps compiled networks in the user's cache folder: they load in half the time then."""
    core = _openvino().Core()
    with suppress(OSError):  # read-only home: compile each time
        folder = platformdirs.user_cache_path("fvc") / "openvino"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            core.set_property({"CACHE_DIR": str(folder)})
    return core


@cache
def _verified(preset: str) -> Path:
    folder = folder_of(preset)
    verify(folder)
    return folder


@cache
def read_graph(preset: str, graph: str) -> Any:
    """OpenVINO's model of one of an installed preset's graphs. Raises FvcError where a file is damaged."""
    folder = _verified(preset)
    with _ONE_AT_A_TIME:
        return _core().read_model(folder / f"{graph}.xml")


def _graph(preset: str, graph: str, sources: int | None) -> Any:
    model = read_graph(preset, graph).clone()
    if sources is not None:
        shapes = [port.get_partial_shape() for port in model.inputs]
        model.reshape({i: [sources, *list(s)[1:]] for i, s in enumerate(shapes) if s[0].is_dynamic})
    return model


def compile_like_ours(model: Any, streams: int = 1, exact: bool = False) -> Any:
    """Compiles an OpenVINO model as `DrawRuntime` does.

    Args:
        streams: above 1, so many inferences run at a time, each on one thread; 1: one inference on all cores.
        exact: float32 on any CPU; else the precision that OpenVINO chooses for the CPU.
    """
    how: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if streams > 1:
        how = {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": streams}
    with _ONE_AT_A_TIME:
        return _core().compile_model(model, "CPU", how | (_F32 if exact else {}))


def _compile(preset: str, graph: str, sources: int | None = None, streams: int = 1, exact: bool = False) -> Any:
    return compile_like_ours(_graph(preset, graph, sources), streams, exact)


def draw_graph(preset: str, sources: int) -> tuple[Any, Any]:
    """The graph that `DrawRuntime` runs, as OpenVINO's model and compiled, for counting its operations."""
    model = _graph(preset, "draw", sources)
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
    """Inputs of the graph `embed`: pictures uint8 [N, 256, 256, 3]; position, jacobian, presence, see `points`."""
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


def cores() -> int:
    """How many pictures to draw at a time: the cores that this process may use, at most 8."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, 8)


class MotionRuntime:
    """crop uint8 [256, 256, 3] -> {"unsup": [10, 2], "jac": [10, 2, 2], "expr": [16]}, float32."""

    def __init__(self, preset: str) -> None:
        self._request = _compile(preset, "motion", exact=True).create_infer_request()

    def __call__(self, crop: np.ndarray) -> dict[str, np.ndarray]:
        result = list(self._request.infer([np.ascontiguousarray(crop)[None]]).values())
        return {name: np.array(value[0]) for name, value in zip(("unsup", "jac", "expr"), result, strict=True)}


class DrawRuntime:
    """Draws faces from one source set. May be called from several threads.

    Args:
        pictures: N source pictures, uint8 [256, 256, 3] each.
        samples: one of each source, reduced to the parts that the stream carries.
        streams: how many pictures are drawn at a time, each on one core. 1: all cores work on one picture, which has
            the least delay; 2 on two cores draws a fifth more pictures per second.
        exact: float32 on any CPU.
    """

    def __init__(
        self,
        preset: str,
        pictures: Sequence[np.ndarray],
        samples: Sequence[DrivingSample],
        streams: int = 1,
        exact: bool = False,
    ) -> None:
        count, tensor = len(pictures), _openvino().Tensor
        embed = _compile(preset, "embed", count, exact=exact).create_infer_request()
        found = embed.infer(list(source_inputs(pictures, samples))).values()
        embedding = [tensor(np.array(t)) for t in found]
        compiled = _compile(preset, "draw", count, streams, exact)
        self._first = len(embedding)
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(streams):
            request = compiled.create_infer_request()
            for index, item in enumerate(embedding):
                request.set_input_tensor(index, item)
            self._idle.put(request)

    def __call__(self, inputs: DrawInputs) -> np.ndarray:
        """Returns the picture, uint8 [256, 256, 3]."""
        tensors = {self._first + n: array for n, array in enumerate(driving_inputs(inputs))}
        request = self._idle.get()
        try:
            return np.array(next(iter(request.infer(tensors).values()))[0])
        finally:
            self._idle.put(request)
