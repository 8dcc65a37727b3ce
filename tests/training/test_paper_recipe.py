"""`fvc train --paper`: the recipe of each of the paper's systems, and the steps that have the loss of expressions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fake_pack import random_batch

from fvc.codec.face.landmarks import SUP, SUP_MIRROR
from fvc.evaluation.reproduction.paper import TABLES
from fvc.models.model import build_network
from fvc.models.presets import PRESETS
from fvc.training.data.pack import Pack
from fvc.training.generator.discriminator import Discriminator, generator_losses
from fvc.training.generator.engine import Engine
from fvc.training.generator.losses import load_perceptual
from fvc.training.generator.projection import ProjectionDiscriminator
from fvc.training.generator.recipe import DENSE_FIRST_ORDER, PAPER_SAMPLING, Recipe, paper_recipe
from fvc.training.generator.session import RunOptions, TrainingRun
from fvc.training.generator.step import PARTS, TrainingStep

SYSTEMS = sorted(
    {system.partition(":")[0] for table in TABLES.values() for row in table.rows for system in row.systems}
)
PLAIN = (*DENSE_FIRST_ORDER, "fom-mobile", "hybrid-spade", "nth")
NEW = ("frontalizer-new-sampling", "frontalizer-mobile-spade")


@pytest.mark.parametrize("name", SYSTEMS)
def test_sampling_and_adversary_of_each_system(name: str) -> None:
    recipe = paper_recipe(f"{name}@0.25" if PRESETS[name].is_dense else name, 1)
    assert name in PAPER_SAMPLING
    assert recipe.sampling == ("random" if name in PLAIN else "four" if name in NEW else "three")
    assert (recipe.batch, recipe.rate, recipe.sources, recipe.three) == (32, 2e-4, 8 if name == "nth" else 2, 0)
    adversary = (recipe.adversarial_after, recipe.adversarial_from, recipe.steps, recipe.schedule)
    if name in DENSE_FIRST_ORDER:
        assert adversary == (None, 100_000, 150_000, "paper")
    elif name == "frontalizer-mobile-spade":
        assert adversary == (None, None, 400_000, "constant")
    else:
        assert adversary == (0.0, None, 100_000, "paper")


def test_names_in_the_recipe_are_presets() -> None:
    assert set(PAPER_SAMPLING) <= set(PRESETS)
    assert paper_recipe("composed", 1).sampling == "four"  # no system of the paper


def test_weights() -> None:
    """Those of the first-order model's configuration vox-adv-256, and gamma_E = 40."""
    recipe = paper_recipe("fom", 1)
    weights = recipe.weights
    assert weights.expression == weights.landmarks == 40
    assert (weights.relative, weights.equivariance, weights.equivariance_jacobian) == (10, 10, 10)
    assert (weights.adversarial, weights.l1, weights.faces, weights.lpips) == (1, 0, 0, 0)
    assert recipe.jitter == (0.05, 0.05)


def test_feature_matching_counts_ten_for_each_block() -> None:
    keypoints, clips = torch.zeros(1, 33, 2), torch.zeros(1, dtype=torch.int64)
    for name, net in (("fom", Discriminator()), ("nth", ProjectionDiscriminator(1, 0.125))):
        with torch.no_grad():
            real, drawn = (net(torch.rand(1, 3, 256, 256), keypoints, clips) for _ in range(2))
        each_scale = [
            sum(10 * float((a - b).abs().mean()) for a, b in zip(ours, theirs, strict=True))
            for (_, ours), (_, theirs) in zip(real, drawn, strict=True)
        ]
        mine = paper_recipe(name, 1).weights.matching * float(generator_losses(real, drawn)[1])
        assert mine == pytest.approx(sum(each_scale) / len(each_scale), rel=1e-5)


@pytest.mark.parametrize(("name", "sources"), [("nth@0.125", 8), ("frontalizer@0.125", 2), ("fom@0.125", 1)])
def test_steps_have_as_many_sources_as_the_authors(
    name: str, sources: int, pack_path: Path, perceptual: Path, tmp_path: Path
) -> None:
    options = RunOptions(pack_path, perceptual, tmp_path, SUP, SUP_MIRROR, device="cpu")
    measuring = (load_perceptual(perceptual, "cpu"), None)
    run = TrainingRun(paper_recipe(name, 1), options, Engine("cpu"), Pack(pack_path, SUP), measuring)
    assert {run.choose_profile(step)[1] for step in range(50)} == {sources}
    assert run.sampler.plan(0, 4, sources).frames.shape == (4, sources + 1)
    run.batches.close()


@pytest.mark.parametrize(
    ("name", "profile", "has"),
    [
        ("composed", "sup", True),
        ("fom-fau@0.125", "unsup+jac", True),
        ("fom-mobile", "unsup+jac", False),
        ("frontalizer-mobile", "sup", False),
        ("frontalizer-mobile", "sup+unsup", False),
        ("frontalizer-mobile", "sup+unsup+expr", True),
        ("hybrid-spade", "sup+unsup", False),
        ("nth@0.125", "sup", False),
    ],
)
def test_steps_that_have_the_loss_of_expressions(name: str, profile: str, has: bool, perceptual: Path) -> None:
    def measure(picture: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return picture.mean(), picture.mean()

    network = build_network(name, torch.zeros(len(SUP), 2)).eval()
    recipe = Recipe(name, 1, keep_motion=True)  # without the sender's losses, which are not looked at
    step = TrainingStep(network, recipe, load_perceptual(perceptual, "cpu"), measure)  # type: ignore[arg-type]
    with torch.no_grad():
        _, _, terms = step(random_batch(1, n_sources=1), PARTS[profile])
    assert ("expression" in terms) == ("landmarks" in terms) == has
