"""Native work that may hang, in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import TypeVar

from fvc.codec.errors import FvcError

_TRIES = 3
_T = TypeVar("_T")


def apart(work: Callable[..., _T], *given: object, seconds: float, each: Callable[[], None] = lambda: None) -> _T:
    """What `work(*given)` returns. Where it takes longer than `seconds` it is ended and begun again, twice.

    `each` is called about twice a second; what it or the work raises ends the work.

    Raises:
        FvcError: it never came to an end.
    """
    for _ in range(_TRIES):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            result = pool.apply_async(work, given)
            for _ in range(max(int(2 * seconds), 1)):
                each()
                result.wait(0.5)
                if result.ready():
                    return result.get()
    raise FvcError(f"{getattr(work, '__name__', 'work')}: hung {_TRIES} times, for {seconds:.0f} s each")
