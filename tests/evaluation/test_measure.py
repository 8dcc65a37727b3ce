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
from fvc.codec.base.errors import FvcError, InputError, OutputError, UsageError
from fvc.evaluation import ffmpeg
from fvc.evaluation.compare import cached_metrics
from fvc.evaluation.compare.anchors import anchors
from fvc.evaluation.compare.clip import ENOUGH_KBPS, measure_clip
from fvc.evaluation.compare.ffmpeg_anchor import FfmpegAnchor
from fvc.evaluation.compare.measure import find_videos, measure
from fvc.evaluation.compare.options import MeasureOptions
from fvc.evaluation.compare.rates import wire_bits
from fvc.evaluation.metrics.catalog import CATALOG
from fvc.evaluation.pictures import read_pictures

FPS, CODECS = "5", ("x265", "vvenc")
OPTIONS = MeasureOptions(codecs=CODECS, fps=FPS, motion_kbps=(0.6,), every=3, effort="slow")


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


@pytest.fixture(scope="module")
def long(measured: Measured, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The sample's clip four times over."""
    folder = tmp_path_factory.mktemp("long")
    arguments = ["-stream_loop", "3", "-i", str(measured.inputs / "talk.mp4"), "-c", "copy", "-an"]
    ffmpeg.run([*arguments, str(folder / "long.mp4")], 60)
    options = MeasureOptions(codecs=["x264"], fps=2, effort="slow", cache=folder)
    return dict(measure([folder / "long.mp4"], folder / "out", options)["clips"][0])


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
        ours = talk["points"][0]["spans"]["whole"]["kbps"]
        assert ours["motion"] == pytest.approx(report["motion_kbps"], abs=1e-3)
        assert ours["stream"] == pytest.approx(8 * stream.stat().st_size / talk["seconds"] / 1000)
        assert talk["source_bytes"] == (tmp_path / "talk.fvs").stat().st_size
        sources = 8 * talk["source_bytes"] / talk["seconds"] / 1000
        assert ours["all"] == pytest.approx(ours["stream"] + sources)
        datagrams = wire_bits(packets) + wire_bits([talk["source_bytes"]])
        assert ours["wire"] == pytest.approx(datagrams / talk["seconds"] / 1000)

    def test_an_operating_point_is_what_encode_does_at_that_rate(
        self, talk: dict[str, Any], measured: Measured, tmp_path: Path
    ) -> None:
        stream = tmp_path / "talk.fvc"
        report = fvc.encode(
            measured.inputs / "talk.mp4",
            stream,
            fps=FPS,
            profile="sup",
            motion_kbps=0.6,
            audio_bitrate=None,
            canvas=False,
        )
        default, point = talk["points"][:2]
        assert (default["label"], point["label"]) == ("fvc sup", "fvc sup at 0.6 kbps")
        assert point["spans"]["whole"]["kbps"]["motion"] == pytest.approx(report["motion_kbps"], abs=1e-3)
        assert point["spans"]["whole"]["kbps"]["motion"] < default["spans"]["whole"]["kbps"]["motion"]

    def test_bits_of_anchors_are_in_their_files(self, talk: dict[str, Any], measured: Measured) -> None:
        points = [point for point in talk["points"] if point["system"] != "fvc"]
        assert {point["system"] for point in points} == set(CODECS)
        for point in points:
            path, encoder = measured.out / point["frames"], anchors()[point["system"]].described()["encoder"]
            kbps = 8 * recounted(path, encoder) / talk["seconds"] / 1000
            assert point["spans"]["whole"]["kbps"]["all"] == pytest.approx(kbps)

    def test_from_the_floor_to_rate_and_quality_enough(self, talk: dict[str, Any]) -> None:
        ours = talk["points"][0]["spans"]["whole"]["metrics"]["nme"]
        for system in CODECS:
            points = [p for p in talk["points"] if p["system"] == system]
            assert [p["is_floor"] for p in points] == [True, *[False] * (len(points) - 1)]
            wholes = [p["spans"]["whole"] for p in points]
            rates = [whole["kbps"]["all"] for whole in wholes]
            assert rates == sorted(rates)
            assert rates[0] < 10
            assert rates[-1] >= ENOUGH_KBPS
            assert wholes[-1]["metrics"]["nme"] <= ours
            assert rates[-2] < ENOUGH_KBPS or wholes[-2]["metrics"]["nme"] > ours

    def test_spans_count_from_the_first_bit(self, long: dict[str, Any]) -> None:
        """Twelve seconds: the first ten hold all source pictures and all of the container."""
        assert long["seconds"] == pytest.approx(12, abs=0.5)
        ours, theirs = (long["points"][n]["spans"] for n in (0, -1))
        assert ours["60"] == ours["whole"]
        assert ours["10"]["kbps"]["all"] > ours["whole"]["kbps"]["all"]
        motion, every = (
            ours["whole"]["kbps"][kind] * long["seconds"] - ours["10"]["kbps"][kind] * 10 for kind in ("motion", "all")
        )
        heads = 8 * 8 * 2 * (long["seconds"] - 10) / 1000  # of packets, at most, kbit
        assert 0 < motion <= every <= motion + heads
        assert theirs["10"]["metrics"]["psnr"] != theirs["whole"]["metrics"]["psnr"]

    def test_psnr_from_the_frames(self, talk: dict[str, Any], measured: Measured) -> None:
        originals = list(read_pictures(measured.out / talk["reference"]))
        assert len(originals) == talk["frames"]
        for point in talk["points"]:
            pairs = zip(originals, read_pictures(measured.out / point["frames"]), strict=True)
            errors = [np.square(a.astype(float) - b).mean() for a, b in pairs]
            psnr = np.mean([10 * np.log10(255**2 / error) for error in errors])
            assert point["spans"]["whole"]["metrics"]["psnr"] == pytest.approx(psnr, abs=1e-3)

    def test_rate_at_our_quality(self, talk: dict[str, Any]) -> None:
        ours = talk["points"][0]["spans"]["10"]
        row = next(r for r in talk["equal_quality"] if (r["system"], r["metric"]) == ("x265", "nme"))
        assert (row["span"], row["ours"]) == ("10", "fvc sup")
        assert row["times"] == pytest.approx(row["kbps"] / ours["kbps"]["all"])
        assert row["times_motion"] == pytest.approx(row["kbps"] / ours["kbps"]["motion"])

    def test_what_needs_networks_is_missing_with_a_reason(self, talk: dict[str, Any], measured: Measured) -> None:
        missing = measured.results["missing"]
        assert {"lpips", "csim", "expr"} <= set(missing)
        for point in talk["points"]:
            metrics = point["spans"]["whole"]["metrics"]
            assert set(metrics) <= set(CATALOG)
            is_blank = metrics["lost"] == 1.0  # a floor may show no face
            for name, value in metrics.items():
                assert is_blank or (value is None) == (name in missing), name


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
            "--motion-kbps",
            "0.6",
            "--fps",
            FPS,
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


class TestCommandLine:
    @pytest.mark.parametrize(
        ("options", "fault"),
        [
            (("--codecs", "x265,av2"), "--codecs"),
            (("--codecs", "vp9,vp9"), "--codecs"),
            (("--motion-kbps", "4,eight"), "--motion-kbps"),
            (("--motion-kbps", "nan"), "--motion-kbps"),
            (("--motion-kbps", "0.1"), "--motion-kbps"),
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


def test_small_faces_are_not_measured_at_512(clip: Path, tmp_path: Path) -> None:
    options = MeasureOptions(codecs=["x264"], fps=2, effort="slow", seconds=1, size=512, cache=tmp_path / "cache")
    assert options.encoder(options.operating_points[0]).size == 512
    with pytest.raises(FvcError, match="a face of 281 pixels, fewer than `size` 512"):
        measure_clip(clip, tmp_path / "frames", options)
