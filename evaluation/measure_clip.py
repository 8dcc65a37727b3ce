"""One clip of `fvc measure`: fvc through its real bytes, every anchor on the same pictures, metrics of all of them.

What depends on nothing but the pictures and the settings (encodes of anchors, metrics) is kept in a cache under a
hash of both; fvc itself always runs.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import resource
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fvc.codec import tracking
from fvc.codec.bitstream import Crop
from fvc.codec.crop import cut
from fvc.codec.errors import FvcError
from fvc.codec.video import VideoReader
from fvc.evaluation import metrics as metrics_module
from fvc.evaluation import networks as networks_module
from fvc.evaluation import rates
from fvc.evaluation import reference as reference_module
from fvc.evaluation.anchors import LIBRARIES, Anchor, Encoded, anchors, encode
from fvc.evaluation.clips import Cache, code_digest
from fvc.evaluation.excerpt import shortened
from fvc.evaluation.metrics import METRICS, Metrics
from fvc.evaluation.ours import Run, run_fvc
from fvc.evaluation.pictures import read_pictures, write_lossless
from fvc.evaluation.reference import Reference
from fvc.evaluation.summary import COMPARED, against, curve_of
from fvc.files import Note, Progress, silent

_METRICS_CODE = code_digest(metrics_module, reference_module, networks_module, tracking)
_APART = 0.1  # relative difference of rate from which a point that the search tried is shown too


@dataclass(frozen=True)
class Settings:
    """What a run measures. `profiles[0]` is what anchors are compared with; `seconds`: only the start of each clip."""

    fps: Fraction
    codecs: tuple[str, ...]
    kbps: tuple[float, ...]
    profiles: tuple[str, ...]
    metric_weights: Path | None = None
    every: int = 10
    effort: str = "veryslow"
    seconds: float | None = None
    frames_per_packet: int = 1
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
        ours = [run_fvc(source, profile, settings.fps, *folders, note, progress) for profile in settings.profiles]
        clip = _reference(source, ours[0], settings, frames, progress)
        if any(run.frames != clip.frames or run.crop != clip.crop for run in ours):
            raise FvcError(f"{path.name}: profiles were not coded from the same pictures")
        judge = _Judge(clip, settings, note)
        points = [_our_point(run, clip, judge, settings, progress) for run in ours]
        curves = [_Curve(a, clip, settings, Path(work), note, progress) for a in _chosen(settings)]
        with ThreadPoolExecutor(settings.threads) as pool:
            measured = pool.map(partial(_measure_anchor, judge, points[0], frames), curves)
            of = {curve.anchor.system: found for curve, found in zip(curves, measured, strict=True)}
    return {
        "error": None,
        "seconds": clip.seconds,
        "frames": clip.frames,
        "crop": {"x": clip.crop.x, "y": clip.crop.y, "side": clip.crop.side},
        "source_bytes": ours[0].source_bytes,
        "reference": _relative(clip.path, frames),
        "peak_rss_mb": round(_peak_rss() / 1e6),
        "missing": judge.metrics.missing,
        "points": points + [point for anchor_points in of.values() for point in anchor_points],
        **against(points, of, ours[0].source_bytes),
    }


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


@dataclass(frozen=True)
class _Clip:
    """The pictures that all systems code: losslessly on disk, with a SHA-256 of their pixels."""

    path: Path
    crop: Crop
    fps: Fraction
    frames: int
    digest: str

    @property
    def seconds(self) -> float:
        return float(self.frames / self.fps)

    def pictures(self) -> Iterator[np.ndarray]:
        return read_pictures(self.path)


def _reference(source: Path, ours: Run, settings: Settings, frames: Path, progress: Progress) -> _Clip:
    path = frames / "input.mkv"

    def crops() -> Iterator[np.ndarray]:
        with VideoReader(source) as video:
            for frame in video.frames(settings.fps):
                progress("input", frame.index + 1, ours.frames)
                yield cut(frame.rgb, ours.crop)

    count, digest = write_lossless(path, crops(), settings.fps)
    return _Clip(path, ours.crop, settings.fps, count, digest)


def _our_point(run: Run, clip: _Clip, judge: _Judge, settings: Settings, progress: Progress) -> dict[str, Any]:
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
        "system": "fvc", "label": label, "profile": run.profile, "target_kbps": None, "targets": [],
        "is_floor": False, "setting": run.profile, "bits": bits,
        "kbps": {**plain, **{f"{n}_amortised": plain[n] + sources for n in ("video", "file", "wire")}},
        "metrics": judge(run.pictures, run.digest, label, progress),
        "frames": _relative(run.pictures, clip.path.parent),
    }  # fmt: skip


# Metrics


class _Judge:
    """Metrics of decoded pictures against the clip's, kept in the cache."""

    def __init__(self, clip: _Clip, settings: Settings, note: Note) -> None:
        self._clip, self._cache = clip, Cache(settings.cache, note)
        self.metrics = Metrics(settings.metric_weights, settings.every)
        self._name = (_METRICS_CODE, str(settings.every), _folder_digest(settings.metric_weights), clip.digest)
        self._reference: Reference | None = None
        self._turn = threading.Lock()  # networks need not stand two threads: OpenFace's takes derivatives

    def __call__(self, path: Path, digest: str, label: str, progress: Progress) -> dict[str, float | None]:
        """Metrics of the file at `path`, whose pictures `digest` names."""
        pairs = self._pairs(path, label, progress)
        make = partial(self._compare, pairs)
        with self._turn:
            values = self._cache.get(("metrics", digest, *self._name), _load_json, make, _save_json)
        return {name: values[name] for name in METRICS if name in values}

    def _compare(self, pairs: Iterator[tuple[np.ndarray, np.ndarray]]) -> dict[str, float | None]:
        if self._reference is None:
            make = partial(self.metrics.reference, self._clip.pictures())
            self._reference = self._cache.get(("reference", *self._name), Reference.load, make, Reference.save)
        return self.metrics.compare(pairs, self._reference)

    def _pairs(self, path: Path, label: str, progress: Progress) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for count, pair in enumerate(zip(self._clip.pictures(), read_pictures(path), strict=True)):
            progress(f"metrics of {label}", count + 1, self._clip.frames)
            yield pair


def _folder_digest(folder: Path | None) -> str:
    """SHA-256 of all files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")) if folder else ():
        if path.is_file() and path.suffix != ".pyc":
            digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _load_json(path: Path) -> dict[str, float | None]:
    return dict(json.loads(path.read_bytes()))


def _save_json(values: dict[str, float | None], path: Path) -> None:
    path.write_text(json.dumps(values))


# The anchors' side


def _chosen(settings: Settings) -> list[Anchor]:
    known = anchors(settings.effort)
    return [known[name] for name in settings.codecs]


@dataclass
class _Curve:
    """One anchor on one clip: all encodes that were tried, by value of the knob (None: its floor).

    Their sizes are in memory, the files in `work`.
    """

    anchor: Anchor
    clip: _Clip
    settings: Settings
    work: Path
    note: Note
    progress: Progress
    frame_bytes: dict[float | None, np.ndarray] = field(default_factory=dict)
    found: dict[float, float | None] = field(default_factory=dict)

    def reach(self, targets: set[float]) -> None:
        """Searches for these rates."""
        tried = {value: self.kbps(value) for value in self.frame_bytes}
        self.found.update(rates.search(self.kbps, self.anchor.knob, sorted(targets), tried=tried))

    def kbps(self, value: float | None) -> float:
        if value not in self.frame_bytes:
            self.progress(self.anchor.label, len(self.frame_bytes), None)
            make = partial(encode, self.anchor, value, self.clip.pictures(), self.clip.fps, self.work)
            cache = Cache(self.settings.cache, self.note)
            encoded = cache.get(self.name(value), Encoded.load, make, Encoded.save)
            self.file(value).write_bytes(encoded.matroska)
            self.frame_bytes[value] = encoded.frame_bytes
        return self.bits(value) / self.clip.seconds / 1000

    def bits(self, value: float | None) -> int:
        return 8 * int(self.frame_bytes[value].sum())

    def file(self, value: float | None) -> Path:
        return self.work / f"{self.anchor.system} {self.anchor.setting(value)} kept.mkv"

    def name(self, value: float | None) -> tuple[str, ...]:
        """Everything that an encode depends on."""
        options = json.dumps(self.anchor.at(value), sort_keys=True)
        return ("anchor", self.clip.digest, str(self.clip.fps), self.anchor.encoder, options, LIBRARIES)

    def shown(self) -> dict[float | None, list[float]]:
        """Values to show -> the targets that each serves: all found ones, and tried ones that lie apart from them."""
        shown: dict[float | None, list[float]] = {}
        for target, value in sorted(self.found.items()):
            shown.setdefault(value, []).append(target)
        for value in self.frame_bytes:
            near = (abs(self.kbps(value) / self.kbps(other) - 1) for other in shown)
            if value not in shown and min(near) > _APART:
                shown[value] = []
        return shown


def _measure_anchor(judge: _Judge, ours: dict[str, Any], frames: Path, curve: _Curve) -> list[dict[str, Any]]:
    """All points of an anchor: the asked rates, our rate, and the rate where its quality should be ours."""
    _single_thread()
    curve.reach({*curve.settings.kbps, round(ours["kbps"]["video"], 3)})
    points = _anchor_points(curve, judge, frames)
    metric = next((name for name in COMPARED if ours["metrics"].get(name) is not None), None)
    if metric is not None and curve.anchor.system == curve.settings.codecs[0]:
        rate, _ = rates.rate_for(curve_of(points, metric), ours["metrics"][metric], METRICS[metric][1])
        if rate is not None:
            curve.reach({round(rate, 3)})
            points = _anchor_points(curve, judge, frames)
    return points


def _anchor_points(curve: _Curve, judge: _Judge, frames: Path) -> list[dict[str, Any]]:
    clip, points = curve.clip, list[dict[str, Any]]()
    for value, targets in sorted(curve.shown().items(), key=lambda item: curve.kbps(item[0])):
        kbps = curve.kbps(value)
        path = frames / f"{curve.anchor.system}-{len(points)}.mkv"
        shutil.copyfile(curve.file(value), path)
        wire = rates.wire_bits(curve.frame_bytes[value], curve.settings.frames_per_packet) / clip.seconds / 1000
        digest = hashlib.sha256(repr(curve.name(value)).encode()).hexdigest()
        points.append({
            "system": curve.anchor.system, "label": curve.anchor.label, "profile": None,
            "target_kbps": targets[0] if targets else None, "targets": targets, "is_floor": value is None,
            "setting": curve.anchor.setting(value), "bits": curve.bits(value),
            "kbps": {
                "motion": None, "file": None, "wire": wire, "video": kbps,
                "video_amortised": kbps, "file_amortised": None, "wire_amortised": wire,
            },
            "metrics": judge(path, digest, curve.anchor.label, curve.progress),
            "frames": _relative(path, frames),
        })  # fmt: skip
    return points
