"""Losses of the generator and the discriminator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fvc.codec.face.tracker import FaceTracker
from fvc.codec.motion.quantizer import PAPER
from fvc.training.generator.discriminator import Discriminator, discriminator_loss, generator_losses
from fvc.training.generator.losses import (
    ExpressionLoss,
    equivariance_losses,
    face_windows,
    grain_loss,
    load_perceptual,
    perceptual_loss,
    region_weights,
    temporal_loss,
)
from fvc.training.generator.step import as_received

WEIGHTS = Path(__file__).parents[3] / "shared" / "data" / "weights"


needs_weights = pytest.mark.skipif(
    not WEIGHTS.is_dir(), reason="needs ../shared/data/weights, which only developers have"
)


def test_checkerboards_are_seen_and_smoothness_is_none() -> None:
    target = torch.rand(1, 3, 64, 64)
    board = 0.1 * (-1.0) ** (torch.arange(64)[:, None] + torch.arange(64))
    smooth = torch.full_like(target, 0.5)
    assert float(grain_loss(target, target)) == 0
    assert float(grain_loss(smooth, target)) == 0
    assert float(grain_loss(smooth + board, smooth)) == pytest.approx(0.4, rel=1e-3)


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


def test_perceptual_loss_is_its_definition(perceptual: Path) -> None:
    network = load_perceptual(perceptual, "cpu")
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
    loss = sum(equivariance_losses(Blob(), blob, points, jacobians, theta))
    wrong = sum(equivariance_losses(Blob(), blob, points + 0.3, jacobians, theta))
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
    _, loss = equivariance_losses(Turned(), torch.rand(4, 3, 64, 64), torch.zeros(4, 1, 2), frames, theta)
    assert float(loss) == pytest.approx(0, abs=1e-6) if size == 1 else float(loss) > 0.2


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
