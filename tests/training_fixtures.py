"""Fixtures of the tests that train: a tiny made-up pack, and a stand-in for the perceptual network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:  # torch is imported when a test asks for these fixtures, not by all tests
    from fvc.training.data.pack import Pack

# A tiny network with the interface of load_lpips_squeeze.py, so that training can be tested anywhere.
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


@pytest.fixture(scope="session")
def pack_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people who turn by more than the paper's 0.3 rad, and one who hardly does."""
    from fake_pack import clip, write

    clips = [clip(f"a{n}", "ann", np.linspace(-0.5, 0.4, 24)) for n in range(2)]
    clips += [clip("b", "bob", np.linspace(0.3, -0.3, 24)), clip("c", "cid", np.linspace(0, 0.1, 12))]
    return write(tmp_path_factory.mktemp("pack") / "a.pack", clips)


@pytest.fixture(scope="session")
def pack(pack_path: Path) -> Pack:
    from fvc.codec.face.landmarks import SUP
    from fvc.training.data.pack import Pack

    return Pack(pack_path, SUP)


@pytest.fixture(scope="session")
def perceptual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the stand-in."""
    folder = tmp_path_factory.mktemp("perceptual")
    (folder / "load_lpips_squeeze.py").write_text(STAND_IN)
    return folder
