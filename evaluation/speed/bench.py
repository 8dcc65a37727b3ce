"""`fvc bench`: speed, delay, memory and start-up of this machine's fvc, stage by stage and end to end, and its peers'.

stages       each by itself, in this process: wall and CPU time per frame, median and p95
both ends    encode and decode of the whole clip as `fvc encode` and `fvc decode` do it, in processes of their own:
             frames per second once the first is done, without what is done once for a clip (imports, source
             pictures), and of the whole process
start-up     from the start of a process to its first decoded frame; the second of two runs counts (files cached)
roofline     the draw network against a big matmul and a big copy
peers        x265, SVT-AV1, x264 at 256x256; the dense first-order model's per-frame part
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

import av
import numpy as np

from fvc.codec.version import __version__
from fvc.calls.capture import sample_clip
from fvc.codec.constants import SIDE
from fvc.codec.decoder import Decoder
from fvc.codec.encoder import Encoder
from fvc.codec.errors import FvcError
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.output import VideoWriter
from fvc.codec.media.video import VideoReader, label, reason
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.motion.ratecontrol import ConstantQuality
from fvc.codec.motion.sample import Profile
from fvc.codec.options import parse_fps
from fvc.codec.reporting import Note, PathLike, Progress, silent
from fvc.codec.wire.bitstream import Packet
from fvc.codec.wire.container import StreamReader
from fvc.codec.wire.source_set import SourceSet
from fvc.evaluation.compare.anchors import anchors
from fvc.evaluation.compare.anchors import encode as encode_peer
from fvc.evaluation.compare.pictures import read_pictures
from fvc.evaluation.speed.roofline import bytes_moved, distance, machine_peak, multiply_adds
from fvc.models.installed import InstalledModel
from fvc.models.presets import DEFAULT
from fvc.models.runtime import compile_like_ours, draw_graph

_FRAMES, _QUICK = 150, 40
_PEER_FRAMES, _DENSE_FRAMES = 60, 4


class Stage:
    """Wall and CPU time of one stage, frame by frame."""

    def __init__(self) -> None:
        self._wall: list[float] = []
        self._cpu = 0.0

    def __call__(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Runs a frame's work."""
        cpu, wall = time.process_time(), time.perf_counter()
        result = work(*arguments)
        self._wall.append(1000 * (time.perf_counter() - wall))
        self._cpu += 1000 * (time.process_time() - cpu)
        return result

    def each(self, items: Iterable[Any]) -> list[Any]:
        """All items, each one's making timed."""
        source, found = iter(items), []
        while (item := self(next, source, None)) is not None:
            found.append(item)
        self._wall.pop()
        return found

    @property
    def wall(self) -> np.ndarray:
        """Milliseconds of each frame."""
        return np.array(self._wall)

    def report(self) -> dict[str, float]:
        """Milliseconds."""
        wall = self.wall
        return {
            "ms": round(float(np.median(wall)), 3),
            "p95_ms": round(float(np.quantile(wall, 0.95)), 3),
            "cpu_ms": round(self._cpu / len(wall), 3),
        }


def bench(
    video: PathLike | None = None,
    *,
    fps: str = "15",
    profile: str = "sup",
    source_frames: int | None = None,
    preset: str = DEFAULT,
    quick: bool = False,
    note: Note = silent,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measures everything; a minute, or a quarter of that with `quick`, on an idle machine. Raises FvcError."""
    path, rate, kind = Path(sample_clip() if video is None else video), parse_fps(fps), Profile.named(profile)
    count = _QUICK if quick else _FRAMES
    steps = ["both ends", "start-up", "stages", "roofline", *([] if quick else ["peers"])]

    def step(name: str) -> None:
        progress("measuring", steps.index(name), len(steps))

    with TemporaryDirectory() as name:
        folder = Path(name)
        step("both ends")
        report = {
            "machine": _machine(),
            "clip": label(path),
            "preset": preset,
            **_both_ends(path, rate, kind, source_frames, preset, folder),
        }
        step("start-up")
        report["startup_s"] = min(_start_up(folder) for _ in range(2 if quick else 3))
        step("stages")
        stages, pictures, latency = _stages(path, rate, kind, preset, count, folder)
        report["stages"] = {stage: timed.report() for stage, timed in stages.items()}
        encode, decode = (sum(stages[name].wall for name in names) for names in latency)
        report["encode"]["p95_ms"], report["decode"]["p95_ms"] = (
            round(float(np.quantile(wall, 0.95)), 2) for wall in (encode, decode)
        )
        both = np.asarray(encode) + np.asarray(decode)
        report["latency"] = {
            "ms": round(float(np.median(both)), 2),
            "p95_ms": round(float(np.quantile(both, 0.95)), 2),
        }
        step("roofline")
        peak = machine_peak(0.5 if quick else 1.5)
        drawn = report["stages"]["draw"]["ms"]
        report["roofline"] = {
            **{k: round(v, 1) for k, v in peak.items()},
            **_network_limits(preset, folder, drawn, peak),
        }
        if not quick:
            step("peers")
            report["peers"] = _peers(pictures, rate, note, folder, drawn)
    if max(os.getloadavg()) > 1.5 * (os.cpu_count() or 1):
        note("other programs kept this machine busy: these times are too long")
    return report


def _machine() -> dict[str, Any]:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = (line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line)
        model = next(lines, model)
    packages = {}
    for package in ("openvino", "mediapipe", "av", "opencv-python", "numpy", "torch"):
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            packages[package] = "absent"
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "fvc": __version__,
        "load": round(os.getloadavg()[0], 2),
        **packages,
    }


def _child(code: str, *arguments: object) -> tuple[float, str, Any]:
    """Runs Python code in a process of its own: (seconds when it began on the shared clock, stdout, its usage)."""
    start = time.monotonic()
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        for file in (out, err):
            file.seek(0)
        if process.returncode:
            said = (err.read().splitlines() or [f"exit code {process.returncode}"])[-1]
            raise FvcError(f"bench: {said.removeprefix('fvc: ')}")
        return start, out.read(), usage


_BOTH = """import json, sys, time
from fvc import api
from fvc.codec.errors import FvcError
marks = {}
def progress(stage, done, total):
    marks.setdefault(stage, []).append(time.monotonic())
end, named = sys.argv[1], json.loads(sys.argv[3])
try:
    report = getattr(api, end)(*json.loads(sys.argv[2]), **named, progress=progress)
except FvcError as error:
    sys.exit(str(error))
print(json.dumps([report, marks]))"""
_ONCE = "sources"  # the stage of an encode that no frame waits for again
_FIRST = """import sys, time, os
from fvc.cli import main as cli
from fvc import api
def first(stage, done, total):
    print(time.monotonic(), flush=True)
    os._exit(0)
api.decode(*sys.argv[1:], progress=first)"""


def _both_ends(
    path: Path, rate: Fraction, kind: Profile, source_frames: int | None, preset: str, folder: Path
) -> dict[str, Any]:
    stream, out = str(folder / "talk.fvc"), str(folder / "talk.mp4")
    named = {"fps": str(rate), "profile": kind.label, "source_frames": source_frames, "preset": preset}
    calls: dict[str, tuple[list[str], dict[str, Any]]] = {
        "encode": ([str(path), stream], named),
        "decode": ([stream, str(folder / "talk.fvs"), out], {}),
    }
    report: dict[str, Any] = {}
    for name, given in calls.items():
        start, text, usage = _child(_BOTH, name, *map(json.dumps, given))
        seconds = time.monotonic() - start
        said, marks = json.loads(text)
        each = sum((ticks[-1] - ticks[0]) / max(len(ticks) - 1, 1) for stage, ticks in marks.items() if stage != _ONCE)
        report[name] = {
            "fps": round(1 / each, 1),
            "whole_process_fps": round(said["frames"] / seconds, 1),
            "seconds": round(seconds, 2),
            "cpu_s_per_s": round((usage.ru_utime + usage.ru_stime) / said["duration_s"], 3),
            "peak_rss_mb": round(usage.ru_maxrss / 1024, 1),
        }
    report["peak_rss_mb"] = report["decode"]["peak_rss_mb"]
    return report


def _start_up(folder: Path) -> float:
    stream = folder / "talk.fvc"
    start, text, _ = _child(_FIRST, stream, stream.with_suffix(".fvs"), folder / "first.mp4")
    return round(float(text) - start, 3)


def _stages(
    path: Path, rate: Fraction, kind: Profile, preset: str, count: int, folder: Path
) -> tuple[dict[str, Stage], list[np.ndarray], tuple[list[str], list[str]]]:
    """The stages' times, the drawn pictures, and which stages a frame passes at the sender and at the receiver.

    "network" is a part of "code", in profiles that have one.
    """
    stages = {name: Stage() for name in ("read", "track", "code", "decode", "draw", "write")}
    with open(folder / "talk.fvc", "rb") as file:
        header = StreamReader(file).header
    source_set = SourceSet.parse((folder / "talk.fvs").read_bytes())
    model = InstalledModel.named(preset)
    network = model.motion(kind)
    if network is not None:
        stages["network"] = Stage()
    with VideoReader(path) as video:
        frames = stages["read"].each(islice(video.frames(rate), count))
    with FaceTracker() as tracker:
        tracker.track(frames[0].rgb)
        faces = [stages["track"](tracker.track, frame.rgb) for frame in frames]
    timed = None if network is None else lambda picture: stages["network"](network, picture)
    encoder, sent = Encoder(header, timed, plan=ConstantQuality()), []
    for frame, face in zip(frames, faces, strict=True):
        sup = None if face is None else face.sup
        sent.append(stages["code"](encoder.encode_tracked, frame, sup))
    renderer = model.renderer(source_set, header.profile, header.fps)
    decoder = Decoder(header, renderer)

    def decode(packet: Packet) -> DrawInputs | None:
        decoder.put(packet)
        return decoder.next(packet.number)

    shown = [stages["decode"](decode, packet) for packet in sent]
    for inputs in [inputs for inputs in shown if inputs is not None][:3]:
        renderer.draw(inputs)
    pictures: list[np.ndarray] = []
    for inputs in shown:  # a held frame is the last picture again, and costs no drawing
        pictures.append(pictures[-1] if inputs is None else stages["draw"](renderer.draw, inputs))
    with VideoWriter(folder / "stage.mp4", SIDE, SIDE, rate) as writer:
        for picture in pictures:
            stages["write"](writer.write, picture)
    return stages, pictures, (["track", "code"], ["decode", "draw"])


def _network_limits(preset: str, folder: Path, drawn: float, peak: dict[str, float]) -> dict[str, float]:
    source_set = SourceSet.parse((folder / "talk.fvs").read_bytes())
    model, compiled = draw_graph(preset, len(source_set.pictures))
    return distance(multiply_adds(model), bytes_moved(compiled), drawn, peak)


def _peers(
    pictures: list[np.ndarray], rate: Fraction, note: Note, folder: Path, drawn: float
) -> dict[str, dict[str, Any]]:
    """What else could send or draw these pictures, on the same cores. Codecs have one thread, networks all cores."""
    report: dict[str, dict[str, Any]] = {}
    known = anchors("slow")
    for system, quality in (("x265", 30.0), ("svtav1", 40.0), ("x264", 30.0)):
        chosen = list(islice(cycle(pictures), _PEER_FRAMES))
        start, cpu = time.perf_counter(), time.process_time()
        try:
            coded = encode_peer(known[system], quality, chosen, rate, folder)
        except av.FFmpegError as error:
            note(f"{system}: {reason(error)}")
            continue
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        report[f"{known[system].label}, encode"] = {
            "fps": round(_PEER_FRAMES / seconds, 1),
            "cpu_ms": round(1000 * cpu / _PEER_FRAMES, 2),
            "kbps": round(coded.bits * float(rate) / _PEER_FRAMES / 1000, 1),
        }
        (folder / "peer.mkv").write_bytes(coded.matroska)
        start = time.perf_counter()
        count = sum(1 for _ in read_pictures(folder / "peer.mkv"))
        report[f"{known[system].label.split()[0]}, decode"] = {"fps": round(count / (time.perf_counter() - start), 1)}
    try:
        report.update(_dense(drawn))
    except ModuleNotFoundError as error:
        note(f"dense first-order model: {error.name} is not installed; pip install 'fvc[measure]'")
    return report


def _dense(drawn: float) -> dict[str, dict[str, Any]]:
    """The dense first-order model in torch and in the runtime that ours has."""
    import openvino
    import torch

    from fvc.evaluation.speed.dense_first_order import DenseFirstOrder, example

    network, inputs = DenseFirstOrder().eval(), example()
    with torch.no_grad():
        torch_ms = 1000 * min(_timed(lambda: network(*inputs)) for _ in range(_DENSE_FRAMES))
        model = openvino.convert_model(network, example_input=inputs)
    model.reshape({n: list(tensor.shape) for n, tensor in enumerate(inputs)})
    request = compile_like_ours(model).create_infer_request()
    arrays = [tensor.numpy() for tensor in inputs]
    ours = 1000 * min(_timed(lambda: request.infer(arrays)) for _ in range(_DENSE_FRAMES))
    macs = round(multiply_adds(model) / 1e6, 1)
    return {
        "dense first-order model, torch": {"fps": round(1000 / torch_ms, 2), "mmacs": macs},
        "dense first-order model, OpenVINO": {
            "fps": round(1000 / ours, 2),
            "mmacs": macs,
            "times_slower_than_ours": round(ours / drawn, 1),
        },
    }


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def lines(report: dict[str, Any]) -> list[str]:
    """The report as text."""
    machine, limits = report["machine"], report["roofline"]
    text = [
        ", ".join(f"{name} {value}" for name, value in machine.items()),
        f"{'stage':<28}{'ms':>8}{'p95':>8}{'CPU ms':>8}",
        *(f"{n:<28}{s['ms']:8.2f}{s['p95_ms']:8.2f}{s['cpu_ms']:8.2f}" for n, s in report["stages"].items()),
    ]
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
