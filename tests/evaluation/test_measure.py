"""`fvc measure` end to end: its numbers recomputed from its files, its cache, what it refuses and what it leaves."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run
from test_anchors import recounted

import fvc
from fvc.codec.base.errors import InputError, OutputError, UsageError
from fvc.evaluation.compare import cached_metrics
from fvc.evaluation.compare.anchors import anchors
from fvc.evaluation.compare.ffmpeg_anchor import FfmpegAnchor
from fvc.evaluation.compare.measure import find_videos, measure
from fvc.evaluation.compare.options import MeasureOptions
from fvc.evaluation.compare.rates import wire_bits
from fvc.evaluation.compare.summary import headline, means
from fvc.evaluation.metrics.catalog import CATALOG
from fvc.evaluation.pictures import read_pictures

FPS, CODECS, KBPS = "5", ("x265", "vp9"), (1.0, 20.0, 60.0)
OPTIONS = MeasureOptions(codecs=CODECS, fps=FPS, kbps=KBPS, profiles=["sup"], every=3, effort="slow")


@dataclass(frozen=True)
class Measured:
    """A run over a clip and a text that calls itself one."""

    inputs: Path
    out: Path
    cache: Path
    results: dict[str, Any]
    notes: list[str]

    def again(self, out: Path, **options: Any) -> dict[str, Any]:
        """The same run, from the cache."""
        return measure([self.inputs], out, replace(OPTIONS, cache=self.cache, **options), note=self.notes.append)


@pytest.fixture(scope="module")
def measured(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    base, notes = tmp_path_factory.mktemp("measure"), list[str]()
    (base / "in").mkdir()
    shutil.copy(clip, base / "in" / "talk.mp4")
    (base / "in" / "text.mp4").write_text("this is a text\n" * 40)
    empty = Measured(base / "in", base / "out", base / "cache", {}, notes)
    return replace(empty, results=empty.again(empty.out, keep=True))


@pytest.fixture
def talk(measured: Measured) -> dict[str, Any]:
    return dict(measured.results["clips"][0])


class TestNumbers:
    def test_ours_are_those_of_encode(self, talk: dict[str, Any], measured: Measured, tmp_path: Path) -> None:
        stream = tmp_path / "talk.fvc"
        report = fvc.encode(
            measured.inputs / "talk.mp4", stream, fps=FPS, profile="sup", audio_bitrate=None, canvas=False
        )
        with open(stream, "rb") as file:
            reader = fvc.codec.wire.container.StreamReader(file)
            packets = [len(bytes(packet)) for packet in reader.packets()]
        ours = talk["points"][0]
        assert ours["kbps"]["motion"] == pytest.approx(report["motion_kbps"], abs=1e-3)
        assert ours["kbps"]["file"] == pytest.approx(8 * stream.stat().st_size / talk["seconds"] / 1000)
        assert ours["kbps"]["wire"] == pytest.approx(wire_bits(packets) / talk["seconds"] / 1000)
        assert talk["source_bytes"] == (tmp_path / "talk.fvs").stat().st_size
        extra = 8 * talk["source_bytes"] / talk["seconds"] / 1000
        for kind in ("video", "file", "wire"):
            assert ours["kbps"][f"{kind}_amortised"] == pytest.approx(ours["kbps"][kind] + extra)

    def test_bits_of_anchors_are_in_their_files(self, talk: dict[str, Any], measured: Measured) -> None:
        points = [point for point in talk["points"] if point["system"] != "fvc"]
        assert {point["system"] for point in points} == set(CODECS)
        for point in points:
            path, encoder = measured.out / point["frames"], anchors()[point["system"]].described()["encoder"]
            assert point["bits"] == 8 * recounted(path, encoder)
            assert point["kbps"]["video"] == pytest.approx(point["bits"] / talk["seconds"] / 1000)

    def test_rates_are_reached(self, talk: dict[str, Any]) -> None:
        for system in CODECS:
            points = {t: p for p in talk["points"] if p["system"] == system for t in p["targets"]}
            assert set(KBPS) <= set(points)
            assert points[1.0]["is_floor"]  # nothing codes these in 1 kbps
            for target in KBPS[1:]:
                tolerance = 0.05 if system == "x265" else 0.08  # VP9 has whole steps only
                assert points[target]["kbps"]["video"] == pytest.approx(target, rel=tolerance)
                assert not points[target]["is_floor"]

    def test_anchors_are_seen_at_our_rates(self, talk: dict[str, Any]) -> None:
        """Of pictures and on the wire, without and with sources; the lowest rate of an anchor stands for less."""
        ours = talk["points"][0]["kbps"]
        for system in CODECS:
            rows = {row["kind"]: row for row in talk["equal_rate"] if row["system"] == system}
            assert list(rows) == ["video", "wire", "wire_amortised"]
            for kind, row in rows.items():
                assert row["kbps_ours"] == ours[kind]
                if row["is_floor"]:
                    assert row["kbps"] > 0.9 * ours[kind]
                else:
                    assert row["kbps"] == pytest.approx(ours[kind], rel=0.08)

    def test_psnr_from_the_frames(self, talk: dict[str, Any], measured: Measured) -> None:
        originals = list(read_pictures(measured.out / talk["reference"]))
        assert len(originals) == talk["frames"]
        for point in talk["points"]:
            pairs = zip(originals, read_pictures(measured.out / point["frames"]), strict=True)
            errors = [np.square(a.astype(float) - b).mean() for a, b in pairs]
            psnr = np.mean([10 * np.log10(255**2 / error) for error in errors])
            assert point["metrics"]["psnr"] == pytest.approx(psnr, abs=1e-3)

    def test_the_first_anchor_is_seen_at_our_quality(self, talk: dict[str, Any]) -> None:
        row = next(r for r in talk["equal_quality"] if r["system"] == "x265" and r["metric"] == "nme")
        if row["kbps"] is None:
            assert row["note"]
            return
        nearest = min(abs(p["kbps"]["video"] / row["kbps"] - 1) for p in talk["points"] if p["system"] == "x265")
        assert nearest < 0.15  # a quantizer step is an eighth of the rate
        assert row["times"] == pytest.approx(row["kbps"] / talk["points"][0]["kbps"]["video"])

    def test_what_needs_networks_is_missing_with_a_reason(self, talk: dict[str, Any], measured: Measured) -> None:
        missing = measured.results["missing"]
        assert {"lpips", "csim", "expr"} <= set(missing)
        for point in talk["points"]:
            assert set(point["metrics"]) <= set(CATALOG)
            for name, value in point["metrics"].items():
                assert (value is None) == (name in missing), name


class TestRun:
    def test_a_clip_that_fails_is_a_row(self, measured: Measured) -> None:
        failed = measured.results["clips"][1]
        assert failed["clip"] == "text.mp4"
        assert "not a video" in failed["error"]
        assert any("text.mp4" in note for note in measured.notes)

    def test_report_is_there(self, measured: Measured) -> None:
        assert json.loads((measured.out / "results.json").read_text()) == measured.results
        for name in ("report.html", "report.md", "results.csv", "rd.png"):
            assert (measured.out / name).stat().st_size > 500

    def test_known_encodes_and_metrics_are_not_made_again(
        self, measured: Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise AssertionError("made again")

        monkeypatch.setattr(FfmpegAnchor, "encode", refuse)
        monkeypatch.setattr(cached_metrics.Metrics, "compare", refuse)
        again = measured.again(tmp_path / "out")
        assert again["means"] == measured.results["means"]
        assert not (tmp_path / "out" / "frames").exists()
        assert again["clips"][0]["points"][0]["frames"] is None
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_a_new_result_takes_the_place_of_an_old_one(self, measured: Measured, tmp_path: Path, run: Run) -> None:
        out = tmp_path / "out"
        out.mkdir()
        (out / "results.json").write_text("{}")
        result = run(
            "measure",
            measured.inputs / "talk.mp4",
            "--out",
            out,
            "--codecs",
            "x265",
            "--kbps",
            "20",
            "--fps",
            FPS,
            "--profiles",
            "sup",
            "--every",
            3,
            "--effort",
            "slow",
            "--cache",
            measured.cache,
            "--json",
        )
        assert result.code == 0, result.err
        printed = json.loads(result.out)
        assert printed["command"].startswith("fvc measure ")
        assert printed == json.loads((out / "results.json").read_text())
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_stops_soon_when_told_to(self, clip: Path, tmp_path: Path) -> None:
        """The other anchors' threads do not go on with their encodes and metrics."""
        command = [
            sys.executable,
            "-m",
            "fvc",
            "measure",
            clip,
            "--out",
            tmp_path / "out",
            "--cache",
            tmp_path / "cache",
        ]
        options = ["--fps", FPS, "--profiles", "sup", "--codecs", "x265,x265-ra"]
        process = subprocess.Popen([*map(str, command), *options], stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 300
            while not list((tmp_path / "cache").glob("anchor-*")) and time.monotonic() < deadline:
                assert process.poll() is None
                time.sleep(0.1)
            process.terminate()
            assert process.wait(60) == 128 + signal.SIGTERM
        finally:
            process.kill()
        assert [path.name for path in tmp_path.iterdir()] == ["cache"]

    def test_nothing_is_left_where_all_fail(self, measured: Measured, tmp_path: Path) -> None:
        for name in ("a.mp4", "b.mp4"):
            shutil.copy(measured.inputs / "text.mp4", tmp_path / name)
        before = sorted(tmp_path.iterdir())
        with pytest.raises(InputError, match=r"a\.mp4.* \(and 1 more clips failed\)"):
            measure([tmp_path], tmp_path / "out", MeasureOptions(jobs=2, cache=tmp_path))
        assert sorted(tmp_path.iterdir()) == before

    def test_other_folders_are_left_alone(self, measured: Measured, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").write_text("years of work")
        with pytest.raises(UsageError, match="holds other things"):
            measured.again(tmp_path)
        with pytest.raises(OutputError, match="not a folder"):
            measured.again(tmp_path / "thesis.txt")
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_find_videos(tmp_path: Path) -> None:
    for name in ("b.MP4", "a.mov", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in find_videos([tmp_path, tmp_path / "b.MP4"])] == ["a.mov", "b.MP4"]
    with pytest.raises(InputError, match="no such file"):
        find_videos([tmp_path / "missing.mp4"])


def entry(lpips: float, kbps: float, note: str | None = None) -> dict[str, Any]:
    """A clip where HEVC needs `kbps` for our quality; ours is 5 kbps."""
    rates = {kind: 5.0 for kind in ("video", "video_amortised")}
    ours = {"system": "fvc", "label": "fvc sup", "profile": "sup", "targets": [], "is_floor": False, "kbps": rates}
    theirs = {**ours, "system": "x265", "label": "x265", "profile": None, "targets": [8.0]}
    quality = {"system": "x265", "metric": "lpips", "kbps": kbps, "times": kbps / 5, "note": None}
    if note:
        quality |= {"kbps": None, "times": None, "note": note}
    rate = {"system": "x265", "kind": "video", "kbps": 6.0, "is_floor": True, "lpips": 0.3, "lpips_ours": lpips}
    points = [{**ours, "metrics": {"lpips": lpips}}, {**theirs, "metrics": {"lpips": 0.3}}]
    return {"error": None, "seconds": 10.0, "points": points, "equal_quality": [quality], "equal_rate": [rate]}


def headline_of(entries: list[dict[str, Any]]) -> list[str]:
    return headline(entries, {"x265": "HEVC"})


class TestSummary:
    def test_one_clip(self) -> None:
        lines = headline_of([entry(0.1, 20)])
        assert lines[0] == "ours 5.00 kbps; HEVC needs 20.0 kbps for the same LPIPS (4.0 times more)"
        assert lines[1] == "at our rate: LPIPS 0.100 vs 0.300 (at 6.0 kbps, its floor)"

    def test_clips_where_quality_is_not_reached_are_counted(self) -> None:
        first, *_ = headline_of([entry(0.1, 20), entry(0.1, 40), entry(0.1, 0, "not reached at 64 kbps")])
        assert "30.0 kbps for the same LPIPS (6.0 times more, in 2 of 3 clips)" in first

    def test_a_reason_stands_for_a_number(self) -> None:
        assert (
            "HEVC at the same LPIPS: not reached at 64 kbps"
            in headline_of([entry(0.1, 0, "not reached at 64 kbps")])[0]
        )

    def test_means(self) -> None:
        ours, theirs = means([entry(0.1, 20), {"clip": "x", "error": "bad"}, entry(0.3, 20)], [8.0])
        assert ours["metrics"]["lpips"] == {"mean": pytest.approx(0.2), "stderr": pytest.approx(0.1), "n": 2}
        assert (theirs["target_kbps"], theirs["metrics"]["lpips"]["n"]) == (8.0, 2)


class TestCommandLine:
    @pytest.mark.parametrize(
        ("options", "fault"),
        [
            (("--codecs", "x265,av2"), "--codecs"),
            (("--codecs", "vp9,vp9"), "--codecs"),
            (("--kbps", "4,eight"), "--kbps"),
            (("--kbps", "nan"), "--kbps"),
            (("--kbps", ""), "--kbps"),
            (("--profiles", "sup,none"), "--profiles none"),
            (("--profiles", ""), "--profiles"),
            (("--fps", "0"), "--fps"),
            (("--every", "0"), "--every"),
            (("--effort", "placebo"), "--effort"),
            (("--seconds", "nan"), "--seconds"),
            (("--frames-per-packet", "0"), "--frames-per-packet"),
            (("--jobs", "0"), "--jobs"),
            (("--source-frames", "9"), "--source-frames"),
        ],
    )
    def test_refused(self, options: tuple[str, str], fault: str, clip: Path, tmp_path: Path, run: Run) -> None:
        result = run("measure", clip, "--out", tmp_path / "out", *options)
        assert (result.code, result.out) == (UsageError.exit_code, "")
        assert result.err.count("\n") == 1
        assert result.err.startswith("fvc: ")
        assert fault in result.err
        assert not list(tmp_path.iterdir())

    def test_networks_that_are_not_there(self, clip: Path, tmp_path: Path, run: Run) -> None:
        result = run("measure", clip, "--out", tmp_path / "out", "--metric-weights", tmp_path / "none")
        assert (result.code, result.out) == (InputError.exit_code, "")
        assert "none: no such folder" in result.err

    def test_without_the_extra(self, clip: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "bjontegaard", None)
        result = run("measure", clip)
        assert result.code == 1
        assert "pip install 'fvc[measure]'" in result.err
