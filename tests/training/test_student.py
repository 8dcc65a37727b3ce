"""The landmark network for phones and what it learns from."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fvc.codec.base.cache import Cache
from fvc.codec.dataset import Clip, ClipFile, open_clip
from fvc.codec.face.crop import to_crop
from fvc.codec.face.landmarks import SUP, SUP_MIRROR, landmark_error
from fvc.evaluation.metrics.instruments import Networks
from fvc.evaluation.studies.student import bits_and_lpips, load_student, seen_by
from fvc.export.shipped import LANDMARKS
from fvc.models.landmark_net import FACE_SIDE, FINE_SIDE, LandmarkNet, turned
from fvc.models.layers import warp
from fvc.models.weights import folder_of, shipped
from fvc.training.data.pack import ClipData, Pack
from fvc.training.data.pack_writer import PackWriter
from fvc.training.others import student

WORST_NME = 3.0  # % of the eyes' distance, mean over the sample's frames


def marked(points: np.ndarray) -> np.ndarray:
    """A picture with a bright spot on landmark 7 and nothing else."""
    y, x = np.mgrid[:256, :256]
    at = (points[7] + 1) * 128 - 0.5
    spot = 255 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 18)
    return np.repeat(spot[..., None], 3, 2).astype(np.uint8)


def spot_of(picture: np.ndarray) -> np.ndarray:
    """Where its brightest pixel is, in [-1, 1]."""
    bright = picture[..., 0].astype(float)
    y, x = np.unravel_index(bright.argmax(), bright.shape)
    return (np.array([x, y]) + 0.5) / (len(picture) / 2) - 1


@pytest.mark.parametrize("mirrored", [False, True])
def test_pictures_and_landmarks_are_moved_alike(mirrored: bool) -> None:
    for seed in range(12):
        points = np.random.default_rng(seed).uniform(-0.4, 0.4, (33, 2)).astype(np.float32)
        view = student.View.of(np.array([0.05, -0.1, 0.7, 0.15]), mirrored)
        seen = spot_of(view.picture(marked(points), FACE_SIDE, cv2.BORDER_REPLICATE))
        assert np.linalg.norm(view.points(points)[7] - seen) < 0.03


def test_the_network_sees_what_training_shows() -> None:
    picture = cv2.resize(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8), (256, 256))
    place = np.array([0.1, -0.05, 0.6, 0.1], np.float32)
    shown = student.View.of(place, mirrored=False).picture(picture, FACE_SIDE, cv2.BORDER_REPLICATE)
    crop = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    grid = turned(LandmarkNet().square, torch.from_numpy(place)[None]).unflatten(1, (FINE_SIDE, FINE_SIDE))
    seen = torch.nn.functional.avg_pool2d(warp(crop, grid), 2)[0].permute(1, 2, 0).numpy()
    assert np.abs(seen - shown).max() < 3


def test_the_place_of_a_moved_face_is_moved_with_it() -> None:
    face = np.random.default_rng(1).uniform(-0.5, 0.5, (33, 2))
    face = face - face.mean(0)
    face = (face + face[list(SUP_MIRROR)] * [-1, 1]) / 2
    place = student.place_of(face, face)
    assert place[[0, 1, 3]] == pytest.approx(0, abs=1e-6)
    moved = student.View.of(np.array([0.2, 0.1, 0.5, 0.3]), mirrored=False).points(face)
    found = student.View.of(student.place_of(moved, face), mirrored=False).points(moved)
    assert found == pytest.approx(face / place[2], abs=1e-5)  # upright and of one size again


def test_errors_are_relative_to_the_eyes() -> None:
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 33, 2)).astype(np.float32)
    eyes = np.linalg.norm(points[:, SUP.index(33)] - points[:, SUP.index(263)], axis=-1)
    assert landmark_error(points + np.float32([0.01, 0]), points) == pytest.approx(0.01 / eyes, rel=1e-3)
    tensor = torch.from_numpy(points)
    near, far = (float(student.distance(tensor + step, tensor)) for step in (0.001, 0.1))
    assert 0 < near < far


def test_an_untrained_locator_looks_at_the_middle() -> None:
    network = LandmarkNet().eval()
    with torch.no_grad():
        network.head.heatmaps.weight.zero_()
        network.locator.heatmaps.weight.zero_()
        found = network(torch.rand(2, 3, 256, 256))
    assert found.shape == (2, 33, 2)
    assert float(found.abs().max()) < 0.3  # nobody has yet said where the middles of its heatmaps are


def test_training_learns_resumes_and_writes_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw = np.random.default_rng(3)
    landmarks = draw.uniform(-0.4, 0.4, (4, 478, 2)).astype(np.float32)
    pictures = [cv2.imencode(".webp", draw.integers(0, 255, (256, 256, 3), np.uint8))[1].tobytes() for _ in range(4)]
    for name in ("train", "val"):
        with PackWriter(tmp_path / f"{name}.pack") as pack:
            pack.add(ClipData(name, name, pictures, landmarks, np.zeros(4), np.arange(4.0), np.arange(4)))
    train, val = (Pack(tmp_path / f"{name}.pack", SUP) for name in ("train", "val"))
    folder = tmp_path / "out"
    folder.mkdir()
    samples = student.Samples(train, batch=2)
    first = student.Student(folder, 0.02, rate=1e-3)
    first.train(samples, val, every=1000)
    again = student.Student(folder, 0.02, rate=1e-3)
    assert again.step == first.step > 0
    assert again.seconds >= 1.2  # its time is over: no further step
    assert (folder / "landmarks.safetensors").stat().st_size < 2_000_000
    assert capsys.readouterr().out.count("val_nme") == 1


@pytest.fixture(scope="module")
def seen(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Clip, Clip]]:
    """The sample as the tracker and as the shipped student see it."""
    with open_clip(ClipFile(clip, None), Fraction(10), Cache(tmp_path_factory.mktemp("cache"))) as tracked:
        yield tracked, seen_by(load_student(folder_of(LANDMARKS) / "weights.safetensors"), tracked)


def test_the_shipped_student_finds_what_the_tracker_finds(seen: tuple[Clip, Clip]) -> None:
    tracker, found = (to_crop(clip.seen.sup, clip.crop) for clip in seen)
    assert len(found) == 31
    errors = 100 * landmark_error(found, tracker)
    assert errors.mean() < WORST_NME
    steps, wanted = (np.linalg.norm(np.diff(points, axis=0), axis=-1).mean() for points in (found, tracker))
    assert steps < 2 * wanted  # it does not tremble


def test_the_shipped_student_costs_few_bits(seen: tuple[Clip, Clip]) -> None:
    with_tracker, with_student = (bits_and_lpips(clip, 100, Networks(None))[0] for clip in seen)
    assert with_student < 1.3 * with_tracker


def test_the_student_is_no_preset() -> None:
    assert (folder_of(LANDMARKS) / "weights.safetensors").stat().st_size < 2_000_000
    assert LANDMARKS not in shipped()
