"""The shipped weights and the runtime that draws with them."""

from __future__ import annotations

import locale
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch
from conftest import Encoded

from fvc.codec.motion.pose_history import MOMENTS, DrawInputs
from fvc.codec.motion.sample import DrivingSample, Profile
from fvc.codec.source_builder import SOURCE_CRF
from fvc.codec.wire.source_set import SourceSet, code_pictures
from fvc.models.flow import Points
from fvc.models.inference.drawing import DrawRuntime
from fvc.models.inference.motion import MotionRuntime
from fvc.models.inference.tensors import points
from fvc.models.model import load_network
from fvc.models.presets import DEFAULT
from fvc.models.weights import folder_of, model_hash, preset_of, shipped, verify


def random_sample(draw: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "sup": draw.uniform(-0.6, 0.6, (33, 2)).astype(np.float32),
        "unsup": draw.uniform(-0.6, 0.6, (10, 2)).astype(np.float32),
        "jac": (np.eye(2) + draw.normal(0, 0.1, (10, 2, 2))).astype(np.float32),
        "expr": draw.random(16).astype(np.float32),
    }


def test_shipped_weights_are_whole_and_small() -> None:
    assert DEFAULT in shipped()
    for preset in shipped():
        verify(folder_of(preset))
        assert preset_of(model_hash(preset)) == preset
        assert (folder_of(preset) / "weights.safetensors").stat().st_size < 5_000_000
    assert preset_of(b"nobody's") is None


@pytest.mark.parametrize("preset", shipped())
@pytest.mark.parametrize("count", [2, 3])
def test_runtime_draws_what_torch_draws(preset: str, count: int) -> None:
    draw = np.random.default_rng(count)
    network = load_network(folder_of(preset) / "weights.safetensors", preset)
    smooth = [np.kron(draw.integers(0, 255, (16, 16, 3)), np.ones((16, 16, 1))).astype(np.uint8) for _ in range(count)]
    head = random_sample(draw)

    def moved() -> DrivingSample:
        near = {part: head[part] + draw.normal(0, 0.05, head[part].shape) for part in ("sup", "unsup", "jac")}
        return DrivingSample(head | {part: values.astype(np.float32) for part, values in near.items()})

    samples, parts = [moved() for _ in range(count)], moved().parts
    driving = DrawInputs(parts, np.concatenate([points(moved().parts)[0] for _ in range(MOMENTS)]))
    picture = DrawRuntime(preset, smooth, samples, exact=True)(driving)

    with torch.no_grad():
        pictures = torch.from_numpy(np.stack(smooth)).permute(0, 3, 1, 2)[None] / 255
        each = [points(sample.parts) for sample in samples]
        joined = [torch.from_numpy(np.concatenate(tensors)) for tensors in zip(*each, strict=True)]
        embedding = network.embed(pictures, Points(*joined))
        at = Points(*map(torch.from_numpy, points(parts)))
        recent = torch.from_numpy(driving.recent_positions)[None]
        wanted = network.generator.draw(embedding, at, torch.from_numpy(parts["expr"])[None], recent)
    wanted = (wanted[0].permute(1, 2, 0).clamp(0, 1) * 255).numpy()
    error = np.abs(picture - wanted)  # levels of 255
    assert np.quantile(error, 0.9999) < 4  # random keypoints tear the flow: a pixel there may fall on either side
    assert error.mean() < 0.5  # half of a level is rounding to integers, and places are rounded to 1/32 of a pixel
    assert np.array_equal(picture, DrawRuntime(preset, smooth, samples, exact=True)(driving))
    with ThreadPoolExecutor(2) as pool:  # OpenVINO sets the locale while it reads: two at once left it at "C"
        encoding = locale.getencoding()
        drawn = [pool.submit(lambda: DrawRuntime(preset, smooth, samples, 2, exact=True)(driving)) for _ in range(2)]
        for future in drawn:
            assert np.abs(future.result().astype(int) - picture).max() <= 1
    assert locale.getencoding() == encoding


def test_another_source_fades_in_beside_the_head_and_is_there_at_once_in_the_face(encoded: Encoded) -> None:
    """A dark and a bright picture of one man: his head comes from where the dark one has it to the bright one's."""
    sources = SourceSet.parse(encoded.sources.read_bytes())
    first = sources.samples[0].parts["sup"]
    other = first * np.float32([0.8, 1])
    dark, bright = (np.full_like(sources.pictures[0], level) for level in (60, 180))
    samples = [DrivingSample({"sup": sup}) for sup in (first, other)]
    draw = DrawRuntime(DEFAULT, [dark, bright], samples, exact=True)

    def levels(recent: list[np.ndarray]) -> tuple[float, float]:
        """Mean of the upper corners and about the nose."""
        picture = draw(DrawInputs({"sup": other}, np.stack(recent)))
        x, y = np.round((other[2] + 1) * 128).astype(int)
        nose = picture[y - 4 : y + 4, x - 4 : x + 4]
        return float(picture[:24, [*range(24), *range(232, 256)]].mean()), float(nose.mean())

    still, nose = levels([other] * MOMENTS)
    assert still > 165
    assert nose > 150
    corners = []
    for frames in range(MOMENTS + 1):  # since the head came
        corner, now = levels([other] * frames + [first] * (MOMENTS - frames))
        corners.append(corner)
        assert now == pytest.approx(nose, abs=3)
    assert corners[0] < 100
    steps = np.diff(corners)
    assert (steps > 0).all()
    assert steps.max() < 40
    assert corners[-1] == still


def test_half_precision_draws_nearly_the_same(encoded: Encoded) -> None:
    """On CPUs that have none the two are the same."""
    sources = SourceSet.parse(encoded.sources.read_bytes())
    samples = [sample.only(Profile.SUP.parts) for sample in sources.samples]
    exact, fast = (DrawRuntime(DEFAULT, sources.pictures, samples, exact=exact) for exact in (True, False))
    for driving in map(DrawInputs.still, samples):
        error = exact(driving).astype(float) - fast(driving)
        assert np.sqrt((error**2).mean()) < 2.5  # levels of 255: 40 dB


def test_restoring_brings_source_pictures_nearer_to_what_they_were(faces: list[np.ndarray]) -> None:
    """The project's own sample, coded as `fvc encode` does: nothing of it was trained on."""
    crops = [np.ascontiguousarray(cv2.resize(frame, (256, 256))) for frame in faces[:2]]
    _, decoded = code_pictures(crops, SOURCE_CRF)
    restorer = load_network(folder_of(DEFAULT) / "weights.safetensors", DEFAULT).restorer
    for original, picture in zip(crops, decoded, strict=True):
        with torch.no_grad():
            restored = restorer(torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255)[0].permute(1, 2, 0)
        before, after = (np.abs(original / 255 - x).mean() for x in (picture / 255, restored.numpy()))
        assert after < 0.98 * before


def test_runtime_motion_is_torchs() -> None:
    crop = np.random.default_rng(0).integers(0, 255, (256, 256, 3)).astype(np.uint8)
    network = load_network(folder_of(DEFAULT) / "weights.safetensors", DEFAULT)
    with torch.no_grad():
        wanted = network.motion(torch.from_numpy(crop).permute(2, 0, 1)[None] / 255)
    got = MotionRuntime(DEFAULT)(crop)
    for name, tensor in zip(("unsup", "jac", "expr"), wanted, strict=True):
        assert np.abs(got[name] - tensor[0].numpy()).max() < 2e-3, name
