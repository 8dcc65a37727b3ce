"""Tables of rates from results.json: all bits against the anchors, our own rates, BD-rates, and clip by clip."""

from __future__ import annotations

from typing import Any

from fvc.evaluation.metrics.catalog import CATALOG, compared_metrics
from fvc.evaluation.report import wording as w
from fvc.evaluation.report.tables import Table, mean_and_error, measured, metrics_present, our_points, over

_NO_ANCHOR = {"system": None, "codec": "anchor"}


def first_anchor(results: dict[str, Any]) -> dict[str, Any]:
    """The anchor that the pictures show: "system" (None: there is none), "codec" ..."""
    return next(iter(results["anchors"]), _NO_ANCHOR)


def leading_span(results: dict[str, Any]) -> str:
    """The span that headline, plots and tables without a span are about."""
    return next(iter(results["spans"]), "")


def all_bits_table(results: dict[str, Any]) -> Table:
    """What the anchors need for our quality, every bit counted from the first one on: the table that leads."""
    name = CATALOG[results["all_bits"][0]["metric"]].label
    columns = ["over", "ours", "all our bits, kbps", f"our {name}"]
    columns += [f"{a['codec']} for our {name} (times all our bits)" for a in results["anchors"]]
    rows = []
    for row in results["all_bits"]:
        ours = [w.rate(*_pair(row["kbps"]["all"])), CATALOG[row["metric"]].shown(*_pair(row["value"]))]
        needs = [_needs(row["anchors"].get(a["system"]), "times") for a in results["anchors"]]
        rows.append([results["spans"][row["span"]], row["ours"], *ours, *needs])
    notes = [
        "Every bit from the first one on: source pictures, stream headers, packet headers and checksums of ours;"
        " parameter sets and coded pictures of the anchors, without container. No sound on any side.",
        "Clips that are shorter than a span count whole.",
    ]
    if len(measured(results)) > 1:
        notes.append(
            "times: geometric mean over clips, in brackets its 95 % interval from a bootstrap over"
            f" {_counted(results['people'], 'person', 'people')}."
        )
    return Table(over("All bits", measured(results)), columns, rows, notes, frozenset([0]))


def rates_table(results: dict[str, Any]) -> Table:
    """Our rates by what counts, and what the anchors need against our motion alone."""
    kinds = {"motion": "motion", "stream": "stream", "all": "all bits", "wire": "on the wire"}
    name = CATALOG[results["all_bits"][0]["metric"]].label
    columns = ["ours", *kinds.values()]
    columns += [f"{a['codec']} for our {name} (times our motion alone)" for a in results["anchors"]]
    rows = []
    for row in results["all_bits"]:
        if row["span"] == leading_span(results):
            needs = [_needs(row["anchors"].get(a["system"]), "times_motion") for a in results["anchors"]]
            rows.append([row["ours"], *(w.rate(*_pair(row["kbps"][kind])) for kind in kinds), *needs])
    clips, header = measured(results), results["header_bytes_per_packet"]
    size, _, _ = mean_and_error(clip["source_bytes"] for clip in clips)
    notes = [
        "motion: the entropy-coded driving samples alone, source pictures not counted: what a receiver needs that has"
        f" these already. stream: the whole .fvc. all bits: the .fvc and the .fvs ({w.size(round(size or 0))} kB).",
        f"on the wire: the same in datagrams of {_counted(results['frames_per_packet'], 'frame')}, each with {header}"
        " bytes of RTP, UDP and IPv4 headers.",
    ]
    title = f"Our rates over the {results['spans'][leading_span(results)]}, kbps"
    return Table(over(title, clips), columns, rows, notes)


def bd_table(results: dict[str, Any]) -> Table | None:
    """BD-rates of our curve with all bits, one row for each metric; None: there is none."""
    row = results["all_bits"][0]
    found = {a["system"]: row["anchors"].get(a["system"], {}).get("bd", {}) for a in results["anchors"]}
    names = [name for name in compared_metrics() if any(bd.get(name) for bd in found.values())]
    if not names:
        return None
    rows = [[CATALOG[n].label, *(_delta_mean(bd.get(n)) for bd in found.values())] for n in names]
    notes = ["Bjontegaard delta of the rate, all bits, by PCHIP over log rate: below zero, ours needs less."]
    if len(measured(results)) > 1:
        notes.append("Mean over the clips on which it is defined, in brackets its 95 % interval.")
    title = over(f"BD-rate of ours over the {results['spans'][row['span']]}", measured(results))
    return Table(title, ["metric", *(f"against {a['codec']}" for a in results["anchors"])], rows, notes)


def against_table(results: dict[str, Any], clip: dict[str, Any]) -> Table:
    """The rate of each anchor at the quality of our first point; of one clip."""
    span = leading_span(results)
    compared = [name for name in compared_metrics() if name in metrics_present(results)]
    labels = {p["system"]: p["label"] for p in clip["points"] if p["system"] != "fvc"}
    rows = []
    for system, label in labels.items():
        found = {e["metric"]: e for e in _of_ours(clip, clip["equal_quality"], span) if e["system"] == system}
        deltas = {e["metric"]: e for e in clip["bd"] if (e["span"], e["system"]) == (span, system)}
        rows.append(
            [
                label,
                *(_needed(found.get(name)) for name in compared),
                w.seconds(clip["break_even_s"].get(system)),
                *(_delta(deltas.get(name)) for name in compared),
            ]
        )
    columns = [
        "anchor",
        *(f"kbps for our {CATALOG[name].label} (times all our bits)" for name in compared),
        "sources paid off after, s",
        *(f"BD-rate of ours, {CATALOG[name].label}" for name in compared),
    ]
    notes = [
        "Rates between measured points are interpolated; nothing is extrapolated.",
        "sources paid off: from this length of clip on, all our bits are less than the anchor's at our quality.",
    ]
    return Table(f"The anchors against ours, all bits, {results['spans'][span]}", columns, rows, notes)


def clips_table(results: dict[str, Any]) -> Table:
    """A row for each clip, failed ones with their reason."""
    span = leading_span(results)
    compared = [name for name in compared_metrics() if name in metrics_present(results)]
    columns = ["clip", "length, s", "motion", "all bits", *(f"our {CATALOG[name].label}" for name in compared)]
    columns += [f"{a['codec']} for our {CATALOG[n].label} (times)" for a in results["anchors"] for n in compared[:1]]
    columns.append(f"paid off against {first_anchor(results)['codec']} after, s")
    rows: list[list[str]] = []
    for clip in results["clips"]:
        name = w.one_line(clip["clip"])
        if clip.get("error"):
            rows.append([name, f"failed: {w.one_line(clip['error'])}"])
            continue
        ours = our_points(clip)[0]["spans"][span]
        needs = {e["system"]: e for e in _of_ours(clip, clip["equal_quality"], span) if e["metric"] in compared[:1]}
        rows.append(
            [
                name,
                w.seconds(clip["seconds"]),
                *(w.rate(ours["kbps"][kind]) for kind in ("motion", "all")),
                *(CATALOG[name].shown(ours["metrics"].get(name)) for name in compared),
                *(_needed(needs.get(a["system"])).partition(":")[0] for a in results["anchors"] if compared),
                w.seconds(clip["break_even_s"].get(first_anchor(results)["system"])),
            ]
        )
    where = f", {results['spans'][span]}" if span else ""
    return Table("Clips", columns, rows, [f"Rates in kbps{where}."])


def _of_ours(clip: dict[str, Any], entries: list[dict[str, Any]], span: str) -> list[dict[str, Any]]:
    """The entries of our first point in a span."""
    return [e for e in entries if (e["span"], e["ours"]) == (span, our_points(clip)[0]["label"])]


def _pair(mean: dict[str, Any]) -> tuple[float | None, float | None]:
    return mean["mean"], mean["stderr"]


def _needs(against: dict[str, Any] | None, ratio: str) -> str:
    """The rate that an anchor needs, and how many times ours it is; or why there is none."""
    if against is None:
        return w.NONE
    if against[ratio] is None:
        return against["note"] or "no rate"
    part = (
        f", {against[ratio]['clips']} of {against['clips']} clips" if against[ratio]["clips"] < against["clips"] else ""
    )
    return f"{w.rate(against['kbps']['mean'])} ({w.interval(against[ratio], w.times)}{part})"


def _needed(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return w.NONE
    if entry["kbps"] is None:
        return entry["note"] or "not known"
    return f"{w.rate(entry['kbps'])} ({w.times(entry['times'])})"


def _delta_mean(interval: dict[str, Any] | None) -> str:
    if interval is None:
        return "undefined"
    few = f", {_counted(interval['clips'], 'clip')}" if interval["clips"] > 1 else ""
    return w.interval(interval, w.percent) + few


def _delta(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return w.NONE
    value, why = entry["bd_rate_percent"], entry["note"] or ""
    if value is not None:
        return w.percent(value) + (f" ({why})" if why else "")
    return why if why.startswith("undefined") else f"undefined: {why or 'not known'}"


def _counted(count: int, what: str, many: str = "") -> str:
    return f"one {what}" if count == 1 else f"{count} {many or what + 's'}"
