"""One clip of `fvc measure`: fvc through its real bytes, every anchor on the same pictures, metrics of all of them.

What depends on nothing but the pictures and the settings (encodes of anchors, metrics) is kept in a cache under a
hash of both; fvc itself always runs.
"""

from __future__ import annotations

import hashlib
import importlib
import resource
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from fvc.codec.errors import FvcError
from fvc.codec.face.crop import cut
from fvc.codec.media.video import VideoReader
from fvc.evaluation.clips import Cache
from fvc.evaluation.compare import rates
from fvc.evaluation.compare.anchors import Anchor, anchors
from fvc.evaluation.compare.curve import Curve
from fvc.evaluation.compare.excerpt import shortened
from fvc.evaluation.compare.judge import Judge
from fvc.evaluation.compare.ours import Run, run_fvc
from fvc.evaluation.compare.pictures import Originals, write_lossless
from fvc.evaluation.compare.summary import COMPARED, against, curve_of
from fvc.evaluation.metrics.metrics import METRICS
from fvc.jobs.paths import Note, Progress, silent

_T = TypeVar("_T")


@dataclass(frozen=True)
class Settings:
    """What a run measures. `profiles[0]` is what anchors are compared with; `seconds`: only the start of each clip;
    `source_frames`, `source_bytes`: as `fvc encode` is told."""

    fps: Fraction
    codecs: tuple[str, ...]
    kbps: tuple[float, ...]
    profiles: tuple[str, ...]
    metric_weights: Path | None = None
    every: int = 10
    effort: str = "veryslow"
    seconds: float | None = None
    frames_per_packet: int = 1
    source_frames: int | None = None
    source_bytes: int | None = None
    cache: Path | None = None
    threads: int = 1


def measure_clip(
    path: Path, frames: Path, settings: Settings, note: Note = silent, progress: Progress = silent
) -> dict[str, Any]:
    """The clip's entry in results.json.

    Args:
        path: the video; frames: a folder for pictures of all points, made here; its parent is the result's folder.

    Raises:
        FvcError: the clip cannot be measured. av.FFmpegError: an encoder failed.
    """
    if settings.metric_weights:
        importlib.import_module("torch")
    _single_thread()
    frames.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=frames) as work:
        source = shortened(path, settings.seconds, Path(work)) if settings.seconds else path
        folders = Path(work), frames
        told = {name: getattr(settings, name) for name in ("fps", "source_frames", "source_bytes")}
        ours = [run_fvc(source, profile, *folders, note, progress, **told) for profile in settings.profiles]
        crop, cache = ours[0].crop, Cache(settings.cache, note)
        clip = _reference(source, ours[0], settings, frames, progress)
        if any(run.frames != clip.frames or run.crop != crop for run in ours):
            raise FvcError(f"{path.name}: profiles were not coded from the same pictures")
        judge = Judge(clip, settings.metric_weights, settings.every, cache)
        points = [_our_point(run, clip, judge, settings, progress) for run in ours]
        curves = [Curve(a, clip, Path(work), cache, progress) for a in _chosen(settings)]
        measured = _in_threads(partial(_measure_anchor, settings, judge, points[0], frames), curves, settings.threads)
        of = {curve.anchor.system: found for curve, found in zip(curves, measured, strict=True)}
    return {
        "error": None,
        "seconds": clip.seconds,
        "frames": clip.frames,
        "crop": {"x": crop.x, "y": crop.y, "side": crop.side},
        "source_bytes": ours[0].source_bytes,
        "reference": _relative(clip.path, frames),
        "peak_rss_mb": round(_peak_rss() / 1e6),
        "missing": judge.metrics.missing,
        "points": points + [point for anchor_points in of.values() for point in anchor_points],
        **against(points, of, ours[0].source_bytes),
    }


def _in_threads(work: Callable[[Curve], _T], curves: Sequence[Curve], threads: int) -> list[_T]:
    """`work` on all curves. Where one fails, or the program is asked to end, the others stop at their next frame."""
    stopping = threading.Event()
    for curve in curves:
        curve.progress = partial(_unless, stopping, curve.progress)
    with ThreadPoolExecutor(threads) as pool:
        try:
            return list(pool.map(work, curves))
        except BaseException:
            stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _unless(stopping: threading.Event, progress: Progress, stage: str, done: float, total: float | None) -> None:
    if stopping.is_set():
        raise FvcError("stopped")
    progress(stage, done, total)


def _single_thread() -> None:
    """One thread for each system that is measured: torch's own ones cost ten times the time where cores are busy."""
    cv2.setNumThreads(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _peak_rss() -> int:
    """Bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _relative(path: Path, frames: Path) -> str:
    return path.relative_to(frames.parent.parent).as_posix()


def _reference(source: Path, ours: Run, settings: Settings, frames: Path, progress: Progress) -> Originals:
    path = frames / "input.mkv"

    def crops() -> Iterator[np.ndarray]:
        with VideoReader(source) as video:
            for frame in video.frames(settings.fps):
                progress("input", frame.index + 1, ours.frames)
                yield cut(frame.rgb, ours.crop)

    count, digest = write_lossless(path, crops(), settings.fps)
    return Originals(path, settings.fps, count, digest)


def _our_point(run: Run, clip: Originals, judge: Judge, settings: Settings, progress: Progress) -> dict[str, Any]:
    def kbps(bits: float) -> float:
        return bits / clip.seconds / 1000

    bits, sources = 8 * sum(run.payload), kbps(8 * run.source_bytes)
    plain = {
        "motion": kbps(bits),
        "file": kbps(8 * run.file_bytes),
        "wire": kbps(rates.wire_bits(run.packets, settings.frames_per_packet)),
        "video": kbps(bits),
    }
    label = f"fvc {run.profile}"
    return {
        "system": "fvc",
        "label": label,
        "profile": run.profile,
        "target_kbps": None,
        "targets": [],
        "is_floor": False,
        "setting": run.profile,
        "bits": bits,
        "kbps": {**plain, **{f"{n}_amortised": plain[n] + sources for n in ("video", "file", "wire")}},
        "metrics": judge(run.pictures, run.digest, label, progress),
        "frames": _relative(run.pictures, clip.path.parent),
    }


def _chosen(settings: Settings) -> list[Anchor]:
    known = anchors(settings.effort)
    return [known[name] for name in settings.codecs]


def _measure_anchor(
    settings: Settings, judge: Judge, ours: dict[str, Any], frames: Path, curve: Curve
) -> list[dict[str, Any]]:
    """All points of an anchor: the asked rates, our rates, and the rate where its quality should be ours."""
    _single_thread()
    headers = rates.wire_bits([0] * curve.clip.frames, settings.frames_per_packet) / curve.clip.seconds / 1000
    ours_on_wire = (ours["kbps"][kind] - headers for kind in ("wire", "wire_amortised"))
    curve.reach({*settings.kbps, *(round(rate, 3) for rate in (ours["kbps"]["video"], *ours_on_wire))})
    points = _anchor_points(curve, judge, frames, settings.frames_per_packet)
    metric = next((name for name in COMPARED if ours["metrics"].get(name) is not None), None)
    if metric is not None and curve.anchor.system == settings.codecs[0]:
        rate, _ = rates.rate_for(curve_of(points, metric), ours["metrics"][metric], METRICS[metric][1])
        if rate is not None:
            curve.reach({round(rate, 3)})
            points = _anchor_points(curve, judge, frames, settings.frames_per_packet)
    return points


def _anchor_points(curve: Curve, judge: Judge, frames: Path, frames_per_packet: int) -> list[dict[str, Any]]:
    clip, points = curve.clip, list[dict[str, Any]]()
    for value, targets in sorted(curve.shown().items(), key=lambda item: curve.kbps(item[0])):
        kbps = curve.kbps(value)
        path = frames / f"{curve.anchor.system}-{len(points)}.mkv"
        shutil.copyfile(curve.file(value), path)
        wire = rates.wire_bits(curve.frame_bytes[value], frames_per_packet) / clip.seconds / 1000
        digest = hashlib.sha256(repr(curve.name(value)).encode()).hexdigest()
        points.append(
            {
                "system": curve.anchor.system,
                "label": curve.anchor.label,
                "profile": None,
                "target_kbps": targets[0] if targets else None,
                "targets": targets,
                "is_floor": value is None,
                "setting": curve.anchor.setting(value),
                "bits": curve.bits(value),
                "kbps": {
                    "motion": None,
                    "file": None,
                    "wire": wire,
                    "video": kbps,
                    "video_amortised": kbps,
                    "file_amortised": None,
                    "wire_amortised": wire,
                },
                "metrics": judge(path, digest, curve.anchor.label, curve.progress),
                "frames": _relative(path, frames),
            }
        )
    return points
