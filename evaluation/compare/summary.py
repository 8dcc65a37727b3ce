"""Numbers out of measured points: fvc against each anchor, means over clips, the headline. Measures nothing.

Points are those of results.json: dictionaries with "system", "label", and for each span (`spans`) "kbps" and "metrics".
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fvc.evaluation.compare import rates
from fvc.evaluation.compare.people import mean_over_people
from fvc.evaluation.compare.spans import LEADING, SPANS, TITLES, distinct
from fvc.evaluation.metrics.catalog import CATALOG, compared_metrics

RATES = (2, 4, 8, 12, 20, 32, 60)  # kbit/s at which means over clips are given

_Entries = Sequence[dict[str, Any]]


def curve_of(points: _Entries, metric: str, span: str) -> list[rates.Point]:
    """All bits against one metric, of the points that have it."""
    found = ((p["spans"][span], p["is_floor"]) for p in points)
    return [
        rates.Point(each["kbps"]["all"], each["metrics"][metric], is_floor)
        for each, is_floor in found
        if each["metrics"].get(metric) is not None
    ]


def comparisons(ours: _Entries, anchors: Mapping[str, _Entries], source_bytes: int) -> dict[str, Any]:
    """Our points against each anchor in each span: its rate at our quality, BD-rates, and when pictures are paid off.

    Args:
        ours: the first one is the default; anchors: system -> its points.
    """
    quality, bd = [], []
    paid: dict[str, float | None] = {}
    profile = [point for point in ours if point["profile"] == ours[0]["profile"]]
    for span in SPANS:
        for system, points in anchors.items():
            for metric in compared_metrics():
                curve, better = curve_of(points, metric, span), CATALOG[metric].higher_is_better
                rows = [_at_our_quality(point, curve, system, metric, span) for point in ours]
                quality += [row for row in rows if row is not None]
                delta, note = rates.bd_rate(curve_of(profile, metric, span), curve, better)
                row = {"span": span, "system": system, "metric": metric}
                bd.append({**row, "bd_rate_percent": delta, "note": note})
                if span == LEADING and rows[0] is not None:
                    stream = ours[0]["spans"][span]["kbps"]["stream"]
                    paid.setdefault(system, rates.break_even(8 * source_bytes, stream, rows[0]["kbps"]))
    return {"equal_quality": quality, "bd": bd, "break_even_s": paid}


def _at_our_quality(
    ours: dict[str, Any], curve: Sequence[rates.Point], system: str, metric: str, span: str
) -> dict[str, Any] | None:
    """The rate of an anchor's curve at the quality of one of our points; None: ours has no such metric."""
    here = ours["spans"][span]
    value = here["metrics"].get(metric)
    if value is None:
        return None
    rate, note = rates.rate_for(curve, value, CATALOG[metric].higher_is_better)
    return {
        "span": span,
        "ours": ours["label"],
        "system": system,
        "metric": metric,
        "kbps": rate,
        "times": rate and rate / here["kbps"]["all"],
        "times_motion": rate and rate / here["kbps"]["motion"],
        "note": note,
    }


def all_bits(entries: _Entries) -> list[dict[str, Any]]:
    """For each span, each of our points and each anchor: means over clips, by the leading metric.

    "times": how many times our bits the anchor needs for our quality, as geometric mean with its interval
    (`people.Interval`); "times_motion": the same against our motion alone; "bd": metric -> BD-rate in percent.
    """
    good = [entry for entry in entries if not entry["error"]]
    if not good:
        return []
    metric = leading_metric(good)
    ours = list(dict.fromkeys(p["label"] for entry in good for p in entry["points"] if p["system"] == "fvc"))
    systems = list(dict.fromkeys(p["system"] for entry in good for p in entry["points"] if p["system"] != "fvc"))
    return [
        {
            "span": span,
            "ours": label,
            "metric": metric,
            **_our_means(good, label, span, metric),
            "anchors": {system: _against(good, label, system, span, metric) for system in systems},
        }
        for span in distinct(entry["seconds"] for entry in good)
        for label in ours
    ]


def _our_means(good: _Entries, label: str, span: str, metric: str) -> dict[str, Any]:
    points = [p["spans"][span] for entry in good for p in entry["points"] if p["label"] == label]
    kinds = ("motion", "stream", "all", "wire")
    return {
        "kbps": {kind: _mean(p["kbps"][kind] for p in points) for kind in kinds},
        "value": _mean(p["metrics"].get(metric) for p in points),
    }


def _against(good: _Entries, label: str, system: str, span: str, metric: str) -> dict[str, Any]:
    rows = {
        number: row
        for number, entry in enumerate(good)
        for row in entry["equal_quality"]
        if (row["span"], row["ours"], row["system"], row["metric"]) == (span, label, system, metric)
    }
    known = {number: row for number, row in rows.items() if row["kbps"] is not None}
    people = [good[number]["person"] for number in known]
    found: dict[str, Any] = {"kbps": _mean(row["kbps"] for row in known.values()), "clips": len(rows)}
    for name in ("times", "times_motion"):
        interval = mean_over_people([row[name] for row in known.values()], people, geometric=True)
        found[name] = interval and asdict(interval)
    notes = [row["note"] for row in rows.values() if row["note"]]
    return {**found, "note": notes[0] if len(good) == 1 and notes else None, "bd": _bd_means(good, system, span)}


def _bd_means(good: _Entries, system: str, span: str) -> dict[str, Any]:
    means = {}
    for metric in compared_metrics():
        found = [
            (row["bd_rate_percent"], entry["person"])
            for entry in good
            for row in entry["bd"]
            if (row["span"], row["system"], row["metric"]) == (span, system, metric)
            and row["bd_rate_percent"] is not None
        ]
        interval = mean_over_people([value for value, _ in found], [person for _, person in found])
        means[metric] = interval and asdict(interval)
    return means


def means(entries: _Entries) -> list[dict[str, Any]]:
    """Over clips, in the leading span: our points, each anchor's floor, and each anchor at `RATES` (interpolated).

    "at": None, "floor", or the rate. A rate that some clip's curve does not cover is left out, so that all means are
    over the same clips.
    """
    good = [entry for entry in entries if not entry["error"]]
    rows = []
    for label in dict.fromkeys(p["label"] for entry in good for p in entry["points"]):
        clips = [[p for p in entry["points"] if p["label"] == label] for entry in good]
        rows.append(_first_means(label, [points[0] for points in clips if points]))
        for kbps in RATES if rows[-1]["system"] != "fvc" else ():
            values = {name: _mean_at(clips, name, kbps) for name in rows[-1]["metrics"]}
            if any(value["n"] for value in values.values()):
                rows.append({**rows[-1], "at": f"{kbps}", "kbps": {"all": float(kbps)}, "metrics": values})
    return rows


def _first_means(label: str, points: _Entries) -> dict[str, Any]:
    """Means of our point in each clip, or of an anchor's floor."""
    system, spans = points[0]["system"], [point["spans"][LEADING] for point in points]
    return {
        "label": label,
        "system": system,
        "profile": points[0]["profile"],
        "at": None if system == "fvc" else "floor",
        "kbps": {kind: _mean(each["kbps"][kind] for each in spans)["mean"] for kind in spans[0]["kbps"]},
        "metrics": {name: _mean(each["metrics"].get(name) for each in spans) for name in spans[0]["metrics"]},
    }


def _mean_at(clips: Sequence[_Entries], metric: str, kbps: float) -> dict[str, Any]:
    """Over clips, the metric at a rate; no mean where some clip has none."""
    values = [rates.value_at(curve_of(points, metric, LEADING), kbps) for points in clips]
    return _mean(values if None not in values else ())


def _mean(values: Iterable[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    return {
        "mean": statistics.fmean(known) if known else None,
        "stderr": statistics.stdev(known) / math.sqrt(len(known)) if len(known) > 1 else None,
        "n": len(known),
    }


def leading_metric(good: _Entries) -> str:
    """The first metric of comparison that was measured; the last one where none was."""
    *others, last = compared_metrics()
    points = [point["spans"][LEADING] for entry in good for point in entry["points"]]
    return next((name for name in others if any(p["metrics"].get(name) is not None for p in points)), last)


def headline(rows: _Entries, clips: int, people: int, codecs: Mapping[str, str]) -> list[str]:
    """The result in plain words: all bits of each span and operating point, then motion alone.

    Args:
        rows: of `all_bits`; clips, people: how many were measured.
        codecs: system -> the name of its format, e.g. "HEVC".
    """
    if not rows:
        return []
    over = f", {clips} clips of {people} people" if clips > 1 else ""
    lines = [f"All bits, {TITLES[row['span']]}{over}: {_line(row, codecs, 'all', 'times')}" for row in rows]
    motion = _line(rows[0], codecs, "motion", "times_motion")
    return [*lines, f"Motion alone, source pictures not counted: {motion}"]


def _line(row: dict[str, Any], codecs: Mapping[str, str], kind: str, ratio: str) -> str:
    metric = CATALOG[row["metric"]]
    ours = f"{row['ours']} {row['kbps'][kind]['mean']:.3g} kbit/s, {metric.label} {metric.shown(row['value']['mean'])}"
    return "; ".join([ours, *(_needs(codecs[s], a, ratio, metric.label) for s, a in row["anchors"].items())])


def _needs(codec: str, against: dict[str, Any], ratio: str, name: str) -> str:
    """How many times our bits an anchor needs, in words."""
    times = against[ratio]
    if times is None:
        return f"{codec} for the same {name}: {against['note'] or 'no rate'}"
    spread = "" if times["low"] is None else f" ({times['low']:.3g} to {times['high']:.3g})"
    part = f", in {times['clips']} of {against['clips']} clips" if times["clips"] < against["clips"] else ""
    return f"{codec} needs {times['mean']:.3g} times that for the same {name}{spread}{part}"
