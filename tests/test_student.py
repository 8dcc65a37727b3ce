"""The landmark network for phones and what it learns from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fvc.codec.tracking import SUP, SUP_MIRROR
from fvc.models.landmarks import LandmarkNet
from fvc.training import student
from fvc.training.pack import ClipData, Pack, PackWriter


def marked(points: np.ndarray) -> np.ndarray:
    """A picture with a bright spot on landmark 7 and nothing else."""
    y, x = np.mgrid[:256, :256]
    at = (points[7] + 1) * 128 - 0.5
    spot = 255 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 18)
    return np.repeat(spot[..., None], 3, 2).astype(np.uint8)


def test_pictures_and_landmarks_are_altered_alike() -> None:
    for seed in range(12):
        points = np.random.default_rng(seed).uniform(-0.4, 0.4, (33, 2)).astype(np.float32)
        image, moved = student.alter(marked(points), points, np.random.default_rng(seed))
        red = image[..., 0].astype(float) - np.median(image[..., 0])
        y, x = np.unravel_index(red.argmax(), red.shape)
        place = (np.array([x, y]) + 0.5) / 128 - 1
        nearest = int(np.linalg.norm(moved - place, axis=1).argmin())
        assert nearest in (7, SUP_MIRROR[7])
        assert np.linalg.norm(moved[nearest] - place) < 0.03


def test_errors_are_relative_to_the_eyes() -> None:
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 33, 2)).astype(np.float32)
    eyes = np.linalg.norm(points[:, SUP.index(33)] - points[:, SUP.index(263)], axis=-1)
    assert student.nme(points + np.float32([0.01, 0]), points) == pytest.approx(0.01 / eyes, rel=1e-3)
    tensor = torch.from_numpy(points)
    assert float(student.wing_loss(tensor, tensor)) == 0
    near, far = (float(student.wing_loss(tensor + step, tensor)) for step in (0.001, 0.1))
    assert 0 < near < far


def test_an_untrained_network_looks_at_the_middle_and_keeps_the_shapes() -> None:
    network = LandmarkNet(base=8).eval()
    with torch.no_grad():
        network.heatmaps.weight.zero_()
        found = network(torch.rand(2, 3, 256, 256))
    assert found.shape == (2, 33, 2)
    assert float(found.abs().max()) < 1e-5


def test_training_learns_resumes_and_writes_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import cv2

    draw = np.random.default_rng(3)
    landmarks = draw.uniform(-0.4, 0.4, (4, 478, 2)).astype(np.float32)
    pictures = [cv2.imencode(".webp", draw.integers(0, 255, (256, 256, 3), np.uint8))[1].tobytes() for _ in range(4)]
    for name in ("train", "val"):
        with PackWriter(tmp_path / f"{name}.pack") as pack:
            pack.add(ClipData(name, name, pictures, landmarks, np.zeros(4), np.arange(4.0), np.arange(4)))
    packs = [Pack(tmp_path / f"{name}.pack", SUP) for name in ("train", "val")]
    folder = tmp_path / "out"
    folder.mkdir()
    first = student.Student(folder, 0.02, batch=2, rate=1e-3)
    first.train(*packs)
    again = student.Student(folder, 0.02, batch=2, rate=1e-3)
    assert again.step == first.step > 0
    assert again.seconds >= 1.2  # its time is over: no further step
    assert (folder / "landmarks.safetensors").stat().st_size < 1_500_000
    assert capsys.readouterr().out.count("val_nme") == 1
