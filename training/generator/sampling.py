"""Draws the frames and the augmentation of training samples. Numbers only: no pixel is touched here.

A `BatchPlan` depends on seed, step and index of the sample alone. So a run that was stopped resumes with the same
samples, and N processes that share a batch draw the same samples as one process.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fvc.codec.base.constants import SIDE
from fvc.codec.face.landmarks import CHIN, FOREHEAD, INNER_LIPS, LIDS
from fvc.codec.face.source_choice import SHUT
from fvc.training.data.pack import Clip, Pack
from fvc.training.generator.recipe import JITTER

HARD_SHARE = 0.3  # of samples whose driving frame is chosen for its eyes or mouth
INFERENCE_SHARE = 0.5  # of samples whose sources are chosen as at inference, from a part of the clip
MIN_TURN, MAX_SMALL_TURN = 0.3, 0.1  # radians of yaw: the paper's yaw_A - yaw_C and |yaw_A - yaw_B2|
MAX_NEIGHBOUR_GAP = 0.15  # seconds between frames that count as neighbours
MAX_DRAWS = 400  # most clips that the paper's sampling draws until one suits
PATCHES = (("eyes",), ("mouth",), ("eyes", "mouth"))  # what `BatchPlan.patch` 1, 2 and 3 stand for
PATCH_SHARES = (0.5, 0.25, 0.25)

# Augmentation
CROP_SHARE, MIN_CROP = 0.6, 0.8  # share of samples that are cropped; side of the crop
TINT_SHARE, TINT, MAX_BIAS = 0.5, 0.2, 15  # share that is tinted; gains 1 +- TINT; levels of 255


@dataclass(frozen=True)
class BatchPlan:
    """B samples of N sources and D driving frames; one augmentation per sample.

    Attributes:
        frames: int64 [B, N + D], indices into the pack, sources first.
        sources: N.
        window: int64 [B, 3], left, top and side of the crop in pixels.
        mirror: bool [B].
        gain, bias: float32 [B, 3], [B]: pixel * gain + bias, pixels in 0 to 255.
        theta: float32 [B, 2, 3], the affine motion of the equivariance loss.
        coarse: float32 [B], how many times coarser the quantizers are than the stream's.
        neighbours: bool [B], whether the last two driving frames follow each other in time.
        patch: int [B], 0, or 1 + the index in `PATCHES` of the parts that the first source takes from the last one;
            the result replaces the last one (`fvc.codec.face.patching`).
    """

    frames: np.ndarray
    sources: int
    window: np.ndarray
    mirror: np.ndarray
    gain: np.ndarray
    bias: np.ndarray
    theta: np.ndarray
    coarse: np.ndarray
    neighbours: np.ndarray
    patch: np.ndarray

    def keypoints(self, all_keypoints: np.ndarray, mirror: list[int]) -> np.ndarray:
        """Keypoints [frames of the pack, K, 2] -> [B, N + D, K, 2] where the augmented frames show them, float32."""
        points = all_keypoints[self.frames]
        corner, side = self.window[:, None, None, :2], self.window[:, None, None, 2:]
        points = ((points + 1) * SIDE / 2 - corner) * 2 / side - 1
        turned = points[:, :, mirror] * [-1, 1]
        return np.where(self.mirror[:, None, None, None], turned, points).astype(np.float32)


class Sampler:
    """Draws batch plans. Clips are drawn by person first, so that people with many minutes do not dominate.

    Args:
        sampling, coarse, turning, patched, jitter: see `recipe.Recipe`.
        temporal: append a neighbour in time as the last driving frame.

    Raises:
        ValueError: no clip is long enough, or none turns as far as the paper's sampling needs.
    """

    def __init__(
        self,
        pack: Pack,
        seed: int = 0,
        sampling: str = "spread",
        coarse: int = 0,
        temporal: bool = False,
        turning: float = 0.0,
        patched: float = 0.0,
        jitter: tuple[float, float] = JITTER,
    ) -> None:
        self._pack, self._seed, self._sampling, self._patched = pack, seed, sampling, patched
        self._coarse, self._temporal, self._jitter = coarse, temporal, jitter
        points = pack.keypoints
        height = np.linalg.norm(points[:, FOREHEAD] - points[:, CHIN], axis=-1)
        self._eyes, self._mouth = (
            np.mean([np.linalg.norm(points[:, up] - points[:, low], axis=-1) for up, low in pairs], 0) / height
            for pairs in (LIDS, (INNER_LIPS,))
        )
        least = {"spread": 4, "random": 2, "three": 3, "four": 4}[sampling]
        turn = MIN_TURN if sampling in ("three", "four") else 0.0

        def fits(clip: Clip) -> bool:
            return len(clip.frames) >= least and float(np.ptp(pack.yaw[clip.frames])) > turn - 1e-9

        self._people = [p for p in ([c for c in clips if fits(c)] for clips in pack.people) if p]
        if not self._people:
            raise ValueError(f"no clip has {least} frames and turns by {turn} rad, as sampling {sampling} needs")
        turns = ([c for c in clips if float(np.ptp(pack.yaw[c.frames])) > MIN_TURN] for clips in self._people)
        self._turners = [clips for clips in turns if clips]
        self._turning = turning if self._turners else 0.0
        self._next = np.full(len(pack.yaw), -1)
        for clip in pack.clips if temporal else ():
            follows = np.diff(pack.time[clip.frames]) <= MAX_NEIGHBOUR_GAP
            self._next[clip.frames[:-1][follows]] = clip.frames[1:][follows]

    def plan(self, step: int, size: int, n_sources: int, first: int = 0) -> BatchPlan:
        """Samples `first` to `first + size` of training step `step` (negative: one that is never trained on)."""
        samples = [
            self._sample(np.random.default_rng([self._seed, abs(step), int(step < 0), first + n]), n_sources)
            for n in range(size)
        ]
        columns = [np.stack(column) for column in zip(*samples, strict=True)]
        return BatchPlan(columns[0], n_sources, *columns[1:])

    def _sample(self, rng: np.random.Generator, n_sources: int) -> tuple[np.ndarray, ...]:
        pick = {"spread": self._spread, "random": self._random}.get(self._sampling, self._paper)
        sources, driving = pick(rng, n_sources)
        patch = 0
        if n_sources >= 3 and self._patched and rng.random() < self._patched:
            patch, sources, driving = self._patched_sample(rng, sources, driving)
        neighbours = False
        if self._temporal:
            follower = self._next[driving[-1]]
            neighbours = bool(follower >= 0)
            driving = [*driving, int(follower) if neighbours else driving[-1]]
        return (
            np.array([*sources, *driving], np.int64),
            *self._augmentation(rng),
            np.array(neighbours),
            np.array(patch),
        )

    def _patched_sample(
        self, rng: np.random.Generator, sources: list[int], driving: list[int]
    ) -> tuple[int, list[int], list[int]]:
        """Makes the last source the donor: a frame with shut eyes, or with a mouth unlike the sources'.

        Where eyes are patched and other frames have them shut too, half of the driving frames are from these.
        """
        clip = self._pack.clips[self._pack.clip[sources[0]]]
        kept, pool = sources[:-1], [int(f) for f in clip.frames if f not in (*sources[:-1], *driving)]
        patch = int(rng.choice([1, 2, 3], p=PATCH_SHARES))
        if not pool:
            return 0, sources, driving
        if patch == 2:
            difference = np.abs(self._mouth[pool][:, None] - self._mouth[kept]).min(1)
            return patch, [*kept, pool[int(difference.argmax())]], driving
        shut = [f for f in pool if self._eyes[f] < SHUT * self._eyes[kept].min()]
        if not shut:
            return 0, sources, driving
        donor = shut[int(self._eyes[shut].argmin())]
        others = [f for f in shut if f != donor]
        if others and rng.random() < 0.5:
            driving = [*driving[:-1], others[rng.integers(len(others))]]
        return patch, [*kept, donor], driving

    def _augmentation(self, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Crop jitter, mirror, gain and tint, the equivariance loss's motion, coarseness."""
        side, x, y = SIDE, 0, 0
        if rng.random() < CROP_SHARE:
            side = int(rng.uniform(MIN_CROP, 1.0) * SIDE)
            x, y = (int(v) for v in rng.integers(SIDE - side + 1, size=2))
        mirror = rng.random() < 0.5
        gain, bias = np.ones(3), 0.0
        if rng.random() < TINT_SHARE:
            colour, light = rng.uniform(1 - TINT, 1 + TINT, 3), rng.uniform(1 - TINT, 1 + TINT)
            gain, bias = colour * 0.5 + light * 0.5, rng.uniform(-MAX_BIAS, MAX_BIAS)
        of_matrix, of_shift = self._jitter
        linear, shift = np.eye(2) + rng.normal(0, of_matrix, (2, 2)), rng.normal(0, of_shift, (2, 1))
        theta = np.concatenate([linear, shift], 1)
        coarse = 2.0 ** rng.uniform(0, self._coarse) if self._coarse else 1.0
        return (
            np.array([x, y, side], np.int64),
            np.array(mirror),
            gain.astype(np.float32),
            np.array(bias, np.float32),
            theta.astype(np.float32),
            np.array(coarse, np.float32),
        )

    def _clip(self, rng: np.random.Generator) -> Clip:
        people = self._turners if rng.random() < self._turning else self._people
        person = people[rng.integers(len(people))]
        return person[rng.integers(len(person))]

    def _paper(self, rng: np.random.Generator, n_sources: int) -> tuple[list[int], list[int]]:
        """A, C as sources, B or B1 and B2 as driving frames; further sources are any other frames."""
        for _ in range(MAX_DRAWS):
            clip = self._clip(rng)
            a, c = (int(f) for f in rng.choice(clip.frames, 2, replace=False))
            yaw = self._pack.yaw
            a, c = (a, c) if yaw[a] > yaw[c] else (c, a)
            if yaw[a] - yaw[c] <= MIN_TURN:
                continue
            between = clip.frames[(yaw[clip.frames] < yaw[a]) & (yaw[clip.frames] > yaw[c])]
            if not len(between):
                continue
            driving = [int(rng.choice(between))]
            if self._sampling == "four":
                near = clip.frames[np.abs(yaw[clip.frames] - yaw[a]) < MAX_SMALL_TURN]
                near = near[(near != a) & (near != driving[0])]
                if not len(near):
                    continue
                driving.append(int(rng.choice(near)))
            others = [int(f) for f in rng.permutation(clip.frames) if f not in (a, c, *driving)]
            return [a, c, *others, *([a] * n_sources)][:n_sources], driving
        raise ValueError(
            f"sampling {self._sampling}: found no frames with the yaws that it needs in {MAX_DRAWS} random clips"
        )

    def _random(self, rng: np.random.Generator, n_sources: int) -> tuple[list[int], list[int]]:
        """Any frames of a clip, each once; a clip of too few repeats its first source."""
        driving, *sources = (int(f) for f in rng.permutation(self._clip(rng).frames)[: n_sources + 1])
        return sources + [sources[0]] * (n_sources - len(sources)), [driving]

    def _spread(self, rng: np.random.Generator, n_sources: int) -> tuple[list[int], list[int]]:
        clip = self._clip(rng)
        if rng.random() < INFERENCE_SHARE:
            return self._chosen(rng, clip, n_sources)
        yaw = self._pack.yaw
        picked = rng.permutation(clip.frames)[: n_sources + 6]
        picked = picked[np.argsort(yaw[picked], kind="stable")]
        if rng.random() < 0.5:
            picked = picked[::-1]
        a, c, rest = picked[0], picked[-1], picked[1:-1]
        near = [f for f in rest if abs(yaw[f] - yaw[a]) < MAX_SMALL_TURN]
        # B2, a small rotation away from a source, or B1, anywhere between the sources.
        pool = near if rng.random() < 0.3 and near else list(rest)
        driving = self._driving(rng, pool, [a, c])
        others = [f for f in rest if f != driving]
        extra = list(rng.permutation(others)[: n_sources - 2]) if others else []
        sources = [int(f) for f in rng.permutation(np.array([a, c, *extra], np.int64))][:n_sources]
        return sources + [int(a)] * (n_sources - len(sources)), [driving]

    def _chosen(self, rng: np.random.Generator, clip: Clip, n_sources: int) -> tuple[list[int], list[int]]:
        """Sources as `fvc encode` chooses them from three quarters of the clip; any other frame is driving."""
        part = Clip(clip.name, clip.identity, rng.permutation(clip.frames)[: max(len(clip.frames) * 3 // 4, 3)])
        sources = [int(f) for f in self._pack.choose_sources(part, n_sources)]
        return sources, [self._driving(rng, [f for f in clip.frames if f not in sources], sources)]

    def _driving(self, rng: np.random.Generator, pool: list[int], sources: list[int]) -> int:
        """A frame of the pool: often one with a neighbour in time, if neighbours are wanted; sometimes a hard one."""
        followed = [f for f in pool if self._next[f] >= 0]
        pool = followed if followed and rng.random() < 0.7 else pool
        hard = rng.random() < HARD_SHARE
        return int(self._least_like(rng, pool, sources) if hard else pool[rng.integers(len(pool))])

    def _least_like(self, rng: np.random.Generator, pool: list[int], sources: list[int]) -> int:
        """The frame whose eyes or mouth are open least like any source's: blinks and open mouths are rare."""
        gap = self._eyes if rng.random() < 0.5 else self._mouth
        difference = np.abs(gap[pool][:, None] - gap[sources]).min(1)
        return pool[int(difference.argmax())]
