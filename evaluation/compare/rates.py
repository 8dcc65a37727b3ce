"""Arithmetic of rates and quality: finding a setting for a rate, a rate for a quality, Bjontegaard deltas.

Nothing here knows an encoder or a picture. Rates are in kbit/s (1000 bits), and compared on a log scale.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fvc.codec.base.constants import MAX_DATAGRAM, RTP_HEADER_BYTES, UDP_IPV4_HEADER_BYTES

HEADER_BYTES = RTP_HEADER_BYTES + UDP_IPV4_HEADER_BYTES  # of a datagram
MIN_OVERLAP = 0.25  # least share of our curve's range of quality for a meaningful Bjontegaard delta
TOLERANCE = 0.05  # relative difference of a rate from its target that ends the search

_INSIDE = 0.15  # how far inside its bracket each guess lies, so that the search also converges if the rate has jumps


@dataclass(frozen=True)
class Knob:
    """The parameter that an encoder's rate is searched with; the rate falls as it grows.

    Attributes:
        name: the encoder's name of it; best, worst: its ends; step: its resolution.
        octave: the change that about halves the rate.
        between: a finer resolution, for rates that whole steps miss; None: there is none.
    """

    name: str
    best: float
    worst: float
    step: float
    octave: float
    between: float | None = None

    def nearest(self, value: float) -> float:
        """The value that can be set."""
        steps = round((min(max(value, self.best), self.worst) - self.best) / self.step)
        return round(self.best + steps * self.step, 6)


@dataclass(frozen=True)
class Point:
    """A measured point of one codec: its rate and the value of one metric."""

    kbps: float
    value: float
    is_floor: bool = False


def search(
    kbps: Callable[[float | None], float],
    knob: Knob,
    targets: Sequence[float],
    tolerance: float = TOLERANCE,
    limit: int = 8,
    tried: dict[float | None, float] | None = None,
) -> dict[float, float | None]:
    """Target -> the value whose rate is nearest; None stands for the encoder's floor.

    Args:
        kbps: rate at a value; at None: the lowest that the encoder can reach. It may be called twice for a value.
        targets: wanted rates; tolerance: relative; limit: encodes for each target.
        tried: rates that are known already.
    """
    tried = {None: kbps(None), **(tried or {})}

    def error(target: float) -> Callable[[float | None], float]:
        return lambda value: abs(math.log(tried[value] / target))

    found: dict[float, float | None] = {}
    for target in sorted(targets):
        if target <= tried[None]:
            found[target] = None
            continue
        for _ in range(limit):
            nearest = min(tried, key=error(target))
            value = _guess(tried, knob, target)
            if abs(tried[nearest] / target - 1) <= tolerance or value is None:
                break
            tried[value] = kbps(value)
        found[target] = min(tried, key=error(target))
    return found


def _guess(tried: dict[float | None, float], knob: Knob, target: float) -> float | None:
    """The value to try next, between the last one above the target and the first one below it; None: all were tried.

    Rates need not fall steadily: the bracket is one of values, and each guess lies well inside of it.
    """
    known = {knob.worst if value is None else value: rate for value, rate in tried.items()}
    above = max((value for value, rate in known.items() if rate > target), default=None)
    below = min(value for value, rate in known.items() if rate <= target and (above is None or value > above))
    if above is None:
        ends, wanted = (knob.best, below), below - knob.octave * math.log2(target / known[below])
    else:
        share = math.log2(known[above] / target) / math.log2(known[above] / known[below])
        ends, wanted = (above, below), above + (below - above) * min(max(share, _INSIDE), 1 - _INSIDE)
    for shift in (0, knob.step, -knob.step):
        candidate = knob.nearest(wanted + shift)
        if candidate not in known and ends[0] <= candidate <= ends[1]:
            return candidate
    return None


def wire_bits(frame_bytes: Sequence[int] | np.ndarray, frames_per_packet: int = 1) -> int:
    """Bits of frames sent as datagrams of `frames_per_packet` frames, headers included."""
    sizes = np.asarray(frame_bytes, np.int64)
    groups = np.add.reduceat(sizes, np.arange(0, len(sizes), frames_per_packet))
    datagrams = np.maximum(-(-groups // MAX_DATAGRAM), 1)
    return 8 * int(sizes.sum() + HEADER_BYTES * datagrams.sum())


def rate_for(points: Sequence[Point], wanted: float, higher_is_better: bool) -> tuple[float | None, str | None]:
    """The lowest rate at which a curve reaches the quality `wanted`, or else why there is none.

    Between measured points log rate is interpolated linearly over the best quality so far; nothing is extrapolated.
    """
    sign = 1 if higher_is_better else -1
    curve = sorted(points, key=lambda p: p.kbps)
    if not curve:
        return None, "not measured"
    first = curve[0]
    if sign * first.value >= sign * wanted:
        if first.is_floor:
            return None, f"below its floor: better already at {first.kbps:.1f} kbps, the lowest it can reach"
        return None, f"better already at {first.kbps:.1f} kbps, the lowest rate measured"
    reached, rate = sign * first.value, first.kbps
    for point in curve[1:]:
        quality = sign * point.value
        if quality >= sign * wanted:
            share = (sign * wanted - reached) / (quality - reached)
            return rate * (point.kbps / rate) ** share, None
        if quality > reached:
            reached, rate = quality, point.kbps
    return None, f"not reached at {curve[-1].kbps:.0f} kbps"


def bd_rate(ours: Sequence[Point], theirs: Sequence[Point], higher_is_better: bool) -> tuple[float | None, str | None]:
    """Bjontegaard delta: mean change of our rate against theirs at equal quality, percent; or why it is undefined.

    Curves are interpolated with PCHIP (package `bjontegaard`) over the range of quality that both cover.
    """
    sign = 1 if higher_is_better else -1
    curves = []
    for name, points in (("ours", ours), ("theirs", theirs)):
        curve = sorted((p.kbps, sign * p.value) for p in points)
        if len(curve) < 2:
            return None, f"undefined: {name} has {len(curve)} point{'s'[: len(curve) != 1]}, two are needed"
        if any(b[1] <= a[1] for a, b in pairwise(curve)):
            return None, f"undefined: quality does not grow with rate on {'our' if name == 'ours' else 'their'} curve"
        curves.append(curve)
    low = max(curve[0][1] for curve in curves)
    high = min(curve[-1][1] for curve in curves)
    if low >= high:
        return None, "undefined: the curves do not overlap in quality"
    share = (high - low) / (curves[0][-1][1] - curves[0][0][1])
    if share < MIN_OVERLAP:
        return None, f"undefined: the curves overlap in only {100 * share:.0f} % of our range of quality"
    import bjontegaard

    mine, their = (tuple(zip(*curve, strict=True)) for curve in curves)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of small overlaps, which the note states
        delta = bjontegaard.bd_rate(*their, *mine, method="pchip", require_matching_points=False)
    return float(delta), f"over {100 * share:.0f} % of our curve's range of quality"


def break_even(source_bits: float, ours: float, theirs: float | None) -> float | None:
    """Seconds after which sources and motion at `ours` kbps cost less than `theirs` kbps; None: never, or unknown."""
    if theirs is None or theirs <= ours:
        return None
    return source_bits / (theirs - ours) / 1000
