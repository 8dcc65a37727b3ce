"""The basis of landmarks, decisions in it, the influence of errors on the drawn face, and how all this is fitted."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fvc.codec.face.survey import survey
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.video import VideoReader
from fvc.codec.motion import coding, landmark_basis, priors
from fvc.codec.motion.entropy import RangeWriter, format_tables
from fvc.codec.motion.predictor import MotionModel
from fvc.codec.motion.quantizer import DEFAULT, Quantizer, to_integers, to_sample
from fvc.codec.motion.rdo import RateDistortion, Targets
from fvc.codec.motion.sample import DrivingSample
from fvc.evaluation.studies import operating_points, source_bits
from fvc.models.inference.tracks import Track
from fvc.training.tables.influence import OWN, influence, pack_influence, unpack_influence
from fvc.training.tables.priors import fit_part
from fvc.training.tables.shape import basis, coefficient_tracks, nearest, sent

QUANTIZERS = {"shape": DEFAULT["shape"]}
INFLUENCE = Path(__file__).parents[2] / "training" / "tables" / "influence.bin"
LANDMARKS = st.lists(st.floats(-1, 1, width=32), min_size=66, max_size=66)


@pytest.fixture(scope="module")
def faces(clip: Path) -> np.ndarray:
    """Tracked landmarks [T, 33, 2] of the sample."""
    with VideoReader(clip) as video, FaceTracker() as tracker:
        seen = survey(video.frames(Fraction(15)), tracker)
        crop = seen.crop(video.width, video.height)
    return ((seen.sup - [crop.x, crop.y]) * (2 / crop.side) - 1).astype(np.float32)


@given(LANDMARKS)
@settings(max_examples=60, deadline=None)
def test_any_landmarks_in_the_crop_have_coefficients_within_range(values: list[float]) -> None:
    sup = np.array(values, np.float32).reshape(33, 2)
    coefficients = landmark_basis.coefficients(sup)
    assert np.abs(coefficients).max() < DEFAULT["shape"].high
    np.testing.assert_allclose(landmark_basis.landmarks(coefficients), sup, atol=1e-5)
    again = to_sample(to_integers(DrivingSample({"sup": sup}), QUANTIZERS), QUANTIZERS).parts["sup"]
    assert np.abs(again - sup).max() < 66 * DEFAULT["shape"].step


def test_a_coefficient_of_nothing_is_an_integer() -> None:
    """Most coefficients are nearly 0 nearly always: that must not lie between two steps."""
    steps = DEFAULT["shape"].steps(np.zeros(1))
    assert steps == np.rint(steps)


def test_squares_of_coefficients_are_what_is_seen() -> None:
    draw = np.random.default_rng(0)
    matrix, error = unpack_influence(INFLUENCE.read_bytes()), draw.normal(0, 0.01, 66)
    mean = landmark_basis.landmarks(np.zeros(66))
    moved = landmark_basis.coefficients(mean + error.reshape(33, 2)) - landmark_basis.coefficients(mean)
    assert np.square(moved).sum() == pytest.approx(error @ matrix @ error, rel=1e-3)


def test_what_moves_most_comes_first(faces: np.ndarray) -> None:
    rows = np.array([landmark_basis.coefficients(face) for face in faces])
    energy = np.square(np.diff(rows, axis=0)).mean(0)
    assert energy[:12].sum() > 0.9 * energy.sum()


def test_coefficients_cost_less_than_coordinates(faces: np.ndarray) -> None:
    """At the error of nearest coordinates of a pixel's step, about."""
    matrix = unpack_influence(INFLUENCE.read_bytes())
    plain = {"sup": Quantizer(8, -1.0, 1.0)}
    results = {}
    for part, quantizers in (("sup", plain), ("shape", QUANTIZERS)):
        model, size, seen = MotionModel({part: quantizers[part].bits}, priors.load()), 0, 0.0
        for number, face in enumerate(faces):
            sample = DrivingSample({"sup": face})
            integers = {name: values.tolist() for name, values in to_integers(sample, quantizers).items()}
            choose = coding.given(model, integers)
            if part == "shape":
                choose = RateDistortion(Targets(model, sample, quantizers), 90, format_tables())
            writer = RangeWriter(format_tables())
            taken = coding.encode(model, choose, writer, number == 0)
            size += len(writer.finish())
            error = to_sample({part: np.array(taken[part])}, quantizers).parts["sup"] - face
            seen += error.ravel() @ matrix @ error.ravel()
        results[part] = size, seen
    assert results["shape"][0] < 0.9 * results["sup"][0]
    assert results["shape"][1] < 1.2 * results["sup"][1]


def test_distortion_is_what_is_seen_of_the_error(faces: np.ndarray) -> None:
    model, matrix = MotionModel({"shape": 12}, priors.load()), unpack_influence(INFLUENCE.read_bytes())
    choose = RateDistortion(Targets(model, DrivingSample({"sup": faces[0]}), QUANTIZERS), 60, format_tables())
    taken = coding.encode(model, choose, RangeWriter(format_tables()), True)
    error = 128 * (to_sample({"shape": np.array(taken["shape"])}, QUANTIZERS).parts["sup"] - faces[0]).ravel()
    assert choose.distortion == pytest.approx(error @ matrix @ error, rel=0.01)


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


def test_a_basis_is_found_again() -> None:
    """Faces that move along three axes only: those come first, and the form becomes the identity."""
    draw = np.random.default_rng(0)
    axes, form = draw.normal(size=(3, 66)), draw.normal(size=(66, 80))
    influence_ = form @ form.T / 80 + np.eye(66)
    walks = np.cumsum(draw.normal(0, [0.03, 0.01, 0.003], (400, 3)), 0) @ axes + draw.normal(0, 1e-6, (400, 66))
    mean, found = basis([walks.reshape(-1, 33, 2)], influence_)
    assert mean == pytest.approx(walks.mean(0))
    assert found @ influence_ @ found.T == pytest.approx(np.eye(66), abs=1e-9)
    rest = np.square(np.diff(walks, axis=0) @ np.linalg.inv(found)).mean(0)
    assert rest[3:].sum() < 1e-4 * rest.sum()
    assert list(rest[:3]) == sorted(rest[:3], reverse=True)


def test_priors_where_some_coefficients_never_move(faces: np.ndarray) -> None:
    rows = nearest(faces[:30])
    rows[:, 30:] = rows[0, 30:]
    tracks = [Track(f"{n}", f"{n}", {"shape": rows}) for n in range(14)]
    fitted = fit_part(tracks, "shape", lambda _: None, 0.1)
    assert sorted(fitted.order.tolist()) == list(range(66))
    assert fitted.error.min() >= 1


def test_sent_is_what_the_encoder_would_send_at_once(faces: np.ndarray) -> None:
    coarse, fine = (np.abs(sent(faces[:10], quality) - nearest(faces[:10])).sum() for quality in (30.0, 100.0))
    assert fine < coarse
    assert fine < 0.5 * 660


def test_coefficient_tracks_of_a_folder(clip: Path, tmp_path: Path) -> None:
    """As sent and as measured, of at most so many seconds of a person."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "talk.mp4").symlink_to(clip)
    [exact], [coded] = (coefficient_tracks(tmp_path / "set", 1, tmp_path / "cache", q) for q in (None, 50.0))
    assert exact.parts["shape"].shape == coded.parts["shape"].shape == (15, 66)
    assert (exact.clip, exact.person) == ("talk.mp4", "talk")
    assert np.abs(np.diff(coded.parts["shape"], axis=0)).sum() < np.abs(np.diff(exact.parts["shape"], axis=0)).sum()


def test_operating_points_and_source_bits_of_a_clip(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "talk.mp4").symlink_to(clip)
    common = [str(tmp_path / "set"), "--cache", str(tmp_path / "cache")]
    monkeypatch.setattr("sys.argv", ["o", *common, "--quality", "50", "67", "--motion-kbps", "0.5", "--seconds", "1"])
    operating_points.main()
    table = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    bits = {row[0][2:]: float(row[1]) for row in table[1:]}
    assert list(bits) == ["unquantized", "paper", "quality 50", "quality 67", "motion 0.5"]
    assert 0 == bits["unquantized"] < bits["quality 50"] < bits["quality 67"] < bits["paper"]
    monkeypatch.setattr("sys.argv", ["s", *common, "--way", "fvc", "first", "40", "--frames", "2"])
    source_bits.main()
    sizes = {line.split(" | ")[0][2:]: float(line.split()[3]) for line in capsys.readouterr().out.splitlines()[4:]}
    assert list(sizes) == ["fvc", "first", "40"]
    assert sizes["first"] < sizes["40"] < sizes["fvc"]
