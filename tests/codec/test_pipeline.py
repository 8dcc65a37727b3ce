"""Stages in threads: order, bounded lead, errors in their place, and no thread that outlives its pipeline."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from fvc.codec.media.pipeline import ahead, parallel


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def test_all_items_in_order() -> None:
    assert list(ahead(range(100), 3)) == list(range(100))
    assert list(parallel(lambda n: n * n, range(50), 3)) == [n * n for n in range(50)]
    assert list(ahead([])) == list(parallel(str, [], 2)) == []


def test_the_lead_is_bounded() -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for n in range(100):
            made.append(n)
            yield n

    with closing(ahead(numbers(), 3)) as items:
        assert next(items) == 0
        time.sleep(0.05)
        assert len(made) <= 1 + 3 + 1 + 1  # given out, waiting, in the maker's hand, and the one that stop finds
    assert len(made) < 10


def test_it_runs_ahead() -> None:
    """The maker makes item 1 while the caller still has item 0: else this would wait for ever."""
    second = threading.Event()

    def numbers() -> Iterator[int]:
        yield 0
        second.set()
        yield 1

    for _ in ahead(numbers()):
        assert second.wait(5)


def test_two_calls_at_a_time() -> None:
    both = threading.Barrier(2, timeout=5)
    assert list(parallel(lambda _: both.wait() >= 0, range(4), 2)) == [True] * 4


def test_an_error_comes_in_its_place() -> None:
    def numbers() -> Iterator[int]:
        yield from range(3)
        raise LookupError("three")

    results, got = parallel(lambda n: -n, ahead(numbers()), 2), list[int]()
    with pytest.raises(LookupError, match="three"):
        got.extend(results)
    assert got == [0, -1, -2]


def test_an_error_of_the_function() -> None:
    closed = threading.Event()

    def numbers() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.set()

    with pytest.raises(ZeroDivisionError), closing(parallel(lambda n: 1 // n, ahead(numbers()), 2)) as items:
        next(items)
    assert closed.is_set()


def test_leaving_early_closes_what_is_before() -> None:
    closed = threading.Event()

    def numbers() -> Iterator[int]:
        try:
            yield from range(1_000_000)
        finally:
            closed.set()

    def interrupted() -> None:
        with closing(ahead(ahead(numbers()))) as items:
            for _ in items:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert closed.is_set()
