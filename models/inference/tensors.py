"""Samples and pictures -> the input tensors of the graphs `embed` and `draw`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fvc.codec.motion.pose_history import MOMENTS, DrawInputs
from fvc.codec.motion.sample import N_EXPRESSION, N_SUP, N_UNSUP, NEUTRAL_EXPRESSION, DrivingSample


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
