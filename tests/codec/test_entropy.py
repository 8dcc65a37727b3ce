"""Entropy coding and prediction: exactness, golden values, efficiency."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fvc.codec.base.errors import StreamError
from fvc.codec.motion import coding, priors
from fvc.codec.motion.entropy import RangeReader, RangeWriter, format_tables, residual
from fvc.codec.motion.predictor import Context, Integers, MotionModel, log2
from fvc.codec.motion.quantizer import COMPONENTS, coded_parts
from fvc.codec.motion.sample import Profile

BITS = {"sup": 8, "unsup": 12, "jac": 16, "expr": 9, "shape": 12}
TABLES = format_tables()
CONTEXTS = st.builds(
    Context, st.sampled_from(list(COMPONENTS)), st.integers(-(1 << 30), 1 << 30), st.integers(-300, 900)
)


def model_of(parts: Sequence[str]) -> MotionModel:
    return MotionModel({part: BITS[part] for part in parts}, priors.load())


def coded(model: MotionModel, integers: Integers, keyframe: bool) -> bytes:
    writer = RangeWriter(TABLES)
    assert coding.encode(model, coding.given(model, integers), writer, keyframe) == integers
    return writer.finish()


@given(st.lists(st.tuples(st.integers(0, 1 << 16), CONTEXTS), max_size=60))
def test_values_survive(pairs: list[tuple[int, Context]]) -> None:
    writer = RangeWriter(TABLES)
    for value, context in pairs:
        writer.put(value, context)
    reader = RangeReader(writer.finish(), TABLES)
    assert [reader.get(context) for _, context in pairs] == [value for value, _ in pairs]


@given(st.lists(st.integers(0, 40).flatmap(lambda n: st.tuples(st.integers(0, (1 << n) - 1), st.just(n))), max_size=20))
def test_plain_bits_survive(pairs: list[tuple[int, int]]) -> None:
    writer = RangeWriter(TABLES)
    for value, count in pairs:
        writer.bits(value, count)
    reader = RangeReader(writer.finish(), TABLES)
    assert [reader.bits(count) for _, count in pairs] == [value for value, _ in pairs]


def test_residuals_are_right() -> None:
    """Every prediction lies next to its base, on the side that the sign says; low bits begin above 4 steps."""
    for spread in range(-300, 570, 5):
        for prediction in range(-9000, 9000, 211):
            table, phase, base, sign, shift = residual(prediction, spread)
            middle = base + ((1 << shift) - 1) / 2
            assert abs(prediction / 4096 - middle) <= 0.5
            assert shift == max(0, (spread - 160) // 32)
            if not shift:
                assert sign * (prediction / 4096 - base) == pytest.approx((phase + 0.5) / 16, abs=1 / 32)
            assert table < 48


def test_a_longer_logarithm_is_a_larger_number() -> None:
    logs = [log2(number) for number in range(1, 5000)]
    assert logs == sorted(logs)
    assert [log2(1 << k) for k in range(40)] == [32 * k for k in range(40)]
    assert max(abs(log - 32 * math.log2(n)) for n, log in enumerate(logs, 1)) < 4


def test_priors_are_pinned() -> None:
    """A change of any of them is a change of the format: raise VERSION and write new vectors."""
    packed = Path(priors.__file__).with_name("priors.bin").read_bytes()
    assert len(packed) < 81920
    assert priors.pack(priors.unpack(packed)) == packed
    for broken in (b"", packed[:-1], packed + b"\0", b"?" + packed[1:], packed[:5] + b"\1" + packed[6:]):
        with pytest.raises(ValueError, match=r"priors|buffer"):
            priors.unpack(broken)
    for part, of in priors.load().items():
        n = COMPONENTS[part]
        assert sorted(of.order) == list(range(n))
        assert of.shape[0] == 0
        assert (np.diff(of.shape) >= 0).all()
        assert of.shape[-1] <= 32768
        assert (of.error > 0).all()


def test_golden_bytes() -> None:
    """Of the range coder and its tables; those of whole streams are in `vectors`."""
    writer = RangeWriter(TABLES)
    for value, prediction, spread in ((0, 700, 128), (1, -900, 100), (-3, 4000, 150), (99, 0, 128), (-5000, 0, 500)):
        writer.put(value, Context("sup", prediction, spread))
    writer.bits(0b1011, 4)
    assert writer.finish().hex() == "3dec0b15c3421619"


def test_cost_is_what_is_paid() -> None:
    """The ideal length of many values and the bytes that they take agree to a part in a thousand and a byte."""
    draw, writer, ideal = np.random.default_rng(0), RangeWriter(TABLES), 0.0
    for spread in (60, 128, 150, 260):
        for error in draw.normal(0, 2 ** (spread / 32 - 4), 1500):
            prediction = int(draw.integers(1 << 20))
            value = round(prediction / 4096 + error)
            context = Context("sup", prediction, spread)
            writer.put(value, context)
            ideal += TABLES.cost(value, context)
    assert ideal - 1 <= 8 * len(writer.finish()) <= ideal * 1.001 + 8


def test_fractions_of_predictions_count() -> None:
    """Integers around known fractions cost less than if the predictions were rounded first."""
    draw, fine, coarse = np.random.default_rng(1), 0.0, 0.0
    for _ in range(2000):
        true = draw.uniform(0, 200)
        value, prediction = round(true + draw.normal(0, 0.3)), int(true * 4096)
        fine += TABLES.cost(value, Context("sup", prediction, 75))
        coarse += TABLES.cost(value, Context("sup", round(true) * 4096, 96))
    assert fine < 0.93 * coarse


def test_message_ends_are_short() -> None:
    """The tail costs less than a byte on average where the coder's own words would cost two."""
    draw, waste = np.random.default_rng(1), []
    for _ in range(60):
        writer, bits = RangeWriter(TABLES), int(draw.integers(20, 120))
        for _ in range(bits):
            writer.bits(int(draw.integers(2)), 1)
        waste.append(8 * len(writer.finish()) - bits)
    assert np.mean(waste) < 8


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(list(Profile)), st.booleans(), st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 30, 5000]))
def test_motion_survives(profile: Profile, is_shaped: bool, seed: int, step: int) -> None:
    draw = np.random.default_rng(seed)
    parts = coded_parts(profile.parts, is_shaped)
    encoder, decoder = (model_of(parts) for _ in range(2))
    frame = {part: draw.integers(0, 1 << BITS[part], COMPONENTS[part]) for part in parts}
    for index in range(6):
        given_ = {part: array.tolist() for part, array in frame.items()}
        data = coded(encoder, given_, index % 4 == 0)
        assert coding.decode(decoder, RangeReader(data, TABLES), index % 4 == 0) == given_
        for part, array in frame.items():
            moved = array + draw.integers(-step, step + 1, len(array))
            frame[part] = np.clip(moved, 0, (1 << BITS[part]) - 1)


@given(st.binary(max_size=60), st.sampled_from(list(Profile)), st.booleans())
def test_garbage_is_refused_or_in_range(data: bytes, profile: Profile, is_shaped: bool) -> None:
    model = model_of(coded_parts(profile.parts, is_shaped))
    for key, chunk in ((True, data), (False, data[::-1])):
        try:
            decoded = coding.decode(model, RangeReader(chunk, TABLES), key)
        except StreamError:
            return
        for part, numbers in decoded.items():
            assert all(0 <= number < 1 << BITS[part] for number in numbers)


def test_a_still_face_costs_little() -> None:
    """A face that does not move: under 3 bytes per frame for 102 numbers."""
    model, sizes = model_of(Profile.SUP_UNSUP_EXPR.parts), []
    frame = {p: [100] * COMPONENTS[p] for p in Profile.SUP_UNSUP_EXPR.parts}
    for index in range(60):
        sizes.append(8 * len(coded(model, frame, index == 0)))
    assert sizes[-1] < 24


def rigid(frames: int, seed: int) -> np.ndarray:
    """[T, 66] in steps: the mean face, drifting and trembling as a whole, with a little noise in each landmark."""
    mean = priors.load()["sup"]
    face = np.zeros(66)
    face[mean.order] = mean.mean / 256
    draw, place, speed, out = np.random.default_rng(seed), np.zeros(2), np.zeros(2), []
    for _ in range(frames):
        speed = 0.8 * speed + draw.normal(0, 0.5, 2)
        place = 0.98 * place + speed
        out.append(face + np.tile(place, 33) + draw.normal(0, 0.25, 66))
    return np.array(out)


def bits_of(faces: np.ndarray, key_every: int = 75, bits: int = 8) -> list[int]:
    """Bits of each frame; `faces` are in steps of 8 bits and coded with `bits`."""
    model, sizes = MotionModel({"sup": bits}, priors.load()), []
    for index, face in enumerate(np.clip(np.rint(faces * 2.0 ** (bits - 8)), 0, (1 << bits) - 1).astype(int)):
        sizes.append(8 * len(coded(model, {"sup": face.tolist()}, index % key_every == 0)))
    return sizes


def test_landmarks_that_move_together_are_cheap() -> None:
    """The same changes cost much more if each landmark makes those of another time."""
    together = rigid(60, 0)
    shuffled = together.copy()
    for i in range(66):
        shuffled[:, i] = np.roll(shuffled[:, i], i)
    assert np.mean(bits_of(together)[1:]) < 0.75 * np.mean(bits_of(shuffled)[1:])


def test_a_keyframe_of_a_usual_face_costs_half_of_its_bits() -> None:
    assert max(bits_of(rigid(20, 1), key_every=1)) < 66 * 8 / 2


def test_other_quantizers_cost_in_proportion() -> None:
    """With twice as fine steps each number costs one bit more, not many: expectations follow the quantizer."""
    each = {bits: np.mean(bits_of(rigid(30, 3), bits=bits)) / 66 for bits in (8, 9, 12, 16)}
    assert all(0.6 < (each[b] - each[a]) / (b - a) < 1.15 for a, b in pairwise(each)), each


def test_extremes_stay_in_bounds() -> None:
    """Jumps between the ends of 16-bit ranges, the worst case for the integers' size: 64 bits are enough."""
    parts = Profile.UNSUP_JAC.parts
    for signs in (1, -1):
        encoder, decoder = (MotionModel(dict.fromkeys(parts, 16), priors.load()) for _ in range(2))
        draw = np.random.default_rng(5)
        for index in range(6):
            frame = {p: (draw.integers(0, 2, COMPONENTS[p]) * 65535)[::signs].tolist() for p in parts}
            data = coded(encoder, frame, index == 0)
            assert coding.decode(decoder, RangeReader(data, TABLES), index == 0) == frame


def test_weights_leave_room_in_64_bits() -> None:
    """The bound that `predictor` states, for any integers of 16 bits and the weights that are there."""
    for of in priors.load().values():
        reach = 4096 + np.abs(of.last_weights).sum(1).max() + np.abs(of.now_weights).sum(1).max()
        assert (int(reach) << 16) + (int(np.abs(of.mean_weights).sum(1).max()) << 24) < 1 << 50
        assert 4096 + (int(np.abs(of.key_weights).sum(1).max()) << 16) < 1 << 50
