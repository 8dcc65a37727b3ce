"""Numbers and names as a report shows them: sensible digits, words where there is no number, escaped names."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

NONE = "\N{EN DASH}"
_NBSP = "\N{NO-BREAK SPACE}"


def rate(kbps: float | None, stderr: float | None = None) -> str:
    """kbps with three significant digits below 100."""
    if kbps is None:
        return NONE
    decimals = 2 if kbps < 10 else 1 if kbps < 100 else 0
    return f"{kbps:.{decimals}f}" + ("" if stderr is None else f" ±{_NBSP}{stderr:.{decimals}f}")


def times(factor: float | None) -> str:
    """A ratio of rates, with a multiplication sign."""
    if factor is None:
        return NONE
    return f"{factor:.{2 if factor < 9.95 else int(factor < 99.5)}f}\N{MULTIPLICATION SIGN}"


def interval(mean: dict[str, Any], shown: Callable[[float], str]) -> str:
    """A mean, and in brackets its interval where there is one (`compare.people.Interval` as a dictionary)."""
    spread = "" if mean["low"] is None else f" [{shown(mean['low'])} to {shown(mean['high'])}]"
    return shown(mean["mean"]) + spread


def seconds(value: float | None) -> str:
    """A time with a resolution fit for its size."""
    return NONE if value is None else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def size(count: int | None) -> str:
    """Bytes in kB."""
    return NONE if count is None else f"{count / 1000:.1f}"


def percent(value: float) -> str:
    """A change in percent with its sign."""
    return f"{value:+.0f} %".replace("-", "\N{MINUS SIGN}")


def one_line(text: Any) -> str:
    """Text of foreign origin on one line, without control characters."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", " ", str(text)).split())


def markdown(text: Any) -> str:
    """Text that Markdown shows as it stands: no HTML, no emphasis, no new table cell."""
    plain = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~$#!])", r"\\\1", plain)


def file_stems(names: list[str]) -> list[str]:
    """Harmless file-name stems, one for each clip and all different; letters, digits, dot, dash and underscore only."""
    stems: list[str] = []
    for name in names:
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", name.rpartition(".")[0] or name).strip("._-")[:60] or "clip"
        number, unique = 1, stem
        while unique.lower() in (other.lower() for other in stems):
            number += 1
            unique = f"{stem}-{number}"
        stems.append(unique)
    return stems
