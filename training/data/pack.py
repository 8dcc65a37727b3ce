"""The packed data set: one file of face crops with landmarks, yaw and identities. Reading; written by `pack_writer`.

A pack is one safetensors file, so that it needs no unpickling and can be mapped into memory:

    pictures   uint8 [bytes]            JPEG or WebP files of 256x256 pixels, one after the other (`jpeg` in old packs)
    offset     int64 [frames + 1]       bytes at which each begins, and the end
    landmarks  int16 [frames, 478, 2]   in units of 1/8192 of the crop's half side
    yaw        float32 [frames]         radians
    clip       int32 [frames]           index into `clips`
    time       float32 [frames]         seconds since the clip's first frame            (not in old packs)
    rank       int32 [frames]           order in which the clip's frames were chosen    (not in old packs)

and its metadata holds the JSON lists `clips` and `identities` and a JSON object `report`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors import safe_open

from fvc.codec.face.source_choice import choose_sources

LANDMARK_UNITS = 8192  # per half side of the crop, in the stored int16 landmarks
MIN_CLIP_FRAMES = 4  # least frames of a clip that the sampler can use


@dataclass(frozen=True)
class ClipData:
    """One clip to be written into a pack: T encoded pictures, landmarks [T, 478, 2] in [-1, 1], yaw, time, rank [T]."""

    name: str
    identity: str
    pictures: Sequence[bytes]
    landmarks: np.ndarray
    yaw: np.ndarray
    time: np.ndarray
    rank: np.ndarray


@dataclass(frozen=True)
class Clip:
    """The frames of a pack (indices, by time) that show one person in one shot."""

    name: str
    identity: str
    frames: np.ndarray


class Pack:
    """A pack, mapped into memory; pictures are decoded on demand.

    Args:
        sup: which of the 478 landmarks to load as `keypoints`, float32 [frames, len(sup), 2] in [-1, 1]; may be empty.

    Raises:
        ValueError: not a pack.
    """

    def __init__(self, path: Path, sup: Sequence[int]) -> None:
        try:
            self._file = safe_open(path, "numpy")
            meta, names = self._file.metadata(), set(self._file.keys())
            self._pictures = self._file.get_slice("pictures" if "pictures" in names else "jpeg")
            self.offset = self._file.get_tensor("offset")
            self._landmarks = self._file.get_slice("landmarks")
            self.yaw, self.clip = self._file.get_tensor("yaw"), self._file.get_tensor("clip")
            count = len(self.yaw)
            nowhere, first = np.full(count, np.nan, np.float32), np.zeros(count, np.int32)
            self.time = self._file.get_tensor("time") if "time" in names else nowhere
            self.rank = self._file.get_tensor("rank") if "rank" in names else first
            clips, who = json.loads(meta["clips"]), json.loads(meta["identities"])
            self.report: dict[str, object] = json.loads(meta.get("report", "{}"))
        except Exception as error:  # safetensors has an exception type of its own per version
            raise ValueError(f"{path}: not a training pack ({str(error).splitlines()[0]})") from None
        self.keypoints = (
            self._landmarks[:][:, list(sup)].astype(np.float32) / LANDMARK_UNITS if len(sup) else np.zeros((0, 0, 2))
        )
        order = np.argsort(self.clip, kind="stable")
        bounds = np.searchsorted(self.clip[order], np.arange(len(clips) + 1))
        self.clips = [Clip(n, who[i], order[bounds[i] : bounds[i + 1]]) for i, n in enumerate(clips)]
        people: dict[str, list[Clip]] = {}
        for clip in self.clips:
            people.setdefault(clip.identity, []).append(clip)
        self.people = [people[person] for person in sorted(people)]

    def picture(self, frame: int) -> bytes:
        """The encoded file of one frame."""
        return bytes(self._pictures[int(self.offset[frame]) : int(self.offset[frame + 1])].tobytes())

    def image(self, frame: int) -> np.ndarray:
        """uint8 [256, 256, 3] RGB."""
        return cv2.imdecode(np.frombuffer(self.picture(frame), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]

    def images(self, frames: np.ndarray) -> torch.Tensor:
        """float32 [len(frames), 3, 256, 256] in [0, 1]."""
        stack = np.stack([self.image(int(f)) for f in frames])
        return torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 255

    def data(self, clip: Clip, frames: np.ndarray) -> ClipData:
        """Some frames of a clip, ready for a writer."""
        landmarks = (
            np.concatenate([self._landmarks[int(f) : int(f) + 1] for f in frames]).astype(np.float32) / LANDMARK_UNITS
        )
        pictures = [self.picture(int(f)) for f in frames]
        columns = self.yaw[frames], self.time[frames], self.rank[frames]
        return ClipData(clip.name, clip.identity, pictures, landmarks, *columns)

    def choose_sources(self, clip: Clip, count: int) -> np.ndarray:
        """Frames of the clip, as `fvc encode` chooses them (but without regard to eyes and contrast)."""
        same = np.ones(len(clip.frames))
        return clip.frames[choose_sources(self.keypoints[clip.frames], same, same, count)]
