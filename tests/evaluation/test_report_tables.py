"""The report's tables and results.csv: every number is one of results.json, and undefined is never a number."""

from __future__ import annotations

import csv
import re
import statistics
from pathlib import Path

import pytest
from report_fixtures import (
    DASH,
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
    assert lines[1] == "**ours 4.9 kbps; HEVC needs 29.4 kbps for the same LPIPS (6.0 times more)**"
    assert lines[2:4] == ["**at our rate: LPIPS 0.061 vs 0.237**", "- ours with its source pictures: 21.9 kbps"]
    assert page.row("Our rates", "fvc sup") == {
        "profile": "fvc sup",
        "motion": "4.90",
        "file": DASH,
        "wire": "6.50",
        "motion with sources": "21.9",
        "file with sources": DASH,
        "wire with sources": "23.5",
    }
    assert page.row("The anchors", "x265 low delay") == {
        "anchor": "x265 low delay",
        "kbps for our LPIPS (times ours)": f"29.4 (6.0{X})",
        "kbps for our NME (times ours)": "not reached at 64 kbps",
        "kbps nearest to ours": "8.70 (its floor)",
        "its LPIPS (ours)": "0.237 (0.061)",
        "its NME (ours)": "0.0474 (0.0122)",
        "sources paid off after, s": "2.8",
        "BD-rate of ours, LPIPS": "undefined: curves do not overlap",
        "BD-rate of ours, NME": "\N{MINUS SIGN}80 % (over 12 % of the range)",
    }
    assert page.row("The anchors", "x264 low delay")["kbps for our LPIPS (times ours)"] == "below its floor: no"
    quality = [row for row in page.table("Quality") if row[0] == "x265 low delay"]
    assert quality[0] == ["x265 low delay", "8.70", "0.237", "0.0474", "12.5", "24.2", "qp 51, its floor"]
    assert [row[-1] for row in quality] == ["qp 51, its floor", "crf 40"]  # not the point tried on the way
    assert quality[0] in table_of(text, "system")
    assert page.table("What was not")[1] == ["CSIM", "no mobilefacenet_y1 <here>"]
    assert "PSNR and SSIM mislead" in page.text
    assert "PSNR and SSIM mislead" in text
    for known in ("fvc measure 'a <b>.mp4'", "a machine", "preset=slow", "40 bytes of RTP", "frames 0, 5, 10"):
        assert known in page.text


def test_undefined_is_never_a_number(report: Make) -> None:
    clip = bare(clip_entry("a.mp4"))
    for entry in clip["equal_quality"]:
        entry.update(kbps=None, times=None, note="below its floor: better already at 8.7 kbps")
    clip["break_even_s"] = {"x265": None, "x264": None}
    folder = report([clip, bare(clip_entry("b.mp4"))])
    page = Page(folder / "report.html")
    row = page.row("Clips", "a.mp4")
    assert row["HEVC for our LPIPS (times ours)"] == "below its floor"
    assert row["sources paid off after, s"] == DASH
    assert page.row("Clips", "mean of 2")["HEVC for our LPIPS (times ours)"] == f"29.4 (6.0{X}, 1 of 2)"
    for text in (page.text, (folder / "report.md").read_text()):
        assert not re.search(r"\b(nan|inf|None|null)\b", text)


def test_means_have_standard_errors(report: Make) -> None:
    rates = [4.9, 6.0, 5.5]
    page = Page(report([bare(clip_entry(f"{n}.mp4", rate)) for n, rate in enumerate(rates)]) / "report.html")
    error = statistics.stdev(rates) / 3**0.5
    expected = f"{statistics.fmean(rates):.2f} ± {error:.2f}"
    assert page.row("Clips", "mean of 3")["ours: motion"] == expected
    assert page.row("Our rates", "fvc sup")["motion"] == expected
    floor = page.row("Quality", "x265 low delay")
    assert list(floor.values())[2:] == [
        "0.237 ± 0.012",
        "0.0474 ± 0.0123",
        "12.5 ± 1.2",
        "24.2 ± 0.0",
        "4 (floor in 3)",
    ]


def test_csv_holds_every_point(two: Path) -> None:
    with open(two / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))[:-1]
    points = [p for clip in (clip_entry(HOSTILE), clip_entry(LONG, 6.0)) for p in clip["points"]]
    assert len(rows) == len(points) == 10
    for row, p in zip(rows, points, strict=True):
        assert (row["system"], int(row["bits"]), row["is_floor"]) == (p["system"], p["bits"], str(p["is_floor"]))
        assert float(row["video_kbps"]) == p["kbps"]["video"]
        assert float(row["lpips"]) == p["metrics"]["lpips"]
        assert row["csim"] == row["file_kbps"] == ""


def test_at_our_rate_on_the_wire(report: Make) -> None:
    other = clip_entry("b.mp4", ours=6.0)
    other["equal_rate"][1].update(lpips=0.1, is_floor=False)
    page = Page(report([clip_entry("a.mp4"), {"clip": "c.mp4", "error": "no face"}, other]) / "report.html")
    columns, first, second, mean = page.table("At our rate on the wire, kbps, 2 clips")
    assert columns[2:6] == ["our wire", "nearest of HEVC", "its LPIPS", "ours over its"]
    assert first == ["a.mp4", "0.061", "6.50", "10.3", "0.237", "0.26", "23.5", "21.6", "0.090", "0.68"]
    assert second[:6] == ["b.mp4", "0.061", "7.60", "10.3", "0.100", "0.61"]
    assert (mean[0], mean[5]) == ("mean of 2", "0.43 ± 0.18")
    assert (
        "Our wire: our LPIPS is at most half of its in 1 of 2 clips; it is at its lowest rate in 1 of 2 clips."
        in page.text
    )
    assert "Our wire with sources: our LPIPS is at most half of its in 0 of 2 clips" in page.text


def test_without_lpips_nme_is_compared(report: Make) -> None:
    clip = clip_entry("a.mp4")
    for p in clip["points"]:
        p["metrics"]["lpips"] = None
    clip["equal_quality"] = [e for e in clip["equal_quality"] if e["metric"] == "nme"]
    clip["equal_quality"][0].update(kbps=20.0, times=4.1)
    failed = {"clip": "b.mp4", "error": "no face"}
    page = Page(report([clip, failed]) / "report.html")
    assert len(page.all("svg")) == 1
    assert "NME 0.0122" in page.all("img")[0]["alt"]
    assert "LPIPS" not in "".join(page.table("The anchors")[0] + page.table("Clips")[0] + page.table("Quality")[0])
    assert page.row("Clips", "a.mp4")["HEVC for our NME (times ours)"] == f"20.0 (4.1{X})"


def test_without_anchors_or_metrics(report: Make) -> None:
    clip = clip_entry("a.mp4")
    clip.update(points=clip["points"][:1], equal_quality=[], equal_rate=[], break_even_s={}, bd=[])
    clip["points"][0]["metrics"] = {"lpips": None}
    page = Page(report([clip]) / "report.html")
    assert page.row("Our rates", "fvc sup")["motion"] == "4.90"
    assert not page.all("svg")
    assert len(page.all("img")) == 1
