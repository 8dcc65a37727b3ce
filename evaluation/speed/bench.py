"""`fvc bench`: speed, delay, memory and start-up of fvc on this machine, stage by stage and end to end, and of peers.

stages       each by itself, in this process: wall and CPU time per frame, median and p95
both ends    encode and decode of the whole clip as `fvc encode` and `fvc decode` do it, in processes of their own:
             frames per second after the first frame, without the work that is done once for a clip (imports, source
             pictures), and of the whole process
drawing      the precision and number of concurrent pictures with which this machine is fastest
start-up     from the start of a process to its first decoded frame; the fastest run counts (files are cached then)
roofline     the draw network against a big matrix product and a big copy
peers        x265, SVT-AV1, x264 at 256x256; the dense first-order model's per-frame part
"""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2

from fvc.codec.base.constants import SIDE
from fvc.codec.base.reporting import Note, PathLike, Progress, silent
from fvc.codec.base.version import __version__
from fvc.codec.media.video import label
from fvc.codec.options import EncoderOptions
from fvc.codec.wire.source_set import SourceSet
from fvc.evaluation.machine import cpu_name
from fvc.evaluation.speed.peers import time_peers
from fvc.evaluation.speed.roofline import bytes_moved, distance, machine_peak, multiply_adds
from fvc.evaluation.speed.stages import StageTimes, quantiles, time_stages
from fvc.evaluation.speed.whole_process import encode_and_decode, start_up_seconds
from fvc.models.inference.drawing import AT_A_TIME, DrawRuntime
from fvc.models.inference.graphs import drawing_graphs
from fvc.models.presets import DEFAULT

_FRAMES, _QUICK_FRAMES = 150, 40  # that stages are timed with
_START_UPS, _QUICK_START_UPS = 3, 2
_PEAK_SECONDS, _QUICK_PEAK_SECONDS = 1.5, 0.5  # for each of the machine's limits
_BUSY = 1.5  # from this load per core on, other programs distort the times
_PACKAGES = ("openvino", "mediapipe", "av", "numpy", "torch")


def bench(
    video: PathLike,
    *,
    fps: str = "15",
    profile: str = "sup",
    source_frames: int | None = None,
    preset: str = DEFAULT,
    size: int = SIDE,
    quick: bool = False,
    note: Note = silent,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measures everything; a minute, or a quarter of that with `quick`, on an idle machine. Raises FvcError."""
    options = EncoderOptions(fps=fps, profile=profile, source_frames=source_frames, size=size)
    steps = ["both ends", "start-up", "stages", "roofline", *([] if quick else ["peers"])]

    def step(name: str) -> None:
        progress("measuring", steps.index(name), len(steps))

    with TemporaryDirectory() as folder:
        stream = Path(folder) / "talk.fvc"
        step("both ends")
        told = {"fps": str(options.rate), "profile": profile, "source_frames": source_frames, "preset": preset}
        told["size"] = size
        ends = encode_and_decode(Path(video), stream, told)
        step("start-up")
        startup = min(start_up_seconds(stream) for _ in range(_QUICK_START_UPS if quick else _START_UPS))
        step("stages")
        times = time_stages(Path(video), stream, preset, _QUICK_FRAMES if quick else _FRAMES)
        report = _report(ends, startup, times)
        report["drawing"] = _drawing(preset, stream)
        step("roofline")
        draw_ms = report["stages"]["draw"]["ms"]
        report["roofline"] = _roofline(preset, stream, draw_ms, _QUICK_PEAK_SECONDS if quick else _PEAK_SECONDS)
        if not quick:
            step("peers")
            report["peers"] = time_peers(times.pictures, options.rate, draw_ms, Path(folder), note)
    if max(os.getloadavg()) > _BUSY * (os.cpu_count() or 1):
        note("other programs kept this machine busy: these times are too long")
    return {"machine": _machine(), "clip": label(video), "preset": preset, **report}


def _report(ends: dict[str, Any], startup: float, times: StageTimes) -> dict[str, Any]:
    """All figures except those of roofline and peers."""
    sender, receiver = times.of_both_ends()
    return {
        "encode": {**ends["encode"], "p95_ms": quantiles(sender, 2)["p95_ms"]},
        "decode": {**ends["decode"], "p95_ms": quantiles(receiver, 2)["p95_ms"]},
        "peak_rss_mb": ends["decode"]["peak_rss_mb"],
        "startup_s": startup,
        "stages": {name: stage.report() for name, stage in times.stages.items()},
        "latency": quantiles(sender + receiver, 2),
    }


def _drawing(preset: str, stream: Path) -> dict[str, dict[str, Any]]:
    """How this machine draws, for calls and for files, and the times that decided it (`models.inference.timing`)."""
    source_set = SourceSet.parse(stream.with_suffix(".fvs").read_bytes())
    found = {}
    for name, pictures in (("one picture", 1), ("many pictures", AT_A_TIME)):
        draw = DrawRuntime(preset, source_set.pictures, source_set.samples, pictures)
        found[name] = {"way": draw.way, "ms": draw.milliseconds}
    return found


def _roofline(preset: str, stream: Path, draw_ms: float, seconds: float) -> dict[str, float]:
    """The networks that draw against the limits of this machine, which are measured for `seconds` each."""
    peak = machine_peak(seconds)
    source_set = SourceSet.parse(stream.with_suffix(".fvs").read_bytes())
    graphs = drawing_graphs(preset, len(source_set.pictures))
    macs = sum(multiply_adds(model) for model, _ in graphs)
    limits = distance(macs, sum(bytes_moved(compiled) for _, compiled in graphs), draw_ms, peak)
    return {**{name: round(value, 1) for name, value in peak.items()}, **limits}


def _machine() -> dict[str, Any]:
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "fvc": __version__,
        "load": round(os.getloadavg()[0], 2),
        "opencv": cv2.__version__,
        **{package: _version_of(package) for package in _PACKAGES},
    }


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def lines(report: dict[str, Any]) -> list[str]:
    """The report as lines of text."""
    machine, limits = report["machine"], report["roofline"]
    text = [
        ", ".join(f"{name} {value}" for name, value in machine.items()),
        f"{'stage':<28}{'ms':>8}{'p95':>8}{'CPU ms':>8}",
        *(f"{n:<28}{s['ms']:8.2f}{s['p95_ms']:8.2f}{s['cpu_ms']:8.2f}" for n, s in report["stages"].items()),
    ]
    for name, drawing in report["drawing"].items():
        timed = ", ".join(f"{way} {ms} ms" for way, ms in drawing["ms"].items()) or "no other way to choose from"
        text.append(f"drawing {name}: {drawing['way']} ({timed})")
    for name in ("encode", "decode"):
        end = report[name]
        text.append(
            f"{name}: {end['fps']} fps, {end['whole_process_fps']} as a whole process,"
            f" {end['cpu_s_per_s']} s of CPU per second of video,"
            f" {end['peak_rss_mb']} MB, p95 of a frame {end['p95_ms']} ms"
        )
    text += [
        f"latency of a frame through both: {report['latency']['ms']} ms, p95 {report['latency']['p95_ms']} ms",
        f"start-up: {report['startup_s']} s to the first decoded frame; receiver {report['peak_rss_mb']} MB",
        f"roofline: {limits['mmacs']} M multiply-adds and {limits['mbytes']} MB a frame; this machine does"
        f" {limits['gmacs']} G/s and {limits['gb_s']} GB/s: {limits['compute_limit_ms']} and"
        f" {limits['memory_limit_ms']} ms; measured {limits['measured_ms']} ms, {100 * limits['share_of_limit']:.0f} %"
        " of the limit",
    ]
    for name, peer in report.get("peers", {}).items():
        text.append(f"{name:<36}" + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in peer.items()))
    return text
