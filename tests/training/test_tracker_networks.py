"""What our own tracker's networks learn from, and that training goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fvc.codec.face.landmarks import N_LANDMARKS, SUP
from fvc.export.tracker_graphs import convert
from fvc.models.landmark_net import CELLS, PICTURE_SIDE, TrackerHead
from fvc.training.others.tracked_frames import TrackedFrames
from fvc.training.others.tracker_networks import Trainer
from fvc.training.others.tracker_samples import DetectorSamples, HeadSamples, cells_of


@pytest.fixture
def frames(tmp_path: Path) -> TrackedFrames:
    """Two people, three grey frames each, with a white spot on the nose tip (mesh number 1)."""
    draw = np.random.default_rng(0)
    landmarks = np.zeros((6, N_LANDMARKS, 3), np.float32)
    landmarks[..., :2] = 128 + 45 * np.random.default_rng(1).uniform(-1, 1, (N_LANDMARKS, 2))
    landmarks[..., :2] += draw.uniform(-8, 8, (6, 1, 2))
    landmarks[:, 1, :2] = landmarks[:, list(SUP), :2].mean(1)  # in the middle, so that it is always in sight
    landmarks[:, 234], landmarks[:, 454] = [80, 128, 5], [176, 128, 0]
    y, x = np.mgrid[:256, :256] + 0.5
    spots = [180 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 30) for at in landmarks[:, 1]]
    np.save(tmp_path / "pictures.npy", np.repeat((40 + np.array(spots))[..., None], 3, -1).astype(np.uint8))
    np.save(tmp_path / "landmarks.npy", landmarks)
    np.save(tmp_path / "people.npy", np.array([0, 0, 0, 1, 1, 1], np.int32))
    return TrackedFrames(tmp_path)


def test_squares_and_landmarks_are_moved_alike(frames: TrackedFrames) -> None:
    squares, points, present = HeadSamples(frames, 24)(0)
    assert squares.shape == (24, 3, 96, 96)
    assert points.shape == (24, 33, 3)
    near = 0
    for square, point in zip(squares[present > 0], points[present > 0], strict=True):
        row, column = np.unravel_index(int(square.mean(0).argmax()), (96, 96))
        spot = (np.array([column, row]) + 0.5) / 48 - 1
        near += bool(np.linalg.norm(spot - point[SUP.index(1), :2].numpy()) < 0.06)
    assert near > 0.7 * int((present > 0).sum())  # some are covered, noisy or dark


def test_cells_say_where_a_face_is() -> None:
    cells, weight = cells_of([np.array([0.3, -0.2, 0.2, 0.1]), np.array([2.0, 0.0, 0.1, 0.0])])
    assert cells[0].sum() == 1  # the other is outside
    (row,), (column,) = np.nonzero(cells[0])
    x, y = (np.array([column, row]) + 0.5 + cells[1:3, row, column]) / (CELLS / 2) - 1
    assert (x, y) == pytest.approx((0.3, -0.2), abs=1e-6)
    assert 2 ** cells[3, row, column] == pytest.approx(np.hypot(0.2, 0.1))
    assert cells[4, row, column] == pytest.approx(np.arctan2(0.1, 0.2))
    assert weight[row, column] == 1


def test_pictures_have_their_faces_where_the_cells_say(frames: TrackedFrames) -> None:
    pictures, cells, _ = DetectorSamples(frames, 24)(0)
    assert pictures.shape == (24, 3, PICTURE_SIDE, PICTURE_SIDE)
    faces = (cells[:, 0] > 0).sum((1, 2))
    assert faces.max() >= 2
    assert (faces == 0).any()


@pytest.mark.parametrize("kind", ["landmarks", "detector"])
def test_training_learns_and_goes_on(kind: str, frames: TrackedFrames, tmp_path: Path) -> None:
    samples = HeadSamples(frames, 4) if kind == "landmarks" else DetectorSamples(frames, 4)
    trainer = Trainer(kind, tmp_path, 60, 1e-3, None)
    batch = samples(0)
    losses = [sum(trainer._update(batch)) for _ in range(12)]
    assert losses[-1] < losses[0]
    trainer.step = 12
    trainer._note([0.0], samples, samples)
    again = Trainer(kind, tmp_path, 60, 1e-3, None)
    assert again.step == 12
    for name, tensor in again.network.state_dict().items():
        assert torch.equal(tensor, trainer.network.state_dict()[name])
    assert (tmp_path / "log.jsonl").read_text().count("\n") == 1


def test_graphs_give_what_the_networks_give(frames: TrackedFrames, tmp_path: Path) -> None:
    from fvc.codec.base.inference import compile_file

    runs = {name: tmp_path / name for name in ("landmarks", "detector")}
    for name, run in runs.items():
        run.mkdir()
        samples = HeadSamples(frames, 2) if name == "landmarks" else DetectorSamples(frames, 2)
        trainer = Trainer(name, run, 60, 1e-3, None)
        trainer._note([0.0], samples, samples)
        (run / "about.json").write_text(json.dumps({"mean_face": samples.face.tolist(), "square_scale": 1.15}))
    out = convert(runs["landmarks"], runs["detector"], tmp_path / "out")
    square = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3)).astype(np.uint8)
    points, presence = compile_file(out / "landmarks.xml")(square).values()
    network = TrackerHead()
    network.load_state_dict(trainer_weights(runs["landmarks"]), strict=False)
    with torch.no_grad():
        expected, logit = network.eval()(torch.from_numpy(square).permute(0, 3, 1, 2).float() / 255)
    assert np.abs(points - expected.numpy()).max() < 0.03  # heatmaps of an untrained network amplify fp16 rounding
    assert presence[0] == pytest.approx(float(logit.sigmoid()), abs=0.01)
    assert compile_file(out / "detector.xml")(np.zeros((1, 128, 128, 3), np.uint8))[0].shape == (1, 5, CELLS, CELLS)


def trainer_weights(run: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(run / "weights.safetensors")
