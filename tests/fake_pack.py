"""Made-up training data that needs no tracker.

Packs show dark pictures with a bright dot at each of a few landmarks; batches are noise.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from fvc.codec.face.landmarks import SUP
from fvc.training.data.pack import ClipData
from fvc.training.data.pack_writer import PackWriter
from fvc.training.generator.batches import Batch

DOTS = (0, 1, 2, 7, 8)  # positions in the sup set that have a dot
STEP = 0.1  # seconds between frames


def face(yaw: float) -> np.ndarray:
    """Landmarks [478, 2] in [-1, 1] of something that turns: fixed places, pressed together and shifted by yaw."""
    places = np.random.default_rng(5).uniform(-0.6, 0.6, (478, 2))
    places[list(SUP)[:2]] = [[0, -0.7], [0, 0.7]]
    return places * [np.cos(yaw), 1] + [0.3 * yaw, 0]


def picture(landmarks: np.ndarray) -> np.ndarray:
    """uint8 [256, 256, 3]: a gradient with white dots at `DOTS`."""
    x = np.linspace(20, 90, 256)
    image = np.stack(np.broadcast_arrays(x[None], x[:, None], np.full((256, 256), 40.0)), -1).astype(np.uint8)
    for at in landmarks[list(SUP)][list(DOTS)]:
        cv2.circle(image, tuple(((at + 1) * 128 - 0.5).round().astype(int).tolist()), 6, (255, 255, 255), -1)
    return image


def clip(name: str, identity: str, yaws: np.ndarray) -> ClipData:
    """A clip of one frame per yaw, `STEP` seconds apart."""
    landmarks = np.stack([face(yaw) for yaw in yaws])
    pictures = [cv2.imencode(".png", picture(points)[..., ::-1])[1].tobytes() for points in landmarks]
    count = len(yaws)
    return ClipData(name, identity, pictures, landmarks, np.asarray(yaws), np.arange(count) * STEP, np.arange(count))


def write(path: Path, clips: list[ClipData], **report: int) -> Path:
    """A pack of these clips."""
    with PackWriter(path, dict(report)) as pack:
        for item in clips:
            pack.add(item)
    return path


def random_batch(size: int, n_sources: int, n_driving: int = 1) -> Batch:
    """A batch of noise, by torch's own generator."""

    def keypoints(count: int) -> torch.Tensor:
        return torch.rand(size, count, len(SUP), 2) - 0.5

    return Batch(
        sources=torch.rand(size, n_sources, 3, 256, 256),
        source_keypoints=keypoints(n_sources),
        driving=torch.rand(size, n_driving, 3, 256, 256),
        driving_keypoints=keypoints(n_driving),
        theta=torch.eye(2, 3).repeat(size, 1, 1),
        coarse=torch.ones(size),
        neighbours=torch.zeros(size),
        clips=torch.zeros(size, dtype=torch.int64),
    )
