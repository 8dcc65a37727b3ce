"""Inference without torch: the shipped networks on a CPU through OpenVINO, in float32.

`MotionRuntime` is the sender's (unsup keypoints, Jacobians, expression), `DrawRuntime` the receiver's. What depends
on the source set only is computed once, in the constructor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fvc.models.presets import N_SUP
from fvc.models.weights import folder_of, verify

SIDE = 256
_N_UNSUP = 10
_HINT = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}


@lru_cache(maxsize=1)
def _core() -> Any:
    import openvino

    return openvino.Core()


@cache
def _verified(preset: str) -> Path:
    folder = folder_of(preset)
    verify(folder)
    return folder


@cache
def _read(preset: str, graph: str) -> Any:
    return _core().read_model(_verified(preset) / f"{graph}.xml")


def _compile(preset: str, graph: str, sources: int | None = None) -> Any:
    model = _read(preset, graph).clone()
    if sources is not None:
        shapes = [port.get_partial_shape() for port in model.inputs]
        model.reshape({i: [sources, *list(s)[1:]] for i, s in enumerate(shapes) if s[0].is_dynamic})
    return _core().compile_model(model, "CPU", _HINT).create_infer_request()


def points(parts: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A sample's keypoints for the networks: position [1, 43, 2], jacobian [1, 43, 2, 2], presence [1, 43]."""
    position = np.zeros((1, N_SUP + _N_UNSUP, 2), np.float32)
    jacobian = np.tile(np.eye(2, dtype=np.float32), (1, N_SUP + _N_UNSUP, 1, 1))
    presence = np.zeros((1, N_SUP + _N_UNSUP), np.float32)
    if "sup" in parts:
        position[0, :N_SUP], presence[0, :N_SUP] = parts["sup"], 1
    if "unsup" in parts:
        position[0, N_SUP:], presence[0, N_SUP:] = parts["unsup"], 1
    if "jac" in parts:
        jacobian[0, N_SUP:] = parts["jac"]
    return position, jacobian, presence


class MotionRuntime:
    """crop uint8 [256, 256, 3] -> {"unsup": [10, 2], "jac": [10, 2, 2], "expr": [16]}, float32."""

    def __init__(self, preset: str) -> None:
        self._request = _compile(preset, "motion")

    def __call__(self, crop: np.ndarray) -> dict[str, np.ndarray]:
        """See the class."""
        result = list(self._request.infer([np.ascontiguousarray(crop)[None]]).values())
        return {name: np.array(value[0]) for name, value in zip(("unsup", "jac", "expr"), result, strict=True)}


class DrawRuntime:
    """Draws faces from one source set.

    Args:
        pictures: N source pictures, uint8 [256, 256, 3] each.
        samples: the parts of each source's sample (float32 arrays, see `codec.sample`).
    """

    def __init__(
        self, preset: str, pictures: Sequence[np.ndarray], samples: Sequence[Mapping[str, np.ndarray]]
    ) -> None:
        count = len(pictures)
        position, jacobian, presence = (np.concatenate(t) for t in zip(*map(points, samples), strict=True))
        embed = _compile(preset, "embed", count)
        embedding = [np.array(t) for t in embed.infer([np.stack(pictures), position, jacobian, presence]).values()]
        self._request = _compile(preset, "draw", count)
        self._first = len(embedding)
        import openvino

        for index, tensor in enumerate(embedding):
            self._request.set_input_tensor(index, openvino.Tensor(np.ascontiguousarray(tensor)))

    def __call__(self, sample: Mapping[str, np.ndarray]) -> np.ndarray:
        """The parts of a driving sample -> uint8 [256, 256, 3]."""
        expression = np.asarray(sample.get("expr", np.full(16, 0.5)), np.float32)[None]
        inputs = {self._first + n: array for n, array in enumerate((*points(sample), expression))}
        return np.array(next(iter(self._request.infer(inputs).values()))[0])
