"""What results.json says, as tables of text: the same ones for HTML and Markdown. Knows nothing about markup."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fvc.evaluation import wording as w
from fvc.evaluation.metrics import METRICS
from fvc.evaluation.rd_plot import Curve, Dot

HEVC = "x265"


@dataclass(frozen=True)
class Table:
    """Text cells; the first of each row is its heading.

    Attributes:
        rows: one that is shorter than `columns` is a heading and a reason why the rest is not there.
        caption: what the table shows; notes: sentences below it.
        strong: indices of the rows that are ours; is_text: whether the cells are words rather than numbers.
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
    """Ours, the first one is the one that others are compared with."""
    return [p for p in clip["points"] if p["system"] == "fvc"]


def metrics_present(results: dict[str, Any]) -> list[str]:
    """Names of metrics with a value anywhere, the known ones first and in their order."""
    points = [p for clip in measured(results) for p in clip["points"]]
    names = {name for p in points for name, value in p["metrics"].items() if value is not None and name != "frames"}
    return [name for name in METRICS if name in names] + sorted(names - set(METRICS))


def mean_and_error(values: Iterable[float | None]) -> tuple[float | None, float | None, int]:
    """(mean, its standard error or None for less than two, how many) of what is not None."""
    known = [v for v in values if v is not None]
    if not known:
        return None, None, 0
    error = statistics.stdev(known) / len(known) ** 0.5 if len(known) > 1 else None
    return statistics.fmean(known), error, len(known)


def rates_table(results: dict[str, Any]) -> Table:
    """Our rates: motion, file and wire, without and with the source pictures."""
    clips = measured(results)
    labels = list(dict.fromkeys(p["label"] for clip in clips for p in our_points(clip)))
    rows = []
    for label in labels:
        points = [p for clip in clips for p in our_points(clip) if p["label"] == label]
        cells = [
            w.rate(*mean_and_error(p["kbps"].get(kind) for p in points)[:2])
            for kind in ("motion", "file", "wire", "video_amortised", "file_amortised", "wire_amortised")
        ]
        rows.append([label, *cells])
    size, _, _ = mean_and_error(clip["source_bytes"] for clip in clips)
    length, _, _ = mean_and_error(clip["seconds"] for clip in clips)
    per_packet, header = results["frames_per_packet"], results["header_bytes_per_packet"]
    notes = [
        "motion: the entropy-coded driving samples. file: everything in the .fvc, the sound too. wire: motion packets"
        f" and {header} bytes of RTP, UDP and IPv4 headers for each {_counted(per_packet, 'frame')}, no sound.",
        f"with sources: the source pictures ({w.size(round(size))} kB, sent once) spread over the clip"
        f" ({w.seconds(length)} s)." if size is not None and length is not None else "",
    ]  # fmt: skip
    heading = ["profile", "motion", "file", "wire"]
    columns = [*heading, "motion with sources", "file with sources", "wire with sources"]
    return Table(_over("Our rates, kbps", clips), columns, rows, [n for n in notes if n], frozenset(range(len(rows))))


def against_table(clip: dict[str, Any]) -> Table:
    """What each anchor needs for our quality, and what it gives at our rate; of one clip."""
    labels = {p["system"]: p["label"] for p in clip["points"] if p["system"] != "fvc"}
    rows = []
    for system, label in labels.items():
        lpips, nme = (_entry(clip["equal_quality"], system, metric) for metric in ("lpips", "nme"))
        rate = _entry(clip["equal_rate"], system)
        pays = clip["break_even_s"].get(system)
        deltas = [_delta(_entry(clip["bd"], system, metric)) for metric in ("lpips", "nme")]
        rows.append([label, _needed(lpips), _needed(nme), *_at_our_rate(rate), w.seconds(pays), *deltas])
    columns = [
        "anchor", "kbps for our LPIPS (times ours)", "kbps for our NME (times ours)",
        "kbps nearest to ours", "its LPIPS (ours)", "sources paid off after, s", "BD-rate of ours, LPIPS",
        "BD-rate of ours, NME",
    ]  # fmt: skip
    notes = [
        "Rates of pictures alone: no sound, no container, no packet headers. Rates between measured points are"
        " interpolated; nothing is extrapolated.",
        "sources paid off: from this length of clip on, source pictures and motion together cost less than the anchor"
        " at our quality.",
    ]
    return Table("HEVC and the others against ours", columns, rows, notes)


def clips_table(results: dict[str, Any]) -> Table:
    """A row for each clip, failed ones with their reason, and the means."""
    columns = [
        "clip", "length, s", "ours: motion", "file", "wire", "wire with sources", "our LPIPS", "our NME",
        "HEVC for our LPIPS (times ours)", "HEVC nearest to our rate", "its LPIPS", "sources paid off after, s",
    ]  # fmt: skip
    rows: list[list[str]] = []
    numbers: list[list[float | None]] = []
    for clip in results["clips"]:
        if clip.get("error"):
            rows.append([w.one_line(clip["clip"]), f"failed: {w.one_line(clip['error'])}"])
            continue
        cells, values = _clip_row(clip)
        rows.append(cells)
        numbers.append(values)
    if len(numbers) > 1:
        rows.append(_mean_row(numbers))
    notes = ["Rates in kbps. The last row: mean ± standard error of the clips that have a number."]
    strong = frozenset([len(rows) - 1]) if len(numbers) > 1 else frozenset[int]()
    return Table("Clips", columns, rows, notes if len(numbers) > 1 else ["Rates in kbps."], strong)


def _clip_row(clip: dict[str, Any]) -> tuple[list[str], list[float | None]]:
    ours = our_points(clip)[0]
    quality, rate = _entry(clip["equal_quality"], HEVC, "lpips"), _entry(clip["equal_rate"], HEVC)
    kbps, metrics = ours["kbps"], ours["metrics"]
    pays = clip["break_even_s"].get(HEVC)
    cells = [
        w.one_line(clip["clip"]), w.seconds(clip["seconds"]), w.rate(kbps["motion"]), w.rate(kbps["file"]),
        w.rate(kbps["wire"]), w.rate(kbps["wire_amortised"]), w.metric_value("lpips", metrics.get("lpips")),
        w.metric_value("nme", metrics.get("nme")), _needed(quality).partition(":")[0],
        (w.rate(rate["kbps"]) + (" (its floor)" if rate["is_floor"] else "")) if rate else w.NONE,
        w.metric_value("lpips", rate["lpips"] if rate else None), w.seconds(pays),
    ]  # fmt: skip
    values = [
        clip["seconds"], kbps["motion"], kbps["file"], kbps["wire"], kbps["wire_amortised"], metrics.get("lpips"),
        metrics.get("nme"), quality and quality["kbps"], rate and rate["kbps"], rate and rate["lpips"], pays,
        quality and quality["times"],
    ]  # fmt: skip
    return cells, values


def _mean_row(numbers: list[list[float | None]]) -> list[str]:
    means = [mean_and_error(column) for column in zip(*numbers, strict=True)]
    cells = ["mean of " + str(len(numbers)), w.seconds(means[0][0])]
    cells += [w.rate(*m[:2]) for m in means[1:5]]
    cells += [w.metric_value("lpips", *means[5][:2]), w.metric_value("nme", *means[6][:2])]
    few = f", {means[7][2]} of {len(numbers)}" if means[7][2] < len(numbers) else ""
    cells.append(f"{w.rate(*means[7][:2])} ({w.times(means[11][0])}{few})" if means[7][2] else w.NONE)
    cells += [w.rate(*means[8][:2]), w.metric_value("lpips", *means[9][:2]), w.seconds(means[10][0])]
    return cells


def metrics_tables(results: dict[str, Any], clip: dict[str, Any] | None) -> list[Table]:
    """Quality of each system at each rate: the main metrics, then the further ones. `clip` None: means over clips."""
    names = metrics_present(results)
    main = [name for name in w.MAIN_METRICS if name in names]
    groups = (("Quality", main), ("Further metrics", [name for name in names if name not in main]))
    points = results["means"] if clip is None else [p for p in clip["points"] if _is_listed(p)]
    tables = []
    for title, chosen in groups:
        if chosen:
            tables.append(_metrics_table(title, chosen, points, results, clip))
    return tables


def _metrics_table(
    title: str, names: list[str], points: list[dict[str, Any]], results: dict[str, Any], clip: dict[str, Any] | None
) -> Table:
    rows = []
    for point in points:
        values = [point["metrics"].get(name) for name in names]
        cells = [
            w.metric_value(n, v["mean"], v["stderr"]) if isinstance(v, dict) else w.metric_value(n, v)
            for n, v in zip(names, values, strict=True)
        ]
        rows.append([point["label"], w.rate(point["kbps"]["video"]), *cells, _setting(point)])
    ours = {p["label"] for c in measured(results) for p in our_points(c)}
    strong = frozenset(n for n, point in enumerate(points) if point["label"] in ours)
    last = "setting" if clip else "asked for, kbps"
    columns = ["system", "kbps", *(w.metric_heading(n) for n in names), last]
    notes = [f"{w.metric_name(n)}: {w.metric_meaning(n)}." for n in names if w.metric_meaning(n)]
    caption = f"{title} of each system at each rate"
    if clip is None:
        caption = _over(caption, measured(results)) + ", mean ± standard error"
    return Table(caption, columns, rows, notes, strong)


def _setting(point: dict[str, Any]) -> str:
    """How a clip's point came about; of a mean, the rate that was asked for."""
    if "setting" not in point:
        return w.NONE if point["target_kbps"] is None else f"{point['target_kbps']:g}"
    is_new = point["is_floor"] and "floor" not in point["setting"]
    return point["setting"] + (", its floor" if is_new else "")


def settings_table(results: dict[str, Any]) -> Table:
    """The anchors' settings."""
    rows = [[a["label"], a["encoder"], a["options"], a.get("note") or ""] for a in results["anchors"]]
    return Table("Settings of the anchors", ["system", "encoder", "options", "note"], rows, is_text=True)


def missing_table(results: dict[str, Any]) -> Table | None:
    """Metrics that could not be had, and why."""
    rows = [[w.metric_name(name), w.one_line(why)] for name, why in results["missing"].items()]
    return Table("What was not measured", ["metric", "why"], rows, is_text=True) if rows else None


def curves(results: dict[str, Any], clip: dict[str, Any] | None, metric: str) -> list[Curve]:
    """Rate against `metric`, ours first. `clip` None: means over clips."""
    points = _mean_points(results) if clip is None else clip["points"]
    out = []
    for label in dict.fromkeys(p["label"] for p in sorted(points, key=lambda p: p["system"] != "fvc")):
        own = [p for p in points if p["label"] == label and p["metrics"].get(metric) is not None]
        dots = sorted(
            (
                Dot(p["kbps"]["video"], p["kbps"]["video_amortised"], p["metrics"][metric], p["is_floor"])
                for p in own
                if p["kbps"]["video"]
            ),
            key=lambda dot: dot.kbps,
        )
        if dots:
            out.append(Curve(label, own[0]["system"] == "fvc", tuple(dots)))
    return out


def _mean_points(results: dict[str, Any]) -> list[dict[str, Any]]:
    """`means` in the form of a clip's points; a mean over any encoder's floor counts as floor."""
    points = [p for clip in measured(results) for p in clip["points"]]
    systems = {p["label"]: p["system"] for p in points}
    floors = {(p["label"], p["target_kbps"]) for p in points if p["is_floor"]}
    return [
        {
            **mean,
            "system": systems[mean["label"]],
            "is_floor": (mean["label"], mean["target_kbps"]) in floors,
            "metrics": {name: value["mean"] for name, value in mean["metrics"].items()},
        }
        for mean in results["means"]
    ]


def _is_listed(point: dict[str, Any]) -> bool:
    """Points that were only tried on the way to a rate are in the plots and in results.csv."""
    return point["system"] == "fvc" or point["target_kbps"] is not None or point["is_floor"]


def _entry(entries: list[dict[str, Any]], system: str, metric: str | None = None) -> dict[str, Any] | None:
    found = (e for e in entries if e["system"] == system and (metric is None or e["metric"] == metric))
    return next(found, None)


def _needed(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return w.NONE
    if entry["kbps"] is None:
        return entry["note"] or "not known"
    return f"{w.rate(entry['kbps'])} ({w.times(entry['times'])})"


def _at_our_rate(entry: dict[str, Any] | None) -> list[str]:
    if entry is None:
        return [w.NONE, w.NONE]
    floor = " (its floor)" if entry["is_floor"] else ""
    ours = w.metric_value("lpips", entry["lpips_ours"])
    return [w.rate(entry["kbps"]) + floor, f"{w.metric_value('lpips', entry['lpips'])} ({ours})"]


def _delta(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return w.NONE
    value, why = entry["bd_rate_percent"], entry["note"] or ""
    if value is not None:
        return w.percent(value) + (f" ({why})" if why else "")
    return why if why.startswith("undefined") else f"undefined: {why or 'not known'}"


def _counted(count: int, what: str) -> str:
    return what if count == 1 else f"{count} {what}s"


def _over(caption: str, clips: list[dict[str, Any]]) -> str:
    return caption if len(clips) == 1 else f"{caption}, {len(clips)} clips"
