"""Building blocks: layers, sparse motion, the sender's networks, the restorer."""

from __future__ import annotations

import pytest
import torch

from fvc.models.flow import Points, SparseMotion, _heat
from fvc.models.keypoints import MotionNet
from fvc.models.layers import Hourglass, InvertedResidual, conv_joined, identity_grid, resize, warp
from fvc.models.model import build_network
from fvc.models.presets import DEFAULT
from fvc.models.restorer import Restorer


def test_identity_warp_changes_nothing() -> None:
    x = torch.rand(2, 3, 32, 32)
    assert torch.allclose(warp(x, identity_grid(32).expand(2, -1, -1, -1)), x, atol=1e-5)


def test_expanding_before_upsampling_is_the_same() -> None:
    block = InvertedResidual(8, 6, up=True).eval()
    x = torch.rand(1, 8, 5, 5)
    late = torch.nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
    assert torch.allclose(block(x), block.project(block.filter(block.expand(late))), atol=1e-6)


def test_joined_convolution_needs_no_joined_input() -> None:
    conv = torch.nn.Conv2d(5, 4, 1)
    a, b, code = torch.rand(2, 2, 6, 6), torch.rand(2, 1, 6, 6), torch.rand(2, 2, 1, 1)
    whole = conv(torch.cat([a, b, code.expand(-1, -1, 6, 6)], 1))
    assert torch.allclose(conv_joined(conv, a, b, code), whole, atol=1e-6)
    block = InvertedResidual(3, 4).eval()
    assert torch.allclose(block(a, b), block.project(block.filter(block.expand(torch.cat([a, b], 1)))), atol=1e-6)


def test_hourglass_shapes() -> None:
    features, centre = Hourglass(3, 16, depth=5)(torch.rand(2, 3, 64, 64))
    assert features.shape == (2, 16, 64, 64)
    assert centre.flatten(1).shape == (2, 512)  # the paper's central feature


def test_motion_net_shapes_and_ranges() -> None:
    keypoints, jacobians, code = MotionNet().eval()(torch.rand(2, 3, 256, 256))
    assert keypoints.shape == (2, 10, 2)
    assert jacobians.shape == (2, 10, 2, 2)
    assert code.shape == (2, 16)
    assert keypoints.abs().max() <= 1
    assert 0 <= code.min() <= code.max() <= 1
    assert torch.allclose(jacobians, torch.eye(2).expand(2, 10, 2, 2), atol=1e-4)  # before training: the identity


def test_sparse_motion_is_exact_at_an_only_keypoint_and_follows_its_jacobian() -> None:
    motion = SparseMotion(2, 1, 16)
    eye = torch.eye(2).expand(1, 3, 2, 2)
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).expand(1, 3, 2, 2)
    presence = torch.tensor([[1.0, 0.0, 0.0]])
    at = Points(torch.tensor([[[0.1, 0.2], [9.0, 9.0], [-9.0, 9.0]]]), eye, presence)
    to = Points(at.position + torch.tensor([0.3, -0.1]), turn, presence)
    weights, _ = motion.weights(at)
    assert weights[..., 1:].abs().max() == 0  # absent keypoints do not vote
    move = motion.displacement(weights, at, to)
    expected = (motion.grid - at.position[0, 0]) @ turn[0, 0].T + to.position[0, 0] - motion.grid
    assert torch.allclose(move[0], expected, atol=1e-5)


def _lips(gap: float) -> Points:
    """An upper and a lower lip, `gap` apart: nearer to each other than the weights of `SparseMotion` are wide."""
    position = torch.tensor([[[0.0, 0.3 - gap / 2], [0.0, 0.3 + gap / 2]]])
    return Points(position, torch.eye(2).expand(1, 2, 2, 2), torch.ones(1, 2))


def test_exact_displacement_opens_a_mouth_as_far_as_its_lips_and_the_plain_one_does_not() -> None:
    motion = SparseMotion(2, 0, 64)
    at, to = _lips(0.12), _lips(0.02)
    weights, _ = motion.weights(at)

    def opening(move: torch.Tensor) -> float:
        """By how much the lips of the source are moved apart: 1 is right."""
        vertical = motion.image(move)[0, 1]
        upper, lower = (int((y + 1) * 32) for y in at.position[0, :, 1].tolist())
        return float((vertical[upper, 32] - vertical[lower, 32]).detach()) / (0.12 - 0.02)

    assert opening(motion.displacement(weights, at, to)) < 0.7
    assert opening(motion.exact_displacement(weights, at, to, torch.ones(2))) == pytest.approx(1, abs=0.15)
    none = motion.exact_displacement(weights, at, to, torch.zeros(2))
    assert torch.equal(none, motion.displacement(weights, at, to))


def test_exact_displacement_is_the_plain_one_where_all_keypoints_move_alike_and_takes_several_sources() -> None:
    motion = SparseMotion(2, 0, 16)
    at = _lips(0.1)
    weights, _ = motion.weights(at)
    shifts = torch.tensor([[0.2, -0.1], [-0.05, 0.3]])
    to = Points(at.position + shifts[:, None], at.jacobian.repeat(2, 1, 1, 1), at.presence.repeat(2, 1))
    move = motion.exact_displacement(weights, at, to, torch.ones(2))
    assert torch.allclose(move, shifts[:, None].expand(-1, 256, -1), atol=1e-5)


def test_heat_maps_have_no_denormal_numbers() -> None:
    heat = _heat(identity_grid(32).reshape(-1, 2), torch.tensor([[[-0.9, -0.9]]]))
    assert heat.max() > 0.9
    assert heat[heat > 0].min() > 1.2e-38  # the smallest normal float32


@pytest.mark.parametrize("sides", [(64, 256), (32, 64), (64, 32), (5, 7)])
def test_resizing_is_torchs(sides: tuple[int, int]) -> None:
    given, wanted = sides
    x = torch.rand(2, 3, given, given, generator=torch.Generator().manual_seed(0))
    theirs = torch.nn.functional.interpolate(x, size=(wanted, wanted), mode="bilinear", align_corners=False)
    assert torch.allclose(resize(x, wanted), theirs, atol=1e-6)


def test_a_restorer_begins_as_the_identity_and_earlier_weights_load_with_one() -> None:
    pictures = torch.rand(2, 3, 64, 40)
    assert torch.equal(Restorer()(pictures), pictures)
    network = build_network(DEFAULT)
    torch.nn.init.ones_(network.restorer.out.bias)
    before = {n: t for n, t in network.state_dict().items() if not n.startswith("restorer.")}
    missing, unexpected = network.load_state_dict(before)
    assert (missing, unexpected) == ([], [])
    assert network.restorer.out.bias.eq(1).all()
