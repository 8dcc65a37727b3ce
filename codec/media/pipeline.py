"""Stages that work at the same time: each in threads of its own, a bounded number of items ahead, in order.

Decoders, encoders, the tracker and the networks release the interpreter's lock, so threads are enough to keep several
cores busy. An error in a stage is raised where its items would have come out. Closing the last stage (or leaving or
interrupting it) stops those before it and waits until they have stopped. Knows nothing about video.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Queue
from typing import Any, TypeVar

T = TypeVar("T")
U = TypeVar("U")
_END = object()


def ahead(items: Iterable[T], depth: int = 4) -> Generator[T, None, None]:
    """The same items, produced in a thread that is at most `depth` of them ahead.

    Close it (`contextlib.closing`) before what `items` reads from is closed: the thread uses that until then.
    """
    ready: Queue[Any] = Queue(depth)
    stop = threading.Event()
    errors: list[BaseException] = []

    def make() -> None:
        try:
            for item in items:
                ready.put(item)
                if stop.is_set():
                    break
        except BaseException as error:
            errors.append(error)
        finally:
            _close(items)
            ready.put(_END)

    thread = threading.Thread(target=make, name="fvc-ahead", daemon=True)
    thread.start()
    item: Any = None
    try:
        while (item := ready.get()) is not _END:
            yield item
    finally:
        stop.set()
        while item is not _END and not sys.is_finalizing():  # then the thread is gone already
            item = ready.get()
        if not sys.is_finalizing():
            thread.join()
    if errors:
        raise errors[0]


def parallel(function: Callable[[T], U], items: Iterable[T], workers: int) -> Generator[U, None, None]:
    """`map(function, items)`, up to `workers` calls at a time; `function` is called from several threads.

    As many again wait their turn, so that no worker is idle while whoever takes the results is busy.
    """
    under_way: deque[Future[U]] = deque()
    error: Exception | None = None
    with ThreadPoolExecutor(workers, "fvc-parallel") as pool:
        try:
            source = iter(items)
            while True:
                try:
                    under_way.append(pool.submit(function, next(source)))
                except StopIteration:
                    break
                except Exception as raised:  # of the items: comes after the results of those before it
                    error = raised
                    break
                if len(under_way) > 2 * workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()
            _close(items)
    if error is not None:
        raise error


def _close(items: object) -> None:
    close = getattr(items, "close", None)
    if close is not None:
        close()
