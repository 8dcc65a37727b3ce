"""A source picture with the eyes or mouth of another frame: where they land, whose they are, who sends them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fvc.codec.base.constants import SIDE
from fvc.codec.face.detection import Face
from fvc.codec.face.landmarks import EYES, MOUTH, N_LANDMARKS, SUP
from fvc.codec.face.patching import PARTS, patched, placed, similarity, with_patched
from fvc.codec.face.source_choice import choose_donors
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.motion.sample import DrivingSample
from fvc.models.flow import Points
from fvc.models.inference.drawing import DrawRuntime
from fvc.models.model import build_network
from fvc.models.presets import DEFAULT
from fvc.models.weights import blends_parts, shipped

_UPPER, _LOWER = ([eye.upper_lid for eye in EYES], [eye.lower_lid for eye in EYES])


def face(lids: float = 0.04, lips: float = 0.03, yaw: float = 0.0) -> np.ndarray:
    """Landmarks [33, 2] in [-1, 1] of a plain face; lids and lips: half the distance of upper and lower ones."""
    points = np.random.default_rng(3).uniform(-0.5, 0.5, (len(SUP), 2))
    for eye, x in zip(EYES, (-0.2, 0.2), strict=True):
        outwards = np.sign(x) * 0.09
        points[list(eye)] = [[x + outwards, -0.2], [x, -0.2 - lids], [x - outwards, -0.2], [x, -0.2 + lids], [x, -0.2]]
    points[list(MOUTH)] = [[0, 0.3 + y] for y in (-0.03 - lips, 0.03 + lips, -lips, lips)] + [
        [x, 0.3] for x in (-0.15, 0.15, -0.13, 0.13)
    ]
    points[[SUP.index(n) for n in (1, 98, 327)]] = [[0, 0.05], [-0.07, 0.1], [0.07, 0.1]]
    return (points + np.array([0.3 * yaw, 0])).astype(np.float32)


@given(st.floats(-3, 3), st.floats(0.2, 5), st.floats(-50, 50), st.integers(0, 99))
def test_a_similarity_is_found_again(turn: float, scale: float, shift: float, seed: int) -> None:
    points = np.random.default_rng(seed).normal(0, 10, (5, 2))
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    found = similarity(points, points @ matrix.T + [shift, -shift])
    assert np.allclose(found, np.c_[matrix, [shift, -shift]], atol=1e-6 * (1 + scale + abs(shift)))


def test_similarity_against_opencv() -> None:
    draw = np.random.default_rng(1)
    template = draw.uniform(0, 112, (5, 2))
    turn = np.array([[0.8, -0.6], [0.6, 0.8]]) * 2.5
    points = (template - [3.0, 9.0]) @ turn.T
    expected = cv2.estimateAffinePartial2D(points, template)[0]
    assert similarity(points, template) == pytest.approx(expected, abs=1e-4)
    noisy = points + draw.normal(size=(5, 2))
    best = similarity(noisy, template)

    def error(m: np.ndarray) -> float:
        return float(np.square(noisy @ m[:, :2].T + m[:, 2] - template).sum())

    for change in draw.normal(size=(20, 4)) * 0.01:  # nothing near it is better
        (c, s), t = change[:2], change[2:]
        assert error(best + np.column_stack([[[c, -s], [s, c]], t])) >= error(best)


def test_points_in_one_place_give_no_nonsense() -> None:
    assert np.isfinite(similarity(np.zeros((4, 2)), np.random.default_rng(0).normal(size=(4, 2)))).all()


@pytest.mark.parametrize("part", list(PARTS))
def test_only_the_part_changes(part: str) -> None:
    draw = np.random.default_rng(0)
    base, donor = (draw.integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8) for _ in range(2))
    shut = face(lids=0.002, lips=0.1)
    picture, landmarks = patched(base, face(), donor, shut, part)
    _, mask, _ = placed(face(), shut, part)
    assert mask.min() == 0
    assert np.array_equal(picture[mask == 0], base[mask == 0])
    assert np.abs(picture[mask > 0.999].astype(int) - donor[mask > 0.999]).max() <= 2  # same anchors: same place
    own = sorted({k for group in PARTS[part][0] for k in group})
    others = [k for k in range(len(SUP)) if k not in own]
    assert np.array_equal(landmarks[others], face()[others])
    assert np.allclose(landmarks[own], shut[own], atol=1e-4)
    assert 0.005 < mask.mean() < 0.12  # of the picture


def test_a_donor_that_is_turned_and_larger_comes_to_lie_on_the_base() -> None:
    turn = 1.3 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    away = (face(lids=0.002) @ turn.T + [0.1, 0.05]).astype(np.float32)
    for part in PARTS:
        _, _, landmarks = placed(face(), away, part)
        assert np.allclose(landmarks, placed(face(), face(lids=0.002), part)[2], atol=1e-3)


def test_without_donors_nothing_is_added() -> None:
    sources = [(np.zeros((SIDE, SIDE, 3), np.uint8), face())] * 3
    assert with_patched(sources, {}) == sources
    white = np.full((SIDE, SIDE, 3), 255, np.uint8)
    more = with_patched(sources, {"eyes": (white, face(0.002)), "mouth": (white, face(lips=0.1))})
    assert len(more) == 4
    picture, landmarks = more[-1]
    assert np.allclose(landmarks[_UPPER], face(0.002)[_UPPER], atol=1e-4)
    assert np.allclose(landmarks[list(MOUTH)], face(lips=0.1)[list(MOUTH)], atol=1e-4)
    assert 0.01 < (picture > 128).mean() < 0.2


def clip(count: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Landmarks, openness, contrast and yaw of a face that keeps still with open eyes and a shut mouth."""
    return np.stack([face(lips=0.01)] * count), np.full(count, 0.3), np.full(count, 50.0), np.zeros(count)


def test_donors_have_what_no_source_has() -> None:
    sup, openness, contrast, yaw = clip()
    assert choose_donors(sup, openness, contrast, yaw, [0, 1, 2]) == {}
    openness[[10, 20]] = 0.05, 0.04
    yaw[20] = 0.6  # turned away: the other will do better
    sup[30:36] = face(lips=0.1)
    assert choose_donors(sup, openness, contrast, yaw, [0, 1, 2]) == {"eyes": 10, "mouth": 30}
    sup[30, [SUP.index(n) for n in (1, 98, 327)]] += [0.1, 0]  # its nose points elsewhere: a mouth of another turn
    assert choose_donors(sup, openness, contrast, yaw, [0, 1, 2])["mouth"] == 31
    sup[30:36, [SUP.index(n) for n in (1, 98, 327)]] += [0.1, 0]
    assert choose_donors(sup, openness, contrast, yaw, [0, 1, 2]) == {"eyes": 10}
    sup[30:36] = face(lips=0.1)
    contrast[10] = 1  # a fade
    assert choose_donors(sup, openness, contrast, yaw, [0, 1, 2])["eyes"] == 20
    openness[2], sup[1] = 0.05, face(lips=0.1)  # sources that have both already
    assert choose_donors(sup, openness, contrast, yaw, [0, 1, 2]) == {}
    for short in (1, 2):
        assert choose_donors(*(array[:short] for array in clip()), [0] * 3) == {}


def test_openness_is_of_the_same_landmarks() -> None:
    landmarks = np.zeros((N_LANDMARKS, 3), np.float32)
    landmarks[list(SUP), :2] = 100 * face(lids=0.03)
    assert Face(landmarks).eye_openness == pytest.approx(2 * 0.03 / 0.18, rel=1e-3)


@torch.no_grad()
def test_eyes_come_from_the_source_that_has_them_so() -> None:
    """Shut eyes are taken from the source with shut eyes, though another one is nearer in pose."""
    generator = build_network("composed", torch.from_numpy(face())).generator.eval()
    generator.near_part[[k for eye in EYES for k in eye]] = 6.0

    def at(*sups: np.ndarray) -> Points:
        position = torch.cat([torch.from_numpy(np.stack(sups)), torch.zeros(len(sups), 10, 2)], 1)
        presence = torch.cat([torch.ones(len(sups), len(SUP)), torch.zeros(len(sups), 10)], 1)
        return Points(position, torch.eye(2).expand(len(sups), position.shape[1], 2, 2), presence)

    near, far = face(yaw=0.0), face(lids=0.002) * [0.9, 1]
    source = generator.embed(torch.rand(1, 2, 3, SIDE, SIDE), at(near, far.astype(np.float32)))
    driving = at(face(lids=0.003))
    of_far = generator.source_motion(source, driving).logits[:, 0].softmax(0)[1]  # [64, 64]

    def there(x: float, y: float) -> float:
        return float(of_far[round((y + 1) * 32), round((x + 1) * 32)])

    assert there(-0.2, -0.2) > 0.9
    assert there(0.2, -0.2) > 0.9
    assert there(0.0, 0.1) < 0.5


def test_who_blends_parts() -> None:
    assert all(blends_parts(name) for name in shipped())


def test_no_head_is_drawn_beside_the_head() -> None:
    """Of two sources, the one that is most alike has its head where the wall shall be: the wall is the other's."""
    green, brown = (40, 160, 60), (120, 70, 40)

    def head(x: float, lips: float) -> np.ndarray:
        points = face(lips=lips)
        points[:2] = [0, -0.5], [0, 0.5]  # forehead and chin
        return points * 0.7 + [x, 0]

    left, other, right = head(-0.4, 0.03), head(0.4, 0.1), head(0.4, 0.03)

    def picture(sup: np.ndarray) -> np.ndarray:
        centre = tuple(((sup[[0, 1]].mean(0) + 1) * SIDE / 2).round().astype(int).tolist())
        return cv2.ellipse(np.full((SIDE, SIDE, 3), green, np.uint8), centre, (36, 52), 0, 0, 360, brown, -1)

    sources = [left, other]
    samples = [DrivingSample({"sup": sup.astype(np.float32)}) for sup in (*sources, right)]
    draw = DrawRuntime(DEFAULT, [picture(sup) for sup in sources], samples[:2])
    drawn = draw(DrawInputs.still(samples[2]))
    row, column = ((left[[0, 1]].mean(0)[::-1] + 1) * SIDE / 2).astype(int)
    wall = drawn[row - 16 : row + 16, column - 16 : column + 16].reshape(-1, 3)
    hair = drawn[row - 16 : row + 16, SIDE - column - 16 : SIDE - column + 16].reshape(-1, 3)
    assert np.abs(wall.mean(0) - green).max() < 12
    assert np.abs(hair.mean(0) - brown).max() < 25
