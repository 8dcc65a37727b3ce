"""Work in a process of its own: its result, its errors, its end."""

from __future__ import annotations

import math
import time

import pytest

from fvc.codec.base.errors import FvcError
from fvc.evaluation.compare.own_process import in_own_process


def test_result_and_error() -> None:
    assert in_own_process(math.sqrt, 4.0, seconds=60) == 2
    with pytest.raises(ValueError, match="math domain"):
        in_own_process(math.sqrt, -1.0, seconds=60)


def test_what_hangs_is_ended() -> None:
    with pytest.raises(FvcError, match="sleep: hung 3 times"):
        in_own_process(time.sleep, 3600, seconds=0.5)


def test_ends_when_told_to() -> None:
    def stop() -> None:
        raise FvcError("stopped")

    begin = time.monotonic()
    with pytest.raises(FvcError, match="stopped"):
        in_own_process(time.sleep, 3600, seconds=3600, each=stop)
    assert time.monotonic() - begin < 60
