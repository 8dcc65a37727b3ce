"""Results of `fvc measure` with known numbers, the report over them, and a reader of its pages."""

from __future__ import annotations

import re
import shutil
import statistics
from collections.abc import Callable
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fvc.evaluation.pictures import write_lossless
from fvc.evaluation.report import wording

FRAMES, FPS = 20, 5
DASH, X = wording.NONE, "\N{MULTIPLICATION SIGN}"
HOSTILE = '<script>alert("x")</script>|`a`*b*.mp4'
LONG = "b" * 80 + ".mp4"
HEVC = {"system": "x265", "codec": "HEVC"}
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
