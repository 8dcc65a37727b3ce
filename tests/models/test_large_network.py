"""The networks at 512x512: the same picture as at 256, graphs that agree with torch, damaged files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fvc.codec.base.errors import FvcError
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.motion.sample import DrivingSample
from fvc.export.large_graphs import convert, main
from fvc.export.shipped import likely_inputs, load_preset
from fvc.models import weights
from fvc.models.flow import Points
from fvc.models.generator import ComposedGenerator
from fvc.models.inference.drawing import DrawRuntime
from fvc.models.large.network import LargeGenerator, enlarged_flow
from fvc.models.layers import resize_flow


def test_flows_are_enlarged_as_elsewhere() -> None:
    flow = torch.randn(2, 64, 64, 2)
    assert torch.allclose(enlarged_flow(flow), resize_flow(flow, 512), atol=1e-5)


@torch.no_grad()
def test_the_picture_is_that_of_256_where_there_is_no_more_detail() -> None:
    network, _ = load_preset("composed")
    assert isinstance(network.generator, ComposedGenerator)
    (pictures, *at), (position, jacobian, presence, expression, recent) = likely_inputs(network, 1)  # nothing to blend
    small = pictures.permute(0, 3, 1, 2).float()[None] / 255
    large = F.interpolate(small[0], scale_factor=2.0, mode="bilinear")[None]
    driving = Points(position, jacobian, presence), expression, recent[None]
    one, other = network.generator, LargeGenerator(network.generator)
    drawn = other.draw(other.embed(large, Points(*at)), *driving)
    assert drawn.shape == (1, 3, 512, 512)
    assert (F.avg_pool2d(drawn, 2) - one.draw(one.embed(small, Points(*at)), *driving)).abs().mean() < 0.01


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Graphs as `large_graphs` makes them."""
    return convert("composed", tmp_path_factory.mktemp("large") / "composed-512")


@torch.no_grad()
def test_the_installed_graphs_draw_what_torch_draws(folder: Path) -> None:
    network, _ = load_preset("composed")
    (pictures, *_), _ = likely_inputs(network, 2)
    rest = network.generator.reference.position.detach().numpy()[:33]  # type: ignore[attr-defined]
    samples = [DrivingSample({"sup": (rest + shift).astype(np.float32)}) for shift in (0.0, 0.03)]
    large = [picture.numpy().repeat(2, 0).repeat(2, 1) for picture in pictures]
    runtime = DrawRuntime("composed", large, samples, exact=True)(DrawInputs.still(samples[1]))
    network.generator = LargeGenerator(network.generator)  # type: ignore[arg-type]
    at = torch.from_numpy(np.stack([sample.parts["sup"] for sample in samples]))
    points = network.points(at, torch.zeros(2, 10, 2), torch.zeros(2, 10, 2, 2), {"sup"})
    embedding = network.embed(torch.from_numpy(np.stack(large)).permute(0, 3, 1, 2)[None] / 255, points)
    driving = Points(*(tensor[1:] for tensor in points))
    drawn = network.generator.draw(embedding, driving, torch.full((1, 16), 0.5), points.position[None, [1] * 4])
    error = (drawn[0].permute(1, 2, 0).numpy() * 255 - runtime) ** 2
    assert 10 * np.log10(255**2 / error.mean()) > 40
    kept = weights.large_folder("composed")
    assert {path.name for path in folder.iterdir()} == {path.name for path in kept.iterdir()}
    assert json.loads((folder / "digests.json").read_text())["model_hash"] == weights.model_hash("composed").hex()


def test_damaged_and_other_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "large_folder", lambda _: folder)
    draws_large = weights.draws_large.__wrapped__
    assert draws_large("composed")
    assert not draws_large("tiny")  # made of other weights
    (folder / "embed.xml").write_text("?")
    with pytest.raises(FvcError, match="damaged; reinstall fvc"):
        draws_large("composed")
    (folder / "digests.json").write_text("{}")
    with pytest.raises(FvcError, match="damaged; reinstall fvc"):
        draws_large("composed")
    shutil.rmtree(folder)
    assert not draws_large("composed")


def test_the_tool_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["large_graphs", "nothing"])
    with pytest.raises(SystemExit):
        main()
    assert "preset 'nothing': not installed" in capsys.readouterr().err
