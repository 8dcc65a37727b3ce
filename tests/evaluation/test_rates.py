"""Arithmetic of rates, against values worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from fvc.evaluation.compare.rates import Knob, Point, bd_rate, break_even, rate_for, search, wire_bits

FINE = Knob("crf", 10, 50, 0.05, 6)


def encoder(floor: float, asked: list[float | None], octave: float = 7.5) -> Callable[[float | None], float]:
    """A rate that halves every `octave` of the knob, never below `floor` kbps."""

    def kbps(value: float | None) -> float:
        asked.append(value)
        return floor if value is None else max(floor, floor * 2 ** ((FINE.worst - value) / octave))

    return kbps


class TestSearch:
    def test_reaches_each_target_with_few_encodes(self) -> None:
        asked: list[float | None] = []
        kbps = encoder(5, asked)
        found = search(kbps, FINE, (8, 16, 32, 64))
        for target, value in found.items():
            assert value is not None
            assert kbps(value) == pytest.approx(target, rel=0.05)
        assert len(set(asked)) <= 1 + 2 * len(found)

    def test_below_the_floor_is_the_floor(self) -> None:
        assert search(encoder(9, []), FINE, (4, 8, 16))[4] is None
        assert search(encoder(9, []), FINE, (4, 8, 16))[8] is None

    def test_above_the_best_is_the_best(self) -> None:
        asked: list[float | None] = []
        assert search(encoder(5, asked), FINE, (100_000,)) == {100_000: FINE.best}
        assert len(asked) <= 9

    def test_coarse_steps_give_the_nearest(self) -> None:
        coarse = Knob("crf", 10, 50, 4, 6)
        kbps = encoder(5, [])
        (value,) = search(kbps, coarse, (16,)).values()
        errors = {v: abs(math.log(kbps(v) / 16)) for v in range(10, 51, 4)}
        assert value == min(errors, key=errors.__getitem__)

    def test_a_rate_that_jumps_ends(self) -> None:
        asked: list[float | None] = []

        def kbps(value: float | None) -> float:
            asked.append(value)
            return 5 if value is None else 6 if value > 30 else 60

        assert kbps(search(kbps, FINE, (16,))[16]) in (6, 60)
        assert len(asked) <= 11

    def test_rates_that_wobble_before_a_cliff(self) -> None:
        """As x265's do towards CRF 51."""

        def kbps(value: float | None) -> float:
            if value is None:
                return 5
            return 20 - value / 4 + 0.3 * math.sin(9 * value) if value < 46 else 8.5 - (value - 46) * 0.8

        found = search(kbps, FINE, (8,))
        assert kbps(found[8]) == pytest.approx(8, rel=0.05)

    def test_known_rates_are_not_asked_for_again(self) -> None:
        asked: list[float | None] = []
        kbps = encoder(5, asked)
        tried = {value: kbps(value) for value in (None, 30.0, 40.0)}
        asked.clear()
        search(kbps, FINE, (round(tried[30.0], 1),), tried=tried)
        assert asked == [None]  # a look-up


class TestWire:
    def test_a_datagram_for_each_frame(self) -> None:
        assert wire_bits([10, 20, 30]) == 8 * (60 + 3 * 40)

    def test_frames_share_datagrams(self) -> None:
        assert wire_bits([10, 20, 30], frames_per_packet=2) == 8 * (60 + 2 * 40)

    def test_a_large_frame_is_split(self) -> None:
        assert wire_bits([2401, 0]) == 8 * (2401 + 4 * 40)


CURVE = (Point(8, 0.30, is_floor=True), Point(16, 0.20), Point(32, 0.10))


class TestRateFor:
    def test_between_points_the_logarithm_of_the_rate_is_interpolated(self) -> None:
        assert rate_for(CURVE, 0.15, higher_is_better=False) == (pytest.approx(16 * 2**0.5), None)
        assert rate_for(CURVE, 0.10, higher_is_better=False) == (pytest.approx(32), None)

    def test_higher_is_better(self) -> None:
        curve = (Point(8, 0.5), Point(32, 0.9))
        assert rate_for(curve, 0.7, higher_is_better=True) == (pytest.approx(16), None)

    @pytest.mark.parametrize(
        ("curve", "wanted", "note"),
        [
            (CURVE, 0.4, "below its floor"),
            (CURVE, 0.30, "below its floor"),
            (CURVE[1:], 0.4, "the lowest rate measured"),
            (CURVE, 0.05, "not reached at 32 kbps"),
            ((), 0.1, "not measured"),
        ],
    )
    def test_nothing_is_extrapolated(self, curve: tuple[Point, ...], wanted: float, note: str) -> None:
        rate, why = rate_for(curve, wanted, higher_is_better=False)
        assert rate is None
        assert note in str(why)

    def test_a_dip_counts_where_quality_is_first_reached(self) -> None:
        curve = (Point(8, 0.30), Point(16, 0.10), Point(32, 0.15), Point(64, 0.05))
        rate, _ = rate_for(curve, 0.10, higher_is_better=False)
        assert rate == pytest.approx(16)
        later, _ = rate_for(curve, 0.075, higher_is_better=False)
        assert later == pytest.approx(32)  # from 16 kbps, the best so far, halfway to 64


class TestBjontegaard:
    def test_half_the_rate_at_equal_quality(self) -> None:
        theirs = [Point(8 * 2**n, 0.3 - 0.05 * n) for n in range(5)]
        ours = [Point(p.kbps / 2, p.value) for p in theirs]
        delta, note = bd_rate(ours, theirs, higher_is_better=False)
        assert delta == pytest.approx(-50)
        assert "100 %" in str(note)

    @pytest.mark.parametrize(
        ("ours", "theirs", "note"),
        [
            ([(4, 0.1), (5, 0.09)], [(8, 0.3), (16, 0.2)], "do not overlap"),
            ([(4, 0.1)], [(8, 0.3), (16, 0.05)], "ours has 1 point,"),
            ([(4, 0.10), (5, 0.11)], [(8, 0.3), (16, 0.05)], "does not grow with rate on our curve"),
            ([(4, 0.20), (5, 0.10)], [(8, 0.19), (16, 0.3)], "does not grow with rate on their curve"),
            ([(4, 0.30), (5, 0.10)], [(8, 0.12), (16, 0.05)], "only 10 %"),
        ],
    )
    def test_undefined(self, ours: list[tuple[float, float]], theirs: list[tuple[float, float]], note: str) -> None:
        curves = ([Point(*point) for point in curve] for curve in (ours, theirs))
        delta, why = bd_rate(*curves, higher_is_better=False)
        assert delta is None
        assert note in str(why)


def test_break_even() -> None:
    assert break_even(150_000, ours=5, theirs=20) == pytest.approx(10)
    assert break_even(150_000, ours=5, theirs=5) is None
    assert break_even(150_000, ours=5, theirs=None) is None
