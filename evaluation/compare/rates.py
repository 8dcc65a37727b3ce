"""Arithmetic of rates and quality: a rate for a quality, a quality at a rate, Bjontegaard deltas.

Nothing here knows an encoder or a picture. Rates are in kbit/s (1000 bits), and compared on a log scale.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fvc.codec.base.constants import MAX_DATAGRAM, RTP_HEADER_BYTES, UDP_IPV4_HEADER_BYTES

HEADER_BYTES = RTP_HEADER_BYTES + UDP_IPV4_HEADER_BYTES  # of a datagram
MIN_OVERLAP = 0.25  # least share of our curve's range of quality for a meaningful Bjontegaard delta


@dataclass(frozen=True)
class Point:
    """A measured point of one codec: its rate and the value of one metric."""

    kbps: float
    value: float
    is_floor: bool = False


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


def value_at(points: Sequence[Point], kbps: float) -> float | None:
    """The quality of a curve at a rate, interpolated linearly over log rate; None: outside of what was measured."""
    curve = sorted(points, key=lambda p: p.kbps)
    for low, high in pairwise(curve):
        if low.kbps <= kbps <= high.kbps:
            share = math.log(kbps / low.kbps) / math.log(high.kbps / low.kbps) if high.kbps > low.kbps else 0.0
            return low.value + share * (high.value - low.value)
    return None


def bd_rate(ours: Sequence[Point], theirs: Sequence[Point], higher_is_better: bool) -> tuple[float | None, str | None]:
    """Bjontegaard delta: mean change of our rate against theirs at equal quality, percent; or why it is undefined.

    Curves are interpolated with PCHIP (package `bjontegaard`) over the range of quality that both cover. Points that
    are no better than a cheaper one of the same curve are left out.
    """
    sign = 1 if higher_is_better else -1
    curves = []
    for name, points in (("ours", ours), ("theirs", theirs)):
        curve = _front([(p.kbps, sign * p.value) for p in points])
        if len(curve) < 2:
            return None, f"undefined: {name} has {len(curve)} point{'s'[: len(curve) != 1]}, two are needed"
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


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """By rising rate, the points that are better than all before them."""
    front: list[tuple[float, float]] = []
    for rate, quality in sorted(points):
        if not front or (quality > front[-1][1] and rate > front[-1][0]):
            front.append((rate, quality))
    return front


def break_even(source_bits: float, ours: float, theirs: float | None) -> float | None:
    """Seconds after which sources and motion at `ours` kbps cost less than `theirs` kbps; None: never, or unknown."""
    if theirs is None or theirs <= ours:
        return None
    return source_bits / (theirs - ours) / 1000
