"""The report's tables and results.csv: every number is one of results.json, and undefined is never a number."""

from __future__ import annotations

import csv
import re
import statistics
from pathlib import Path

import pytest
from report_fixtures import (
    DASH,
    HEADLINE,
    HOSTILE,
    LONG,
    Make,
    Page,
    X,
    bare,
    clip_entry,
    table_of,
)

pytest.importorskip("jinja2", reason="needs fvc[measure]")
pytest.importorskip("matplotlib", reason="needs fvc[measure]")


def test_one_clip_says_what_was_measured(one: Path) -> None:
    page, text = Page(one / "report.html"), (one / "report.md").read_text()
    lines = [line for line in text.splitlines() if line]
    assert lines[1:4] == [f"**{HEADLINE[0]}**", f"**{HEADLINE[1]}**", f"- {HEADLINE[2]}"]
    assert page.row("All bits", "first 10 s") == {
        "over": "first 10 s",
        "ours": "fvc sup",
        "all our bits, kbps": "21.9",
        "our LPIPS": "0.061",
        "HEVC for our LPIPS (times all our bits)": f"29.4 (1.34{X})",
    }
    assert "".join(page.tables[0][0]) == "All bits"  # the first table
    assert page.row("Our rates over the first 10 s", "fvc sup") == {
        "ours": "fvc sup",
        "motion": "4.90",
        "stream": "5.50",
        "all bits": "21.9",
        "on the wire": "23.5",
        "HEVC for our LPIPS (times our motion alone)": f"29.4 (6.00{X})",
    }
    assert page.row("BD-rate", "NME")["against HEVC"] == "\N{MINUS SIGN}80 %"
    assert page.row("The anchors", "x265 low delay") == {
        "anchor": "x265 low delay",
        "kbps for our LPIPS (times all our bits)": f"29.4 (1.34{X})",
        "kbps for our NME (times all our bits)": "not reached at 64 kbps",
        "sources paid off after, s": "2.8",
        "BD-rate of ours, LPIPS": "undefined: curves do not overlap",
        "BD-rate of ours, NME": "\N{MINUS SIGN}80 % (over 12 % of the range)",
    }
    row = page.row("The anchors", "x264 low delay")
    assert row["kbps for our LPIPS (times all our bits)"] == "below its floor: no"
    quality = [row for row in page.table("Quality") if row[0] == "x265 low delay"]
    assert quality[0] == ["x265 low delay", "18.7", "0.237", "0.0474", "12.5", "24.2", "qp 51, its floor"]
    assert [row[-1] for row in quality] == ["qp 51, its floor", "crf 40"]
    assert quality[0] in table_of(text, "system")
    for known in ("fvc measure 'a <b>.mp4'", "a machine", "preset=slow", "40 bytes of RTP", "frames 0, 5, 10"):
        assert known in page.text


def test_undefined_is_never_a_number(report: Make) -> None:
    clip = bare(clip_entry("a.mp4"))
    for entry in clip["equal_quality"]:
        entry.update(kbps=None, times=None, times_motion=None, note="below its floor: better already at 8.7 kbps")
    clip["break_even_s"] = {"x265": None, "x264": None}
    folder = report([clip, bare(clip_entry("b.mp4"))])
    page = Page(folder / "report.html")
    row = page.row("Clips", "a.mp4")
    assert row["HEVC for our LPIPS (times)"] == "below its floor"
    assert row["paid off against HEVC after, s"] == DASH
    row = page.row("All bits", "first 10 s")
    assert row["HEVC for our LPIPS (times all our bits)"] == f"29.4 (1.34{X}, 1 of 2 clips)"
    for text in (page.text, (folder / "report.md").read_text()):
        assert not re.search(r"\b(nan|inf|None|null)\b", text)


def test_means_and_their_intervals(report: Make) -> None:
    rates = [4.9, 6.0, 5.5]
    page = Page(report([bare(clip_entry(f"{n}.mp4", rate)) for n, rate in enumerate(rates)]) / "report.html")
    error = statistics.stdev(rates) / 3**0.5
    assert page.row("Our rates", "fvc sup")["motion"] == f"{statistics.fmean(rates):.2f} ± {error:.2f}"
    times = statistics.geometric_mean(29.4 / (rate + 17) for rate in rates)
    cell = page.row("All bits", "first 10 s")["HEVC for our LPIPS (times all our bits)"]
    mean, low, high = map(float, re.findall(rf"([\d.]+){X}", cell))
    assert mean == pytest.approx(times, abs=0.005)
    assert 29.4 / 23.0 - 0.005 <= low < mean < high <= 29.4 / 21.9 + 0.005
    floor, at_20 = (row for row in page.table("Quality") if row[0] == "x265 low delay")
    assert floor[1:] == ["18.7", "0.237 ± 0.000", "0.0474 ± 0.0000", "12.5 ± 0.0", "24.2 ± 0.0", "floor"]
    assert at_20[1:3] == ["20.0", "0.213 ± 0.000"]
    assert at_20[-1] == "20"


def test_csv_holds_every_point(two: Path) -> None:
    with open(two / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))[:-1]
    points = [p for clip in (clip_entry(HOSTILE), clip_entry(LONG, 6.0)) for p in clip["points"]]
    assert len(rows) == len(points) == 8
    for row, p in zip(rows, points, strict=True):
        span = p["spans"]["10"]
        assert (row["system"], row["span"], row["is_floor"]) == (p["system"], "10", str(p["is_floor"]))
        assert float(row["all_kbps"]) == span["kbps"]["all"]
        assert float(row["lpips"]) == span["metrics"]["lpips"]
        assert row["csim"] == ""


def test_without_lpips_nme_is_compared(report: Make) -> None:
    clip = clip_entry("a.mp4")
    for span in (span for p in clip["points"] for span in p["spans"].values()):
        span["metrics"]["lpips"] = None
    clip["equal_quality"] = [e for e in clip["equal_quality"] if e["metric"] == "nme"]
    for entry in clip["equal_quality"]:
        entry.update(kbps=20.0, times=0.91, times_motion=4.1)
    failed = {"clip": "b.mp4", "error": "no face"}
    page = Page(report([clip, failed]) / "report.html")
    assert len(page.all("svg")) == 1
    assert "NME 0.0122" in page.all("img")[0]["alt"]
    assert "LPIPS" not in "".join(page.table("The anchors")[0] + page.table("Clips")[0] + page.table("Quality")[0])
    assert page.row("Clips", "a.mp4")["HEVC for our NME (times)"] == f"20.0 (0.91{X})"


def test_without_anchors_or_metrics(report: Make) -> None:
    clip = clip_entry("a.mp4")
    clip.update(points=clip["points"][:1], equal_quality=[], break_even_s={}, bd=[])
    for span in clip["points"][0]["spans"].values():
        span["metrics"] = {"lpips": None}
    page = Page(report([clip]) / "report.html")
    assert page.row("Our rates", "fvc sup")["motion"] == "4.90"
    assert not page.all("svg")
    assert len(page.all("img")) == 1
