"""Results of `fvc measure` with known numbers, the report over them, and a reader of its pages."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fvc.evaluation.compare.summary import all_bits, means
from fvc.evaluation.pictures import write_lossless
from fvc.evaluation.report import wording

FRAMES, FPS = 20, 5
DASH, X = wording.NONE, "\N{MULTIPLICATION SIGN}"
HOSTILE = '<script>alert("x")</script>|`a`*b*.mp4'
LONG = "b" * 80 + ".mp4"
HEVC = {"system": "x265", "codec": "HEVC"}
HEADLINE = [
    "All bits, first 10 s: ours 21.9 kbps; HEVC needs 1.34 times that for the same LPIPS",
    "Motion alone, source pictures not counted: ours 4.9 kbps",
    "and more",
]
SPANS = ("10", "60", "whole")
GREYS = {"input": 40, "fvc": 90, "x265-4": 140, "x265-32": 190, "x264-32": 230}

Folder = Path
Make = Callable[[list[dict[str, Any]]], Folder]


def point(system: str, kbps: float, lpips: float, **more: Any) -> dict[str, Any]:
    """A point of a clip of 4 s, the same in all spans; `kbps`: all bits, of ours without its pictures (17 kbps)."""
    label = {"fvc": "fvc sup", "x265": "x265 low delay", "x264": "x264 low delay"}[system]
    is_ours = system == "fvc"
    rates = {"all": kbps + 17.0 * is_ours, "wire": kbps + 17.0 * is_ours + 1.6}
    if is_ours:
        rates |= {"motion": kbps, "stream": kbps + 0.6}
    metrics = {"lpips": lpips, "nme": lpips / 5, "csim": None, "psnr": 24.25, "lost": 0.125}
    return {
        "system": system,
        "label": label,
        "profile": "sup" if is_ours else None,
        "is_floor": False,
        "setting": "default" if is_ours else "crf 40",
        "spans": {span: {"kbps": dict(rates), "metrics": dict(metrics)} for span in SPANS},
        "frames": None,
        **more,
    }


def clip_entry(name: str, ours: float = 4.9) -> dict[str, Any]:
    needed = {"kbps": 29.4, "times": 29.4 / (ours + 17), "times_motion": 29.4 / ours, "note": None}
    unknown = {"kbps": None, "times": None, "times_motion": None}
    return {
        "clip": name,
        "error": None,
        "person": name,
        "seconds": 4.0,
        "frames": FRAMES,
        "crop": {"x": 1, "y": 2, "side": 300},
        "source_bytes": 8500,
        "points": [
            point("fvc", ours, 0.061, frames="frames/fvc.mkv"),
            point("x265", 18.7, 0.237, is_floor=True, setting="qp 51", frames="frames/x265-4.mkv"),
            point("x265", 31.0, 0.059, frames="frames/x265-32.mkv"),
            point("x264", 33.0, 0.05, is_floor=True),
        ],
        "equal_quality": [
            {"span": span, "ours": "fvc sup", **entry}
            for span in SPANS
            for entry in (
                {"system": "x265", "metric": "lpips", **needed},
                {"system": "x265", "metric": "nme", **unknown, "note": "not reached at 64 kbps"},
                {"system": "x264", "metric": "lpips", **unknown, "note": "below its floor: no"},
            )
        ],
        "break_even_s": {"x265": 2.8, "x264": None},
        "bd": [
            {"span": span, "system": "x265", "metric": metric, "bd_rate_percent": delta, "note": note}
            for span in SPANS
            for metric, delta, note in (
                ("lpips", None, "undefined: curves do not overlap"),
                ("nme", -80.1, "over 12 % of the range"),
            )
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
    good = [clip for clip in clips if not clip["error"]]
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
            {
                "system": "x265",
                "label": "x265 low delay",
                "codec": "HEVC",
                "encoder": "libx265",
                "options": "preset=slow",
                "note": "",
            }
        ],
        "clips": clips,
        "spans": {"10": "first 10 s"} if good else {},
        "people": len(good),
        "all_bits": all_bits(clips) if good else [],
        "means": means(clips),
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
    from fvc.evaluation.report.report import write_report  # needs fvc[measure]

    write_report(results(clips), folder)
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
