"""Batch plans and batches: which frames, how augmented, loaded on a CPU and on a device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_pack import DOTS, STEP, clip, write

from fvc.codec.face.landmarks import EYES, MOUTH, SUP, SUP_MIRROR
from fvc.training.data.pack import Pack
from fvc.training.generator.batches import Batch, DeviceFrames, FileFrames, Prefetch
from fvc.training.generator.sampling import Sampler


def test_a_plan_depends_on_seed_step_and_sample_only(pack: Pack) -> None:
    """So processes that share a batch draw what one would, and a run that was stopped draws what it would have."""
    whole = Sampler(pack, 3).plan(7, 4, 3)
    halves = [Sampler(pack, 3).plan(7, 2, 3, first) for first in (0, 2)]
    for name in ("frames", "window", "mirror", "gain", "bias", "theta", "coarse", "neighbours"):
        assert np.array_equal(getattr(whole, name), np.concatenate([getattr(half, name) for half in halves])), name
    for other in (Sampler(pack, 4).plan(7, 4, 3), Sampler(pack, 3).plan(8, 4, 3), Sampler(pack, 3).plan(-7, 4, 3)):
        assert not np.array_equal(whole.frames, other.frames)


@pytest.mark.parametrize("sampling", ["three", "four"])
def test_the_papers_sampling_keeps_its_rules(pack: Pack, sampling: str) -> None:
    plan = Sampler(pack, 0, sampling).plan(0, 200, 2)
    assert plan.frames.shape == (200, {"three": 3, "four": 4}[sampling])
    yaw = pack.yaw[plan.frames]
    a, c, b1 = yaw[:, 0], yaw[:, 1], yaw[:, 2]
    assert (a > b1).all()
    assert (b1 > c).all()
    assert (a - c > 0.3).all()
    assert np.ptp(a - c) > 0.4  # not always the extremes
    if sampling == "four":
        assert (np.abs(a - yaw[:, 3]) < 0.1).all()
    assert all(len(set(frames)) == len(frames) for frames in plan.frames.tolist())
    assert (pack.clip[plan.frames] == pack.clip[plan.frames[:, :1]]).all()


def test_the_papers_sampling_wants_heads_that_turn(tmp_path: Path) -> None:
    still = Pack(write(tmp_path / "s.pack", [clip("c", "cid", np.linspace(0, 0.1, 12))]), SUP)
    with pytest.raises(ValueError, match=r"turns by 0\.3 rad"):
        Sampler(still, 0, "four")
    plan = Sampler(still, 0).plan(0, 8, 3)
    assert plan.frames.shape == (8, 4)


def test_random_sampling_takes_any_frames_of_a_clip(pack: Pack, tmp_path: Path) -> None:
    plan = Sampler(pack, 0, "random").plan(0, 300, 8)
    assert plan.frames.shape == (300, 9)
    assert all(len(set(frames)) == 9 for frames in plan.frames.tolist())
    assert (pack.clip[plan.frames] == pack.clip[plan.frames[:, :1]]).all()
    driving = Sampler(pack, 0, "random").plan(0, 2000, 1).frames[:, 1]
    assert set(driving) == set(range(len(pack.yaw)))  # whatever their yaw
    short = Pack(write(tmp_path / "s.pack", [clip("c", "cid", np.zeros(3))]), SUP)
    sources, driving = np.split(Sampler(short, 0, "random").plan(0, 9, 8).frames, [8], 1)
    assert not (sources == driving).any()  # a source that is the driving frame would be copied


def test_the_equivariance_motion_is_as_large_as_wanted(pack: Pack) -> None:
    theta = Sampler(pack, 0, jitter=(0.05, 0.02)).plan(0, 2000, 2).theta - np.eye(2, 3)
    assert np.allclose(theta.std(0), [[0.05, 0.05, 0.02]] * 2, rtol=0.1)


def test_neighbours_follow_each_other_in_time(pack: Pack) -> None:
    plan = Sampler(pack, 0, temporal=True).plan(0, 50, 2)
    assert plan.frames.shape == (50, 4)
    assert plan.neighbours.mean() > 0.7
    time = pack.time[plan.frames]
    assert np.allclose((time[:, 3] - time[:, 2])[plan.neighbours], STEP)
    assert (plan.frames[:, 3] == plan.frames[:, 2])[~plan.neighbours].all()


def _sees_dots(batch: Batch) -> np.ndarray:
    """Brightness of all frames where the keypoints say that there are dots: [B, N + D, dots], 0 to 1."""
    pictures = torch.cat([batch.sources, batch.driving], 1)
    points = torch.cat([batch.source_keypoints, batch.driving_keypoints], 1)[:, :, list(DOTS)].flatten(0, 1)
    seen = torch.nn.functional.grid_sample(pictures.flatten(0, 1), points[:, None], align_corners=False)
    inside = points.abs().amax(-1) < 0.97
    return np.asarray(seen.mean(1)[:, 0][inside])


def test_both_ways_of_loading_agree_and_keypoints_stay_on_their_dots(pack: Pack) -> None:
    plan = Sampler(pack, 1).plan(0, 10, 2)
    assert 0 < plan.mirror.mean() < 1
    assert 0 < (plan.window[:, 2] < 256).mean() < 1
    asymmetric = list(SUP_MIRROR)
    first = FileFrames(pack, asymmetric).batch(plan)
    second = DeviceFrames(pack, asymmetric, "cpu", workers=2).batch(plan)
    for name in ("sources", "driving"):
        a, b = getattr(first, name), getattr(second, name)
        assert a.shape == b.shape
        assert float((a - b).abs().mean()) < 2 / 255
    for name in ("source_keypoints", "driving_keypoints", "theta", "coarse", "neighbours"):
        assert torch.equal(getattr(first, name), getattr(second, name))
    unturned = replace(plan, mirror=np.zeros_like(plan.mirror))
    for frames in (FileFrames(pack, asymmetric), DeviceFrames(pack, asymmetric, "cpu", workers=2)):
        assert _sees_dots(frames.batch(unturned)).min() > 0.6
        turned = frames.batch(replace(plan, mirror=np.ones_like(plan.mirror)))
        assert _sees_dots(turned).min() > 0.6  # dots 0, 1, 2 are of the middle line; 7 and 8 change places


def test_patched_sources_have_what_the_donor_has(pack: Pack) -> None:
    """Where a patch is drawn, the last source is the first one but for eyes or mouth, both ways of loading."""
    plan = Sampler(pack, 1, patched=1.0).plan(0, 40, 3)
    assert set(plan.patch) <= {0, 1, 2, 3}
    assert {2} <= set(plan.patch)  # the fake face has no lids that shut, but a mouth like any
    assert not Sampler(pack, 1).plan(0, 40, 3).patch.any()
    assert not Sampler(pack, 1, patched=1.0).plan(0, 40, 2).patch.any()
    plan = replace(plan, patch=np.arange(40) % 4)  # all kinds, whatever the faces look like
    first = FileFrames(pack, SUP_MIRROR).batch(plan)
    second = DeviceFrames(pack, SUP_MIRROR, "cpu", workers=2).batch(plan)
    assert float((first.sources - second.sources).abs().mean()) < 2 / 255
    assert torch.equal(first.source_keypoints, second.source_keypoints)
    base, last = first.source_keypoints[:, 0], first.source_keypoints[:, 2]
    eyes, mouth = [k for eye in EYES for k in eye], list(MOUTH)
    rest = [k for k in range(len(SUP)) if k not in (*eyes, *mouth)]
    for patch in (1, 2, 3):
        mine = plan.patch == patch
        assert torch.equal(base[mine][:, rest], last[mine][:, rest])
        assert torch.equal(base[mine][:, eyes], last[mine][:, eyes]) == (patch == 2)
        assert torch.equal(base[mine][:, mouth], last[mine][:, mouth]) == (patch == 1)
    apart = (first.sources[:, 0] - first.sources[:, 2]).abs().mean((1, 2, 3))
    assert apart[plan.patch > 0].mean() < apart[plan.patch == 0].mean()


def test_prefetch_gives_the_same_and_passes_errors_on(pack: Pack) -> None:
    sampler, frames = Sampler(pack, 0), FileFrames(pack, SUP_MIRROR)

    def load(step: int) -> Batch:
        if step == 3:
            raise RuntimeError("step three")
        return frames.batch(sampler.plan(step, 1, 2))

    ahead = Prefetch(load)
    for step in (0, 1, 2):
        assert torch.equal(ahead(step).driving, load(step).driving)
    with pytest.raises(RuntimeError, match="step three"):
        ahead(3)
    ahead.close()
