"""The choice of the fastest way to draw: by time, once, whatever lies in the cache."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fvc.models.inference import timing


class Clock:
    """A clock that only moves when work is done."""

    def __init__(self) -> None:
        self.now = 0.0
        self.prepared: list[str] = []

    def candidate(self, name: str, seconds: float) -> Callable[[], timing.Run]:
        def prepare() -> timing.Run:
            self.prepared.append(name)
            return work

        def work() -> None:
            self.now += seconds

        return prepare


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(timing, "is_busy", lambda: False)
    monkeypatch.setattr(timing.platformdirs, "user_cache_path", lambda _: tmp_path / "cache")
    return clock


def ask(clock: Clock, key: str = "key", **seconds: float) -> tuple[str, dict[str, float]]:
    return timing.fastest(key, {name: clock.candidate(name, value) for name, value in seconds.items()})


def test_the_fastest_is_taken_and_kept(clock: Clock) -> None:
    assert ask(clock, exact=0.020, low=0.015) == ("low", {"exact": 20.0, "low": 15.0})
    assert clock.prepared == ["exact", "low"]
    assert ask(clock, exact=0.001, low=0.015)[0] == "low"  # known: nothing is timed again
    assert clock.prepared == ["exact", "low"]
    assert ask(clock, "another", exact=0.015, low=0.020)[0] == "exact"


def test_a_little_faster_is_not_enough(clock: Clock) -> None:
    """Two ways that take about the same time must not change places from machine to machine."""
    assert ask(clock, exact=0.0200, low=0.0190)[0] == "exact"


@pytest.mark.parametrize("text", ["[" * 200_000, "", "[]", "{", '{"key": 1}', '{"key": {"exact": "soon"}}'])
def test_a_damaged_cache_is_timed_anew(clock: Clock, tmp_path: Path, text: str) -> None:
    ask(clock, exact=0.02, low=0.01)
    file = tmp_path / "cache" / "timing.json"
    file.write_text(text)
    assert ask(clock, exact=0.01, low=0.02)[0] == "exact"
    assert list(json.loads(file.read_text()).values()) == [{"exact": 10.0, "low": 20.0}]


def test_other_candidates_are_timed_anew(clock: Clock) -> None:
    ask(clock, exact=0.02, low=0.01)
    assert ask(clock, exact=0.02, low=0.01, lower=0.005)[0] == "lower"


def test_no_cache_folder_is_no_error(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing.platformdirs, "user_cache_path", lambda _: Path("/proc/nowhere"))
    assert ask(clock, exact=0.02, low=0.01)[0] == "low"


def test_a_busy_machine_is_not_timed(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(timing, "is_busy", lambda: True)
        assert ask(clock, exact=0.02, low=0.01) == ("exact", {})
    assert clock.prepared == []
    assert ask(clock, exact=0.02, low=0.01)[0] == "low"
    monkeypatch.setattr(timing, "is_busy", lambda: True)
    assert ask(clock, exact=0.02, low=0.01)[0] == "low"  # what is known stays known
