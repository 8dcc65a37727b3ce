"""Arithmetic of rates, against values worked out by hand."""

from __future__ import annotations

import pytest

from fvc.evaluation.compare.rates import Point, bd_rate, break_even, rate_for, value_at, wire_bits


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


class TestValueAt:
    def test_over_log_rate(self) -> None:
        assert value_at(CURVE, 8 * 2**0.5) == pytest.approx(0.25)
        assert value_at(CURVE, 32) == pytest.approx(0.10)

    def test_nothing_is_extrapolated(self) -> None:
        assert value_at(CURVE, 7.9) is None
        assert value_at(CURVE, 33) is None
        assert value_at((), 8) is None


class TestBjontegaard:
    def test_half_the_rate_at_equal_quality(self) -> None:
        theirs = [Point(8 * 2**n, 0.3 - 0.05 * n) for n in range(5)]
        ours = [Point(p.kbps / 2, p.value) for p in theirs]
        delta, note = bd_rate(ours, theirs, higher_is_better=False)
        assert delta == pytest.approx(-50)
        assert "100 %" in str(note)

    def test_points_that_are_no_better_than_cheaper_ones_are_left_out(self) -> None:
        theirs = [Point(8 * 2**n, 0.3 - 0.05 * n) for n in range(5)]
        ours = [Point(p.kbps / 2, p.value) for p in theirs]
        wasted = [*ours, Point(30, 0.31)]
        assert bd_rate(wasted, theirs, higher_is_better=False) == bd_rate(ours, theirs, higher_is_better=False)

    @pytest.mark.parametrize(
        ("ours", "theirs", "note"),
        [
            ([(4, 0.1), (5, 0.09)], [(8, 0.3), (16, 0.2)], "do not overlap"),
            ([(4, 0.1)], [(8, 0.3), (16, 0.05)], "ours has 1 point,"),
            ([(4, 0.10), (5, 0.11)], [(8, 0.3), (16, 0.05)], "ours has 1 point,"),  # the dearer one is no better
            ([(4, 0.20), (5, 0.10)], [(8, 0.19), (16, 0.3)], "theirs has 1 point,"),
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
