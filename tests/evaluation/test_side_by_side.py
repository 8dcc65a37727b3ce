"""Strips and videos that show systems side by side."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from report_fixtures import FRAMES, GREYS, HEVC, Make, Page, clip_entry, results

pytest.importorskip("jinja2", reason="needs fvc[measure]")
pytest.importorskip("matplotlib", reason="needs fvc[measure]")

from fvc.evaluation.report.report import write_report
from fvc.evaluation.report.side_by_side import choose_panels


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
        ({"kbps": 18.9}, ["input", "fvc", "HEVC at its floor"]),
        ({"kbps": None, "note": "below its floor: better already"}, ["input", "fvc", "HEVC at its floor"]),
        (
            {"kbps": None, "note": "not reached at 64 kbps"},
            ["input", "fvc", "HEVC at its floor", "HEVC at its best here"],
        ),
    ],
)
def test_what_is_worth_comparing(frames: Path, change: dict[str, Any], titles: list[str]) -> None:
    clip = clip_entry("a.mp4")
    for entry in clip["equal_quality"]:
        if (entry["system"], entry["metric"]) == ("x265", "lpips"):
            entry.update(change)
    panels = choose_panels(clip, HEVC, frames)
    assert [panel.title for panel in panels] == titles
    assert panels[1].facts == "21.9 kbps, LPIPS 0.061"


def test_panels_without_hevc_or_frames(frames: Path) -> None:
    clip = clip_entry("a.mp4")
    clip["points"] = [p for p in clip["points"] if p["system"] != "x265"]
    assert [panel.title for panel in choose_panels(clip, HEVC, frames)] == ["input", "fvc"]
    clip["points"][0]["frames"] = "frames/gone.mkv"
    assert [panel.title for panel in choose_panels(clip, HEVC, frames)] == ["input"]


def test_another_anchor_may_come_first(frames: Path) -> None:
    clip = clip_entry("a.mp4")
    clip["points"][-1].update(frames="frames/x264-32.mkv", is_floor=False)
    titles = [panel.title for panel in choose_panels(clip, {"system": "x264", "codec": "H.264"}, frames)]
    assert titles == ["input", "fvc", "H.264 at our rate"]


def test_damaged_frames_cost_only_the_pictures(frames: Path, tmp_path: Path) -> None:
    shutil.copytree(frames / "frames", tmp_path / "frames")
    (tmp_path / "frames" / "fvc.mkv").write_bytes(b"nothing")
    notes: list[str] = []
    write_report(results([clip_entry("a.mp4")]), tmp_path, notes.append)
    assert len(notes) == 1
    assert notes[0].startswith("a.mp4: its pictures cannot be read")
    assert not (tmp_path / "strip.png").exists()
    assert Page(tmp_path / "report.html").all("img") == []
    assert not (tmp_path / "compare.mp4").exists()
    assert not list(tmp_path.glob("*.part"))
