"""Tables of text from results.json: of metrics, settings, and what is missing. Knows nothing about markup."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fvc.evaluation.metrics.catalog import CATALOG
from fvc.evaluation.report import wording as w
from fvc.evaluation.report.rd_plot import Curve, Dot


@dataclass(frozen=True)
class Table:
    """Text cells; the first of each row is its heading.

    Attributes:
        caption: what the table shows.
        rows: a row that is shorter than `columns` is a heading and the reason why there are no values.
        notes: sentences below the table.
        strong: indices of the rows to emphasize.
        is_text: whether the cells are words rather than numbers.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    strong: frozenset[int] = field(default_factory=frozenset)
    is_text: bool = False


def measured(results: dict[str, Any]) -> list[dict[str, Any]]:
    """The clips that did not fail."""
    return [clip for clip in results["clips"] if not clip.get("error")]


def our_points(clip: dict[str, Any]) -> list[dict[str, Any]]:
    """The points of fvc; anchors are compared with the first one."""
    return [p for p in clip["points"] if p["system"] == "fvc"]


def metrics_present(results: dict[str, Any]) -> list[str]:
    """Names of the metrics with a value anywhere, in the catalog's order."""
    spans = [span for clip in measured(results) for p in clip["points"] for span in p["spans"].values()]
    return [name for name in CATALOG if any(span["metrics"].get(name) is not None for span in spans)]


def mean_and_error(values: Iterable[float | None]) -> tuple[float | None, float | None, int]:
    """(mean, its standard error or None for less than two, how many) of the values that are not None."""
    known = [v for v in values if v is not None]
    if not known:
        return None, None, 0
    error = statistics.stdev(known) / len(known) ** 0.5 if len(known) > 1 else None
    return statistics.fmean(known), error, len(known)


def metrics_tables(results: dict[str, Any], clip: dict[str, Any] | None) -> list[Table]:
    """Quality of each system at each rate: the main metrics, then the further ones. `clip` None: means over clips."""
    names = metrics_present(results)
    main = [name for name in names if CATALOG[name].is_main]
    groups = (("Quality", main), ("Further metrics", [name for name in names if name not in main]))
    points = results["means"] if clip is None else [{**p, **p["spans"]["whole"]} for p in clip["points"]]
    return [_metrics_table(title, chosen, points, results, clip) for title, chosen in groups if chosen]


def _metrics_table(
    title: str, names: list[str], points: list[dict[str, Any]], results: dict[str, Any], clip: dict[str, Any] | None
) -> Table:
    rows = []
    for point in points:
        values = [point["metrics"].get(name) for name in names]
        cells = [
            CATALOG[n].shown(v["mean"], v["stderr"]) if isinstance(v, dict) else CATALOG[n].shown(v)
            for n, v in zip(names, values, strict=True)
        ]
        setting = point["at"] or w.NONE if clip is None else point["setting"] + ", its floor" * point["is_floor"]
        rows.append([point["label"], w.rate(point["kbps"]["all"]), *cells, setting])
    ours = {p["label"] for c in measured(results) for p in our_points(c)}
    strong = frozenset(n for n, point in enumerate(points) if point["label"] in ours)
    last = "setting" if clip else "at, kbps"
    columns = ["system", "all bits, kbps", *(CATALOG[n].heading for n in names), last]
    notes = [f"{CATALOG[n].label}: {CATALOG[n].text}." for n in names]
    caption = f"{title} of each system at each rate"
    if clip is None:
        caption = over(caption, measured(results)) + ", mean ± standard error"
        notes.append(
            "Anchors between measured points are interpolated over log rate, where all clips have such points."
        )
    return Table(caption, columns, rows, notes, strong)


def settings_table(results: dict[str, Any]) -> Table:
    """The anchors' settings."""
    rows = [[a["label"], a["encoder"], a["options"], a.get("note") or ""] for a in results["anchors"]]
    return Table("Settings of the anchors", ["system", "encoder", "options", "note"], rows, is_text=True)


def missing_table(results: dict[str, Any]) -> Table | None:
    """Metrics that could not be computed, and why; None: there are none."""
    missing = dict(results["missing"])
    for clip in measured(results):
        missing = {**clip.get("missing", {}), **missing}
    rows = [[CATALOG[name].label, w.one_line(why)] for name, why in missing.items()]
    return Table("What was not measured", ["metric", "why"], rows, is_text=True) if rows else None


def curves(results: dict[str, Any], clip: dict[str, Any] | None, metric: str) -> list[Curve]:
    """All bits against `metric`, ours first, in the leading span. `clip` None: means over clips."""
    span = next(iter(results["spans"]), "")
    points = results["means"] if clip is None else [{**p, **p["spans"][span]} for p in clip["points"]]
    groups: dict[tuple[bool, str], list[dict[str, Any]]] = {}
    for point in points:
        is_anchor = point["system"] != "fvc"
        groups.setdefault((is_anchor, point["label"] if is_anchor else f"fvc {point['profile']}"), []).append(point)
    found = []
    for (is_anchor, label), own in sorted(groups.items(), key=lambda group: group[0][0]):
        dots = [_dot(p, metric) for p in own]
        known = sorted((dot for dot in dots if dot is not None), key=lambda dot: dot.kbps)
        if known:
            found.append(Curve(label, not is_anchor, tuple(known)))
    return found


def _dot(point: dict[str, Any], metric: str) -> Dot | None:
    """A point of a clip, or of the means; None: it has no such metric."""
    value = point["metrics"].get(metric)
    value = value["mean"] if isinstance(value, dict) else value
    if value is None:
        return None
    kbps = point["kbps"]
    return Dot(kbps["all"], kbps.get("motion"), value, point.get("is_floor", point.get("at") == "floor"))


def over(caption: str, clips: list[dict[str, Any]]) -> str:
    """The caption, with the number of clips where it is more than one."""
    return caption if len(clips) == 1 else f"{caption}, {len(clips)} clips"
