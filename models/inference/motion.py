"""The sender's networks: learned keypoints, Jacobians and expression of a picture. They compute in float32."""

from __future__ import annotations

import numpy as np

from fvc.models.inference.graphs import Graph, compile_graph


class MotionRuntime:
    """crop uint8 [256, 256, 3] -> {"unsup": [10, 2], "jac": [10, 2, 2], "expr": [16]}, float32."""

    def __init__(self, preset: str) -> None:
        self._request = compile_graph(Graph(preset, "motion", exact=True)).create_infer_request()

    def __call__(self, crop: np.ndarray) -> dict[str, np.ndarray]:
        result = list(self._request.infer([np.ascontiguousarray(crop)[None]]).values())
        return {name: np.array(value[0]) for name, value in zip(("unsup", "jac", "expr"), result, strict=True)}
