"""Native work that may hang, in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import TypeVar

from fvc.codec.base.errors import FvcError

_TRIES = 3
_TICK = 0.5  # seconds
_T = TypeVar("_T")


def in_own_process(
    work: Callable[..., _T], *arguments: object, seconds: float, each: Callable[[], None] = lambda: None
) -> _T:
    """Returns `work(*arguments)`. After `seconds` it is ended and started again, three times in all.

    `each` is called about twice a second. Whatever `each` or `work` raises ends the work.

    Raises:
        FvcError: it did not finish in any of the tries.
    """
    for _ in range(_TRIES):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            result = pool.apply_async(work, arguments)
            for _ in range(max(int(seconds / _TICK), 1)):
                each()
                result.wait(_TICK)
                if result.ready():
                    return result.get()
    raise FvcError(f"{getattr(work, '__name__', 'work')}: hung {_TRIES} times, for {seconds:.0f} s each")
