"""The receiver's networks: a source set and a frame's sample -> the picture.

They compute in float32 unless the CPU is faster in a shorter type, in which pictures look no worse (training/LOG.md).
Pictures are not normative. What depends on the sources alone, their embedding, is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from queue import SimpleQueue
from typing import Any

import numpy as np

from fvc.codec.base.hashing import file_hash
from fvc.codec.base.inference import core, openvino_package
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.motion.sample import DrivingSample
from fvc.models.inference.composed import ComposedRequest, ComposedSources
from fvc.models.inference.graphs import Graph, compile_graph, graph_file
from fvc.models.inference.nearest import drawn_from
from fvc.models.inference.tensors import driving_inputs, source_inputs
from fvc.models.inference.timing import cores, fastest
from fvc.models.weights import draws_from_nearest

AT_A_TIME = min(cores(), 8)  # pictures drawn concurrently where many are wanted
_Request = Callable[[DrawInputs], np.ndarray]  # one picture at a time


class _JointSources:
    """The embedding of all sources together, for generators that join them."""

    def __init__(self, preset: str, pictures: Sequence[np.ndarray], samples: Sequence[DrivingSample]) -> None:
        embed = Graph(preset, "embed", len(pictures), exact=True, side=len(pictures[0]))
        request = compile_graph(embed).create_infer_request()
        self.tensors = [np.array(t) for t in request.infer(list(source_inputs(pictures, samples))).values()]


class _JointRequest:
    """Draws one picture at a time from all sources."""

    def __init__(self, sources: _JointSources, draw: Any) -> None:
        self._draw, self._count = draw.create_infer_request(), len(sources.tensors)
        for index, tensor in enumerate(sources.tensors):
            self._draw.set_input_tensor(index, openvino_package().Tensor(tensor, shared_memory=True))

    def __call__(self, inputs: DrawInputs) -> np.ndarray:
        """The picture, uint8 [S, S, 3]."""
        given = {self._count + n: tensor for n, tensor in enumerate(driving_inputs(inputs))}
        return np.array(next(iter(self._draw.infer(given).values()))[0])


class DrawRuntime:
    """Draws faces from one source set. May be called from several threads.

    Chooses the precision, and whether to draw pictures one by one on all cores or several at a time on one core each,
    by what is fastest on this machine (`models.inference.timing`). This is timed when the machine draws for the first
    time.

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
        is_composed = draws_from_nearest(preset)
        self._sources = (ComposedSources if is_composed else _JointSources)(preset, pictures, samples)
        self._compiled = cache(compile_graph)
        ways = _ways(Graph(preset, "moved" if is_composed else "draw", drawn_from(preset, count), streams, exact))
        self.way, self.milliseconds = next(iter(ways)), dict[str, float]()
        if len(ways) > 1:
            inputs = DrawInputs.still(samples[0])
            prepare = {name: partial(self._timed, way, streams, inputs) for name, way in ways.items()}
            graph = file_hash(graph_file(preset, ways[self.way].name))[:16]
            key = f"{graph}, OpenVINO {openvino_package().__version__}, {streams} pictures of {side} pixels"
            self.way, self.milliseconds = fastest(key, prepare)
        self._idle: SimpleQueue[_Request] = SimpleQueue()
        for request in self._requests(ways[self.way]):
            self._idle.put(request)

    def __call__(self, inputs: DrawInputs) -> np.ndarray:
        """Returns the picture, uint8 [S, S, 3]."""
        request = self._idle.get()
        try:
            return request(inputs)
        finally:
            self._idle.put(request)

    def _requests(self, way: Graph) -> list[_Request]:
        """As many as are drawn at a time."""
        sources, compiled = self._sources, self._compiled(way)
        if isinstance(sources, _JointSources):
            return [_JointRequest(sources, compiled) for _ in range(way.streams)]
        redrawn = self._compiled(replace(way, name="redrawn", sources=None))
        return [ComposedRequest(sources, compiled, redrawn) for _ in range(way.streams)]

    def _timed(self, way: Graph, pictures: int, inputs: DrawInputs) -> Callable[[], None]:
        """A way to draw, ready to be timed: each call draws the same number of pictures."""
        requests, pool = self._requests(way), ThreadPoolExecutor(way.streams)

        def draw() -> None:
            for _ in range(pictures // way.streams):
                list(pool.map(lambda request: request(inputs), requests))

        return draw


def _ways(graph: Graph) -> dict[str, Graph]:
    """The ways to draw that come into question, by name. Where the graph must be exact, only as it is."""
    lows = (False,) if graph.exact or not _has_low_precision() else (False, True)
    streams = [graph.streams] if graph.exact else sorted({graph.streams, 1}, reverse=True)
    return {
        f"{'low precision' if low else 'float32'}, {n} at a time": replace(graph, streams=n, exact=not low)
        for low in lows
        for n in streams
    }


@cache
def _has_low_precision() -> bool:
    """Whether the CPU has a shorter type than float32, which OpenVINO would use by default."""
    return bool({"BF16", "FP16"} & set(core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")))
