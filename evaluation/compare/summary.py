"""Numbers out of measured points: fvc against each anchor, means over clips, the headline. Measures nothing.

Points are those of results.json: dictionaries with "system", "kbps", "metrics" ...
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fvc.evaluation.compare import rates
from fvc.evaluation.metrics.catalog import CATALOG, compared_metrics

EQUAL_RATES = ("video", "wire", "wire_amortised")  # what "the same rate" means; the first one leads

_Entries = Sequence[dict[str, Any]]


def curve_of(points: _Entries, metric: str) -> list[rates.Point]:
    """Rate against one metric, of the points that have it."""
    known = (p for p in points if p["metrics"].get(metric) is not None)
    return [rates.Point(p["kbps"]["video"], p["metrics"][metric], p["is_floor"]) for p in known]


def comparisons(ours: _Entries, anchors: Mapping[str, _Entries], source_bytes: int) -> dict[str, Any]:
    """Our first profile against each anchor: rates at our quality, quality at our rate, break-even, BD-rates.

    Args:
        ours: our points, one for each profile; anchors: system -> its points.
    """
    first, kbps = ours[0], ours[0]["kbps"]["video"]
    equal_quality, equal_rate, bd = [], [], []
    break_even: dict[str, float | None] = {}
    for system, points in anchors.items():
        for metric in compared_metrics():
            wanted = first["metrics"].get(metric)
            if wanted is None:
                continue
            curve, better = curve_of(points, metric), CATALOG[metric].higher_is_better
            rate, note = rates.rate_for(curve, wanted, better)
            equal_quality.append(
                {
                    "system": system,
                    "metric": metric,
                    "kbps": rate,
                    "kbps_ours": kbps,
                    "times": rate and rate / kbps,
                    "times_amortised": rate and rate / first["kbps"]["video_amortised"],
                    "note": note,
                }
            )
            break_even.setdefault(system, rates.break_even(8 * source_bytes, kbps, rate))
            delta, note = rates.bd_rate(curve_of(ours, metric), curve, better)
            bd.append({"system": system, "metric": metric, "bd_rate_percent": delta, "note": note})
        equal_rate += [_at_our_rate(system, kind, first, points) for kind in EQUAL_RATES]
    return {"equal_quality": equal_quality, "equal_rate": equal_rate, "break_even_s": break_even, "bd": bd}


def _at_our_rate(system: str, kind: str, ours: dict[str, Any], points: _Entries) -> dict[str, Any]:
    """The point whose rate is nearest to ours, compared with ours."""
    kbps = ours["kbps"][kind]
    near = min(points, key=lambda p: abs(math.log(p["kbps"][kind] / kbps)))
    return {
        "system": system,
        "kind": kind,
        "kbps_ours": kbps,
        "kbps": near["kbps"][kind],
        "is_floor": near["is_floor"],
        **{
            f"{metric}{suffix}": point["metrics"].get(metric)
            for metric in compared_metrics()
            for suffix, point in (("_ours", ours), ("", near))
        },
    }


def means(entries: _Entries, target_kbps: Sequence[float]) -> list[dict[str, Any]]:
    """Over clips: fvc's profiles, and each anchor at each target rate."""
    groups: dict[tuple[str, float | None], list[dict[str, Any]]] = {}
    for entry in entries:
        for point in entry.get("points", []):
            ours = point["system"] == "fvc"
            targets = [None] if ours else [target for target in target_kbps if target in point["targets"]]
            for target in targets:
                groups.setdefault((point["label"], target), []).append(point)
    return [
        {
            "label": name,
            "system": points[0]["system"],
            "target_kbps": target,
            "floors": sum(point["is_floor"] for point in points),
            "kbps": {kind: _mean(p["kbps"][kind] for p in points)["mean"] for kind in points[0]["kbps"]},
            "metrics": {metric: _mean(p["metrics"].get(metric) for p in points) for metric in points[0]["metrics"]},
        }
        for (name, target), points in groups.items()
    ]


def _mean(values: Iterable[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    return {
        "mean": statistics.fmean(known) if known else None,
        "stderr": statistics.stdev(known) / math.sqrt(len(known)) if len(known) > 1 else None,
        "n": len(known),
    }


def headline(entries: _Entries, codecs: Mapping[str, str]) -> list[str]:
    """The result in plain words, one or two lines for each anchor: means over the clips that were measured.

    Args:
        codecs: system -> the name of its format, e.g. "HEVC".
    """
    good = [entry for entry in entries if not entry["error"]]
    metric = _leading_metric(good)
    ours = [entry["points"][0] for entry in good]
    rate, amortised = (statistics.fmean(p["kbps"][kind] for p in ours) for kind in ("video", "video_amortised"))
    value = _mean(point["metrics"].get(metric) for point in ours)["mean"]
    lines: list[str] = []
    for system in dict.fromkeys(row["system"] for entry in good for row in entry["equal_rate"]):
        needs = _equal_quality(good, system, metric)
        lines.append(f"{'' if lines else f'ours {rate:.2f} kbps; '}{codecs[system]} {needs}")
        start = "at our rate" if len(lines) == 1 else f"{codecs[system]} at our rate"
        lines += _equal_rate(good, system, metric, start)
    if not lines:
        quality = "" if value is None else f", {CATALOG[metric].label} {CATALOG[metric].shown(value)}"
        lines.append(f"ours {rate:.2f} kbps{quality}")
    seconds = statistics.fmean(entry["seconds"] for entry in good)
    clips = f" ({len(good)} clips)" if len(good) > 1 else ""
    lines.append(f"ours with its source pictures: {amortised:.1f} kbps over {seconds:.1f} s{clips}")
    return lines


def _leading_metric(good: _Entries) -> str:
    """The first metric of comparison that was measured; the last one where none was."""
    *others, last = compared_metrics()
    points = [point for entry in good for point in entry["points"]]
    return next((name for name in others if any(p["metrics"].get(name) is not None for p in points)), last)


def _equal_quality(good: _Entries, system: str, metric: str) -> str:
    name = CATALOG[metric].label
    rows = [r for e in good for r in e["equal_quality"] if r["system"] == system and r["metric"] == metric]
    known = [row for row in rows if row["kbps"] is not None]
    if not known:
        return f"at the same {name}: {rows[0]['note'] if len(rows) == 1 else 'no rate'}" if rows else "not compared"
    rate, times = (statistics.fmean(row[key] for row in known) for key in ("kbps", "times"))
    part = f", in {len(known)} of {len(rows)} clips" if len(known) < len(rows) else ""
    return f"needs {rate:.1f} kbps for the same {name} ({times:.1f} times more{part})"


def _equal_rate(good: _Entries, system: str, metric: str, start: str) -> list[str]:
    rows = [r for e in good for r in e["equal_rate"] if (r["system"], r["kind"]) == (system, EQUAL_RATES[0])]
    rows = [row for row in rows if row[metric] is not None and row[f"{metric}_ours"] is not None]
    if not rows:
        return []
    ours, its, rate = (statistics.fmean(row[key] for row in rows) for key in (f"{metric}_ours", metric, "kbps"))
    floors = sum(row["is_floor"] for row in rows)
    floor = "" if not floors else ", its floor" if floors == len(rows) else f", its floor in {floors} of {len(rows)}"
    values = f"{CATALOG[metric].shown(ours)} vs {CATALOG[metric].shown(its)}"
    return [f"{start}: {CATALOG[metric].label} {values} (at {rate:.1f} kbps{floor})"]
