"""When frames fall due."""

from __future__ import annotations

from fractions import Fraction

import pytest

from fvc.codec.call.playout import PlayoutClock


class TestPlayout:
    def test_the_earliest_arrival_counts(self) -> None:
        clock = PlayoutClock(Fraction(10), 0.2)
        assert clock.newest_due(5) is None
        for frame, late in enumerate([0.09, 0.05, 0.0, 0.08, 0.02]):
            clock.arrived(frame, 100 + frame / 10 + late)
        assert clock.time_of(10) == pytest.approx(100 + 1 + 0.2)
        assert clock.newest_due(101.19) == 9
        assert clock.newest_due(101.21) == 10

    def test_a_slower_clock_is_followed(self) -> None:
        clock = PlayoutClock(Fraction(10), 0.1)
        for frame in range(3000):  # 0.1 % slow
            clock.arrived(frame, frame * 0.1001)
        due = clock.time_of(3000)
        assert due is not None
        assert due == pytest.approx(300.3 + 0.1, abs=0.03)

    def test_a_clock_that_jumps(self) -> None:
        clock = PlayoutClock(Fraction(10), 0.1)
        clock.arrived(0, 50)
        clock.arrived(1_000_000, 50.1)
        assert clock.restarts == 1
        assert clock.newest_due(50.21) == 1_000_000
