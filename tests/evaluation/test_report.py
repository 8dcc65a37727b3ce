"""The report of `fvc measure`: from a results.json with known numbers, and as a browser sees it."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
import statistics
import subprocess
from collections.abc import Callable
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("jinja2", reason="needs fvc[measure]")
pytest.importorskip("matplotlib", reason="needs fvc[measure]")

import av

from fvc.codec.errors import InputError
from fvc.evaluation.compare.pictures import write_lossless
from fvc.evaluation.compare.report import write_report
from fvc.evaluation.compare.side_by_side import choose_panels
from fvc.evaluation.metrics import wording

FRAMES, FPS = 20, 5
DASH, X = wording.NONE, "\N{MULTIPLICATION SIGN}"
HOSTILE = '<script>alert("x")</script>|`a`*b*.mp4'
LONG = "b" * 80 + ".mp4"
HEADLINE = [
    "ours 4.9 kbps; HEVC needs 29.4 kbps for the same LPIPS (6.0 times more)",
    "at our rate: LPIPS 0.061 vs 0.237",
    "ours with its source pictures: 21.9 kbps",
]
GREYS = {"input": 40, "fvc": 90, "x265-4": 140, "x265-32": 190, "x264-32": 230}

Folder = Path
Make = Callable[[list[dict[str, Any]]], Folder]


def point(system: str, kbps: float, lpips: float, **more: Any) -> dict[str, Any]:
    label = {"fvc": "fvc sup", "x265": "x265 low delay", "x264": "x264 low delay"}[system]
    rates = {"motion": kbps if system == "fvc" else None, "file": None, "wire": kbps + 1.6, "video": kbps}
    later = 17.0 if system == "fvc" else 0.0
    return {
        "system": system,
        "label": label,
        "profile": "sup" if system == "fvc" else None,
        "target_kbps": None,
        "is_floor": False,
        "setting": "profile sup" if system == "fvc" else "crf 40",
        "bits": round(kbps * 4000),
        "kbps": {
            **rates,
            "video_amortised": kbps + later,
            "file_amortised": None,
            "wire_amortised": kbps + later + 1.6,
        },
        "metrics": {"lpips": lpips, "nme": lpips / 5, "csim": None, "psnr": 24.25, "lost": 0.125},
        "frames": None,
        **more,
    }


def clip_entry(name: str, ours: float = 4.9) -> dict[str, Any]:
    return {
        "clip": name,
        "error": None,
        "seconds": 4.0,
        "frames": FRAMES,
        "crop": {"x": 1, "y": 2, "side": 300},
        "source_bytes": 8500,
        "points": [
            point("fvc", ours, 0.061, frames="frames/fvc.mkv"),
            point("x265", 8.7, 0.237, target_kbps=4.0, is_floor=True, setting="qp 51", frames="frames/x265-4.mkv"),
            point("x265", 31.0, 0.059, target_kbps=32.0, frames="frames/x265-32.mkv"),
            point("x265", 20.0, 0.09),
            point("x264", 33.0, 0.05, target_kbps=32.0, is_floor=True),
        ],
        "equal_quality": [
            {"system": "x265", "metric": "lpips", "kbps": 29.4, "times": 29.4 / ours, "note": None},
            {"system": "x265", "metric": "nme", "kbps": None, "times": None, "note": "not reached at 64 kbps"},
            {"system": "x264", "metric": "lpips", "kbps": None, "times": None, "note": "below its floor: no"},
        ],
        "equal_rate": [
            {
                "system": "x265",
                "kind": kind,
                "kbps_ours": kbps_ours,
                "kbps": kbps,
                "is_floor": kbps < 12,
                "lpips_ours": 0.061,
                "lpips": lpips,
                "nme_ours": 0.0122,
                "nme": lpips / 5,
            }
            for kind, kbps_ours, kbps, lpips in (
                ("video", ours, 8.7, 0.237),
                ("wire", ours + 1.6, 10.3, 0.237),
                ("wire_amortised", 23.5, 21.6, 0.09),
            )
        ],
        "break_even_s": {"x265": 2.8, "x264": None},
        "bd": [
            {"system": "x265", "metric": "lpips", "bd_rate_percent": None, "note": "undefined: curves do not overlap"},
            {"system": "x265", "metric": "nme", "bd_rate_percent": -80.1, "note": "over 12 % of the range"},
        ],
        "reference": "frames/input.mkv",
        "path": None,
    }


def bare(clip: dict[str, Any]) -> dict[str, Any]:
    """The clip without pictures."""
    for p in clip["points"]:
        p["frames"] = None
    return {**clip, "reference": None}


def results(clips: list[dict[str, Any]]) -> dict[str, Any]:
    means = []
    good = [clip for clip in clips if not clip["error"]]
    for index in range(len(good[0]["points"]) if good else 0):
        same = [clip["points"][index] for clip in good]
        rates = {
            k: None if v is None else statistics.fmean(p["kbps"][k] for p in same) for k, v in same[0]["kbps"].items()
        }
        spread = {
            k: {"mean": v, "stderr": 0.0123 if v is not None else None, "n": len(good)}
            for k, v in same[0]["metrics"].items()
        }
        head = {name: same[0][name] for name in ("label", "system", "target_kbps")}
        means.append({**head, "floors": sum(p["is_floor"] for p in same), "kbps": rates, "metrics": spread})
    return {
        "fvc": "0.1.0",
        "command": "fvc measure 'a <b>.mp4'",
        "machine": "a machine",
        "fps": float(FPS),
        "side": 256,
        "frames_per_packet": 1,
        "header_bytes_per_packet": 40,
        "missing": {"csim": "no mobilefacenet_y1 <here>"},
        "anchors": [
            {"system": "x265", "label": "x265 low delay", "encoder": "libx265", "options": "preset=slow", "note": ""}
        ],
        "clips": clips,
        "means": means,
        "every": 5,
        "headline": HEADLINE if good else [],
    }


@pytest.fixture(scope="session")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of lossless videos in flat colours; the red channel tells the frame."""
    folder = tmp_path_factory.mktemp("measured")
    (folder / "frames").mkdir()
    for name, grey in GREYS.items():
        pictures = (np.dstack([np.full((256, 256), v, np.uint8) for v in (n * 10, grey, grey)]) for n in range(FRAMES))
        write_lossless(folder / "frames" / f"{name}.mkv", pictures, Fraction(FPS))
    return folder


def write(frames: Path, folder: Path, clips: list[dict[str, Any]]) -> Path:
    """Writes the report over these clips into `folder`."""
    shutil.copytree(frames / "frames", folder / "frames", dirs_exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results(clips)))
    write_report(folder)
    return folder


@pytest.fixture
def report(frames: Path, tmp_path: Path) -> Make:
    """Writes the report over these clips; returns its folder."""
    return lambda clips: write(frames, tmp_path, clips)


@pytest.fixture(scope="session")
def one(frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report over one clip."""
    return write(frames, tmp_path_factory.mktemp("one"), [clip_entry("a.mp4")])


@pytest.fixture(scope="session")
def two(frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report over two clips, one with a name that nobody should trust, and a third that failed."""
    failed = {"clip": "=1+1|\n<b>.mp4", "error": "no face <img src=x onerror=alert(1)> | in it\nat all"}
    return write(frames, tmp_path_factory.mktemp("two"), [clip_entry(HOSTILE), clip_entry(LONG, 6.0), failed])


class Page(HTMLParser):
    """What a page holds: elements with their attributes, tables as rows of cells, and all text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.tables: list[tuple[list[str], list[list[str]]]] = []  # caption in pieces, rows
        self.text = ""
        self._inside = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "table":
            self.tables.append(([], []))
        elif tag == "tr":
            self.tables[-1][1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][1][-1].append("")
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        data = data.replace("\N{NO-BREAK SPACE}", " ")
        if self._inside == "caption":
            self.tables[-1][0].append(data)
        elif self._inside in ("td", "th"):
            self.tables[-1][1][-1][-1] += data
        if self._inside != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def table(self, caption: str) -> list[list[str]]:
        """Rows of the first table whose caption begins so."""
        return next(rows for text, rows in self.tables if "".join(text).startswith(caption))

    def row(self, caption: str, first: str) -> dict[str, str]:
        """Column -> cell of the first row that begins so."""
        columns, *rows = self.table(caption)
        return dict(zip(columns, next(row for row in rows if row[0] == first), strict=False))


def table_of(markdown: str, heading: str) -> list[list[str]]:
    """Cells of the first Markdown table whose heading row begins with `heading`."""
    lines = iter(markdown.splitlines())
    for line in lines:
        if line.startswith(f"| {heading} |"):
            rows = [line, *(row for row in iter(lambda: next(lines), "") if not row.startswith("|---"))]
            return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]
    raise AssertionError(heading)


def test_page_needs_nothing_else(two: Path) -> None:
    page = Page(two / "report.html")
    assert [image["src"].partition(",")[0] for image in page.all("img")] == ["data:image/jpeg;base64"] * 2
    assert not [tag for tag, _ in page.elements if tag in ("script", "iframe", "object", "video", "source")]
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "data", "poster", "srcset"):
            target = attributes.get(name, "")
            assert target.startswith("data:") or "/" not in target, (tag, target)
            if tag == "a" and name == "href":
                assert (two / target).is_file()
    text = (two / "report.html").read_text()
    assert "@import" not in text
    assert not re.findall(r"url\((?!#)", text)
    assert all(clip in page.text for clip in (HOSTILE, LONG, "=1+1| <b>.mp4"))


def test_page_is_accessible(two: Path) -> None:
    page = Page(two / "report.html")
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("meta")[1]["name"] == "viewport"
    assert all(len(image["alt"]) > 20 for image in page.all("img"))
    assert len(page.all("svg")) == 6  # LPIPS and NME, of the means and of both clips
    for svg in page.all("svg"):
        assert svg["role"] == "img"
        assert "4.9 kbps" in svg["aria-label"] or "6 kbps" in svg["aria-label"] or "5.45 kbps" in svg["aria-label"]
    assert len(page.all("caption")) == len(page.all("table"))
    assert {cell.get("scope") for cell in page.all("th")} == {"col", "row"}
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    wanted = {
        attributes["xlink:href"][1:]
        for _, attributes in page.elements
        if attributes.get("xlink:href", "").startswith("#")
    }
    assert wanted <= set(names)


def test_colours_follow_the_theme(one: Path) -> None:
    text = (one / "report.html").read_text()
    used = set(re.findall(r"var\((--\w+)\)", text))
    light, dark = (set(re.findall(r"(--\w+):", block)) for block in re.findall(r":root \{([^}]*)\}", text))
    assert used <= dark == light
    svgs = "".join(re.findall(r"<svg.*?</svg>", text, re.S))
    assert {"--ours", "--a0", "--a1", "--ink"} <= set(re.findall(r"var\((--\w+)\)", svgs))
    assert not re.findall(r"(?:fill|stroke): #(?!none)\w+", svgs)  # no colour that one of the two themes would hide


def test_hostile_names_are_text(two: Path) -> None:
    page, text = Page(two / "report.html"), (two / "report.md").read_text()
    assert HOSTILE in page.text
    assert "no face <img src=x onerror=alert(1)> | in it at all" in page.text
    assert not page.all("script")
    assert not page.all("b")
    assert not [a for _, a in page.elements if any(name.startswith("on") for name in a)]
    rows = table_of(text, "clip")
    assert {len(row) for row in rows} == {13}
    assert "<" not in text
    assert html.unescape(re.sub(r"\\(.)", r"\1", rows[1][0])) == HOSTILE
    with open(two / "results.csv", newline="") as file:
        table = list(csv.reader(file))
    assert table[1][0] == HOSTILE
    assert table[-1] == ["=1+1| <b>.mp4", "no face <img src=x onerror=alert(1)> | in it at all"]
    stems = ("script_alert_x_script_a_b", "b" * 60)
    assert {path.name for path in two.iterdir()} - {"frames", "results.json"} == {
        "report.html",
        "report.md",
        "results.csv",
        "rd.png",
        *(f"strip-{stem}.png" for stem in stems),
        *(f"compare-{stem}.mp4" for stem in stems),
    }


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


def test_all_clips_failed(report: Make) -> None:
    folder = report([{"clip": "a.mp4", "error": "a.mp4: no face in it"}])
    page = Page(folder / "report.html")
    assert "No clip could be measured." in page.text
    assert page.table("Clips")[1] == ["a.mp4", "failed: a.mp4: no face in it"]
    assert sorted(p.name for p in folder.iterdir()) == [
        "frames",
        "report.html",
        "report.md",
        "results.csv",
        "results.json",
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


def test_strip_shows_the_measured_frames(one: Path) -> None:
    bgr = cv2.imread(str(one / "strip.png"))
    assert bgr.shape[1] == 6 * 256
    rows = [bgr[26 + 26 + n * 282 :][:256] for n in range(4)]
    for row, name in zip(rows, ("input", "fvc", "x265-4", "x265-32"), strict=True):
        assert (row[:, :, 0] == GREYS[name]).all()
        shown = [int(row[128, 256 * n + 128, 2]) // 10 for n in range(6)]
        assert shown == sorted(set(shown))  # different moments, in order
        assert shown[0] > 0
        assert shown[-1] < FRAMES - 1
    assert len({tuple(row[128, 128::256, 2]) for row in rows}) == 1  # the same moments in each row
    assert cv2.imread(str(one / "rd.png")).std() > 5


def test_video_compares_and_sounds(report: Make, clip: Path) -> None:
    entry = {**clip_entry("a.mp4"), "path": str(clip)}
    path = report([entry]) / "compare.mp4"
    with av.open(str(path)) as video:
        assert video.streams.video[0].codec_context.name == "h264"
        sound = np.concatenate([f.to_ndarray()[0] for f in video.decode(audio=0)])
    assert abs(len(sound) / 48000 - 3) < 0.2  # the input's three seconds
    assert float(np.abs(sound).max()) > 0.01
    with av.open(str(path)) as video:
        pictures = [f.to_ndarray(format="rgb24") for f in video.decode(video=0)]
    assert len(pictures) == FRAMES
    assert pictures[0].shape == (256 + 52, 4 * 256, 3)
    for n, name in enumerate(("input", "fvc", "x265-4", "x265-32")):
        square = pictures[7][52:, n * 256 : n * 256 + 256].reshape(-1, 3).mean(0)
        assert np.abs(square - (70, GREYS[name], GREYS[name])).max() < 4
    assert pictures[0][:52].max() > 200  # captions


@pytest.mark.parametrize(
    ("change", "titles"),
    [
        ({}, ["input", "fvc", "HEVC at its floor", "HEVC at our quality"]),
        ({"kbps": 8.9}, ["input", "fvc", "HEVC at its floor"]),
        ({"kbps": None, "note": "below its floor: better already"}, ["input", "fvc", "HEVC at its floor"]),
        (
            {"kbps": None, "note": "not reached at 64 kbps"},
            ["input", "fvc", "HEVC at its floor", "HEVC at its best here"],
        ),
    ],
)
def test_what_is_worth_comparing(frames: Path, change: dict[str, Any], titles: list[str]) -> None:
    clip = clip_entry("a.mp4")
    clip["equal_quality"][0].update(change)
    panels = choose_panels(clip, "x265", frames)
    assert [panel.title for panel in panels] == titles
    assert panels[1].facts == "4.90 kbps, LPIPS 0.061"


def test_panels_without_hevc_or_frames(frames: Path) -> None:
    clip = clip_entry("a.mp4")
    clip["points"] = [p for p in clip["points"] if p["system"] != "x265"]
    assert [panel.title for panel in choose_panels(clip, "x265", frames)] == ["input", "fvc"]
    clip["points"][0]["frames"] = "frames/gone.mkv"
    assert [panel.title for panel in choose_panels(clip, "x265", frames)] == ["input"]


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


def test_another_anchor_may_come_first(frames: Path) -> None:
    clip = clip_entry("a.mp4")
    clip["points"][-1].update(frames="frames/x264-32.mkv", is_floor=False)
    titles = [panel.title for panel in choose_panels(clip, "x264", frames)]
    assert titles == ["input", "fvc", "H.264 at our rate"]


def test_damaged_frames_cost_only_the_pictures(frames: Path, tmp_path: Path) -> None:
    shutil.copytree(frames / "frames", tmp_path / "frames")
    (tmp_path / "frames" / "fvc.mkv").write_bytes(b"nothing")
    (tmp_path / "results.json").write_text(json.dumps(results([clip_entry("a.mp4")])))
    notes: list[str] = []
    write_report(tmp_path, notes.append)
    assert len(notes) == 1
    assert notes[0].startswith("a.mp4: its pictures cannot be read")
    assert not (tmp_path / "strip.png").exists()
    assert Page(tmp_path / "report.html").all("img") == []
    assert not (tmp_path / "compare.mp4").exists()
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("content", [None, b"{", b"[]", b'{"clips": [{"clip": "a"}]}', b'{"clips": [3]}'])
def test_bad_results_are_one_clear_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "results.json").write_bytes(content)
    with pytest.raises(InputError, match=r"results\.json: ") as error:
        write_report(tmp_path)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ([] if content is None else ["results.json"])


def test_same_results_give_the_same_report(one: Path, report: Make) -> None:
    again = report([clip_entry("a.mp4")])
    for name in ("report.html", "report.md", "results.csv", "strip.png", "compare.mp4"):
        assert (one / name).read_bytes() == (again / name).read_bytes()


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (wording.rate(0.4567), "0.46"),
        (wording.rate(12.345), "12.3"),
        (wording.rate(123.4), "123"),
        (wording.rate(None), DASH),
        (wording.rate(5.0, 0.25), "5.00 ±\N{NO-BREAK SPACE}0.25"),
        (wording.times(7.84), "7.8\N{MULTIPLICATION SIGN}"),
        (wording.times(120.4), "120\N{MULTIPLICATION SIGN}"),
        (wording.percent(-80.1), "\N{MINUS SIGN}80 %"),
        (wording.percent(3.6), "+4 %"),
        (wording.metric_value("lost", 0.0333), "3.3"),
        (wording.metric_value("unheard_of", 0.5), "0.500"),
        (wording.metric_meaning("csim_casia"), "as CSIM, but by MobileFaceNet (CASIA-WebFace)"),
        (wording.metric_heading("csim"), "CSIM\N{NO-BREAK SPACE}↑"),
        (wording.metric_heading("psnr"), "PSNR, dB\N{NO-BREAK SPACE}↑"),
        (wording.markdown("a_b|c\n<i>"), r"a\_b\|c &lt;i&gt;"),
        (wording.one_line("a\r\nb\x1b[1m\u202e"), "a b [1m"),
    ],
)
def test_wording(shown: str, expected: str) -> None:
    assert shown == expected


def test_file_stems_are_harmless_and_unique() -> None:
    names = ["a b.mp4", "a/b.mp4", "A_B.mp4", "../..", "…", "x" * 300 + ".mkv"]
    stems = wording.file_stems(names)
    assert stems == ["a_b", "a_b-2", "A_B-3", "clip", "clip-2", "x" * 60]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not on PATH")
@pytest.mark.parametrize("width", [360, 1280])
def test_in_a_browser(two: Path, tmp_path: Path, width: int) -> None:
    """At phone and desk width: nothing logged, all pictures loaded, nothing but scrollers wider than the page."""
    page = html.escape((two / "report.html").read_text().replace("<details", "<details open"))
    probe = """onload = () => { const d = frames[0].document, e = d.documentElement; document.title = JSON.stringify({
        inner: frames[0].innerWidth, wide: e.scrollWidth, headline: d.querySelector('.headline').textContent,
        images: [...d.images].map(i => i.naturalWidth), plots: [...d.querySelectorAll('svg')].map(
        s => Math.round(s.getBoundingClientRect().width)), small: Math.min(...[...d.querySelectorAll('svg text')].map(
        t => t.getBoundingClientRect().height)) }) }"""
    wrapper = tmp_path / "probe.html"
    wrapper.write_text(
        f'<meta charset="utf-8"><link rel="icon" href="data:,"><script>{probe}</script>'
        f'<iframe width={width} height=2000 srcdoc="{page}"></iframe>'
    )
    flags = ["--headless", "--no-sandbox", "--enable-logging=stderr", "--v=0", "--dump-dom", "--window-size=1400,2100"]
    flags += ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    flags += ["--disable-gpu", "--disable-quic", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        ["chromium", *flags, wrapper.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert said == []
    found = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", done.stdout, re.S)[1]))  # type: ignore[index]
    assert found["headline"].startswith("ours 4.9 kbps")
    assert found["images"] == [6 * 256] * 2
    assert len(found["plots"]) == 6
    assert min(found["plots"]) > 280
    assert found["wide"] <= found["inner"]
    assert found["small"] > 8  # pixels: the type in plots can be read
