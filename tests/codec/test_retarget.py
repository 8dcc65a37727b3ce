"""Cross-reenactment: movements are carried over, the face's shape is not."""

from __future__ import annotations

import numpy as np

from fvc.codec.motion.retarget import Retarget
from fvc.codec.motion.sample import PART_SHAPES, DrivingSample

_EYE = np.tile(np.eye(2, dtype=np.float32), (10, 1, 1))


def _sample(seed: int) -> DrivingSample:
    draw = np.random.default_rng(seed)
    parts = {part: draw.uniform(-0.5, 0.5, shape).astype(np.float32) for part, shape in PART_SHAPES.items()}
    return DrivingSample({**parts, "jac": _EYE + parts["jac"] / 5, "expr": parts["expr"] + 0.5})


def test_the_person_itself_is_driven_as_by_its_own_stream() -> None:
    first, later = _sample(0), _sample(1)
    retarget = Retarget(first)
    for sample in (first, later):
        moved = retarget(sample)
        for part, values in sample.parts.items():
            np.testing.assert_allclose(moved.parts[part], values, atol=1e-5)


def test_rest_stays_and_moves_are_scaled_by_the_face() -> None:
    rest, first = _sample(0), _sample(1)
    larger = DrivingSample({**first.parts, "sup": rest.parts["sup"] * 2 + 0.1})  # the same face, twice as large
    retarget = Retarget(rest)
    for part, values in retarget(larger).parts.items():
        np.testing.assert_allclose(values, rest.parts[part], atol=1e-5)
    nod = DrivingSample({**larger.parts, "sup": larger.parts["sup"] + np.float32([0.0, 0.2])})
    np.testing.assert_allclose(retarget(nod).parts["sup"], rest.parts["sup"] + [0.0, 0.1], atol=1e-5)


def test_codes_stay_in_range() -> None:
    rest, first = _sample(0), _sample(1)
    retarget = Retarget(rest)
    retarget(first)
    wild = DrivingSample({**first.parts, "expr": np.ones(16, np.float32), "jac": _EYE * 0})
    moved = retarget(wild).parts
    assert moved["expr"].min() >= 0
    assert moved["expr"].max() <= 1
    assert all(np.isfinite(values).all() and values.dtype == np.float32 for values in moved.values())
