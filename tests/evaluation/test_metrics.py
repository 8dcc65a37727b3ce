"""Metrics against values worked out by hand or by other means; networks that are missing, damaged, or stand-ins."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from fvc.codec.base.errors import FvcError, InputError
from fvc.codec.face.detection import Face
from fvc.codec.face.landmarks import SUP
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.video import VideoReader
from fvc.evaluation.metrics.catalog import CATALOG, MAX_PSNR
from fvc.evaluation.metrics.face_metrics import widest_mouths
from fvc.evaluation.metrics.instruments import Window
from fvc.evaluation.metrics.metrics import Metrics, face_values
from fvc.evaluation.metrics.reference import Reference
from fvc.evaluation.presets.strips import Strip, telling_frames

SHARED = Path(__file__).parents[3] / "shared" / "data" / "weights"
needs_networks = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data/weights, which developers have")


def gray(level: int) -> np.ndarray:
    return np.full((256, 256, 3), level, np.uint8)


@pytest.fixture(scope="module")
def pictures(faces: list[np.ndarray]) -> list[np.ndarray]:
    """Four frames of the sample, 256x256."""
    return [cv2.resize(face, (256, 256), interpolation=cv2.INTER_AREA) for face in faces[:4]]


@pytest.fixture(scope="module")
def tracked(pictures: list[np.ndarray]) -> list[Face]:
    with FaceTracker(still=True) as tracker:
        found = [tracker.track(picture) for picture in pictures]
    return [face for face in found if face is not None]


def seen(sup: np.ndarray, every: int = 1, **columns: np.ndarray) -> Reference:
    pose = columns.pop("pose", np.zeros((len(sup), 3)))
    return Reference(len(sup), every, {"sup": sup, "pose": pose, **columns})


def upright() -> np.ndarray:
    """[33, 2]: outer eye corners 100 apart, lids 10 apart, lips 20 apart."""
    sup = np.random.default_rng(0).uniform(0, 256, (33, 2))
    for index, at in {
        33: (50, 90),
        263: (150, 90),
        159: (70, 85),
        145: (70, 95),
        386: (130, 85),
        374: (130, 95),
        13: (100, 150),
        14: (100, 170),
    }.items():
        sup[SUP.index(index)] = at
    return sup


class TestByHand:
    def test_nme_is_the_mean_distance_over_the_eye_distance(self) -> None:
        a = np.stack([upright(), upright()])
        b = a + np.array([[[3.0, 4.0]], [[0.0, 0.0]]])  # 5 pixels, then none
        assert face_values(seen(a), seen(b))["nme"] == pytest.approx((5 / 100 + 0) / 2)

    def test_the_ruler_is_the_originals(self) -> None:
        a = upright()[None]
        b = a * 2
        assert face_values(seen(a), seen(b))["nme"] == pytest.approx(np.linalg.norm(a, axis=-1).mean() / 100)

    def test_apertures(self) -> None:
        a = upright()[None]
        b = a.copy()
        b[0, SUP.index(145), 1] -= 6  # one lid gap 10 -> 4
        b[0, SUP.index(14), 1] += 15  # lip gap 20 -> 35
        found = face_values(seen(a), seen(b))
        assert found["eyes"] == pytest.approx((0.06 + 0) / 2)
        assert found["mouth"] == pytest.approx(0.15)

    def test_mouth_opening_is_of_the_widest_tenth(self) -> None:
        a = np.stack([upright()] * 20)
        a[:, SUP.index(14), 1] += np.arange(20)  # lip gaps 20 to 39
        a[19] = np.nan  # the widest has no face in the input
        b = a.copy()
        b[18, SUP.index(14), 1] = 150 + 19  # half of 38
        b[17, SUP.index(14), 1] = 150 + 37  # as wide as in the input
        b[:17, SUP.index(14), 1] = 150  # what shuts less open mouths does not count
        assert face_values(seen(a), seen(b))["mouth_opening"] == pytest.approx((0.5 + 1) / 2)

    def test_shut_mouths_have_no_opening(self) -> None:
        a = upright()[None]
        a[0, SUP.index(14)] = a[0, SUP.index(13)]
        assert face_values(seen(a), seen(a))["mouth_opening"] is None

    def test_widest_mouths_are_among_the_frames_that_networks_see(self) -> None:
        a = np.stack([upright()] * 40)
        a[:, SUP.index(14), 1] += np.arange(40)
        assert widest_mouths(seen(a), 5).tolist() == [35]  # of frames 0, 5 ... 35
        assert widest_mouths(seen(a)).tolist() == [36, 37, 38, 39]

    def test_apertures_know_no_scale(self) -> None:
        found = face_values(seen(upright()[None]), seen(1.3 * upright()[None]))
        assert found["eyes"] == pytest.approx(0, abs=1e-9)
        assert found["mouth"] == pytest.approx(0, abs=1e-9)

    def test_pose(self) -> None:
        sup = np.stack([upright()] * 2)
        a = np.radians([[0.0, 0.0, 179.0], [10.0, 0.0, 0.0]])
        b = np.radians([[6.0, 0.0, -179.0], [4.0, 3.0, 0.0]])  # roll 179 -> -179 is two degrees
        found = face_values(seen(sup, pose=a), seen(sup, pose=b))
        assert [found[f"{angle}_deg"] for angle in ("yaw", "pitch", "roll")] == pytest.approx([6, 1.5, 1])
        assert found["pose_deg"] == pytest.approx((6 + 1.5 + 1) / 3)

    def test_frames_without_a_face(self) -> None:
        a = np.stack([upright()] * 4)
        b = a + 1.0
        a[0], b[1] = np.nan, np.nan  # none in the original; lost in the drawing
        found = face_values(seen(a), seen(b))
        assert found["lost"] == pytest.approx(1 / 3)
        assert found["nme"] == pytest.approx(np.sqrt(2) / 100)

    def test_identity(self) -> None:
        sup = np.stack([upright()] * 3)
        a = np.eye(128)[[0, 0, 0]]
        b = np.stack([a[0], np.eye(128)[1], 0.6 * a[0] + 0.8 * np.eye(128)[1]])
        assert face_values(seen(sup, identity=a), seen(sup, identity=b))["csim"] == pytest.approx((1 + 0 + 0.6) / 3)

    def test_expression(self) -> None:
        sup, none = np.stack([upright()] * 2), np.zeros((2, 33, 2))
        a, b = np.zeros((2, 52)), np.zeros((2, 52))
        b[0, :13] = 0.4
        found = face_values(
            seen(sup, blendshapes=a, landmarker=none), seen(sup, blendshapes=b, landmarker=none + np.array([0.0, 2.0]))
        )
        assert found["expr"] == pytest.approx(1 - 0.4 * 13 / 52 / 2)
        assert found["nme_landmarker"] == pytest.approx(0.02)

    def test_action_units_are_calibrated_then_clamped(self) -> None:
        sup = upright()[None]
        calibration = np.full(17, -1.0)
        a, b = np.full((1, 17), -3.0), np.full((1, 17), 1.0)  # calibrated: -2 -> 0, and 2
        found = face_values(seen(sup, action_units=a, calibration=calibration), seen(sup, action_units=b))
        assert found["expr_au"] == pytest.approx(1 - 2 / 5)

    def test_networks_on_every_second_frame(self) -> None:
        sup = np.stack([upright(), upright() * 3, upright() * 2])
        landmarks = np.zeros((2, 33, 2))
        shapes = np.zeros((2, 52))
        a = seen(sup, every=2, landmarker=landmarks, blendshapes=shapes)
        b = seen(sup, every=2, landmarker=landmarks + np.array([3.0, 4.0]), blendshapes=shapes)
        assert face_values(a, b)["nme_landmarker"] == pytest.approx((5 / 100 + 5 / 200) / 2)


def test_the_start_of_a_reference() -> None:
    sup = np.random.default_rng(0).uniform(0, 256, (5, 33, 2))
    whole = seen(sup, every=2, landmarker=np.arange(3), calibration=np.arange(17))
    start = whole.first(3)
    assert (start.frames, start.every, len(start.columns["sup"]), len(start.columns["landmarker"])) == (3, 2, 3, 2)
    assert len(start.columns["calibration"]) == 17


class TestPixels:
    def test_psnr_and_flicker(self) -> None:
        pairs = [(gray(100), gray(level)) for level in (110, 110, 97)]
        found = Metrics(None).compare(pairs)
        expected = [20 * np.log10(255 / error) for error in (10, 10, 3)]
        assert found["psnr"] == pytest.approx(np.mean(expected))
        assert found["flicker"] == pytest.approx((0 + 13) / 2)
        assert found["frames"] == 3

    def test_flicker_is_of_the_difference(self) -> None:
        """A drawing that follows a change of light does not flicker."""
        assert Metrics(None).compare([(gray(v), gray(v + 9)) for v in (20, 90, 40)])["flicker"] == 0

    def test_jumps_are_where_the_input_is_still(self) -> None:
        still, left = gray(100), gray(100)
        left[:32, 64:96] = 115  # one block of 32x32
        assert Metrics(None).compare([(still, still), (still, left), (still, left), (still, still)])["jumps"] == 2 / 3
        assert Metrics(None).compare([(still, still), (left, left)])["jumps"] == 0  # the input does so too
        left[:32, 64:96] = 111  # too little to be seen
        assert Metrics(None).compare([(still, still), (still, left)])["jumps"] == 0

    def test_ssim_of_flat_pictures(self) -> None:
        c1 = (0.01 * 255) ** 2
        expected = (2 * 100 * 120 + c1) / (100**2 + 120**2 + c1)  # variances are 0
        assert Metrics(None).compare([(gray(100), gray(120))])["ssim"] == pytest.approx(expected, rel=1e-4)

    def test_identical(self) -> None:
        found = Metrics(None).compare([(gray(100), gray(100))])
        assert (found["psnr"], found["ssim"]) == (MAX_PSNR, 1)
        assert found["flicker"] is found["jumps"] is None  # one frame has no difference to the one before
        assert found["nme"] is found["lost"] is None  # no face anywhere

    def test_shapes_must_agree(self) -> None:
        with pytest.raises(ValueError, match="pictures of"):
            Metrics(None).compare([(gray(1), gray(1)[:128])])


class TestTracking:
    def test_identical(self, pictures: list[np.ndarray]) -> None:
        found = Metrics(None).compare(zip(pictures, pictures, strict=True))
        assert [found[name] for name in ("nme", "pose_deg", "mouth", "eyes", "lost", "flicker", "jumps")] == [0] * 7

    def test_shifted(self, pictures: list[np.ndarray], tracked: list[Face]) -> None:
        still = [pictures[0]] * 4
        found = Metrics(None).compare([(p, np.roll(p, 8, 1)) for p in still])
        sup = tracked[0].sup
        eyes = float(np.linalg.norm(sup[SUP.index(33)] - sup[SUP.index(263)]))
        assert found["nme"] == pytest.approx(8 / eyes, rel=0.05)
        assert found["eyes"] == pytest.approx(0, abs=0.005)

    def test_rotated(self, pictures: list[np.ndarray]) -> None:
        turn = cv2.getRotationMatrix2D((127.5, 127.5), -10, 1)  # clockwise
        still = [pictures[0]] * 4
        found = Metrics(None).compare([(p, cv2.warpAffine(p, turn, (256, 256))) for p in still])
        assert found["roll_deg"] == pytest.approx(10, abs=1)
        assert found["yaw_deg"] < 3

    def test_blink(self, clip: Path) -> None:
        """Open eyes drawn for shut ones: the error is the change of the lids' gap that a still tracker sees."""
        with VideoReader(clip) as video, FaceTracker(still=True) as tracker:
            frames = [cv2.resize(f.rgb, (256, 256), interpolation=cv2.INTER_AREA) for f in video.frames(FPS_OF_BLINK)]
            found = [(face, frame) for frame in frames if (face := tracker.track(frame))]
        shut, opened = (pick(found, key=lambda item: item[0].eye_openness) for pick in (min, max))

        def gap(face: Face) -> float:
            point = face.landmarks[:, :2]
            lids = [np.linalg.norm(point[a] - point[b]) for a, b in ((159, 145), (386, 374))]
            return float(np.mean(lids) / np.linalg.norm(point[33] - point[263]))

        missed = Metrics(None).compare([(shut[1], opened[1])] * 4)
        assert gap(opened[0]) - gap(shut[0]) > 0.04
        assert missed["eyes"] == pytest.approx(gap(opened[0]) - gap(shut[0]), abs=0.02)

    def test_lost(self, pictures: list[np.ndarray]) -> None:
        found = Metrics(None).compare([(pictures[0], gray(90)), (pictures[1], gray(90))])
        assert found["lost"] == 1
        assert found["nme"] is None

    def test_a_reference_serves_many_comparisons(self, pictures: list[np.ndarray], tmp_path: Path) -> None:
        metrics = Metrics(None, every=2)
        drawn = [np.roll(p, 5, 0) for p in pictures]
        reference = metrics.reference(pictures)
        reference.save(tmp_path / "r.npz")
        direct = metrics.compare(zip(pictures, drawn, strict=True))
        assert metrics.compare(zip(pictures, drawn, strict=True), reference) == direct
        assert metrics.compare(zip(pictures, drawn, strict=True), Reference.load(tmp_path / "r.npz")) == direct
        with pytest.raises(ValueError, match="but the reference has 4"):
            metrics.compare([(pictures[0], drawn[0])], reference)
        with pytest.raises(ValueError, match="more frames than"):
            metrics.compare([(pictures[0], drawn[0])] * 5, reference)
        with pytest.raises(ValueError, match="every 2 frames, not every 1"):
            Metrics(None).compare([(pictures[0], drawn[0])] * 4, reference)


FPS_OF_BLINK: Any = 10


FAKE_LPIPS = """
import torch
class Net:
    def __call__(self, a, b, normalize=False):
        assert normalize and a.dtype == torch.float32 and a.shape[1:] in ((3, 256, 256), (3, 64, 64))
        return (a - b).abs().mean((1, 2, 3), keepdim=True)
def load(path=None, device="cpu"):
    return Net()
"""
FAKE_IDENTITY = """
import torch
ARC5 = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
def load(path=None, device="cpu"):
    return lambda x: torch.cat((x.mean((2, 3)), torch.zeros(len(x), 125)), 1)
"""


def network(folder: Path, name: str, code: str) -> Path:
    (folder / name).mkdir()
    (folder / name / f"load_{name}.py").write_text(code)
    return folder


class TestNetworks:
    def test_none(self) -> None:
        metrics = Metrics(None)
        assert set(metrics.missing) == {name for name in metrics.names if CATALOG[name].network}
        assert all("no folder of networks" in reason for reason in metrics.missing.values())
        found = metrics.compare([(gray(1), gray(2))])
        assert set(found) == {"frames", *metrics.names}
        assert all(found[name] is None for name in metrics.missing)
        assert set(metrics.names) == set(CATALOG) - {"lpips_alex", "lpips_vgg"}

    def test_only_lpips(self, tmp_path: Path) -> None:
        metrics = Metrics(network(tmp_path, "lpips_squeeze", FAKE_LPIPS), every=2)
        levels = (0, 255, 51, 255, 102)  # frames 1 and 3 are passed over
        found = metrics.compare([(gray(0), gray(level)) for level in levels])
        assert found["lpips"] == pytest.approx((0 + 0.2 + 0.4) / 3)
        assert "lpips" not in metrics.missing
        assert found["csim"] is None
        assert "mobilefacenet_y1" in metrics.missing["csim"]

    def test_lpips_of_the_mouth_sees_the_lips_only(self, pictures: list[np.ndarray], tmp_path: Path) -> None:
        metrics = Metrics(network(tmp_path, "lpips_squeeze", FAKE_LPIPS))
        reference = metrics.reference(pictures[:1])
        x, y = reference.columns["five"][0, 3:].mean(0).round().astype(int)
        inside, outside = pictures[0].copy(), pictures[0].copy()
        inside[y - 2 : y + 3, x - 2 : x + 3] ^= 0x80
        outside[: y // 2] ^= 0x80
        found = [metrics.compare([(pictures[0], drawn)], reference) for drawn in (inside, outside)]
        mouths, wide = ([each[name] for each in found] for name in ("mouth_lpips", "mouth_lpips_wide"))
        assert mouths == wide  # the only frame
        assert mouths[0] > 10 * found[0]["lpips"] > 0
        assert mouths[1] == 0

    def test_another_lpips_is_taken_where_there_is_one(self, tmp_path: Path) -> None:
        network(tmp_path, "lpips_alex", FAKE_LPIPS)
        metrics = Metrics(tmp_path)
        found = metrics.compare([(gray(0), gray(51))] * 9)  # more than a batch
        assert found["lpips_alex"] == pytest.approx(0.2)
        assert found["lpips"] is None

    def test_identity_sees_both_through_the_originals_window(self, pictures: list[np.ndarray], tmp_path: Path) -> None:
        metrics = Metrics(network(tmp_path, "mobilefacenet_y1", FAKE_IDENTITY))
        red, blue = (np.broadcast_to(np.uint8(c), (256, 256, 3)) for c in ((200, 0, 0), (0, 0, 200)))
        half = np.broadcast_to(np.uint8([100, 0, 100]), (256, 256, 3))
        reference = metrics.reference(pictures[:1])
        colour = reference.columns["identity"][0, :3]
        assert np.linalg.norm(colour) == pytest.approx(1)
        for drawn, unit in ((red, (1, 0, 0)), (blue, (0, 0, 1)), (half, (0.5**0.5, 0, 0.5**0.5))):
            found = metrics.compare([(pictures[0], drawn)], reference)
            assert found["csim"] == pytest.approx(float(colour @ unit), abs=1e-3)
            assert found["lost"] == 1

    def test_not_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no such folder of networks"):
            Metrics(tmp_path / "nothing")

    @pytest.mark.parametrize("code", ["syntax error", "raise OSError('weights\\nare short')", "x = 1"])
    def test_damaged(self, code: str, tmp_path: Path) -> None:
        metrics = Metrics(network(tmp_path, "lpips_squeeze", code))
        with pytest.raises(FvcError, match=r"lpips_squeeze: cannot be loaded \(\w+") as caught:
            metrics.networks.load()
        assert "\n" not in str(caught.value)

    @needs_networks
    def test_truncated_weights(self, tmp_path: Path) -> None:
        shutil.copytree(SHARED / "lpips_squeeze", tmp_path / "lpips_squeeze")
        weights = tmp_path / "lpips_squeeze" / "lpips_squeeze.safetensors"
        data = weights.read_bytes()
        weights.chmod(0o600)
        weights.write_bytes(data[: len(data) // 2])
        with pytest.raises(FvcError, match="lpips_squeeze: cannot be loaded"):
            Metrics(tmp_path).networks.load()


class TestStrips:
    def test_telling_frames(self) -> None:
        sup = np.stack([upright()] * 6)
        sup[1, SUP.index(14), 1] += 30
        sup[4, SUP.index(145), 1] -= 9
        sup[5] = np.nan
        pose = np.zeros((6, 3))
        pose[:, 0] = (0, 0.1, -0.4, 0.2, 0.5, np.nan)
        assert telling_frames(seen(sup, pose=pose)) == {1: "mouth open", 2: "yaw -, middle", 4: "yaw +, eyes shut"}

    def test_layout(self, tmp_path: Path) -> None:
        sup = np.stack([upright()] * 6)
        pose = np.zeros((6, 3))
        pose[:, 0] = (0, 0.1, -0.4, 0.2, 0.5, 0)
        strip = Strip(seen(sup, pose=pose))
        pairs = [(gray(10 * n), gray(10 * n + 100)) for n in range(6)]
        sources = [gray(1), gray(2), gray(3)]
        for name in ("a", "b"):
            assert len(list(strip.watched(pairs, name, sources))) == 6
        (tmp_path / "strip.png").write_bytes(strip.png())
        picture = cv2.imread(str(tmp_path / "strip.png"))
        columns, shown = (
            picture[22:].reshape(-1, 256, 4, 256, 3)[:, 200, :, 200, 0],
            sorted(telling_frames(seen(sup, pose=pose))),
        )
        rows = max(3, len(shown))
        assert columns.shape == (rows, 4)
        assert columns[:3, 0].tolist() == [1, 2, 3]
        assert columns[: len(shown), 1].tolist() == [10 * n for n in shown]
        assert columns[: len(shown), 3].tolist() == [10 * n + 100 for n in shown]


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SHARED / name / f"load_{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@needs_networks
class TestRealNetworks:
    """The networks that developers have, against their own helpers."""

    @pytest.fixture(scope="class")
    def metrics(self) -> Metrics:
        return Metrics(SHARED)

    @pytest.fixture(scope="class")
    def found(self, metrics: Metrics, pictures: list[np.ndarray]) -> dict[str, dict[str, float | None]]:
        reference = metrics.reference(pictures[:2])
        drawings = {"same": pictures[:2], "still": [pictures[0]] * 2, "none": [gray(128)] * 2}
        found = {name: metrics.compare(zip(pictures[:2], d, strict=True), reference) for name, d in drawings.items()}
        return {**found, "_": reference.columns}  # type: ignore[dict-item]

    def test_identical(self, found: dict[str, dict[str, float]], metrics: Metrics) -> None:
        assert metrics.missing == {}
        same = found["same"]
        assert (same["lpips"], same["nme_landmarker"], same["expr"], same["expr_au"]) == (0, 0, 1, 1)
        assert (same["csim"], same["csim_casia"]) == pytest.approx((1, 1))

    def test_order(self, found: dict[str, dict[str, float]]) -> None:
        """A still of the same person is worse than the truth and better than nothing."""
        for name in ("lpips", "nme_landmarker", "csim", "csim_casia", "expr"):
            sign = 1 if CATALOG[name].higher_is_better else -1
            assert sign * found["same"][name] > sign * found["still"][name] > sign * found["none"][name], name
        assert found["none"]["expr_au"] is None

    def test_lpips(self, found: dict[str, dict[str, float]], pictures: list[np.ndarray]) -> None:
        import torch

        a, b = (torch.from_numpy(p).permute(2, 0, 1)[None] / 127.5 - 1 for p in (pictures[1], pictures[0]))
        expected = float(module("lpips_squeeze").load()(a, b)) / 2  # the mean with the other frame's 0
        assert found["still"]["lpips"] == pytest.approx(expected, rel=1e-4)

    def test_identity(self, found: dict[str, Any], pictures: list[np.ndarray]) -> None:
        import torch

        kind = module("mobilefacenet_y1")
        crop = torch.from_numpy(pictures[0]).permute(2, 0, 1)[None].float()
        embedding = kind.load()(kind.align(crop, torch.from_numpy(found["_"]["five"][:1])))[0].numpy()
        cosine = embedding @ found["_"]["identity"][0] / np.linalg.norm(embedding)
        assert cosine == pytest.approx(1, abs=0.002)  # OpenCV's interpolation is a fixed-point one

    def test_window(self, tracked: list[Face]) -> None:
        import torch

        landmarks = np.stack([face.landmarks for face in tracked])
        expected = module("face_landmarker").roi_from_landmarks(torch.from_numpy(landmarks)).numpy()
        assert np.stack([Window.around(lm).roi for lm in landmarks]) == pytest.approx(expected, rel=1e-4, abs=1e-4)

    def test_landmarker_agrees_with_the_tracker(self, found: dict[str, Any]) -> None:
        assert np.abs(found["_"]["landmarker"][0] - found["_"]["sup"][0]).mean() < 3  # pixels

    def test_action_units(self, found: dict[str, Any], pictures: list[np.ndarray]) -> None:
        import torch

        kind = module("openface_au")
        units = kind.load()
        crops = torch.from_numpy(np.stack(pictures[:2])).permute(0, 3, 1, 2).float()
        with FaceTracker() as tracker:
            points = [tracker.track(picture).landmarks for picture in pictures[:2]]  # type: ignore[union-attr]
        with torch.no_grad():
            features = units.features(crops, kind.mediapipe_to_68(torch.from_numpy(np.stack(points))))[0]
        median = torch.from_numpy(np.median(features.numpy(), axis=0))
        said = units(features, median=median)
        expected = np.stack([said[name].numpy() for name in sorted(said)], 1)
        ours = np.clip(found["_"]["action_units"] - found["_"]["calibration"], 0, 5)
        assert ours == pytest.approx(expected, abs=0.02)
