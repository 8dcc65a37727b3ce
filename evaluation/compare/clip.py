"""One clip of `fvc measure`: fvc through its real bytes, every anchor on the same pictures, metrics of all of them.

Results that depend only on the pictures and the options (encodes of anchors, metrics) are cached under a hash of both;
fvc itself always runs.
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
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from fvc.codec.base.cache import Cache
from fvc.codec.base.errors import FvcError
from fvc.codec.base.reporting import Note, Progress, silent
from fvc.codec.face.crop import cut
from fvc.codec.media.video import VideoReader
from fvc.codec.source_builder import TrackedClip, track_video
from fvc.evaluation.compare import rates
from fvc.evaluation.compare.anchors import anchors
from fvc.evaluation.compare.cached_metrics import CachedMetrics
from fvc.evaluation.compare.curve import Curve
from fvc.evaluation.compare.excerpt import shortened
from fvc.evaluation.compare.fvc_stream import FvcStream, run_fvc
from fvc.evaluation.compare.options import MeasureOptions
from fvc.evaluation.compare.summary import comparisons, curve_of
from fvc.evaluation.metrics.catalog import CATALOG, compared_metrics
from fvc.evaluation.pictures import Originals, write_lossless

_T = TypeVar("_T")
_Points = list[dict[str, Any]]


def measure_clip(
    path: Path,
    frames: Path,
    options: MeasureOptions,
    threads: int = 1,
    note: Note = silent,
    progress: Progress = silent,
) -> dict[str, Any]:
    """The clip's entry in results.json.

    Args:
        path: the video.
        frames: a folder for the pictures of all points, made here; its parent is the folder of the results.
        threads: anchors that are coded at a time.

    Raises:
        FvcError: the clip cannot be measured. av.FFmpegError: an encoder failed.
    """
    if options.metric_weights:
        importlib.import_module("torch")
    _single_thread()
    frames.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=frames) as work:
        source = shortened(path, options.seconds, Path(work)) if options.seconds else path
        cache = Cache(options.cache, note)
        with VideoReader(source) as video:
            tracked = track_video(video, options.rate, note, lambda _, *count: progress("fvc: tracking", *count))
            clip = _write_originals(video, tracked, frames, progress)
            ours = [run_fvc(video, tracked, options.encoder(p), frames, progress) for p in options.profile_labels]
        if any(stream.frames != clip.frames for stream in ours):
            raise FvcError(f"{path.name}: some frames could not be read a second time")
        metrics = CachedMetrics(clip, options.metric_weights, options.every, cache)
        our_points = [_our_point(stream, clip, metrics, options, progress) for stream in ours]
        search = _AnchorSearch(options, metrics, our_points[0], frames)
        known = anchors(options.effort)
        curves = [Curve(known[name], clip, Path(work), cache, progress) for name in options.codecs]
        found = _in_threads(search.points, curves, threads)
        anchor_points = {curve.anchor.system: points for curve, points in zip(curves, found, strict=True)}
    return {
        "error": None,
        "seconds": clip.seconds,
        "frames": clip.frames,
        "crop": {"x": tracked.crop.x, "y": tracked.crop.y, "side": tracked.crop.side},
        "source_bytes": ours[0].source_bytes,
        "reference": _relative(clip.path, frames),
        "peak_rss_mb": round(_peak_rss_bytes() / 1e6),
        "missing": metrics.missing,
        "points": [*our_points, *(point for points in found for point in points)],
        **comparisons(our_points, anchor_points, ours[0].source_bytes),
    }


def _in_threads(work: Callable[[Curve], _T], curves: Sequence[Curve], threads: int) -> list[_T]:
    """`work` on all curves. If one fails, or the program should end, the others stop at their next frame."""
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
    """Passes progress on. Raises FvcError once `stopping` is set."""
    if stopping.is_set():
        raise FvcError("stopped")
    progress(stage, done, total)


def _single_thread() -> None:
    """One thread for each system that is measured: with torch's own threads, busy cores make it ten times slower."""
    cv2.setNumThreads(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _peak_rss_bytes() -> int:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _relative(path: Path, frames: Path) -> str:
    """A file's name as results.json has it: from the folder of the results."""
    return path.relative_to(frames.parent.parent).as_posix()


def _write_originals(video: VideoReader, clip: TrackedClip, frames: Path, progress: Progress) -> Originals:
    """Writes the crops that all systems code into `frames`."""
    path = frames / "input.mkv"

    def crops() -> Iterator[np.ndarray]:
        for frame in video.frames(clip.rate):
            progress("input", frame.index + 1, clip.seen.frames)
            yield cut(frame.rgb, clip.crop)

    count, digest = write_lossless(path, crops(), clip.rate)
    return Originals(path, clip.rate, count, digest)


def _our_point(
    stream: FvcStream, clip: Originals, metrics: CachedMetrics, options: MeasureOptions, progress: Progress
) -> dict[str, Any]:
    """The entry of one profile among the clip's points."""

    def kbps(bits: float) -> float:
        return bits / clip.seconds / 1000

    bits, sources = 8 * sum(stream.payload_bytes), kbps(8 * stream.source_bytes)
    plain = {
        "motion": kbps(bits),
        "file": kbps(8 * stream.stream_bytes),
        "wire": kbps(rates.wire_bits(stream.packet_bytes, options.frames_per_packet)),
        "video": kbps(bits),
    }
    label = f"fvc {stream.profile}"
    return {
        "system": "fvc",
        "label": label,
        "profile": stream.profile,
        "target_kbps": None,
        "targets": [],
        "is_floor": False,
        "setting": stream.profile,
        "bits": bits,
        "kbps": {**plain, **{f"{n}_amortised": plain[n] + sources for n in ("video", "file", "wire")}},
        "metrics": metrics.of_file(stream.pictures, stream.digest, label, progress),
        "frames": _relative(stream.pictures, clip.path.parent),
    }


class _AnchorSearch:
    """Finds the points of anchors that are compared with ours.

    Args:
        ours: our point; frames: folder for the pictures of all points.
    """

    def __init__(self, options: MeasureOptions, metrics: CachedMetrics, ours: dict[str, Any], frames: Path) -> None:
        self._options = options
        self._metrics = metrics
        self._ours = ours
        self._frames = frames

    def points(self, curve: Curve) -> _Points:
        """All points of an anchor: at the target rates, at our rates, and at our quality."""
        _single_thread()
        curve.reach({*self._options.target_kbps, *self._our_rates(curve.clip)})
        points = self._measured(curve)
        values = self._ours["metrics"]
        metric = next((name for name in compared_metrics() if values.get(name) is not None), None)
        if metric is not None and curve.anchor.system == self._options.codecs[0]:
            better = CATALOG[metric].higher_is_better
            rate, _ = rates.rate_for(curve_of(points, metric), values[metric], better)
            if rate is not None:
                curve.reach({round(rate, 3)})
                points = self._measured(curve)
        return points

    def _our_rates(self, clip: Originals) -> list[float]:
        """kbit/s of pictures at which an anchor has our rate: by pictures alone, and by the wire without headers."""
        headers = rates.wire_bits([0] * clip.frames, self._options.frames_per_packet) / clip.seconds / 1000
        kbps = self._ours["kbps"]
        return [round(rate, 3) for rate in (kbps["video"], kbps["wire"] - headers, kbps["wire_amortised"] - headers)]

    def _measured(self, curve: Curve) -> _Points:
        """The points for the report, by rising rate, with their metrics."""
        values = sorted(curve.shown().items(), key=lambda item: curve.kbps(item[0]))
        return [self._point(curve, number, value, targets) for number, (value, targets) in enumerate(values)]

    def _point(self, curve: Curve, number: int, value: float | None, targets: list[float]) -> dict[str, Any]:
        anchor, kbps = curve.anchor, curve.kbps(value)
        path = self._frames / f"{anchor.system}-{number}.mkv"
        shutil.copyfile(curve.file(value), path)
        bits = rates.wire_bits(curve.frame_bytes[value], self._options.frames_per_packet)
        wire = bits / curve.clip.seconds / 1000
        digest = hashlib.sha256(repr(curve.name(value)).encode()).hexdigest()
        return {
            "system": anchor.system,
            "label": anchor.label,
            "profile": None,
            "target_kbps": targets[0] if targets else None,
            "targets": targets,
            "is_floor": value is None,
            "setting": anchor.setting(value),
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
            "metrics": self._metrics.of_file(path, digest, anchor.label, curve.progress),
            "frames": _relative(path, self._frames),
        }
