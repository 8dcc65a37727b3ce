"""Inference without torch: the shipped networks on a CPU through OpenVINO.

`MotionRuntime` is the sender's (unsup keypoints, Jacobians, expression) and computes in float32. `DrawRuntime` is the
receiver's; it draws in float32 unless the CPU is faster in a shorter type, in which pictures look no worse
(training/LOG.md). Pictures are not normative. What depends only on the source set is computed once, in the constructor.

`FuseRuntime` fuses a video layer with the drawn picture. Its network serves every preset: `models/weights/fusion` holds
`weights.safetensors`, the graph made of it, and `digests.json` with the SHA-256 of each.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from fvc.codec.base.constants import SIDE
from fvc.codec.base.errors import FvcError
from fvc.codec.base.inference import EXACT, ONE_AT_A_TIME, core, openvino_package
from fvc.codec.motion.pose_history import MOMENTS, DrawInputs
from fvc.codec.motion.sample import N_EXPRESSION, N_SUP, N_UNSUP, NEUTRAL_EXPRESSION, DrivingSample
from fvc.models.timing import cores, fastest
from fvc.models.weights import digests_of, folder_of, is_intact, large_folder, model_hash, verify

AT_A_TIME = min(cores(), 8)  # pictures drawn concurrently where many are wanted
FUSION = "fusion"
FUSION_FILES = ("weights.safetensors", "fuse.xml", "fuse.bin")
_DIGESTS = "digests.json"
_MAX_FUSION_BYTES = 1 << 24  # of a file


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


def _compile(
    preset: str, graph: str, sources: int | None = None, streams: int = 1, exact: bool = False, side: int = SIDE
) -> Any:
    return compile_like_ours(_graph(preset, graph, sources, side), streams, exact)


def draw_graph(preset: str, sources: int, side: int = SIDE) -> tuple[Any, Any]:
    """The graph that `DrawRuntime` runs, as OpenVINO's model and compiled, for counting its operations."""
    model = _graph(preset, "draw", sources, side)
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


class MotionRuntime:
    """crop uint8 [256, 256, 3] -> {"unsup": [10, 2], "jac": [10, 2, 2], "expr": [16]}, float32."""

    def __init__(self, preset: str) -> None:
        self._request = _compile(preset, "motion", exact=True).create_infer_request()

    def __call__(self, crop: np.ndarray) -> dict[str, np.ndarray]:
        result = list(self._request.infer([np.ascontiguousarray(crop)[None]]).values())
        return {name: np.array(value[0]) for name, value in zip(("unsup", "jac", "expr"), result, strict=True)}


def _embed(preset: str, pictures: Sequence[np.ndarray], samples: Sequence[DrivingSample]) -> list[Any]:
    """What drawing needs of the sources. The graph is freed at the end, before that of drawing takes its memory."""
    request = _compile(preset, "embed", len(pictures), exact=True, side=len(pictures[0])).create_infer_request()
    found = request.infer(list(source_inputs(pictures, samples))).values()
    return [openvino_package().Tensor(np.array(tensor)) for tensor in found]


class DrawRuntime:
    """Draws faces from one source set. May be called from several threads.

    Chooses the precision, and whether to draw pictures one by one on all cores or several at a time on one core each,
    by what is fastest on this machine (`models.timing`). This is timed when the machine draws for the first time.

    Args:
        pictures: N source pictures, uint8 [S, S, 3] each, S 256, or 512 where the preset draws that
            (`models.weights.draws_large`).
        samples: one of each source, reduced to the parts that the stream carries.
        streams: how many pictures the caller draws at a time. 1: one, with the least delay.
        exact: float32 on any CPU, and as many streams as given; nothing is timed.

    Attributes:
        way: how it draws, e.g. "float32, 2 at a time"; milliseconds: of the ways that were timed, for `streams`
            pictures; empty where there was nothing to choose.
    """

    def __init__(
        self,
        preset: str,
        pictures: Sequence[np.ndarray],
        samples: Sequence[DrivingSample],
        streams: int = 1,
        exact: bool = False,
    ) -> None:
        count, side = len(pictures), len(pictures[0])
        self._embedding = _embed(preset, pictures, samples)
        ways = {_way(low, n): (low, n) for low in (False, True) for n in sorted({streams, 1}, reverse=True)}
        if exact or not _has_low_precision():
            ways = {name: way for name, way in ways.items() if not way[0] and (way[1] == streams or not exact)}
        compiled = cache(lambda name: _compile(preset, "draw", count, ways[name][1], not ways[name][0], side))
        self.way, self.milliseconds = next(iter(ways)), dict[str, float]()
        if len(ways) > 1:
            inputs = driving_inputs(DrawInputs.still(samples[0]))
            prepare = {name: partial(self._timed, compiled, name, ways[name][1], streams, inputs) for name in ways}
            key = f"{model_hash(preset).hex()}, OpenVINO {openvino_package().__version__}, {streams} pictures"
            key += f" of {side} pixels" if side != SIDE else ""
            self.way, self.milliseconds = fastest(key, prepare)
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for request in self._requests(compiled(self.way), ways[self.way][1]):
            self._idle.put(request)

    def __call__(self, inputs: DrawInputs) -> np.ndarray:
        """Returns the picture, uint8 [S, S, 3]."""
        request = self._idle.get()
        try:
            return np.array(next(iter(request.infer(self._tensors(driving_inputs(inputs))).values()))[0])
        finally:
            self._idle.put(request)

    def _tensors(self, inputs: tuple[np.ndarray, ...]) -> dict[int, np.ndarray]:
        return {len(self._embedding) + n: array for n, array in enumerate(inputs)}

    def _requests(self, compiled: Any, count: int) -> list[Any]:
        requests = [compiled.create_infer_request() for _ in range(count)]
        for request in requests:
            for index, item in enumerate(self._embedding):
                request.set_input_tensor(index, item)
        return requests

    def _timed(
        self, compiled: Callable[[str], Any], name: str, at_a_time: int, pictures: int, inputs: tuple[np.ndarray, ...]
    ) -> Callable[[], None]:
        """A way to draw, ready to be timed: each call draws the same number of pictures."""
        requests, tensors = self._requests(compiled(name), at_a_time), self._tensors(inputs)

        def draw() -> None:
            for _ in range(pictures // at_a_time):
                for request in requests:
                    request.start_async(tensors)
                for request in requests:
                    request.wait()

        return draw


def _way(low: bool, at_a_time: int) -> str:
    return f"{'low precision' if low else 'float32'}, {at_a_time} at a time"


@cache
def _has_low_precision() -> bool:
    """Whether the CPU has a shorter type than float32, which OpenVINO would use by default."""
    return bool({"BF16", "FP16"} & set(core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")))


def write_digests(folder: Path) -> None:
    """Records the SHA-256 of the network's files."""
    (folder / _DIGESTS).write_text(json.dumps(digests_of(folder, FUSION_FILES), indent=1) + "\n")


@cache
def _verified_fusion() -> Path:
    """The folder of the network. Raises FvcError where a file is missing or damaged."""
    folder = folder_of(FUSION)
    try:
        stated = json.loads((folder / _DIGESTS).read_text())
        for name in FUSION_FILES:
            path = folder / name
            path.stat()  # raises where it is missing
            if not is_intact(path, stated[name], _MAX_FUSION_BYTES):
                raise FvcError(f"{path}: not what {_DIGESTS} says; reinstall fvc")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise FvcError(f"{folder}: the fusion network is missing or damaged; reinstall fvc") from error
    return folder


class FuseRuntime:
    """A layer's picture and the drawn one -> what is shown. May be called from several threads.

    Args:
        streams: how many pictures the caller fuses at a time; each takes one thread.
    """

    def __init__(self, streams: int = 1) -> None:
        compiled = compile_like_ours(read_model(_verified_fusion() / "fuse.xml"), streams, exact=True)
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(streams):
            self._idle.put(compiled.create_infer_request())

    def __call__(self, layer: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        """Two pictures uint8 [256, 256, 3] -> the fused one. To restore a layer alone, give it twice."""
        request = self._idle.get()
        try:
            inputs = [np.ascontiguousarray(layer)[None], np.ascontiguousarray(drawn)[None]]
            return np.array(next(iter(request.infer(inputs).values()))[0])
        finally:
            self._idle.put(request)


class LazyFuse:
    """A `FuseRuntime` that is loaded when it is first called: most streams have no layer."""

    def __init__(self, streams: int = 1) -> None:
        self._streams, self._lock = streams, threading.Lock()
        self._runtime: FuseRuntime | None = None

    def __call__(self, layer: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        """As `FuseRuntime`. Raises FvcError where the network's files are missing or damaged."""
        with self._lock:
            if self._runtime is None:
                self._runtime = FuseRuntime(self._streams)
        return self._runtime(layer, drawn)
