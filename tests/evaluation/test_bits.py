"""The coders that ours is compared with, the fit of priors, and the figures that compare them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from conftest import Run

from fvc.codec.motion import priors
from fvc.codec.motion.quantizer import PAPER
from fvc.codec.motion.sample import PART_SHAPES, Profile
from fvc.evaluation.studies import bits
from fvc.models.inference.tracks import Track
from fvc.training.tables.priors import fit_part, fit_priors


def walk(seed: int, frames: int, step: float) -> Track:
    """A track whose components move by their own steps of known size and a common one on each axis."""
    draw, parts = np.random.default_rng(seed), {}
    for part, shape in PART_SHAPES.items():
        n, size = math.prod(shape), step * 2.0 ** (PAPER[part].bits - 8)
        own, common = draw.normal(0, size, (frames, n)), np.tile(draw.normal(0, 2 * size, (frames, 2)), n // 2)
        path = (own + common).cumsum(0) * 0.98 + PAPER[part].top / 2
        parts[part] = np.clip(np.rint(path), 0, PAPER[part].top).astype(np.int64)
    return Track(f"{seed}.mp4", f"p{seed}", parts)


def test_exp_golomb() -> None:
    assert [bits.exp_golomb(n) for n in (0, 1, 2, 6)] == [[1], [0, 1, 0], [0, 1, 1], [0, 0, 1, 1, 1]]


def test_jvet_coder_of_a_still_face() -> None:
    """66 times "1", the end, counts from 1: the product of (k + 2) / k and the end's 69, rounded up to bytes."""
    still = Track("a", "a", {"sup": np.full((3, 66), 9)})
    length = sum(math.log2((k + 2) / k) for k in range(1, 67)) + math.log2(69) + 1
    assert bits.jvet(still, ("sup",)) == pytest.approx((66 * 8 + 2 * 8 * math.ceil(length / 8)) / 3)


def test_static_coder_is_near_the_entropy() -> None:
    """Differences from its own distribution cost their entropy; keyframes cost plain bits."""
    draw = np.random.default_rng(0)
    theta = 0.6
    changes = draw.geometric(1 - theta, (4000, 66)) - draw.geometric(1 - theta, (4000, 66))
    track = Track("a", "a", {"sup": np.cumsum(changes, 0)})
    change = np.diff(track.parts["sup"], axis=0).ravel()
    p = np.unique(change, return_counts=True)[1] / len(change)
    entropy = -66 * float((p * np.log2(p)).sum())
    found = bits.laplace_bits([track.parts["sup"]], 12)[np.abs(change)].reshape(-1, 66).sum(1).mean()
    assert entropy <= found < 1.001 * entropy


def test_the_static_coder_is_fitted_on_another_half(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The paper's table 4: its distribution comes from the first half of the clips, its figures from the second."""
    halves = {"": [walk(0, 4, 1.0)], "first": [walk(1, 4, 1.0)], "second": [walk(2, 4, 1.0)]}
    asked = list[tuple[Path, str]]()

    def tracks(folder: Path, *_: object, half: str, **__: object) -> list[Track]:
        asked.append((folder, half))
        return halves[half]

    monkeypatch.setattr(bits, "track_folder", tracks)
    out = tmp_path / "rows.json"
    for arguments in (["val", "--half"], ["val", "train"]):
        monkeypatch.setattr("sys.argv", ["bits", *arguments, "--profile", "sup", "--json", str(out)])
        bits.main()
        if "--half" in arguments:
            assert [row["clip"] for row in json.loads(out.read_text())] == ["2.mp4", "mean"]
    assert asked == [(Path("val"), "second"), (Path("val"), "first"), (Path("val"), ""), (Path("train"), "")]
    for arguments in (["val"], ["val", "train", "--half"]):
        monkeypatch.setattr("sys.argv", ["bits", *arguments])
        with pytest.raises(SystemExit):
            bits.main()


def test_our_figures_add_up() -> None:
    track = walk(0, 80, 0.7)
    found = bits.ours(track, Profile.SUP_UNSUP.parts)
    assert found["total"] == pytest.approx(found["key"] + found["sup"] + found["unsup"] + found["ends"])
    assert 0 < found["ends"] < 8
    assert found["key"] < 2 * (66 * 8 + 20 * 12) / 80


def test_fitted_priors_beat_others_on_their_own_kind() -> None:
    """Faces of another make: with priors fitted on 14 of them, a 15th costs much less than with those of people."""
    tracks = [walk(seed, 40, 1.5) for seed in range(14)]
    fitted = fit_part(tracks, "unsup", lambda _: None, 0.3)
    again = fit_part(tracks, "unsup", lambda _: None, 0.3)
    assert all(np.array_equal(getattr(fitted, name), value) for name, value in vars(again).items())
    other = walk(99, 76, 1.5)
    before = bits.ours(other, ("unsup",))
    shipped = priors.load()
    packed = priors.pack(shipped | {"unsup": fitted})
    after = bits.ours(other, ("unsup",), priors.unpack(packed))
    assert after["unsup"] < 0.9 * before["unsup"]
    assert after["key"] < before["key"] + 1


def test_fitted_priors_of_all_parts_are_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part from its own tracks; the parts' fit itself is tested above and in test_landmark_basis."""
    asked = list[tuple[str, int]]()

    def fake(tracks: list[Track], part: str, note: object) -> priors.PartPriors:
        asked.append((part, len(tracks)))
        return priors.load()[part]

    monkeypatch.setattr("fvc.training.tables.priors.fit_part", fake)
    data = fit_priors([walk(0, 4, 1.0)], [walk(0, 4, 1.0)] * 2, print)
    assert data == priors.pack(priors.load())
    assert asked == [("sup", 1), ("unsup", 1), ("jac", 1), ("expr", 1), ("shape", 2)]


def test_fit_priors_tracks_clips_and_wants_enough_people(clip: Path, tmp_path: Path, run: Run) -> None:
    folder, cache, out = tmp_path / "tubes", tmp_path / "tracks", tmp_path / "priors.bin"
    folder.mkdir()
    (folder / "a.mp4").symlink_to(clip)
    result = run("fit-priors", folder, "--cache", cache, "--out", out, "--workers", "1")
    assert (result.code, out.exists()) == (3, False)
    assert result.err.splitlines()[-1] == f"fvc: {folder}: at least 12 people are needed"
    (kept,) = cache.iterdir()
    with np.load(kept) as arrays:
        assert {part: arrays[part].shape for part in arrays} == {
            part: (47, math.prod(shape)) for part, shape in PART_SHAPES.items()
        }
        assert all(0 <= arrays[part].min() <= arrays[part].max() <= PAPER[part].top for part in arrays)
        assert np.abs(np.diff(arrays["sup"], axis=0)).mean() < 4
    missing = run("fit-priors", tmp_path / "none", "--out", out)
    assert (missing.code, missing.err) == (3, f"fvc: {tmp_path / 'none'}: no such folder\n")
