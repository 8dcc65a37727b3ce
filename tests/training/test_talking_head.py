"""Fine-tuning Neural Talking Heads on a few pictures of one person."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fvc.codec.face.landmarks import SUP, SUP_MIRROR
from fvc.models.model import load_network
from fvc.training.data.pack import Pack
from fvc.training.generator.loop import train
from fvc.training.generator.recipe import Recipe
from fvc.training.generator.session import RunOptions
from fvc.training.others import talking_head

PRESET = "nth@0.125"


def test_a_person_is_learned(
    pack_path: Path, pack: Pack, perceptual: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the run's weights and discriminator to weights of one person, by the command line."""
    options = RunOptions(
        pack_path, perceptual, tmp_path / "run", SUP, SUP_MIRROR, device="cpu", calibration=1, stop_at=1
    )
    train(Recipe(PRESET, 1e9, batch=1, adversarial_after=0.0), options)
    monkeypatch.setattr(talking_head, "RATE", 4e-3)
    words = [tmp_path / "run", pack_path, pack.clips[0].name, tmp_path / "person.safetensors"]
    more = ["--perceptual", perceptual, "--frames", 2, "--steps", 16]
    monkeypatch.setattr("sys.argv", ["talking_head", *map(str, [*words, *more])])
    talking_head.main()
    before = load_network(tmp_path / "run" / "weights.safetensors", PRESET).state_dict()
    after = load_network(tmp_path / "person.safetensors", PRESET).state_dict()
    assert after["generator.personal"].abs().max() > 100 * before["generator.personal"].abs().max()
    for name, tensor in before.items():
        if name.startswith(("generator.embedder", "generator.project")):
            assert torch.equal(tensor, after[name]), name


def test_distances_fall(pack: Pack, perceptual: Path) -> None:
    from fvc.models.model import build_network
    from fvc.training.generator.losses import load_perceptual

    torch.manual_seed(0)
    frames = pack.clips[0].frames[:2]
    network, keypoints = build_network(PRESET), torch.from_numpy(pack.keypoints[frames])
    found = talking_head.fine_tune(
        network, pack.images(frames), keypoints, load_perceptual(perceptual, "cpu"), 24, rate=4e-3
    )
    assert min(found[-2:]) < 0.7 * found[0]
