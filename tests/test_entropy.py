"""Entropy coding and prediction: exactness, golden values, efficiency."""

from __future__ import annotations

import hashlib
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fvc.codec.entropy import N_CLASSES, RangeReader, RangeWriter, class_of, frequencies, shift_of
from fvc.codec.errors import StreamError
from fvc.codec.prediction import MotionState
from fvc.codec.sample import PART_SHAPES, Profile

BITS = {"sup": 8, "unsup": 12, "jac": 16, "expr": 9}
values = st.lists(st.tuples(st.integers(-(1 << 17), 1 << 17), st.integers(0, 1 << 20)), max_size=60)


@given(values)
def test_values_survive(pairs: list[tuple[int, int]]) -> None:
    writer = RangeWriter()
    for value, magnitude in pairs:
        writer.value(value, magnitude)
    reader = RangeReader(writer.finish())
    assert [reader.value(0, magnitude) for _, magnitude in pairs] == [value for value, _ in pairs]


@given(st.lists(st.integers(0, 40).flatmap(lambda n: st.tuples(st.integers(0, (1 << n) - 1), st.just(n))), max_size=20))
def test_plain_bits_survive(pairs: list[tuple[int, int]]) -> None:
    writer = RangeWriter()
    for value, count in pairs:
        writer.bits(value, count)
    reader = RangeReader(writer.finish())
    assert [reader.bits(0, count) for _, count in pairs] == [value for value, _ in pairs]


def test_classes_are_ordered_and_complete() -> None:
    classes = [class_of(magnitude) for magnitude in range(300_000)]
    assert classes == sorted(classes)
    assert set(classes) == set(range(N_CLASSES))
    assert [shift_of(c) for c in (0, 21, 22, 27, 28)] == [0, 0, 1, 1, 2]


def test_tables_are_pinned() -> None:
    """A change of any frequency is a change of the format: raise VERSION and write a new digest."""
    tables = [frequencies(t) for t in range(22)]
    assert all(sum(table) == 1 << 16 and min(table) >= 1 and len(table) == 34 for table in tables)
    digest = hashlib.sha256(np.array(tables, ">u2").tobytes()).hexdigest()
    assert digest == "66fbb6781bd2adecae4858a01782a17c76db3af5a089381bd44d98051ec6a4ae"


def test_golden_bytes() -> None:
    writer = RangeWriter()
    for value, magnitude in ((0, 16), (1, 16), (-3, 40), (100, 16), (-5000, 40000), (7, 500)):
        writer.value(value, magnitude)
    writer.bits(0b1011, 4)
    assert writer.finish().hex() == "958c1a7c6b6ef7"


def test_cost_is_near_the_entropy() -> None:
    """Geometric residuals of known scale must not cost more than 6 % above their entropy, message end included."""
    draw = np.random.default_rng(0)
    for mean in (0.5, 2.0, 8.0, 60.0):
        theta = mean / (1 + mean)
        sizes = np.floor(np.log(draw.random(4000)) / math.log(theta)).astype(int)
        signs = np.where(draw.random(4000) < 0.5, -1, 1)
        writer = RangeWriter()
        for value in sizes * signs:
            writer.value(int(value), round(16 * mean))
        p = np.bincount(np.abs(sizes)) / 4000
        entropy = -(p[p > 0] * np.log2(p[p > 0])).sum() + (sizes > 0).mean()
        assert 8 * len(writer.finish()) < 4000 * entropy * 1.06 + 8


def test_message_ends_are_short() -> None:
    """The tail costs less than a byte on average where the coder's own words would cost two."""
    draw, waste = np.random.default_rng(1), []
    for _ in range(60):
        writer, bits = RangeWriter(), int(draw.integers(20, 120))
        for _ in range(bits):
            writer.bits(int(draw.integers(2)), 1)
        waste.append(8 * len(writer.finish()) - bits)
    assert np.mean(waste) < 8


@settings(max_examples=30)
@given(st.sampled_from(list(Profile)), st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 30, 5000]))
def test_motion_survives(profile: Profile, seed: int, step: int) -> None:
    draw = np.random.default_rng(seed)
    encoder, decoder = (MotionState(profile.parts, BITS) for _ in range(2))
    frame = {p: draw.integers(0, 1 << BITS[p], math.prod(PART_SHAPES[p])) for p in profile.parts}
    for index in range(6):
        given_ = {part: array.tolist() for part, array in frame.items()}
        writer = RangeWriter()
        encoder.code(writer, given_, key=index % 4 == 0)
        assert decoder.code(RangeReader(writer.finish()), None, key=index % 4 == 0) == given_
        for part, array in frame.items():
            moved = array + draw.integers(-step, step + 1, len(array))
            frame[part] = np.clip(moved, 0, (1 << BITS[part]) - 1)


@given(st.binary(max_size=60), st.sampled_from(list(Profile)))
def test_garbage_is_refused_or_in_range(data: bytes, profile: Profile) -> None:
    state = MotionState(profile.parts, BITS)
    for key, chunk in ((True, data), (False, data[::-1])):
        try:
            decoded = state.code(RangeReader(chunk), None, key)
        except StreamError:
            return
        for part, numbers in decoded.items():
            assert all(0 <= number < 1 << BITS[part] for number in numbers)


def test_a_still_face_costs_little() -> None:
    """A face that does not move: under 30 bits per frame for 102 numbers."""
    state, sizes = MotionState(Profile.SUP_UNSUP_EXPR.parts, BITS), []
    frame = {p: [100] * math.prod(PART_SHAPES[p]) for p in Profile.SUP_UNSUP_EXPR.parts}
    for index in range(40):
        writer = RangeWriter()
        state.code(writer, frame, key=index == 0)
        sizes.append(8 * len(writer.finish()))
    assert sizes[-1] < 30
    assert sizes[0] <= 66 * 8 + 20 * 12 + 16 * 9
