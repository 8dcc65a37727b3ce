"""Values finer than a step, the influence of errors on the drawn face, and how both tables are fitted."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fvc.codec.bitstream import Crop, Header
from fvc.codec.decisions import Targets, ThriftyWriter, pack_influence, unpack_influence
from fvc.codec.decoder import Decoder
from fvc.codec.encoder import Encoder
from fvc.codec.prediction import MotionState
from fvc.codec.quantizer import DEFAULT, PAPER
from fvc.codec.ratecontrol import ConstantQuality
from fvc.codec.refinement import MOST, features, refine
from fvc.codec.sample import DrivingSample, Profile
from fvc.codec.survey import survey
from fvc.codec.tracking import FaceTracker
from fvc.codec.video import VideoReader
from fvc.evaluation import operating_points, source_bits
from fvc.training.influence import OWN, influence
from fvc.training.refinement import fit, observe

VALUES = st.lists(st.integers(0, 255), min_size=66, max_size=66)
APART = st.lists(st.integers(-(1 << 20), 1 << 20), min_size=66, max_size=66)


@pytest.fixture(scope="module")
def faces(clip: Path) -> np.ndarray:
    """Tracked landmarks [T, 33, 2] of the sample."""
    with VideoReader(clip) as video, FaceTracker() as tracker:
        seen = survey(video.frames(Fraction(15)), tracker)
        crop = seen.crop(video.width, video.height)
    return ((seen.sup - [crop.x, crop.y]) * (2 / crop.side) - 1).astype(np.float32)


@given(VALUES, APART)
@settings(max_examples=60, deadline=None)
def test_finer_values_stay_within_a_step_and_the_range(values: list[int], apart: list[int]) -> None:
    q = np.array(values, np.int64)
    finer = refine(q, (q << 12) + np.array(apart), 255)
    assert np.abs(finer - (q << 12)).max() <= MOST
    assert 0 <= finer.min() <= finer.max() <= 255 << 12
    assert (refine(q, q << 12, 255) == q << 12).all()  # predictions came true: nothing more is known


def test_features_part_at_half_a_step() -> None:
    near, far = features(np.array([0, 2048, -2048, 2049, -2049, 9999999]))
    assert near.tolist() == [0, 2048, -2048, 0, 0, 0]
    assert far.tolist() == [0, 0, 0, 1, -1, 1]


@pytest.mark.parametrize(("quality", "most"), [(None, 0.9), (40.0, 1.0), (67.0, 0.9), (100.0, 0.9)])
def test_finer_values_are_nearer_to_the_face(quality: float | None, most: float, faces: np.ndarray) -> None:
    quantizers = {"sup": (PAPER if quality is None else DEFAULT)["sup"]}
    header = Header(
        Profile.SUP, quantizers, Fraction(15), 75, Crop(256, 256, 0, 0, 256), bytes(8), bytes(16), bytes(16)
    )
    encoder = Encoder(header, None, plan=ConstantQuality(quality))
    drawn: list[np.ndarray] = []

    def draw(parts: dict[str, np.ndarray]) -> np.ndarray:
        drawn.append(parts["sup"])
        return np.zeros((2, 2, 3), np.uint8)

    decoder, whole = Decoder(header, draw, DrivingSample({"sup": faces[0]})), list[np.ndarray]()  # type: ignore[arg-type]
    for number, face in enumerate(faces):
        decoder.decode(encoder.encode_sample(number, DrivingSample({"sup": face})))
        assert decoder.last is not None
        assert decoder.last[1] is not None
        whole.append(quantizers["sup"].dequantize(np.array(decoder.last[1]["sup"])).reshape(33, 2))
    error, before = (np.linalg.norm(np.array(x)[1:] - faces[1:], axis=-1).mean() for x in (drawn, whole))
    assert error < most * before
    assert (drawn[0] == whole[0]).all()  # a keyframe


def test_errors_make_up_for_each_other(faces: np.ndarray) -> None:
    """All landmarks together are off by less than landmarks that know nothing of each other would be."""
    quantizers, errors = {"sup": DEFAULT["sup"]}, []
    state = MotionState(("sup",), {"sup": 8})
    for number, face in enumerate(faces):
        targets = Targets(DrivingSample({"sup": face}), quantizers, ("sup",))
        sent = state.code(ThriftyWriter(targets, 80), {"sup": [0] * 66}, number == 0)["sup"]
        errors.append(quantizers["sup"].dequantize(np.array(sent)).reshape(33, 2) - face)
    e = np.array(errors)
    assert 33 * (e.mean(1) ** 2).mean() < 0.8 * (e**2).mean()


def test_influence_is_symmetric_and_comes_back() -> None:
    draw = np.random.default_rng(0)
    errors, effect = draw.normal(size=(4000, 66)), draw.normal(size=(66, 66))
    effect[:, 3] = 0  # nobody looks at that
    matrix = influence(errors, errors @ effect)
    again = unpack_influence(pack_influence(matrix))
    assert np.abs(again - matrix).max() <= 1 / 8192
    assert (again == again.T).all()
    assert np.diag(matrix).mean() == pytest.approx(1)
    assert np.linalg.eigvalsh(matrix).min() > OWN - 0.01
    with pytest.raises(ValueError, match=r"input array|broadcast|cannot"):
        unpack_influence(b"\0" * 10)


def test_a_table_is_found_again() -> None:
    draw = np.random.default_rng(0)
    x, truth = draw.normal(size=(3000, 132)), draw.normal(0, 0.1, (132, 66))
    fractions, signs = fit([x[:1000], x[1000:]], [x[:1000] @ truth, x[1000:] @ truth], 0.1)
    assert np.abs(np.concatenate([fractions, signs], 1).T / 4096 - truth).max() < 0.001


def test_observation_of_a_clip(faces: np.ndarray) -> None:
    rows, distances = observe(faces[:10], 65)
    assert (rows.shape, distances.shape) == ((9, 132), (9, 66))
    assert np.abs(distances).max() < 8


def test_operating_points_and_source_bits_of_a_clip(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "talk.mp4").symlink_to(clip)
    common = [str(tmp_path / "set"), "--cache", str(tmp_path / "cache")]
    monkeypatch.setattr("sys.argv", ["o", *common, "--quality", "50", "67", "--kbps", "0.5", "--seconds", "1"])
    operating_points.main()
    table = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    bits = {row[0][2:]: float(row[1]) for row in table[1:]}
    assert list(bits) == ["unquantized", "paper", "quality 50", "quality 67", "kbps 0.5"]
    assert 0 == bits["unquantized"] < bits["quality 50"] < bits["quality 67"] < bits["paper"]
    monkeypatch.setattr("sys.argv", ["s", *common, "--way", "fvc", "first", "40", "--frames", "2"])
    source_bits.main()
    sizes = {line.split(" | ")[0][2:]: float(line.split()[3]) for line in capsys.readouterr().out.splitlines()[4:]}
    assert list(sizes) == ["fvc", "first", "40"]
    assert sizes["first"] < sizes["40"] < sizes["fvc"]
