"""Tables of rates from results.json: ours, the anchors' at our quality and at our rate, and clip by clip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fvc.evaluation.metrics.catalog import CATALOG, compared_metrics
from fvc.evaluation.report import wording as w
from fvc.evaluation.report.tables import Table, mean_and_error, measured, metrics_present, our_points, over

_NO_ANCHOR = {"system": None, "codec": "anchor"}
_ON_WIRE = {"wire": "", "wire_amortised": " with sources"}
_OUR_RATES = ("motion", "file", "wire", "wire_amortised")


def first_anchor(results: dict[str, Any]) -> dict[str, Any]:
    """The anchor that headline, clips and pictures compare with: "system" (None: there is none), "codec" ..."""
    return next(iter(results["anchors"]), _NO_ANCHOR)


def _compared(results: dict[str, Any]) -> list[str]:
    """The metrics of comparison that were measured; the first one is what equal quality means."""
    return [name for name in compared_metrics() if name in metrics_present(results)]


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
        "motion: the entropy-coded driving samples. file: the whole .fvc, without sound. wire: motion packets"
        f" and {header} bytes of RTP, UDP and IPv4 headers for each {_counted(per_packet, 'frame')}.",
        f"with sources: the source pictures ({w.size(round(size))} kB, sent once) spread over the clip"
        f" ({w.seconds(length)} s)."
        if size is not None and length is not None
        else "",
    ]
    heading = ["profile", "motion", "file", "wire"]
    columns = [*heading, "motion with sources", "file with sources", "wire with sources"]
    return Table(over("Our rates, kbps", clips), columns, rows, [n for n in notes if n], frozenset(range(len(rows))))


def against_table(results: dict[str, Any], clip: dict[str, Any]) -> Table:
    """The rate of each anchor at our quality, and its quality at our rate; of one clip."""
    compared = _compared(results)
    names = [CATALOG[name].label for name in compared]
    rows = []
    for system, label in {p["system"]: p["label"] for p in clip["points"] if p["system"] != "fvc"}.items():
        needed = [_needed(_entry(clip["equal_quality"], system, metric=name)) for name in compared]
        near = _at_our_rate(_entry(clip["equal_rate"], system), compared)
        deltas = [_delta(_entry(clip["bd"], system, metric=name)) for name in compared]
        rows.append([label, *needed, *near, w.seconds(clip["break_even_s"].get(system)), *deltas])
    columns = [
        "anchor",
        *(f"kbps for our {name} (times ours)" for name in names),
        "kbps nearest to ours",
        *(f"its {name} (ours)" for name in names),
        "sources paid off after, s",
        *(f"BD-rate of ours, {name}" for name in names),
    ]
    notes = [
        "Rates of pictures alone: no sound, no container, no packet headers. Rates between measured points are"
        " interpolated; nothing is extrapolated.",
        "sources paid off: from this length of clip on, source pictures and motion together cost less than the anchor"
        " at our quality.",
    ]
    return Table("The anchors against ours", columns, rows, notes)


def clips_table(results: dict[str, Any]) -> Table:
    """A row for each clip, failed ones with their reason, and the means."""
    compared = _compared(results)
    names = [CATALOG[name].label for name in compared]
    anchor = first_anchor(results)
    columns = ["clip", "length, s", "ours: motion", "file", "wire", "wire with sources", *(f"our {n}" for n in names)]
    columns += [f"{anchor['codec']} for our {name} (times ours)" for name in names[:1]]
    columns += [
        f"{anchor['codec']} nearest to our rate",
        *(f"its {name}" for name in names),
        "sources paid off after, s",
    ]
    rows: list[list[str]] = []
    numbers: list[dict[str, float | None]] = []
    for clip in results["clips"]:
        name = w.one_line(clip["clip"])
        if clip.get("error"):
            rows.append([name, f"failed: {w.one_line(clip['error'])}"])
            continue
        numbers.append(_clip_numbers(clip, anchor["system"], compared))
        quality, rate = (_entry(clip[key], anchor["system"]) for key in ("equal_quality", "equal_rate"))
        rows.append([name, *_clip_cells(numbers[-1], compared, quality, rate)])
    several = len(numbers) > 1
    if several:
        rows.append([f"mean of {len(numbers)}", *_mean_cells(numbers, compared)])
    note = " The last row: mean ± standard error of the clips that have a number." if several else ""
    strong = frozenset([len(rows) - 1]) if several else frozenset[int]()
    return Table("Clips", columns, rows, ["Rates in kbps." + note], strong)


def wire_table(results: dict[str, Any]) -> Table | None:
    """Our quality and the first anchor's at our rate on the wire, clip by clip; None: nothing to compare."""
    clips, anchor = measured(results), first_anchor(results)
    system, codec = anchor["system"], anchor["codec"]
    metric = next(iter(_compared(results)), None)
    if system is None or metric is None or not clips:
        return None
    name = CATALOG[metric].label
    columns = ["clip", f"our {name}"]
    formats: list[Callable[..., str]] = [CATALOG[metric].shown]
    notes = ["Headers of packets count on both sides; the picture that an anchor begins with is always in its rate."]
    near = {kind: [_entry(clip["equal_rate"], system, kind=kind) or {} for clip in clips] for kind in _ON_WIRE}
    numbers = [[our_points(clip)[0]["metrics"].get(metric)] for clip in clips]
    for kind, words in _ON_WIRE.items():
        columns += [f"our wire{words}", f"nearest of {codec}", f"its {name}", "ours over its"]
        formats += [w.rate, w.rate, CATALOG[metric].shown, w.share]
        for row, entry in zip(numbers, near[kind], strict=True):
            row += [entry.get("kbps_ours"), entry.get("kbps"), entry.get(metric), _share(entry, metric)]
        shares = [_share(entry, metric) for entry in near[kind]]
        half = sum(share is not None and share <= 0.5 for share in shares)
        floors = sum(entry.get("is_floor", False) for entry in near[kind])
        lowest = f"it is at its lowest rate in {_of(floors, clips)}"
        notes.append(f"Our wire{words}: our {name} is at most half of its in {_of(half, clips)}; {lowest}.")
    rows = [
        [w.one_line(clip["clip"]), *(show(value) for show, value in zip(formats, row, strict=True))]
        for clip, row in zip(clips, numbers, strict=True)
    ]
    if len(clips) > 1:
        means = (mean_and_error(column)[:2] for column in zip(*numbers, strict=True))
        rows.append([f"mean of {len(clips)}", *(show(*mean) for show, mean in zip(formats, means, strict=True))])
    strong = frozenset([len(clips)]) if len(clips) > 1 else frozenset[int]()
    return Table(over("At our rate on the wire, kbps", clips), columns, rows, notes, strong)


def _share(entry: dict[str, Any], metric: str) -> float | None:
    ours, its = entry.get(f"{metric}_ours"), entry.get(metric)
    return None if ours is None or not its else ours / its


def _of(count: int, clips: list[dict[str, Any]]) -> str:
    return f"{count} of {_counted(len(clips), 'clip')}"


def _clip_numbers(clip: dict[str, Any], anchor: str | None, compared: list[str]) -> dict[str, float | None]:
    ours, nothing = our_points(clip)[0], dict[str, Any]()
    quality = (_entry(clip["equal_quality"], anchor, metric=compared[0]) if compared else None) or nothing
    near = _entry(clip["equal_rate"], anchor) or nothing
    return {
        "seconds": clip["seconds"],
        **{kind: ours["kbps"][kind] for kind in _OUR_RATES},
        **{f"our {name}": ours["metrics"].get(name) for name in compared},
        "needed": quality.get("kbps"),
        "times": quality.get("times"),
        "near": near.get("kbps"),
        **{f"its {name}": near.get(name) for name in compared},
        "pays": clip["break_even_s"].get(anchor),
    }


def _clip_cells(
    numbers: dict[str, float | None], compared: list[str], quality: dict[str, Any] | None, near: dict[str, Any] | None
) -> list[str]:
    floor = w.at_floor(bool(near and near["is_floor"]))
    return [
        w.seconds(numbers["seconds"]),
        *(w.rate(numbers[kind]) for kind in _OUR_RATES),
        *(CATALOG[name].shown(numbers[f"our {name}"]) for name in compared),
        *([_needed(quality).partition(":")[0]] if compared else []),
        w.rate(numbers["near"]) + floor,
        *(CATALOG[name].shown(numbers[f"its {name}"]) for name in compared),
        w.seconds(numbers["pays"]),
    ]


def _mean_cells(numbers: list[dict[str, float | None]], compared: list[str]) -> list[str]:
    means = {key: mean_and_error(row[key] for row in numbers) for key in numbers[0]}
    few = f", {means['needed'][2]} of {len(numbers)}" if means["needed"][2] < len(numbers) else ""
    needed = f"{w.rate(*means['needed'][:2])} ({w.times(means['times'][0])}{few})" if means["needed"][2] else w.NONE
    return [
        w.seconds(means["seconds"][0]),
        *(w.rate(*means[kind][:2]) for kind in _OUR_RATES),
        *(CATALOG[name].shown(*means[f"our {name}"][:2]) for name in compared),
        *([needed] if compared else []),
        w.rate(*means["near"][:2]),
        *(CATALOG[name].shown(*means[f"its {name}"][:2]) for name in compared),
        w.seconds(means["pays"][0]),
    ]


def _entry(entries: list[dict[str, Any]], system: str | None, **wanted: str | None) -> dict[str, Any] | None:
    """The system's first entry that has the `wanted` values."""
    return next((e for e in entries if e["system"] == system and all(e[k] == v for k, v in wanted.items())), None)


def _needed(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return w.NONE
    if entry["kbps"] is None:
        return entry["note"] or "not known"
    return f"{w.rate(entry['kbps'])} ({w.times(entry['times'])})"


def _at_our_rate(entry: dict[str, Any] | None, compared: list[str]) -> list[str]:
    if entry is None:
        return [w.NONE] * (1 + len(compared))
    pairs = [(CATALOG[n].shown(entry.get(n)), CATALOG[n].shown(entry.get(f"{n}_ours"))) for n in compared]
    return [w.rate(entry["kbps"]) + w.at_floor(entry["is_floor"]), *(f"{its} ({ours})" for its, ours in pairs)]


def _delta(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return w.NONE
    value, why = entry["bd_rate_percent"], entry["note"] or ""
    if value is not None:
        return w.percent(value) + (f" ({why})" if why else "")
    return why if why.startswith("undefined") else f"undefined: {why or 'not known'}"


def _counted(count: int, what: str) -> str:
    return what if count == 1 else f"{count} {what}s"
