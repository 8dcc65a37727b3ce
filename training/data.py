"""The packed data set and how training samples are drawn from it.

A pack is one safetensors file: `jpeg` uint8 [bytes], `offset` int64 [frames + 1], `landmarks` int16 [frames, 478, 2]
in units of 1/8192 of the crop's half side, `yaw` float32 [frames], `clip` int32 [frames]; its metadata holds the JSON
lists `clips` and `identities`. No pickle, and small enough to travel.

Sampling is the paper's four frames (section 3.3): sources A and C are far apart in yaw, B1 between them, B2 near A in
yaw; we add the paper's frontal source at will (N sources). Clips are drawn by person first, so that people with many
minutes do not dominate. Everything about faces that training needs (the sup landmarks, mirroring) comes through
arguments.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

SIDE = 256
_LANDMARK_UNIT = 8192
_LIDS, _LIPS = ((19, 23), (20, 24)), ((5, 6),)  # upper and lower, as positions in the sup set (codec.tracking.SUP)
_HARD = 0.3  # share of samples whose driving frame is chosen for its eyes or mouth


class PackWriter:
    """Collects clips and writes the pack on exit."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._jpegs: list[bytes] = []
        self._landmarks: list[np.ndarray] = []
        self._yaw: list[np.ndarray] = []
        self._clip: list[int] = []
        self._names: list[str] = []
        self._identities: list[str] = []

    def __enter__(self) -> PackWriter:
        return self

    def add(self, name: str, identity: str, jpegs: list[bytes], landmarks: np.ndarray, yaw: np.ndarray) -> None:
        """Adds a clip: T JPEGs, landmarks [T, 478, 2] in [-1, 1], yaw [T] in radians."""
        self._clip += [len(self._names)] * len(jpegs)
        self._names.append(name)
        self._identities.append(identity)
        self._jpegs += jpegs
        self._landmarks.append(np.clip(np.round(landmarks * _LANDMARK_UNIT), -32768, 32767).astype(np.int16))
        self._yaw.append(yaw.astype(np.float32))

    def __exit__(self, kind: type | None, *exc: object) -> None:
        if kind is not None:
            return
        lengths = np.array([0, *map(len, self._jpegs)], np.int64)
        tensors = {
            "jpeg": np.frombuffer(b"".join(self._jpegs), np.uint8),
            "offset": np.cumsum(lengths),
            "landmarks": np.concatenate(self._landmarks),
            "yaw": np.concatenate(self._yaw),
            "clip": np.array(self._clip, np.int32),
        }
        save_file(tensors, self._path, {"clips": json.dumps(self._names), "identities": json.dumps(self._identities)})


@dataclass(frozen=True)
class Clip:
    """Frames [first, last) of a pack that show one person in one take."""

    name: str
    identity: str
    frames: np.ndarray


class Pack:
    """A pack in memory; frames are decoded when asked for."""

    def __init__(self, path: Path, sup: tuple[int, ...]) -> None:
        with safe_open(path, "numpy") as file:
            meta = file.metadata()
            self._jpeg, self._offset = file.get_tensor("jpeg"), file.get_tensor("offset")
            self.keypoints = file.get_tensor("landmarks")[:, list(sup)].astype(np.float32) / _LANDMARK_UNIT
            self.yaw, clip = file.get_tensor("yaw"), file.get_tensor("clip")
        names, who = json.loads(meta["clips"]), json.loads(meta["identities"])
        self.clips = [Clip(n, who[i], np.flatnonzero(clip == i)) for i, n in enumerate(names)]
        self.people = [[c for c in self.clips if c.identity == person] for person in sorted(set(who))]

    def image(self, frame: int) -> np.ndarray:
        """uint8 [256, 256, 3] RGB."""
        data = self._jpeg[self._offset[frame] : self._offset[frame + 1]]
        return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]

    def images(self, frames: np.ndarray) -> torch.Tensor:
        """float32 [len(frames), 3, 256, 256] in [0, 1]."""
        stack = np.stack([self.image(int(f)) for f in frames])
        return torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 255

    def choose_sources(self, clip: Clip, count: int) -> np.ndarray:
        """The paper's choice at inference: the most frontal frame, then the two yaw extremes, then between them."""
        order = clip.frames[np.argsort(self.yaw[clip.frames], kind="stable")]
        frontal = clip.frames[np.argmin(np.abs(self.yaw[clip.frames]))]
        return np.array([frontal, order[0], order[-1], order[len(order) // 4]][:count])


@dataclass(frozen=True)
class Batch:
    """sources [B,N,3,256,256], driving [B,3,256,256] in [0,1]; their sup keypoints [B,N,33,2], [B,33,2] in [-1,1]."""

    sources: torch.Tensor
    source_keypoints: torch.Tensor
    driving: torch.Tensor
    driving_keypoints: torch.Tensor

    def to(self, device: str) -> Batch:
        """The batch on another device."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in vars(self).values()))


class Sampler:
    """One batch per step, the same whenever it is asked for; a sample's frames share one augmentation."""

    def __init__(self, pack: Pack, mirror: tuple[int, ...], seed: int = 0) -> None:
        self._pack, self._mirror, self._seed = pack, list(mirror), seed
        self._random = np.random.default_rng(seed)
        points = pack.keypoints
        height = np.linalg.norm(points[:, 0] - points[:, 1], axis=-1)  # forehead to chin
        self._eyes, self._mouth = (
            np.mean([np.linalg.norm(points[:, up] - points[:, low], axis=-1) for up, low in lids], 0) / height
            for lids in (_LIDS, _LIPS)
        )
        self._people = [p for p in ([c for c in clips if len(c.frames) >= 4] for clips in pack.people) if p]

    def _frames(self, n_sources: int) -> tuple[np.ndarray, int]:
        draw = self._random
        person = self._people[draw.integers(len(self._people))]
        clip = person[draw.integers(len(person))]
        yaw = self._pack.yaw
        picked = draw.permutation(clip.frames)[: n_sources + 6]
        picked = picked[np.argsort(yaw[picked], kind="stable")]
        if draw.random() < 0.5:
            picked = picked[::-1]
        a, c, rest = picked[0], picked[-1], picked[1:-1]
        near = [f for f in rest if abs(yaw[f] - yaw[a]) < 0.1]
        # B2, a small rotation away from a source, or B1, anywhere between the sources.
        pool = near if draw.random() < 0.3 and near else list(rest)
        driving = self._least_like(pool, [a, c]) if draw.random() < _HARD else pool[draw.integers(len(pool))]
        others = [f for f in rest if f != driving]
        extra = list(draw.permutation(others)[: n_sources - 2]) if others else []
        sources = draw.permutation(np.array([a, c, *extra], np.int64))[:n_sources]
        while len(sources) < n_sources:
            sources = np.append(sources, a)
        return sources, int(driving)

    def _least_like(self, pool: list[int], sources: list[int]) -> int:
        """The frame whose eyes or mouth are open least like both sources': blinks and open mouths are rare."""
        gap = self._eyes if self._random.random() < 0.5 else self._mouth
        apart = np.abs(gap[pool][:, None] - gap[sources]).min(1)
        return pool[int(apart.argmax())]

    def _augment(self, rgb: np.ndarray, keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[T,H,W,3] uint8 and [T,33,2]: crop jitter, mirror, gain and tint, one draw for all T."""
        draw, side = self._random, rgb.shape[1]
        if draw.random() < 0.6:
            size = int(draw.uniform(0.8, 1.0) * side)
            x, y = draw.integers(side - size + 1), draw.integers(side - size + 1)
            rgb = np.stack([cv2.resize(f[y : y + size, x : x + size], (side, side)) for f in rgb])
            keypoints = ((keypoints + 1) * side / 2 - [x, y]) * 2 / size - 1
        if draw.random() < 0.5:
            rgb = rgb[:, :, ::-1]
            keypoints = keypoints[:, self._mirror] * [-1, 1]
        if draw.random() < 0.5:
            gain, bias = draw.uniform(0.8, 1.2, 3) * 0.5 + draw.uniform(0.8, 1.2) * 0.5, draw.uniform(-15, 15)
            rgb = np.clip(rgb * gain.astype(np.float32) + np.float32(bias), 0, 255).astype(np.uint8)
        return rgb, keypoints

    def batch(self, step: int, size: int, n_sources: int) -> Batch:
        """The batch of training step `step` (negative: one that is never trained on).

        It has `size` samples of `n_sources` sources and one driving frame.
        """
        self._random = np.random.default_rng([self._seed, abs(step), int(step < 0)])
        rgbs, points = [], []
        for _ in range(size):
            sources, driving = self._frames(n_sources)
            frames = np.append(sources, driving)
            rgb, keypoints = self._augment(
                np.stack([self._pack.image(int(f)) for f in frames]), self._pack.keypoints[frames]
            )
            rgbs.append(rgb)
            points.append(keypoints)
        x = torch.from_numpy(np.stack(rgbs)).permute(0, 1, 4, 2, 3).float() / 255
        k = torch.from_numpy(np.stack(points)).float()
        return Batch(x[:, :-1], k[:, :-1], x[:, -1].contiguous(), k[:, -1].contiguous())
