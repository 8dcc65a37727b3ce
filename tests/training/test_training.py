"""Sampling, losses, and the loop: on a tiny made-up pack and a stand-in for the perceptual network."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Run as Command
from fake_pack import DOTS, STEP, clip, write
from safetensors.numpy import load_file, save_file

from fvc.codec.face.landmarks import EYES, MOUTH, SUP, SUP_MIRROR
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.motion.quantizer import PAPER
from fvc.models.generator import Size
from fvc.models.model import borrow_weights, load_network
from fvc.models.presets import DEFAULT, PRESETS
from fvc.training.data.pack import Pack
from fvc.training.generator import anchoring
from fvc.training.generator.batches import Batch, DeviceFrames, FileFrames, Prefetch
from fvc.training.generator.checkpoint import load_checkpoint, save_checkpoint, write_portable
from fvc.training.generator.discriminator import Discriminator, discriminator_loss, generator_losses
from fvc.training.generator.engine import Engine
from fvc.training.generator.loop import Recipe, Run, Setup, train
from fvc.training.generator.losses import (
    ExpressionLoss,
    equivariance_loss,
    face_windows,
    grain_loss,
    load_perceptual,
    perceptual_loss,
    region_weights,
    temporal_loss,
)
from fvc.training.generator.pruning import prune
from fvc.training.generator.recipe import paper_recipe
from fvc.training.generator.sampling import Sampler
from fvc.training.generator.session import rate_at
from fvc.training.generator.step import as_received

WEIGHTS = Path(__file__).parents[3] / "shared" / "data" / "weights"
needs_weights = pytest.mark.skipif(
    not WEIGHTS.is_dir(), reason="needs ../shared/data/weights, which only developers have"
)
# A tiny network with the interface of load_lpips_squeeze.py, so that the loop can be tested anywhere.
STAND_IN = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(8, 3, 4, 4, generator=generator), requires_grad=False)
    def forward(self, x, taps=True):
        return [torch.relu(torch.nn.functional.conv2d(x, self.weight, stride=4))]
class Lpips(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.shift, self.scale = Net(), 0.0, 1.0
        self.lin = [torch.linspace(0.1, 0.3, 8).view(1, 8, 1, 1)]
    def forward(self, a, b, normalize=True):
        return (self.net(2 * a - 1)[0] - self.net(2 * b - 1)[0]).square().mean().view(1, 1, 1, 1)
def load(path=None, device="cpu"):
    return Lpips().to(device)
"""


@pytest.fixture(scope="module")
def pack_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people who turn by more than the paper's 0.3 rad, and one who hardly does."""
    clips = [clip(f"a{n}", "ann", np.linspace(-0.5, 0.4, 24)) for n in range(2)]
    clips += [clip("b", "bob", np.linspace(0.3, -0.3, 24)), clip("c", "cid", np.linspace(0, 0.1, 12))]
    return write(tmp_path_factory.mktemp("pack") / "a.pack", clips)


@pytest.fixture(scope="module")
def pack(pack_path: Path) -> Pack:
    return Pack(pack_path, SUP)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judge")
    (folder / "load_lpips_squeeze.py").write_text(STAND_IN)
    return folder


def test_packs_of_the_first_version_can_be_read(pack: Pack, tmp_path: Path) -> None:
    jpegs = [pack.picture(n) for n in range(3)]
    old = {
        "jpeg": np.frombuffer(b"".join(jpegs), np.uint8),
        "offset": np.cumsum([0, *map(len, jpegs)]).astype(np.int64),
        "landmarks": np.full((3, 478, 2), 4096, np.int16),
        "yaw": np.zeros(3, np.float32),
        "clip": np.array([0, 0, 1], np.int32),
    }
    save_file(old, tmp_path / "old.pack", {"clips": '["x", "y"]', "identities": '["p", "p"]'})
    read = Pack(tmp_path / "old.pack", SUP)
    assert np.array_equal(read.image(2), pack.image(2))
    assert [len(c.frames) for c in read.people[0]] == [2, 1]
    assert (read.keypoints == 0.5).all()
    (tmp_path / "bad.pack").write_bytes(b"12345678")
    with pytest.raises(ValueError, match="not a training pack"):
        Pack(tmp_path / "bad.pack", SUP)


def test_sources_as_at_inference(pack: Pack) -> None:
    clip = pack.clips[0]
    chosen = pack.choose_sources(clip, 3)
    assert set(chosen) < set(clip.frames)
    keypoints = pack.keypoints[clip.frames].reshape(len(clip.frames), -1)
    centres = pack.keypoints[chosen].reshape(3, -1)
    ends = keypoints[[0, len(keypoints) // 2, -1]]  # the face turns steadily: three thirds are nearer than these

    def far(sources: np.ndarray) -> float:
        return float(np.linalg.norm(keypoints[:, None] - sources, axis=-1).min(1).mean())

    assert far(centres) < far(ends)


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


def test_checkerboards_are_seen_and_smoothness_is_none() -> None:
    target = torch.rand(1, 3, 64, 64)
    board = 0.1 * (-1.0) ** (torch.arange(64)[:, None] + torch.arange(64))
    smooth = torch.full_like(target, 0.5)
    assert float(grain_loss(target, target)) == 0
    assert float(grain_loss(smooth, target)) == 0
    assert float(grain_loss(smooth + board, smooth)) == pytest.approx(0.4, rel=1e-3)


def test_a_preset_borrows_what_fits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    giver, taker = PRESETS["composed"].build(), PRESETS["frontalizer-multiscale"].build()
    save_file({name: tensor.numpy() for name, tensor in giver.state_dict().items()}, tmp_path / "a.safetensors")
    assert borrow_weights(taker, tmp_path / "a.safetensors") > 1_000_000
    assert torch.equal(taker.generator.out.weight, giver.generator.out.weight)
    assert taker.generator.dense_motion.head.weight.shape != giver.generator.dense_motion.head.weight.shape
    save_file({"else": np.zeros(3)}, tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match="nothing that fits"):
        borrow_weights(taker, tmp_path / "b.safetensors")
    (tmp_path / "c.safetensors").write_bytes(b"12345678")
    with pytest.raises(ValueError, match="not weights"):
        borrow_weights(taker, tmp_path / "c.safetensors")


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


@pytest.mark.parametrize("part", list(PAPER))
def test_training_sees_what_the_codec_delivers(part: str) -> None:
    quantizer = PAPER[part]
    low, high = quantizer.low, quantizer.high
    values = torch.from_numpy(np.random.default_rng(0).uniform(1.1 * low - 0.1, 1.1 * high, (1, 400))).float()
    values.requires_grad_()
    received = as_received(values, quantizer, torch.ones(1))
    expected = quantizer.dequantize(quantizer.quantize(values.detach().numpy()))
    apart = np.abs(received.detach().numpy() - expected)
    step = (high - low) / quantizer.top
    assert np.mean(apart < 1e-6 * high) > 0.98  # float32 may round a tie the other way
    assert apart.max() < 1.01 * step
    received.sum().backward()
    assert (values.grad == 1).all()
    coarse = as_received(0.9 * torch.rand(2, 500), quantizer, torch.tensor([1.0, 4.0]))
    levels = (coarse[1] - low) / (4 * step)
    assert torch.allclose(levels, levels.round(), atol=2e-2)


def test_perceptual_loss_is_its_definition(judge: Path) -> None:
    network = load_perceptual(judge, "cpu")
    generator = torch.Generator().manual_seed(1)
    picture = torch.rand(2, 3, 64, 64, generator=generator, requires_grad=True)
    target, weights = torch.rand(2, 3, 64, 64, generator=generator), torch.rand(2, 1, 64, 64, generator=generator)
    relative, lpips = perceptual_loss(network, picture, target, weights, (1,))
    a, b = (network.net(2 * x - 1)[0] for x in (picture, target))
    unit = [x / (x.square().sum(1, keepdim=True) + 1e-6).sqrt() for x in (a, b)]
    error = ((unit[0] - unit[1]).square() * network.lin[0]).sum(1, keepdim=True)
    expected = (error * torch.nn.functional.adaptive_avg_pool2d(weights, error.shape[-2:])).mean()
    assert float(lpips.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)
    each = (a - b).abs().mean((1, 2, 3)) / (b.abs().mean((1, 2, 3)) + 1e-3)
    assert float(relative.detach()) == pytest.approx(float(each.mean().detach()), rel=1e-5)
    mine, theirs = (torch.autograd.grad(loss, picture, retain_graph=True)[0] for loss in (lpips, expected))
    assert torch.allclose(mine, theirs, atol=1e-3 * float(theirs.abs().max()))
    same = perceptual_loss(network, target, target, weights)
    assert max(map(float, same)) < 1e-5


def test_region_weights_mean_one_and_peak_on_the_eyes() -> None:
    keypoints = torch.zeros(1, 33, 2)
    keypoints[:, :, 0] = 0.5
    weights = region_weights(keypoints, 64)
    assert float(weights.mean()) == pytest.approx(1)
    assert float(weights[0, 0, 32, 48]) == float(weights.max()) > 10
    assert float(weights[0, 0, 10, 10]) < 0.01


def test_equivariance_is_zero_for_an_equivariant_detector() -> None:
    """A detector that finds a bright blob's centre (and knows no rotation) moves with the picture."""

    class Blob(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
            axis = (torch.arange(64) + 0.5) / 32 - 1
            mass = x[:, 0] / x[:, 0].sum((1, 2), keepdim=True)
            centre = torch.stack([(mass.sum(1) * axis).sum(1), (mass.sum(2) * axis).sum(1)], -1)
            return centre[:, None], torch.eye(2).expand(len(x), 1, 2, 2), None

    axis = (torch.arange(64) + 0.5) / 32 - 1
    blob = torch.exp(-((axis[None] - 0.1) ** 2 + (axis[:, None] + 0.2) ** 2) / 0.01).expand(4, 3, 64, 64)
    generator = torch.Generator().manual_seed(0)
    theta = torch.cat([torch.eye(2).expand(4, 2, 2), torch.zeros(4, 2, 1)], -1)
    theta = theta + torch.randn(4, 2, 3, generator=generator) * 0.07
    points, jacobians, _ = Blob()(blob)
    loss = equivariance_loss(Blob(), blob, points, jacobians, theta)
    wrong = equivariance_loss(Blob(), blob, points + 0.3, jacobians, theta)
    assert loss < 0.06
    assert wrong > loss + 0.25


@pytest.mark.parametrize("size", [0.0, 0.01, 1.0])
def test_frames_that_vanish_are_not_equivariant(size: float) -> None:
    """Frames that turn as the picture does are right; frames of nothing, once the least loss of all, are wrong."""

    class Turned(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
            return torch.zeros(len(x), 1, 2), (size * torch.linalg.inv(theta[:, :, :2]))[:, None], None

    theta = torch.cat([torch.eye(2).expand(4, 2, 2), torch.zeros(4, 2, 1)], -1)
    theta = theta + torch.tensor([[0.1, 0.2, 0.0], [-0.2, 0.1, 0.0]])
    frames = size * torch.eye(2).expand(4, 1, 2, 2)
    loss = equivariance_loss(Turned(), torch.rand(4, 3, 64, 64), torch.zeros(4, 1, 2), frames, theta)
    assert float(loss) == pytest.approx(0, abs=1e-6) if size == 1 else float(loss) > 0.2


def test_anchoring_leads_keypoints_to_the_face(
    pack_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = PRESETS["fom-mobile"].build()
    torch.nn.init.zeros_(network.motion.keypoints.jacobians.bias)
    save_file({k: t.numpy() for k, t in network.state_dict().items()}, tmp_path / "in.safetensors")
    arguments = ["a", pack_path, tmp_path / "in.safetensors", tmp_path / "out.safetensors", "--steps", 6, "--batch", 4]
    monkeypatch.setattr("sys.argv", list(map(str, arguments)))
    anchoring.main()
    after = load_network(tmp_path / "out.safetensors", "fom-mobile")
    frames = after.motion.keypoints.jacobians.bias.reshape(-1, 2, 2)
    assert (frames - torch.eye(2)).abs().max() < 0.1
    before, changed = network.state_dict(), after.state_dict()
    moved = {name for name, tensor in changed.items() if not torch.equal(tensor, before[name].float())}
    assert moved
    assert all(name.startswith("motion.keypoints.") for name in moved)


def test_anchors_are_places_of_the_face() -> None:
    sup = torch.rand(3, 33, 2)
    places = torch.stack([sup[:, list(group)].mean(1) for group in anchoring.ANCHORS], 1)
    assert places.shape == (3, 10, 2)
    assert float(anchoring.anchor_loss(places, sup)) == 0
    assert float(anchoring.anchor_loss(places + 0.1, sup)) == pytest.approx(0.1, abs=1e-6)
    mirrored = {frozenset(SUP_MIRROR[n] for n in group) for group in anchoring.ANCHORS}
    assert mirrored == {frozenset(group) for group in anchoring.ANCHORS}


def test_temporal_loss_sees_flicker_and_nothing_else() -> None:
    targets = torch.rand(2, 3, 3, 8, 8)
    assert float(temporal_loss(targets + 0.2, targets, torch.ones(2))) == pytest.approx(0, abs=1e-6)
    flickering = targets.clone()
    flickering[1, -1] += 0.5
    assert float(temporal_loss(flickering, targets, torch.ones(2))) == pytest.approx(0.25)
    assert float(temporal_loss(flickering, targets, torch.tensor([1.0, 0.0]))) == pytest.approx(0, abs=1e-6)


@needs_weights
@pytest.mark.filterwarnings("ignore")  # the loader leaves a file to the garbage collector
def test_expression_loss_on_a_real_face(faces: list[np.ndarray]) -> None:
    with FaceTracker(still=True) as tracker:
        found = tracker.track(faces[0])
    assert found is not None
    points = torch.from_numpy(found.sup / 240 - 1).float()[None]
    target = torch.from_numpy(faces[0]).permute(2, 0, 1)[None].float() / 255
    loss = ExpressionLoss(WEIGHTS / "face_landmarker", "cpu")
    window = face_windows(points, 480)[0]
    centre = torch.from_numpy(found.landmarks[:, :2]).float()
    extent = (centre.amax(0) - centre.amin(0)).max() * 1.5
    assert torch.allclose(window[:2], (centre.amax(0) + centre.amin(0)) / 2, atol=12)
    assert float(window[2]) == pytest.approx(float(extent), rel=0.1)
    assert max(map(float, loss(target, target, points))) < 1e-6
    moved = torch.roll(target, 6, -1).requires_grad_()
    expression, landmarks = loss(moved, target, points)
    assert float(landmarks.detach()) == pytest.approx(6 / 480, rel=0.4)
    (expression + landmarks).backward()
    assert moved.grad is not None
    assert float(moved.grad.abs().max()) > 0
    empty = torch.zeros_like(target)
    assert max(map(float, loss(moved.detach(), empty, points))) == 0


@needs_weights
def test_real_perceptual_network_loads() -> None:
    network = load_perceptual(WEIGHTS / "lpips_squeeze", "cpu")
    picture = torch.rand(1, 3, 64, 64)
    assert float(network(picture, picture, normalize=True)) == pytest.approx(0, abs=1e-6)


def test_the_discriminator_learns_to_tell_apart() -> None:
    torch.manual_seed(0)
    net = Discriminator()
    real, drawn = torch.rand(1, 3, 128, 128), torch.full((1, 3, 128, 128), 0.5)
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    losses = []
    for _ in range(5):
        loss = discriminator_loss(net(real), net(drawn))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    adversarial, matching = generator_losses(net(real), net(drawn))
    assert float(adversarial.detach()) > 0.2
    assert float(matching.detach()) > 0
    assert float(generator_losses(net(real), net(real))[1].detach()) == 0


def test_schedules() -> None:
    ours = Recipe(DEFAULT, 100)
    assert rate_at(ours, 0, 0) == pytest.approx(1e-3 / 50)
    assert rate_at(ours, 1000, 50) == pytest.approx(0.5e-3)
    assert rate_at(ours, 1000, 100) == pytest.approx(2e-5)
    paper = paper_recipe(DEFAULT, 100)
    rates = [rate_at(paper, step, 0) for step in (0, 59_999, 60_000, 90_000)]
    assert rates == pytest.approx([2e-4, 2e-4, 2e-5, 2e-6])
    with pytest.raises(ValueError, match="number of steps"):
        Recipe(DEFAULT, 100, schedule="paper")


def _setup(pack_path: Path, judge: Path, folder: Path, **options: Any) -> Setup:
    return Setup(pack_path, judge, folder, SUP, SUP_MIRROR, device="cpu", calibration=1, **options)


def test_training_goes_on_where_it_stopped(pack_path: Path, judge: Path, tmp_path: Path) -> None:
    """Two steps in one go and with a stop between them are the same steps; everything that learns is remembered."""
    recipe = Recipe(DEFAULT, 1e9, batch=1, adversarial_after=0.0, coarse=2).reweighted(["temporal=2"])
    states = []
    for name, stops in (("straight", [2]), ("stopped", [1, 2])):
        for stop in stops:
            weights = train(recipe, _setup(pack_path, judge, tmp_path / name, stop_at=stop))
        states.append(torch.load(tmp_path / name / "last.pt", weights_only=True))
        assert all(np.isfinite(tensor).all() for tensor in load_file(weights).values())
    assert states[0]["step"] == states[1]["step"] == 2
    for part in ("network", "discriminator"):
        for name, tensor in states[0][part].items():
            assert torch.allclose(tensor.float(), states[1][part][name].float(), atol=1e-6), name


def test_checkpoints_of_the_first_version_go_on(pack_path: Path, judge: Path, tmp_path: Path) -> None:
    """AdamW without `fused`, no discriminator, no restorer: what the first runs wrote."""
    network = PRESETS[DEFAULT].build(torch.zeros(33, 2))
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, 1e-3, (0.5, 0.99), weight_decay=1e-3)
    for parameter in trained:
        parameter.grad = torch.full_like(parameter, 0.1)
    optimizer.step()
    weights = {name: t for name, t in network.state_dict().items() if not name.startswith("restorer.")}
    state = {"network": weights, "average": weights, "optimizer": optimizer.state_dict()}
    torch.save({**state, "step": 41, "seconds": 120.0}, tmp_path / "last.pt")
    run = Run(
        Recipe(DEFAULT, 90, batch=1, adversarial_after=0.0),
        _setup(pack_path, judge, tmp_path),
        Engine("cpu"),
        Pack(pack_path, SUP),
        (load_perceptual(judge, "cpu"), None),
    )
    assert (run.step, run.seconds) == (41, 120.0)
    changing = [parameter for parameter in run.network.parameters() if parameter.requires_grad]
    before = [parameter.detach().clone() for parameter in changing]
    moments = next(iter(run.optimizer.state.values()))
    assert float(moments["step"]) == 1
    for parameter in changing:
        parameter.grad = torch.full_like(parameter, float("nan"))
    run._update(run.optimizer, run.network, 1e-3)
    assert all(torch.equal(a, b) for a, b in zip(before, changing, strict=True))
    assert float(moments["step"]) == 1
    for parameter in changing:
        parameter.grad = torch.full_like(parameter, 0.1)
    run._update(run.optimizer, run.network, 1e-3)
    assert not any(torch.equal(a, b) for a, b in zip(before, changing, strict=True))
    run.batches.close()


def test_a_portable_checkpoint_comes_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fvc.training.generator.checkpoint._PIECE", 10_000)
    values = torch.randn(50, 50)
    moments = {"state": {0: {"exp_avg_sq": values.square() * 1e-12, "step": torch.tensor(3.0)}}, "param_groups": []}
    state = {"network": {"a": values}, "average": {"a": values}, "optimizer": moments, "step": 3, "seconds": 1.5}
    save_checkpoint(state, tmp_path)
    pieces = write_portable(tmp_path)
    assert len(pieces) > 1
    assert max(piece.stat().st_size for piece in pieces) <= 10_000
    (tmp_path / "last.pt").unlink()
    back = load_checkpoint(tmp_path, "cpu")
    assert back is not None
    assert torch.equal(back["network"]["a"], values)
    assert torch.allclose(back["average"]["a"], values, rtol=1e-3, atol=1e-3)
    squares = back["optimizer"]["state"][0]["exp_avg_sq"]
    assert torch.allclose(squares, values.square() * 1e-12, rtol=1e-2)
    assert float(back["optimizer"]["state"][0]["step"]) == 3
    assert (back["step"], back["seconds"]) == (3, 1.5)
    pieces[0].unlink()
    with pytest.raises(ValueError, match="pieces"):
        load_checkpoint(tmp_path, "cpu")
    assert load_checkpoint(tmp_path / "none", "cpu") is None


@pytest.mark.filterwarnings("ignore")  # of tensorboard's dependencies
def test_the_papers_recipe_trains_and_is_validated(pack_path: Path, judge: Path, tmp_path: Path) -> None:
    recipe = replace(paper_recipe("frontalizer-mobile", 1e9), batch=1, scales=(1, 2))
    board = importlib.util.find_spec("tensorboard") is not None
    options = {"val": pack_path, "stop_at": 1, "validate_every": 1, "log_every": 1, "tensorboard": board}
    train(recipe, _setup(pack_path, judge, tmp_path / "run", **options))
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line.get("val_lpips", 0) > 0] == [1, 1]
    terms = next(line for line in lines if "adversarial" in line)
    assert {"relative", "equivariance", "matching", "discriminator"} <= set(terms)
    assert (tmp_path / "run" / "strip.png").stat().st_size > 10_000
    assert bool(list((tmp_path / "run").glob("tensorboard/events*"))) == board


WORKER = """
import sys, torch
from pathlib import Path
from dataclasses import replace
from fvc.codec.face.landmarks import SUP, SUP_MIRROR
from fvc.training.generator.engine import Engine
from fvc.training.generator.loop import Recipe, Run, Setup, load_perceptual
from fvc.training.data.pack import Pack
torch.set_num_threads(1)
pack, judge, folder, batch = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
with Engine.start("cpu") as engine:
    recipe = Recipe("composed", 1e9, batch=batch)
    setup = Setup(pack, judge, folder, SUP, SUP_MIRROR)
    run = Run(recipe, setup, engine, Pack(pack, SUP), (load_perceptual(judge, "cpu"), None))
    for norm in run.network.modules():  # each process has its own statistics: compare without them
        norm.train(not isinstance(norm, torch.nn.modules.batchnorm._BatchNorm))
    loss, _, _ = run.wrapped(run.batch(0, 2), {"sup", "unsup"})
    loss.backward()
    grads = {n: p.grad.clone() for n, p in run.network.named_parameters() if p.grad is not None}
    torch.save(grads, folder / f"grad{engine.rank}of{engine.size}.pt")
    if engine.size > 1:
        run.one_step()
        torch.save(dict(run.network.named_parameters()), folder / f"weights{engine.rank}.pt")
    run.batches.close()
"""


def _environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


def test_two_processes_are_one_with_twice_the_batch(pack_path: Path, judge: Path, tmp_path: Path) -> None:
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(20000 + os.getpid() % 20000), "WORLD_SIZE": "2"}
    jobs = [(1, _environment(**address, RANK=str(rank))) for rank in range(2)] + [(2, _environment())]
    started = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(pack_path), str(judge), str(tmp_path), str(batch)], env=env)
        for batch, env in jobs
    ]
    assert [process.wait(300) for process in started] == [0, 0, 0]
    alone, shared = (torch.load(tmp_path / f"grad0of{n}.pt", weights_only=True) for n in (1, 2))
    largest = max(float(g.abs().max()) for g in alone.values())
    assert largest > 0.01
    for name, gradient in alone.items():
        assert torch.allclose(gradient, shared[name], rtol=1e-3, atol=1e-5 * largest), name
    first, second = (torch.load(tmp_path / f"weights{rank}.pt", weights_only=True) for rank in range(2))
    for name, weight in first.items():
        assert torch.equal(weight, second[name]), name


BLOCKED = ("mediapipe", "av", "typer", "rich", "openvino", "constriction", "tensorboard")
BARE = f"""
import runpy, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Block())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_bare_machine_is_enough(pack_path: Path, judge: Path, tmp_path: Path) -> None:
    """No fvc on the path, no tracker, no video, no typer: the GPU's way of loading, here on the CPU, for a segment."""
    script = Path(__file__).parents[2] / "training" / "bare.py"
    arguments = ["composed", "--data", pack_path, "--perceptual", judge, "--run", tmp_path / "run", "--steps", 1]
    arguments += ["--batch", 1, "--resident", "--segment", 5, "--portable", "--device", "cpu"]
    environment = _environment()
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, "-c", BARE, str(script), *map(str, arguments)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"last.pt", "weights.safetensors", "log.jsonl", "portable-1of2.pt", "portable-2of2.pt"} <= names
    assert all(path.stat().st_size < 16 << 20 for path in (tmp_path / "run").glob("portable*"))


def test_command_line(run: Command, pack_path: Path, judge: Path, tmp_path: Path) -> None:
    needed = ["--data", pack_path, "--perceptual", judge, "--run", tmp_path / "run"]
    for arguments, code, text in (
        (["magic", *needed], 2, "preset 'magic' is unknown"),
        (["composed"], 2, "--data"),
        (["composed", *needed, "--data", tmp_path / "none"], 3, "no such file"),
        (["composed", *needed, "--data", judge / "load_lpips_squeeze.py"], 3, "not a training pack"),
        (["composed", *needed, "--perceptual", tmp_path], 3, "load_lpips_squeeze.py"),
        (["composed", *needed, "--weight", "beauty=3"], 2, "weight beauty=3"),
        (["composed", *needed, "--weight", "lpips=much"], 2, "NAME=NUMBER"),
        (["composed", *needed, "--sampling", "five"], 2, "five"),
        (["composed", *needed, "--minutes", "-1"], 2, "positive"),
        (["composed", *needed, "--schedule", "paper"], 2, "number of steps"),
        (["composed", *needed, "--frobnicate"], 2, "--frobnicate"),
    ):
        result = run("train", *arguments)
        assert result.code == code, (arguments, result)
        assert text in result.err
        assert result.err.count("\n") == 1, result.err
    shown = run("train", "--help")
    assert shown.code == 0
    assert "--adversarial-after" in shown.out


def test_pruning_keeps_what_carries_most() -> None:
    torch.manual_seed(0)
    full = Size()
    large, same = (PRESETS[DEFAULT].build().generator.eval() for _ in range(2))
    small = PRESETS["tiny"].build().generator.eval()
    same.load_state_dict(large.state_dict())
    for layer in (same.deep, same.up_middle, same.join_middle, same.up_fine, same.join_fine, same.out):
        layer.apply(lambda module: module.reset_parameters() if hasattr(module, "reset_parameters") else None)
    prune(large, same, full)
    assert all(torch.equal(a, b) for a, b in zip(large.parameters(), same.parameters(), strict=True))

    # channels that carry nothing are those that go: the drawing stays
    with torch.no_grad():
        for layer in (large.up_fine.project[1], large.join_fine.project[1]):
            layer.weight[4:8] = layer.bias[4:8] = 0
        prune(large, small, Size(**PRESETS["tiny"].size))
    kept = [n for n in range(full.fine) if not 4 <= n < 8]
    assert torch.equal(small.out.weight, large.out.weight[:, kept])
    assert torch.equal(small.join_fine.project[1].running_var, large.join_fine.project[1].running_var[kept])
