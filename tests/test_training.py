"""Data pack, losses and loop, on the sample clip and a stand-in for the perceptual network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from fvc.codec.tracking import SUP, SUP_MIRROR
from fvc.models.presets import DEFAULT
from fvc.training.data import Pack, Sampler
from fvc.training.loop import Recipe, train
from fvc.training.losses import equivariance_loss, load_perceptual, region_weights
from fvc.training.prepare import prepare

SAMPLE = Path(__file__).parent.parent / "samples" / "astronaut.mp4"
LPIPS = Path(__file__).parent.parent.parent / "shared" / "data" / "weights" / "lpips_squeeze"
# A tiny network with the interface of load_lpips_squeeze.py, so that the loop can be tested anywhere.
STAND_IN = '''
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
        self.net, self.shift, self.scale, self.lin = Net(), 0.0, 1.0, [torch.full((1, 8, 1, 1), 0.1)]
    def forward(self, a, b, normalize=True):
        return (self.net(2 * a - 1)[0] - self.net(2 * b - 1)[0]).square().mean().view(1, 1, 1, 1)
def load(path=None, device="cpu"):
    return Lpips().to(device)
'''


@pytest.fixture(scope="module")
def pack_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    (folder / "a.mp4").symlink_to(SAMPLE)
    report = prepare(folder, folder / "a.pack", frames_per_person=12, fps=3, workers=1)
    assert report["clips"] == 1
    assert report["frames packed"] >= 10
    return folder / "a.pack"


def test_pack_holds_what_was_tracked(pack_path: Path) -> None:
    pack = Pack(pack_path, SUP)
    assert pack.image(0).shape == (256, 256, 3)
    assert pack.keypoints.shape[1:] == (33, 2)
    assert np.abs(pack.keypoints).max() < 1
    assert pack.yaw.max() - pack.yaw.min() > 1
    chosen = pack.choose_sources(pack.clips[0], 3)
    assert abs(pack.yaw[chosen[0]]) < 0.15
    assert pack.yaw[chosen[1]] == pack.yaw.min()
    assert pack.yaw[chosen[2]] == pack.yaw.max()


def test_batches_are_seeded_and_span_the_yaw(pack_path: Path) -> None:
    pack = Pack(pack_path, SUP)
    first, second = (Sampler(pack, SUP_MIRROR, seed=3).batch(7, 3, 3) for _ in range(2))
    assert torch.equal(first.sources, second.sources)
    assert torch.equal(first.driving_keypoints, second.driving_keypoints)
    assert first.sources.shape == (3, 3, 3, 256, 256)
    assert first.driving.shape == (3, 3, 256, 256)
    assert first.source_keypoints.shape == (3, 3, 33, 2)
    other = Sampler(pack, SUP_MIRROR, seed=4).batch(7, 3, 3)
    assert not torch.equal(first.driving, other.driving)


def test_augmented_keypoints_stay_on_the_face(pack_path: Path) -> None:
    """Pixels under the keypoints stay what they were, up to colour, after crop jitter and mirroring."""
    pack, errors = Pack(pack_path, SUP), []
    sampler = Sampler(pack, SUP_MIRROR, seed=0)
    frame = np.stack([pack.image(0)])
    at = ((pack.keypoints[:1] + 1) * 128).astype(int).clip(0, 255)
    before = frame[0][at[0, :, 1], at[0, :, 0]].astype(int)
    for _ in range(12):
        rgb, keypoints = sampler._augment(frame, pack.keypoints[:1])
        there = ((keypoints + 1) * 128).astype(int).clip(0, 255)
        after = rgb[0][there[0, :, 1], there[0, :, 0]].astype(int)
        same = min(np.abs(after - before).mean(), np.abs(after[list(SUP_MIRROR)] - before).mean())
        errors.append(same)
    assert np.median(errors) < 35


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
    torch.manual_seed(0)
    points, jacobians, _ = Blob()(blob)
    loss = equivariance_loss(Blob(), blob, points, jacobians)
    wrong = equivariance_loss(Blob(), blob, points + 0.3, jacobians)
    assert loss < 0.06
    assert wrong > loss + 0.25


def test_training_goes_on_where_it_stopped(pack_path: Path, tmp_path: Path) -> None:
    """Two steps in one go and with a stop between them give the same network."""
    (tmp_path / "load_lpips_squeeze.py").write_text(STAND_IN)
    recipe, results = Recipe(DEFAULT, 1e9, batch=1), []
    for name, stops in (("straight", [2]), ("stopped", [1, 2])):
        for stop in stops:
            weights = train(recipe, pack_path, None, tmp_path, tmp_path / name, SUP, SUP_MIRROR, stop_at=stop)
        results.append(load_file(weights))
    assert results[0].keys() == results[1].keys()
    for name, tensor in results[0].items():
        assert np.isfinite(tensor).all()
        assert np.allclose(tensor, results[1][name], atol=1e-4), name


def test_the_papers_preset_trains_and_is_validated(pack_path: Path, tmp_path: Path) -> None:
    (tmp_path / "load_lpips_squeeze.py").write_text(STAND_IN)
    recipe = Recipe("frontalizer-mobile", 1e9, batch=1)
    train(recipe, pack_path, pack_path, tmp_path, tmp_path / "run", SUP, SUP_MIRROR, stop_at=1)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line.get("val_lpips", 0) > 0] == [1]


@pytest.mark.skipif(not LPIPS.is_dir(), reason="needs ../shared/data/weights/lpips_squeeze, which only developers have")
def test_real_perceptual_network_loads() -> None:
    network = load_perceptual(LPIPS, "cpu")
    picture = torch.rand(1, 3, 64, 64)
    assert float(network(picture, picture, normalize=True)) == pytest.approx(0, abs=1e-6)
