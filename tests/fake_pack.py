"""A tiny training pack that needs no tracker: dark pictures with a bright dot at each of a few landmarks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from fvc.codec.face.landmarks import SUP
from fvc.training.data.pack import ClipData
from fvc.training.data.pack_writer import PackWriter

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
