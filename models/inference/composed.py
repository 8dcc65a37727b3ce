"""A composed generator at work: sources embedded one by one, and frames drawn from the nearest of them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from fvc.codec.base.constants import SIDE
from fvc.codec.base.inference import openvino_package
from fvc.codec.media.resizing import resized
from fvc.codec.motion.pose_history import DrawInputs, positions
from fvc.codec.motion.sample import DrivingSample
from fvc.models.inference.graphs import Graph, compile_graph
from fvc.models.inference.lookup import LookUp
from fvc.models.inference.nearest import CONFIDENCE_CHANNEL, CONFIDENCE_TENSOR, drawn_from, nearest
from fvc.models.inference.tensors import driving_inputs, source_inputs

_CONFIDENCE = CONFIDENCE_TENSOR - 1  # here the RGB, which stands before it in `models.generator.Embedding`, comes last


class ComposedSources:
    """The sources' rows of the embedding, each computed when a picture is first drawn from it.

    Those of large pictures are computed at once: the network for them takes too much memory to be kept beside drawing.

    Args:
        pictures: N source pictures, uint8 [S, S, 3]. samples: one of each.

    Attributes:
        most: how many of them draw a frame. positions: of their keypoints, float32 [N, K, 2].
    """

    def __init__(self, preset: str, pictures: Sequence[np.ndarray], samples: Sequence[DrivingSample]) -> None:
        self.most, self.side = drawn_from(preset, len(pictures)), len(pictures[0])
        self.positions = np.stack([positions(sample.parts) for sample in samples])
        self._pictures, self._samples = pictures, samples
        self._rows: dict[int, list[np.ndarray]] = {}
        self._one_at_a_time = threading.Lock()
        self._request = compile_graph(Graph(preset, "embed", 1, exact=True, side=self.side)).create_infer_request()
        if self.side > SIDE:
            for number in range(len(pictures)):
                self._row(number)

    def rows(self, numbers: Sequence[int]) -> tuple[list[tuple[np.ndarray, ...]], list[np.ndarray]]:
        """For each tensor of the embedding these sources' rows, [1, ...] each; and their colours, uint8 [S, S, 3]."""
        with self._one_at_a_time:
            *tensors, colours = zip(*(self._row(number) for number in numbers), strict=True)
        return tensors, [picture[0] for picture in colours]

    def _row(self, number: int) -> list[np.ndarray]:
        if number not in self._rows:
            inputs = source_inputs([self._pictures[number]], [self._samples[number]])
            self._rows[number] = [np.array(tensor) for tensor in self._request.infer(list(inputs)).values()]
            if len(self._rows) == len(self._pictures):
                self._request = None  # its memory is free for drawing
        return self._rows[number]


class ComposedRequest:
    """Draws one picture at a time, with memory of its own for the embedding of the sources that it draws from.

    Args:
        moved, redrawn: the compiled graphs, see `models.inference.lookup`.
    """

    def __init__(self, sources: ComposedSources, moved: Any, redrawn: Any) -> None:
        self._sources, self._look_up = sources, LookUp(sources.most, sources.side)
        self._moved, self._redrawn = moved.create_infer_request(), redrawn.create_infer_request()
        self._numbers: tuple[int, ...] = ()
        self._embedding: list[np.ndarray] = []
        self._colours: list[np.ndarray] = []
        self._confidence = np.empty(0, np.float32)

    def __call__(self, inputs: DrawInputs) -> np.ndarray:
        """The picture, uint8 [S, S, 3]."""
        self._bind(inputs)
        *points, expression, recent = driving_inputs(inputs)
        given = {len(self._embedding) + n: tensor for n, tensor in enumerate((*points, recent))}
        flow, blend, *rest = self._moved.infer(given, share_outputs=True).values()
        rgb = self._look_up.sampled(self._colours, flow, blend)
        seen = [resized(rgb, SIDE)[None], *rest, expression]
        redrawn = next(iter(self._redrawn.infer(seen, share_inputs=True, share_outputs=True).values()))
        return self._look_up.put_together(rgb, redrawn[0])

    def _bind(self, inputs: DrawInputs) -> None:
        """Makes it draw from the sources that are nearest to a frame."""
        chosen = nearest(inputs, self._sources.positions, self._sources.most)
        if chosen.numbers != self._numbers:
            rows, self._colours = self._sources.rows(chosen.numbers)
            self._fill(rows)
            self._numbers = chosen.numbers
        self._confidence_now()[:] = self._confidence + chosen.log_shares[:, None, None]

    def _fill(self, rows: list[tuple[np.ndarray, ...]]) -> None:
        if self._embedding:
            for tensor, each in zip(self._embedding, rows, strict=True):
                np.concatenate(each, out=tensor)
        else:
            self._embedding = [np.concatenate(each) for each in rows]
            for index, tensor in enumerate(self._embedding):
                self._moved.set_input_tensor(index, openvino_package().Tensor(tensor, shared_memory=True))
        self._confidence = self._confidence_now().copy()

    def _confidence_now(self) -> np.ndarray:
        return self._embedding[_CONFIDENCE][:, CONFIDENCE_CHANNEL]
