"""A new metric is a function and an entry in the catalog; a new codec to compare with is a class and an entry."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jinja2", reason="needs fvc[measure]")
pytest.importorskip("matplotlib", reason="needs fvc[measure]")

from report_fixtures import Page

from fvc.evaluation.compare.anchor import Anchor, Encoded
from fvc.evaluation.compare.anchors import ANCHORS
from fvc.evaluation.compare.measure import measure
from fvc.evaluation.compare.options import MeasureOptions
from fvc.evaluation.metrics.catalog import CATALOG, Metric
from fvc.evaluation.metrics.face_metrics import FACE_METRICS
from fvc.evaluation.metrics.frame_metrics import FRAME_METRICS, FrameMetric, FramePair
from fvc.evaluation.metrics.metrics import Metrics
from fvc.evaluation.pictures import Originals, write_lossless
from fvc.evaluation.presets.figures import markdown, table
from fvc.evaluation.presets.result import Result
from fvc.evaluation.presets.systems import RATES


class BlockAverages(Anchor):
    """A codec of five lines: each picture is the averages of its blocks, a byte for each colour."""

    system, label, codec = "blocks", "block averages", "BLOCKS"
    ladder = (128, 64, 32, 16, 8)
    note = "for this test"

    def encode(self, value: float, clip: Originals, folder: Path) -> Encoded:
        side, drawn = int(value), list[np.ndarray]()
        for picture in clip.pictures():
            count = -(-256 // side)
            rows = [np.array_split(row, count, 1) for row in np.array_split(picture, count, 0)]
            blocks = [[np.broadcast_to(block.mean((0, 1)), block.shape) for block in row] for row in rows]
            drawn.append(np.vstack([np.hstack(row) for row in blocks]).astype(np.uint8))
        path = folder / f"blocks-{side}.mkv"
        write_lossless(path, drawn, clip.fps)
        return Encoded(path.read_bytes(), np.full(len(drawn), 3 * (-(-256 // side)) ** 2))

    def setting(self, value: float) -> str:
        return f"side {value:g}"

    def identity(self, value: float) -> tuple[str, ...]:
        return "blocks", self.setting(value)

    def described(self) -> dict[str, str]:
        encoder = {"encoder": "numpy", "options": "side={q}", "note": self.note}
        return {"system": self.system, "label": self.label, "codec": self.codec, **encoder}


def red_error(pair: FramePair) -> float:
    return float(np.abs(pair.error[..., 0]).mean())


@pytest.fixture
def new_metric(monkeypatch: pytest.MonkeyPatch) -> Metric:
    text = "mean absolute error of the red channel"
    metric = Metric(
        "red", "red error", text, unit="levels", decimals=2, is_main=True, is_plotted=True, is_compared=True
    )
    monkeypatch.setitem(CATALOG, metric.name, metric)
    monkeypatch.setitem(FRAME_METRICS, metric.name, FrameMetric(red_error))
    return metric


def test_every_metric_is_computed_once() -> None:
    lpips = {name for name, metric in CATALOG.items() if metric.network.startswith("lpips_")}
    filtered = {name for name, metric in CATALOG.items() if metric.filter}
    computed = [*FRAME_METRICS, *FACE_METRICS, *lpips, *filtered]
    assert sorted(computed) == sorted(CATALOG)
    assert all(name == metric.name for name, metric in CATALOG.items())


def test_a_new_metric_and_a_new_codec_are_everywhere(
    new_metric: Metric, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In results.json, results.csv, the headline, all tables, the plots and the settings."""
    monkeypatch.setitem(ANCHORS, "blocks", lambda _: BlockAverages())
    options = MeasureOptions(codecs=["blocks"], fps=5, seconds=1, cache=tmp_path / "cache")
    results = measure([clip], tmp_path / "out", options)
    assert results == json.loads((tmp_path / "out" / "results.json").read_text())
    ours, *theirs = results["clips"][0]["points"]
    red = [point["spans"]["whole"]["metrics"]["red"] for point in (ours, *theirs)]
    assert red[0] > 0
    floor = 8 * 3 * 4 * 5 / 1000  # 2x2 blocks, five times a second
    assert theirs[0]["spans"]["whole"]["kbps"]["all"] == pytest.approx(floor)
    assert red[1] > red[0]
    assert {"nme", "vmaf", "xpsnr", "red"} == {row["metric"] for row in results["clips"][0]["equal_quality"]}
    assert any("BLOCKS" in line for line in results["headline"])
    with open(tmp_path / "out" / "results.csv", newline="") as file:
        first = next(csv.DictReader(file))
    assert float(first["red"]) == red[0]
    page = Page(tmp_path / "out" / "report.html")
    shown = f"{red[0]:.2f}"
    assert page.row("Quality", "fvc sup")["red error, levels ↓"] == shown
    assert page.row("The anchors", "block averages")["kbps for our red error (times all our bits)"]
    assert page.table("Settings")[1][0] == "block averages"
    assert "red error: mean absolute error of the red channel." in page.text
    plots = [svg["aria-label"].partition(" against")[0] for svg in page.all("svg")]
    assert plots == ["NME", "VMAF", "XPSNR", "red error"]


def test_a_new_metric_is_in_the_tables_of_presets(new_metric: Metric) -> None:
    grey = [np.full((256, 256, 3), level, np.uint8) for level in (100, 107)]
    metrics = Metrics(None)
    row = {"clip": "x", "system": "a", "rotation": True, "yaw_range": 0.3, **dict.fromkeys(RATES, 1.0)}
    row |= metrics.compare([(grey[0], grey[1])])
    settings = {"split": "val", "clips": 1, "fps": 15.0, "every": 1, "version": "0"}
    result = Result(["a"], (*metrics.names, *RATES), None, metrics.missing, settings, [row])
    assert result.report()["systems"]["a"]["all"]["red"] == 7
    assert "| red ↓ |" in table(result, "all")
    assert "- `red`: mean absolute error of the red channel." in markdown(result)
