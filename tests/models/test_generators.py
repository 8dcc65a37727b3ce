"""Generators: heads, sources, profiles, gradients."""

from __future__ import annotations

import pytest
import torch
from fake_pack import random_batch
from overfitting import small_name

from fvc.codec.motion.sample import N_SUP, Profile
from fvc.export.openvino_graphs import graphs
from fvc.models.flow import Points
from fvc.models.generator import from_head, push_off_heads
from fvc.models.layers import identity_grid
from fvc.models.model import build_network
from fvc.models.presets import PRESETS, preset_named
from fvc.training.generator.step import draw_batch


def test_first_order_model_switches_to_the_nearest_source() -> None:
    torch.manual_seed(0)
    generator = build_network("fom-mobile").generator.eval()
    pictures, unsup = torch.rand(1, 2, 3, 256, 256), torch.rand(2, 10, 2) - 0.5

    def at(position: torch.Tensor) -> Points:
        count = len(position)
        presence = torch.cat([torch.zeros(count, N_SUP), torch.ones(count, 10)], 1)
        whole = torch.cat([torch.zeros(count, N_SUP, 2), position], 1)
        return Points(whole, torch.eye(2).expand(count, N_SUP + 10, 2, 2), presence)

    both = generator.embed(pictures, at(unsup))
    code = torch.full((1, 16), 0.5)
    for n in range(2):
        alone = generator.embed(pictures[:, n : n + 1], at(unsup[n : n + 1]))
        driving = at(unsup[n : n + 1] + 0.02)
        assert torch.allclose(generator.draw(both, driving, code), generator.draw(alone, driving, code), atol=1e-5)


def an_upright_head(x: float, nose: float = 0.0) -> Points:
    """Forehead 0.4 above the chin, in the middle of the picture's height; the nose so far to the right."""
    position = torch.zeros(1, N_SUP, 2)
    position[0, :3] = torch.tensor([[x, -0.2], [x, 0.2], [x + nose, 0.0]])
    return Points(position, torch.eye(2).expand(1, N_SUP, 2, 2), torch.ones(1, N_SUP))


def test_what_lies_beside_the_head_is_looked_up_beside_it() -> None:
    """Where the head has gone away, the source's is not drawn, though no source shows what is behind it."""
    grid = identity_grid(64)[None]
    driving, source = an_upright_head(0.4), an_upright_head(-0.4)
    lies, seen = (from_head(head, grid)[1] for head in (driving, source))
    flow, inside, seen_inside = push_off_heads(grid, lies, source)
    assert torch.allclose(inside, torch.sigmoid(8 * (1 - lies))[:, None])
    assert torch.allclose(seen_inside, torch.sigmoid(8 * (1 - seen))[:, None])
    assert from_head(source, flow)[1][lies > 1.5].min() > 1.2
    assert from_head(source, grid)[1][lies > 1.5].min() < 0.1
    untouched = (seen > 1.3) | (lies < 0.5)
    assert (flow - grid)[untouched].abs().max() < 0.01
    assert ((flow - grid).norm(dim=-1) > 0.1).any()
    at_rest, _, _ = push_off_heads(grid, seen, source)
    assert torch.equal(at_rest, grid)
    unseen = source._replace(presence=torch.zeros(1, N_SUP))
    flow, inside, seen_inside = push_off_heads(grid, from_head(unseen, grid)[1], unseen)
    assert torch.equal(flow, grid)
    assert inside.max() == seen_inside.max() == 0


def test_a_head_that_turns_shows_its_other_side() -> None:
    places = torch.tensor([[[[-0.25, 0.0], [0.25, 0.0]]]])
    left, right = from_head(an_upright_head(0.0, nose=0.08), places)[1][0, 0]
    assert left < 1 < right
    left, right = from_head(an_upright_head(0.0), places)[1][0, 0]
    assert left == pytest.approx(float(right))


SMALL = [small_name(name) for name in PRESETS]


@pytest.mark.parametrize("preset", SMALL)
@pytest.mark.parametrize("count", [1, 3])
@torch.no_grad()
def test_any_number_of_sources(preset: str, count: int) -> None:
    torch.manual_seed(0)
    network = build_network(preset, torch.rand(N_SUP, 2) - 0.5).eval()
    for profile in {Profile.SUP, *map(Profile.named, preset_named(preset).profiles)}:
        pictures, unsup, jacobians, _, _ = draw_batch(network, random_batch(1, count), set(profile.parts))
        assert pictures.shape == (1, 1, 3, 256, 256)
        assert torch.isfinite(pictures).all()
        assert 0 <= pictures.min() <= pictures.max() <= 1
        assert (unsup.shape, jacobians.shape) == ((1, 10, 2), (1, 10, 2, 2))


@pytest.mark.parametrize("preset", SMALL)
def test_gradients_reach_every_parameter(preset: str) -> None:
    torch.manual_seed(0)
    network = build_network(preset, torch.rand(N_SUP, 2) - 0.5)
    for name, parameter in network.named_parameters():
        if "head" in name:  # zero at the start of training, which hides what comes before
            torch.nn.init.normal_(parameter, std=0.05)
    own = map(Profile.named, preset_named(preset).profiles)
    for profile in {Profile.SUP_UNSUP_EXPR, Profile.UNSUP_JAC, *own}:
        drawn = draw_batch(network, random_batch(2, 2), set(profile.parts))
        drawn.pictures.square().mean().backward()
    trained = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
    without = [n for n, p in trained if p.grad is None or not p.grad.abs().sum() > 0]
    assert not without


@pytest.mark.parametrize("preset", SMALL)
def test_every_preset_has_graphs(preset: str) -> None:
    with torch.no_grad():
        for module, example, per_source in graphs(build_network(preset).eval()).values():
            module(*example)
            assert len(per_source) == len(example)
