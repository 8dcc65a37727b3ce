"""Colours looked up by OpenCV against the same in torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from fvc.models.generator import blended
from fvc.models.inference.lookup import LookUp
from fvc.models.large.network import enlarged_flow
from fvc.models.layers import doubled, identity_grid, resize, warp

FLOW = 64


def smooth(rng: np.random.Generator, side: int, channels: int) -> np.ndarray:
    """uint8 [side, side, channels]."""
    coarse = torch.from_numpy(rng.random((1, channels, 12, 12), np.float32))
    fine = F.interpolate(coarse, size=(side, side), mode="bicubic").clamp(0, 1) * 255
    return fine[0].permute(1, 2, 0).round().byte().numpy()


def planes(pictures: np.ndarray) -> torch.Tensor:
    """uint8 [N, S, S, C] -> [N, C, S, S] in [0, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def motion(rng: np.random.Generator, count: int, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """A smooth flow [N, 64, 64, 2] that leads up to `reach` away, and weights [N, 1, 64, 64]."""
    offset = F.interpolate(torch.from_numpy(rng.uniform(-reach, reach, (count, 2, 6, 6)).astype(np.float32)), size=FLOW)
    weights = F.interpolate(torch.from_numpy(rng.normal(0, 3, (count, 1, 6, 6)).astype(np.float32)), size=FLOW)
    return (identity_grid(FLOW) + offset.permute(0, 2, 3, 1)).numpy(), weights.softmax(0).numpy()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 4), reach=st.sampled_from([0.0, 0.1, 3.0]))
def test_colours_are_those_of_the_network(seed: int, count: int, reach: float) -> None:
    rng = np.random.default_rng(seed)
    pictures = np.stack([smooth(rng, 256, 3) for _ in range(count)])
    flow, blend = motion(rng, count, reach)
    found = LookUp(4, 256).sampled(list(pictures), flow, blend)
    wanted = blended(planes(pictures), torch.from_numpy(flow), torch.from_numpy(blend), 256, 1)
    error = np.abs(found - 255 * wanted[0].permute(1, 2, 0).numpy())
    assert error.mean() < 0.6  # each sum of two is rounded to bytes
    assert np.quantile(error, 0.999) < 3


def test_large_ones_are_those_of_the_network() -> None:
    rng = np.random.default_rng(1)
    pictures = np.stack([smooth(rng, 512, 3) for _ in range(3)])
    flow, blend = motion(rng, 3, 0.1)
    found = LookUp(3, 512).sampled(list(pictures), flow, blend)
    sharp = torch.from_numpy(blend).square()
    weights = resize(sharp / sharp.sum(0), 512)
    wanted = (warp(planes(pictures), enlarged_flow(torch.from_numpy(flow))) * weights).sum(0)
    assert np.abs(found - 255 * wanted.permute(1, 2, 0).numpy()).mean() < 0.6


@pytest.mark.parametrize("side", [256, 512])
def test_the_picture_is_put_together(side: int) -> None:
    rng = np.random.default_rng(2)
    rgb, redrawn = smooth(rng, side, 3), smooth(rng, 256, 4)
    picture = LookUp(1, side).put_together(rgb, redrawn)
    drawn = planes(redrawn[None])
    drawn = drawn if side == 256 else doubled(drawn)
    wanted = drawn[0, :3] + drawn[0, 3] * (planes(rgb[None])[0] - drawn[0, :3])
    assert picture.shape == (side, side, 3)
    assert np.abs(picture - 255 * wanted.permute(1, 2, 0).numpy()).max() < 2


def test_a_source_that_weighs_nothing_leaves_no_trace() -> None:
    rng = np.random.default_rng(3)
    near, far = smooth(rng, 256, 3), np.full((256, 256, 3), 255, np.uint8)
    flow = np.repeat(identity_grid(FLOW).numpy()[None], 2, 0)
    blend = np.stack([np.full((1, FLOW, FLOW), 1 - share, np.float32) for share in (1e-4, 1 - 1e-4)])
    look_up = LookUp(2, 256)
    alone = look_up.sampled([near], flow[:1], np.ones_like(blend[:1])).copy()
    assert np.array_equal(look_up.sampled([near, far], flow, blend), alone)
    assert np.array_equal(look_up.sampled([far, near], flow, blend[::-1]), alone)


@pytest.mark.parametrize("wild", [np.nan, np.inf, -1e30, 1e30])
def test_places_that_are_no_numbers_do_no_harm(wild: float) -> None:
    flow = np.full((1, FLOW, FLOW, 2), wild, np.float32)
    found = LookUp(1, 256).sampled([np.full((256, 256, 3), 7, np.uint8)], flow, np.ones((1, 1, FLOW, FLOW), np.float32))
    assert (found == 7).all()


def test_weights_that_are_no_numbers_do_no_harm() -> None:
    flow = np.repeat(identity_grid(FLOW).numpy()[None], 2, 0)
    pictures = [np.full((256, 256, 3), 7, np.uint8)] * 2
    found = LookUp(2, 256).sampled(pictures, flow, np.full((2, 1, FLOW, FLOW), np.nan, np.float32))
    assert found.shape == (256, 256, 3)
