"""How long-running work tells its caller what it does: remarks and progress. Nothing here prints."""

from __future__ import annotations

import os
from collections.abc import Callable

PathLike = str | os.PathLike[str]
Note = Callable[[str], None]  # takes a remark of one line
Progress = Callable[[str, float, float | None], None]  # stage, done, total (None: unknown)


def silent(*_: object) -> None:
    """A Note or Progress for callers who want none."""
