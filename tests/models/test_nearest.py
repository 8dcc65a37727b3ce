"""Which sources a frame is drawn from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fvc.codec.motion.pose_history import MOMENTS, DrawInputs
from fvc.codec.motion.sample import DrivingSample
from fvc.models.flow import Points
from fvc.models.generator import Embedding
from fvc.models.inference.drawing import DrawRuntime
from fvc.models.inference.nearest import CONFIDENCE_CHANNEL, CONFIDENCE_TENSOR, DRAWN_FROM, nearest
from fvc.models.inference.tensors import points
from fvc.models.model import load_network
from fvc.models.presets import DEFAULT
from fvc.models.weights import folder_of

RNG = np.random.default_rng(3)
FACE = RNG.uniform(-0.5, 0.5, (33, 2)).astype(np.float32)


def still(sup: np.ndarray) -> DrawInputs:
    return DrawInputs.still(DrivingSample({"sup": sup.astype(np.float32)}))


def turned(by: float) -> np.ndarray:
    return FACE * np.float32([1 - by, 1])


def test_the_nearest_are_chosen_wherever_they_are_in_the_picture() -> None:
    sources = np.stack([turned(by) + by for by in (0.33, 0.1, 0.3, 0.0, 0.2, 0.9)])
    chosen = nearest(still(turned(0.12)), sources)
    assert chosen.numbers == (1, 2, 3, 4)
    assert chosen.log_shares[0] == chosen.log_shares[2] == chosen.log_shares[3] == 0
    assert chosen.log_shares[1] < 0  # the first one left out is hardly farther away


@pytest.mark.parametrize("count", [1, DRAWN_FROM])
def test_all_draw_where_there_are_no_more(count: int) -> None:
    chosen = nearest(still(FACE), np.stack([turned(0.3 * n) for n in range(count)]))
    assert chosen.numbers == tuple(range(count))
    assert not chosen.log_shares.any()


def test_equal_sources_are_trusted_alike() -> None:
    chosen = nearest(still(FACE), np.stack([FACE] * 5))
    assert chosen.numbers == (0, 1, 2, 3)
    assert not chosen.log_shares.any()


def test_without_landmarks_the_learned_keypoints_decide() -> None:
    unsup = RNG.uniform(-0.5, 0.5, (10, 2)).astype(np.float32)
    sources = np.stack([unsup * np.float32([1 - by, 1]) for by in (0.9, 0.1, 0.2, 0.3, 0.05)])
    sample = DrivingSample({"unsup": unsup, "jac": np.tile(np.eye(2, dtype=np.float32), (10, 1, 1))})
    assert nearest(DrawInputs.still(sample), sources).numbers == (1, 2, 3, 4)


@given(st.integers(0, 2**32 - 1))
def test_a_source_has_faded_out_when_another_takes_its_place(seed: int) -> None:
    """Between two heads with different sources there is a moment at which both choices draw the same."""
    rng = np.random.default_rng(seed)
    sources = rng.uniform(-0.5, 0.5, (6, 33, 2)).astype(np.float32)
    a, b = rng.uniform(-0.5, 0.5, (2, 33, 2))
    before, after = 0.0, 1.0
    left, right = (nearest(still(a + at * (b - a)), sources) for at in (before, after))
    if left.numbers == right.numbers:
        return
    while after - before > 1e-5:
        middle = (before + after) / 2
        chosen = nearest(still(a + middle * (b - a)), sources)
        if chosen.numbers == left.numbers:
            before, left = middle, chosen
        else:
            after, right = middle, chosen
    for one, other in ((left, right), (right, left)):
        for number, log_share in zip(one.numbers, one.log_shares, strict=True):
            if number not in other.numbers:
                assert log_share < np.log(0.01)


def test_confidences_are_where_the_generator_has_them() -> None:
    assert Embedding._fields[CONFIDENCE_TENSOR] == "residual"
    network = load_network(folder_of(DEFAULT) / "weights.safetensors", DEFAULT)
    sample = points({"sup": FACE})
    with torch.no_grad():
        embedding = Embedding(*network.embed(torch.rand(1, 1, 3, 256, 256), Points(*map(torch.from_numpy, sample))))
        at, neutral = Points(*map(torch.from_numpy, sample)), torch.full((1, 16), 0.5)
        two = [torch.cat([tensor, tensor]) for tensor in embedding]
        two[2][1] = 0  # the second is black
        two[CONFIDENCE_TENSOR][1, CONFIDENCE_CHANNEL] -= 20  # and not trusted
        shown, alone = network.generator.draw(tuple(two), at, neutral), network.generator.draw(embedding, at, neutral)
    assert float((shown - alone).abs().mean()) < 1e-3


def test_the_runtime_draws_from_the_chosen_ones() -> None:
    """Of six sources, what torch draws of four with lowered confidences; and only those are embedded."""
    rng = np.random.default_rng(5)
    pictures = [np.kron(rng.integers(0, 255, (16, 16, 3)), np.ones((16, 16, 1))).astype(np.uint8) for _ in range(6)]
    samples = [DrivingSample({"sup": turned(by)}) for by in (0.0, 0.05, 0.1, 0.15, 0.4, 0.5)]
    inputs = still(turned(0.03))
    chosen = nearest(inputs, np.stack([sample.parts["sup"] for sample in samples]))
    assert chosen.numbers == (0, 1, 2, 3)
    runtime = DrawRuntime(DEFAULT, pictures, samples, exact=True)
    picture = runtime(inputs)
    assert sorted(runtime._sources._rows) == [0, 1, 2, 3]

    network = load_network(folder_of(DEFAULT) / "weights.safetensors", DEFAULT)
    given = [points(samples[n].parts) for n in chosen.numbers]
    joined = [torch.from_numpy(np.concatenate(tensors)) for tensors in zip(*given, strict=True)]
    with torch.no_grad():
        four = torch.from_numpy(np.stack(pictures[:4])).permute(0, 3, 1, 2)[None] / 255
        embedding = list(network.embed(four, Points(*joined)))
        embedding[CONFIDENCE_TENSOR][:, CONFIDENCE_CHANNEL] += torch.from_numpy(chosen.log_shares)[:, None, None]
        at = points(inputs.parts)
        recent = torch.from_numpy(at[0]).expand(MOMENTS, -1, -1)[None]
        wanted = network.generator.draw(
            tuple(embedding), Points(*map(torch.from_numpy, at)), torch.full((1, 16), 0.5), recent
        )
    error = np.abs(picture - (wanted[0].permute(1, 2, 0).clamp(0, 1) * 255).numpy())
    assert error.mean() < 0.5  # places in the sources are rounded to 1/32 of a pixel, and these pictures are all edges
    assert np.abs(runtime(still(turned(0.45))).astype(int) - picture).mean() > 1
    assert np.array_equal(runtime(inputs), picture)  # bound to the first four again
