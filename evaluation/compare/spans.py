"""The starts of a clip over which every bit counts: its first ten seconds, its first minute, and all of it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

SPANS = {"10": 10.0, "60": 60.0, "whole": math.inf}  # name -> seconds; the first one is in the headline
TITLES = {"10": "first 10 s", "60": "first 60 s", "whole": "whole clip"}
LEADING = next(iter(SPANS))
_NEARLY = 1.05  # a clip that is not longer than this times a span counts whole


def span_frames(frames: int, fps: Fraction) -> dict[str, int]:
    """Span -> how many of a clip's frames are in it."""
    return {
        span: frames if frames <= _NEARLY * seconds * fps else round(seconds * fps) for span, seconds in SPANS.items()
    }


def distinct(lengths: Iterable[float]) -> dict[str, str]:
    """Span -> title, of the spans that differ from one another in any clip of these lengths, seconds."""
    longest = max(lengths, default=0.0) / _NEARLY
    wanted = {"10": True, "60": longest > SPANS["60"], "whole": longest > SPANS["10"]}
    return {span: title for span, title in TITLES.items() if wanted[span]}
