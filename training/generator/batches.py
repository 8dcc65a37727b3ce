"""Batch plans -> batches of pixels, decoded ahead of time by a CPU thread, or taken from frames kept on the device.

Both ways give the same pictures up to rounding. On a CPU the first is cheaper (it touches only the frames of the
batch); a GPU holds all frames as bytes (10,000 frames: 2 GB) and crops, mirrors and tints a batch in a few kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fvc.codec.base.constants import SIDE
from fvc.codec.face.patching import patched, placed
from fvc.training.data.pack import Pack
from fvc.training.generator.sampling import PATCHES, BatchPlan

__all__ = ["Batch", "DeviceFrames", "FileFrames", "Pack", "Prefetch"]


@dataclass(frozen=True)
class Batch:
    """B samples of N sources and D driving frames.

    sources [B, N, 3, 256, 256] and driving [B, D, 3, 256, 256] in [0, 1], their sup keypoints [B, N, 33, 2] and
    [B, D, 33, 2] in [-1, 1]; theta [B, 2, 3], coarse [B] and neighbours [B] (0 or 1) as in `sampling.BatchPlan`;
    clips int64 [B], which clip of the pack each sample is from.
    """

    sources: Tensor
    source_keypoints: Tensor
    driving: Tensor
    driving_keypoints: Tensor
    theta: Tensor
    coarse: Tensor
    neighbours: Tensor
    clips: Tensor


def _batch(plan: BatchPlan, pictures: Tensor, keypoints: Tensor, numbers: Sequence[Tensor]) -> Batch:
    n = plan.sources
    return Batch(pictures[:, :n], keypoints[:, :n], pictures[:, n:], keypoints[:, n:], *numbers)


def _numbers(plan: BatchPlan, pack: Pack) -> list[Tensor]:
    neighbours, clips = plan.neighbours.astype(np.float32), pack.clip[plan.frames[:, 0]].astype(np.int64)
    return [torch.from_numpy(array) for array in (plan.theta, plan.coarse, neighbours, clips)]


def _patch(plan: BatchPlan, pictures: Any, points: np.ndarray, paste: Callable[..., tuple[Any, np.ndarray]]) -> None:
    """In place, where the plan says so: replaces the last source by the first with the last one's eyes or mouth."""
    last = plan.sources - 1
    for b in np.flatnonzero(plan.patch):
        base, sup = pictures[b, 0], points[b, 0]
        for part in PATCHES[plan.patch[b] - 1]:
            base, sup = paste(base, sup, pictures[b, last], points[b, last], part)
        pictures[b, last], points[b, last] = base, sup


class FileFrames:
    """Decodes the frames of a plan, augments them with OpenCV and moves them to `device`."""

    def __init__(self, pack: Pack, mirror: Sequence[int], device: str = "cpu") -> None:
        self._pack, self._mirror, self._device = pack, list(mirror), device

    def batch(self, plan: BatchPlan) -> Batch:
        """The batch of a plan."""
        rgb = np.empty((*plan.frames.shape, SIDE, SIDE, 3), np.uint8)
        for b, frames in enumerate(plan.frames):
            (x, y, side), gain, bias = plan.window[b], plan.gain[b], plan.bias[b]
            for n, frame in enumerate(frames):
                image = self._pack.image(int(frame))
                if side != SIDE:
                    image = cv2.resize(image[y : y + side, x : x + side], (SIDE, SIDE))
                if plan.mirror[b]:
                    image = image[:, ::-1]
                if bias != 0:
                    image = np.clip(image * gain + bias, 0, 255).astype(np.uint8)
                rgb[b, n] = image
        points = plan.keypoints(self._pack.keypoints, self._mirror)
        _patch(plan, rgb, points, patched)
        pictures = torch.from_numpy(rgb).to(self._device).permute(0, 1, 4, 2, 3).float() / 255
        keypoints = torch.from_numpy(points).to(self._device)
        return _batch(plan, pictures, keypoints, [t.to(self._device) for t in _numbers(plan, self._pack)])


class DeviceFrames:
    """Keeps all frames of a pack as bytes on `device`; each is decoded once, by `workers` threads."""

    def __init__(self, pack: Pack, mirror: Sequence[int], device: str, workers: int = 8) -> None:
        self._pack, self._mirror, self._device = pack, list(mirror), device
        self._frames = torch.empty((len(pack.yaw), 3, SIDE, SIDE), dtype=torch.uint8, device=device)

        def load(frame: int) -> None:
            image = np.ascontiguousarray(pack.image(frame).transpose(2, 0, 1))
            self._frames[frame] = torch.from_numpy(image).to(device)

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(load, range(len(pack.yaw))))

    def _move(self, array: np.ndarray | Tensor) -> Tensor:
        tensor = torch.as_tensor(array)
        if self._device.startswith("cuda"):
            tensor = tensor.pin_memory()  # so that the copy does not wait for the device
        return tensor.to(self._device, non_blocking=True)

    def batch(self, plan: BatchPlan) -> Batch:
        """The batch of a plan."""
        count, many = plan.frames.shape
        scale = plan.window[:, 2] / SIDE
        theta = np.zeros((count, 2, 3), np.float32)
        theta[:, 0, 0] = np.where(plan.mirror, -scale, scale)
        theta[:, 1, 1] = scale
        theta[:, :, 2] = (2 * plan.window[:, :2] + plan.window[:, 2:]) / SIDE - 1
        matrices, gain, bias = self._move(theta), self._move(plan.gain), self._move(plan.bias)
        pictures = self._frames[self._move(plan.frames).flatten()].float()
        grid = F.affine_grid(matrices.repeat_interleave(many, 0), list(pictures.shape), align_corners=False)
        pictures = F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
        pictures = pictures.unflatten(0, (count, many)) * gain[:, None, :, None, None]
        pictures = (pictures + bias[:, None, None, None, None]).clamp(0, 255) / 255
        points = plan.keypoints(self._pack.keypoints, self._mirror)
        _patch(plan, pictures, points, self._patched)
        keypoints = self._move(points)
        return _batch(plan, pictures, keypoints, [self._move(t) for t in _numbers(plan, self._pack)])

    def _patched(
        self, picture: Tensor, sup: np.ndarray, donor: Tensor, donor_sup: np.ndarray, part: str
    ) -> tuple[Tensor, np.ndarray]:
        """`fvc.codec.face.patching.patched` on the device, bilinear."""
        matrix, mask, landmarks = placed(sup, donor_sup, part)
        to_pixels = np.array([[SIDE / 2, 0, SIDE / 2 - 0.5], [0, SIDE / 2, SIDE / 2 - 0.5], [0, 0, 1]])
        back = np.linalg.inv(to_pixels) @ np.linalg.inv(np.vstack([matrix, [0, 0, 1]])) @ to_pixels
        theta = self._move(back[None, :2].astype(np.float32))
        grid = F.affine_grid(theta, [1, *picture.shape], align_corners=False)
        warped = F.grid_sample(donor[None], grid, padding_mode="border", align_corners=False)[0]
        return picture + (warped - picture) * self._move(mask), landmarks


class Prefetch:
    """Calls `load` in a thread, always one step ahead."""

    def __init__(self, load: Callable[[int], Batch]) -> None:
        self._load = load
        self._pool = ThreadPoolExecutor(1)
        self._ahead: tuple[int, Future[Batch]] | None = None

    def __call__(self, step: int) -> Batch:
        """The batch of `step`. Raises what the thread raised."""
        ready = self._ahead
        batch = ready[1].result() if ready is not None and ready[0] == step else self._load(step)
        self._ahead = step + 1, self._pool.submit(self._load, step + 1)
        return batch

    def close(self) -> None:
        """Ends the thread; what it loaded ahead is dropped."""
        self._pool.shutdown(cancel_futures=True)
