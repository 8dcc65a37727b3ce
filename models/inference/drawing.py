"""The receiver's networks: a source set and a frame's sample -> the picture.

They compute in float32 unless the CPU is faster in a shorter type, in which pictures look no worse (training/LOG.md).
Pictures are not normative. What depends on the sources alone, their embedding, is computed once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from queue import SimpleQueue
from typing import Any

import numpy as np

from fvc.codec.base.constants import SIDE
from fvc.codec.base.hashing import file_hash
from fvc.codec.base.inference import core, openvino_package
from fvc.codec.motion.pose_history import DrawInputs, positions
from fvc.codec.motion.sample import DrivingSample
from fvc.models.inference.graphs import Graph, compile_graph, graph_file
from fvc.models.inference.nearest import CONFIDENCE_CHANNEL, CONFIDENCE_TENSOR, Nearest, drawn_from, nearest
from fvc.models.inference.tensors import driving_inputs, source_inputs
from fvc.models.inference.timing import cores, fastest
from fvc.models.weights import draws_from_nearest

AT_A_TIME = min(cores(), 8)  # pictures drawn concurrently where many are wanted


class _EmbeddedSources:
    """The sources' rows of the embedding, each computed when a picture is first drawn from it.

    Those of large pictures are computed at once: the network for them takes too much memory to be kept beside drawing.
    """

    def __init__(self, preset: str, pictures: Sequence[np.ndarray], samples: Sequence[DrivingSample]) -> None:
        self._pictures, self._samples = pictures, samples
        self._rows: dict[int, list[np.ndarray]] = {}
        self._one_at_a_time = threading.Lock()
        embed = Graph(preset, "embed", 1, exact=True, side=len(pictures[0]))
        self._request = compile_graph(embed).create_infer_request()
        if len(pictures[0]) > SIDE:
            for number in range(len(pictures)):
                self._row(number)

    def rows(self, numbers: tuple[int, ...]) -> list[tuple[np.ndarray, ...]]:
        """For each tensor of the embedding these sources' rows, [1, ...] each."""
        with self._one_at_a_time:
            return list(zip(*(self._row(number) for number in numbers), strict=True))

    def _row(self, number: int) -> list[np.ndarray]:
        if number not in self._rows:
            inputs = source_inputs([self._pictures[number]], [self._samples[number]])
            self._rows[number] = [np.array(tensor) for tensor in self._request.infer(list(inputs)).values()]
            if len(self._rows) == len(self._pictures):
                self._request = None  # its memory is free for drawing
        return self._rows[number]


class _JointSources:
    """The embedding of all sources together, for networks that join them."""

    def __init__(self, preset: str, pictures: Sequence[np.ndarray], samples: Sequence[DrivingSample]) -> None:
        embed = Graph(preset, "embed", len(pictures), exact=True, side=len(pictures[0]))
        request = compile_graph(embed).create_infer_request()
        self._tensors = [np.array(t) for t in request.infer(list(source_inputs(pictures, samples))).values()]

    def rows(self, numbers: tuple[int, ...]) -> list[tuple[np.ndarray, ...]]:
        """As of `_EmbeddedSources`, all rows in one; `numbers` are all sources."""
        return [(tensor,) for tensor in self._tensors]


class _Request:
    """One inference of the graph `draw`, with memory of its own for the embedding of the sources it draws from."""

    def __init__(self, compiled: Any, chooses: bool) -> None:
        self.infer, self._chooses = compiled.create_infer_request(), chooses
        self._numbers: tuple[int, ...] = ()
        self._embedding: list[np.ndarray] = []
        self._confidence = np.empty(0, np.float32)

    def bind(self, sources: _EmbeddedSources | _JointSources, chosen: Nearest) -> int:
        """Makes it draw from the chosen sources; returns how many tensors their embedding has."""
        if chosen.numbers != self._numbers:
            self._fill(sources.rows(chosen.numbers))
            self._numbers = chosen.numbers
        if self._chooses:
            self._confidence_now()[:] = self._confidence + chosen.log_shares[:, None, None]
        return len(self._embedding)

    def _fill(self, rows: list[tuple[np.ndarray, ...]]) -> None:
        if self._embedding:
            for tensor, each in zip(self._embedding, rows, strict=True):
                np.concatenate(each, out=tensor)
        else:
            self._embedding = [np.concatenate(each) for each in rows]
            for index, tensor in enumerate(self._embedding):
                self.infer.set_input_tensor(index, openvino_package().Tensor(tensor, shared_memory=True))
        if self._chooses:
            self._confidence = self._confidence_now().copy()

    def _confidence_now(self) -> np.ndarray:
        return self._embedding[CONFIDENCE_TENSOR][:, CONFIDENCE_CHANNEL]


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
        self._positions = np.stack([positions(sample.parts) for sample in samples])
        self._chooses = draws_from_nearest(preset)
        self._most = drawn_from(preset, count)
        self._sources = (_EmbeddedSources if self._chooses else _JointSources)(preset, pictures, samples)
        ways = _ways(Graph(preset, "draw", self._most, streams, exact, side))
        compiled = cache(compile_graph)
        self.way, self.milliseconds = next(iter(ways)), dict[str, float]()
        if len(ways) > 1:
            inputs = DrawInputs.still(samples[0])
            prepare = {name: partial(self._timed, compiled, way, streams, inputs) for name, way in ways.items()}
            graph = file_hash(graph_file(preset, "draw", side))[:16]
            key = f"{graph}, OpenVINO {openvino_package().__version__}, {streams} pictures"
            self.way, self.milliseconds = fastest(key, prepare)
        self._idle: SimpleQueue[_Request] = SimpleQueue()
        for _ in range(ways[self.way].streams):
            self._idle.put(_Request(compiled(ways[self.way]), self._chooses))

    def __call__(self, inputs: DrawInputs) -> np.ndarray:
        """Returns the picture, uint8 [S, S, 3]."""
        request = self._idle.get()
        try:
            tensors = self._prepare(request, inputs)
            return np.array(next(iter(request.infer.infer(tensors).values()))[0])
        finally:
            self._idle.put(request)

    def _prepare(self, request: _Request, inputs: DrawInputs) -> dict[int, np.ndarray]:
        """Binds the request to the sources of a frame; returns its other inputs."""
        count = request.bind(self._sources, nearest(inputs, self._positions, self._most))
        return {count + n: array for n, array in enumerate(driving_inputs(inputs))}

    def _timed(
        self, compiled: Callable[[Graph], Any], way: Graph, pictures: int, inputs: DrawInputs
    ) -> Callable[[], None]:
        """A way to draw, ready to be timed: each call draws the same number of pictures."""
        requests = [_Request(compiled(way), self._chooses) for _ in range(way.streams)]
        tensors = [self._prepare(request, inputs) for request in requests]

        def draw() -> None:
            for _ in range(pictures // way.streams):
                for request, given in zip(requests, tensors, strict=True):
                    request.infer.start_async(given)
                for request in requests:
                    request.infer.wait()

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
