"""One clip of `fvc measure`: fvc through its real bytes, every anchor on the same pictures, metrics of all of them.

Results that depend only on the pictures and the options (encodes of anchors, metrics) are cached under a hash of both;
fvc itself always runs.
"""

from __future__ import annotations

import hashlib
import importlib
import resource
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fvc.codec.base.cache import Cache
from fvc.codec.base.constants import SIDE
from fvc.codec.base.errors import FvcError
from fvc.codec.base.reporting import Note, Progress, silent
from fvc.codec.face.crop import cut
from fvc.codec.media.video import VideoReader
from fvc.codec.source_builder import TrackedClip, track_video
from fvc.evaluation.compare.anchor import Anchor, Encoded
from fvc.evaluation.compare.anchors import anchors
from fvc.evaluation.compare.cached_metrics import CachedMetrics
from fvc.evaluation.compare.excerpt import shortened
from fvc.evaluation.compare.fvc_stream import FvcStream, run_fvc
from fvc.evaluation.compare.options import MeasureOptions, OperatingPoint
from fvc.evaluation.compare.people import person_of
from fvc.evaluation.compare.rates import wire_bits
from fvc.evaluation.compare.spans import span_frames
from fvc.evaluation.compare.summary import comparisons
from fvc.evaluation.metrics.catalog import CATALOG, compared_metrics
from fvc.evaluation.pictures import Originals, write_lossless

ENOUGH_KBPS = 60.0  # an anchor is coded up to this rate, and up to our quality
_Point = dict[str, Any]


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
        FvcError: the clip cannot be measured.
    """
    if options.metric_weights:
        importlib.import_module("torch")
    _single_thread()
    person = person_of(path)
    frames.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=frames) as work:
        source = shortened(path, options.seconds, Path(work)) if options.seconds else path
        with VideoReader(source) as video:
            tracked = track_video(video, options.rate, note, lambda _, *count: progress("fvc: tracking", *count))
            if tracked.crop.side < options.size > SIDE:
                raise FvcError(f"{path.name}: a face of {tracked.crop.side} pixels, fewer than `size` {options.size}")
            clip = _write_originals(video, tracked, frames, options.size, progress)
            ours = [
                run_fvc(video, tracked, options.encoder(point), frames / f"fvc-{number}.mkv", progress)
                for number, point in enumerate(options.operating_points)
            ]
        if any(stream.frames != clip.frames for stream in ours):
            raise FvcError(f"{path.name}: some frames could not be read a second time")
        points = _Points(clip, options, Cache(options.cache, note), Path(work), progress)
        our_points = [points.ours(*each) for each in zip(options.operating_points, ours, strict=True)]
        known = anchors(options.effort)
        climb = partial(points.of_anchor, our_points)
        found = _in_threads(points, climb, [known[name] for name in options.codecs], threads)
    return {
        "error": None,
        "person": person,
        "seconds": clip.seconds,
        "frames": clip.frames,
        "crop": {"x": tracked.crop.x, "y": tracked.crop.y, "side": tracked.crop.side},
        "source_bytes": ours[0].source_bytes,
        "reference": _relative(clip.path, frames),
        "peak_rss_mb": round(_peak_rss_bytes() / 1e6),
        "missing": points.metrics.missing,
        "points": [*our_points, *(point for each in found for point in each)],
        **comparisons(our_points, dict(zip(options.codecs, found, strict=True)), ours[0].source_bytes),
    }


def _in_threads(
    points: _Points, climb: Callable[[Anchor], list[_Point]], chosen: Sequence[Anchor], threads: int
) -> list[list[_Point]]:
    """`climb` on all anchors. If one fails, or the program should end, the others stop after their encode or frame."""
    stopping = threading.Event()
    points.progress = partial(_unless, stopping, points.progress)
    with ThreadPoolExecutor(threads) as pool:
        try:
            return list(pool.map(climb, chosen))
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


def _write_originals(video: VideoReader, clip: TrackedClip, frames: Path, side: int, progress: Progress) -> Originals:
    """Writes the crops that all systems code into `frames`."""
    path = frames / "input.mkv"

    def crops() -> Iterator[np.ndarray]:
        for frame in video.frames(clip.rate):
            progress("input", frame.index + 1, clip.seen.frames)
            yield cut(frame.rgb, clip.crop, side)

    count, digest = write_lossless(path, crops(), clip.rate)
    return Originals(path, clip.rate, count, digest)


class _Points:
    """Makes a clip's points: rates and metrics of each span, of our streams and of the anchors' encodes.

    Args:
        work: folder for temporary files.
    """

    def __init__(self, clip: Originals, options: MeasureOptions, cache: Cache, work: Path, progress: Progress) -> None:
        self.metrics = CachedMetrics(clip, options.metric_weights, options.every, cache)
        self.progress = progress
        self._clip, self._options, self._cache, self._work = clip, options, cache, work
        self._spans = span_frames(clip.frames, clip.fps)

    def ours(self, asked: OperatingPoint, stream: FvcStream) -> _Point:
        """The point of one of our streams."""
        bits = {n: stream.bits(n, self._options.frames_per_packet) for n in self._spans.values()}
        return {
            "system": "fvc",
            "label": asked.label,
            "profile": asked.profile,
            "is_floor": False,
            "setting": "default" if asked.kbps is None else f"{asked.kbps:g} kbps",
            **self._measured(stream.pictures, stream.digest, bits, asked.label),
        }

    def of_anchor(self, ours: list[_Point], anchor: Anchor) -> list[_Point]:
        """An anchor's points from its floor on, until its rate is `ENOUGH_KBPS` and its quality that of all ours."""
        _single_thread()
        points: list[_Point] = []
        for value in anchor.ladder:
            points.append(self._coded(anchor, value, len(points)))
            if _is_enough(points[-1], ours):
                break
        return points

    def _coded(self, anchor: Anchor, value: float, number: int) -> _Point:
        name = ("anchor", self._clip.digest, str(self._clip.fps), *anchor.identity(value))
        self.progress(anchor.label, number, None)
        make = partial(anchor.encode, value, self._clip, self._work)
        encoded = self._cache.get(name, Encoded.load, make, Encoded.save)
        path = self._clip.path.parent / f"{anchor.system}-{number}.mkv"
        path.write_bytes(encoded.matroska)
        bits = {
            n: {
                "all": 8 * int(encoded.frame_bytes[:n].sum()),
                "wire": wire_bits(encoded.frame_bytes[:n], self._options.frames_per_packet),
            }
            for n in self._spans.values()
        }
        return {
            "system": anchor.system,
            "label": anchor.label,
            "profile": None,
            "is_floor": number == 0,
            "setting": anchor.setting(value),
            **self._measured(path, hashlib.sha256(repr(name).encode()).hexdigest(), bits, anchor.label),
        }

    def _measured(self, path: Path, digest: str, bits: dict[int, dict[str, int]], label: str) -> _Point:
        """ "spans" and "frames" of a point whose pictures are at `path`; `bits` by number of frames."""
        spans = {
            span: {
                "kbps": {kind: count * float(self._clip.fps) / n / 1000 for kind, count in bits[n].items()},
                "metrics": self.metrics.of_file(path, digest, n, label, self.progress),
            }
            for span, n in self._spans.items()
        }
        return {"spans": spans, "frames": _relative(path, self._clip.path.parent)}


def _is_enough(point: _Point, ours: list[_Point]) -> bool:
    """Whether an anchor's point has rate and quality enough, in the whole clip."""
    whole = point["spans"]["whole"]
    if whole["kbps"]["all"] < ENOUGH_KBPS:
        return False
    metric = next((name for name in compared_metrics() if whole["metrics"].get(name) is not None), None)
    wanted = [p["spans"]["whole"]["metrics"].get(metric) for p in ours] if metric else []
    sign = 1 if metric and CATALOG[metric].higher_is_better else -1
    return all(sign * whole["metrics"][metric] >= sign * value for value in wanted if value is not None)
