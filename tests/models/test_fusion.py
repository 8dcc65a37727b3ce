"""The network that fuses a video layer with the drawn picture."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fvc.codec.base.errors import FvcError
from fvc.codec.media.video import VideoReader
from fvc.export.fusion_graph import FuseGraph, convert, load_fusion
from fvc.models.fusion.network import Fusion
from fvc.models.inference import fusing
from fvc.models.inference.fusing import FUSION, FuseRuntime, LazyFuse
from fvc.models.weights import folder_of


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    """uint8 [256, 256, 3] of the sample."""
    with VideoReader("samples/astronaut.mp4") as video:
        return np.ascontiguousarray(next(iter(video.frames(1))).rgb[56:312, 110:366])  # type: ignore[arg-type]


def error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.square(a.astype(float) - b).mean())


def test_untrained_it_gives_the_mean() -> None:
    layer, drawn = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    fused = Fusion()(layer, drawn)
    assert torch.allclose(fused, (layer + drawn) / 2, atol=1e-4)


def test_graph_is_the_network_that_its_weights_describe(face: np.ndarray) -> None:
    blurred = cv2.GaussianBlur(face, (0, 0), 3)
    network = FuseGraph(load_fusion(folder_of(FUSION) / "weights.safetensors"))
    with torch.no_grad():
        expected = network(torch.from_numpy(blurred)[None], torch.from_numpy(face)[None])[0].numpy()
    shown = FuseRuntime()(blurred, face)
    assert shown.shape == (256, 256, 3)
    assert np.abs(shown.astype(int) - expected).max() <= 2


def test_shipped_network_takes_the_better_of_both(face: np.ndarray) -> None:
    fuse = FuseRuntime()
    blurred, shifted = cv2.GaussianBlur(face, (0, 0), 3), np.roll(face, 5, 1)
    assert error(fuse(blurred, face), face) < 0.5 * error(blurred, face)  # a good drawing is left alone
    assert error(fuse(blurred, shifted), face) < 0.7 * error(shifted, face)  # the layer says where things are
    assert error(fuse(face, np.zeros_like(face)), face) < 0.1 * error(np.zeros_like(face), face)


def test_lazy_one_serves_threads(face: np.ndarray) -> None:
    lazy = LazyFuse(2)
    expected = FuseRuntime()(face, face)
    with ThreadPoolExecutor(3) as pool:
        for shown in pool.map(lambda _: lazy(face, face), range(6)):
            assert np.array_equal(shown, expected)


def test_damaged_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "fusion"
    shutil.copytree(folder_of(FUSION), folder)
    monkeypatch.setattr(fusing, "folder_of", lambda _: folder)
    assert fusing._verified_fusion.__wrapped__() == folder
    data = bytearray((folder / "fuse.bin").read_bytes())
    data[100] ^= 1
    (folder / "fuse.bin").write_bytes(data)
    with pytest.raises(FvcError, match=r"fuse\.bin: not what digests\.json says; reinstall"):
        fusing._verified_fusion.__wrapped__()
    (folder / "fuse.bin").unlink()
    with pytest.raises(FvcError, match="missing or damaged"):
        fusing._verified_fusion.__wrapped__()


def test_export_writes_what_the_runtime_takes(tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    save_file(Fusion().state_dict(), weights)
    folder = convert(weights, tmp_path / "out")
    assert {path.name for path in folder.iterdir()} == {*fusing.FUSION_FILES, "digests.json"}
    (tmp_path / "other.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="not weights"):
        convert(tmp_path / "other.safetensors", tmp_path / "none")
    assert not (tmp_path / "none").exists()
