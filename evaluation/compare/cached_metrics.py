"""Metrics of decoded files against a clip's originals, kept in the cache under a hash of both."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from fvc.codec.base.cache import Cache, code_digest
from fvc.codec.base.reporting import Progress
from fvc.codec.face import cuts, detection, landmarks, patching, tracker
from fvc.evaluation.metrics import (
    catalog,
    face_metrics,
    frame_metrics,
    instruments,
    metrics,
    reference,
    video_metrics,
)
from fvc.evaluation.metrics.metrics import Metrics
from fvc.evaluation.metrics.reference import Reference
from fvc.evaluation.pictures import Originals, read_pictures

_TRACKING = (tracker, detection, cuts, landmarks, patching)
_MODULES = (metrics, catalog, face_metrics, frame_metrics, video_metrics, reference, instruments)
_METRICS_CODE = code_digest(*_MODULES, *_TRACKING)


class CachedMetrics:
    """Computes metrics of decoded files, one thread at a time: the networks need not be thread-safe.

    Attributes:
        missing: metric -> why it cannot be computed.
    """

    def __init__(self, clip: Originals, weights: Path | None, every: int, cache: Cache) -> None:
        self._clip, self._cache = clip, cache
        self._metrics = Metrics(weights, every)
        self._name = (_METRICS_CODE, str(every), _folder_digest(weights), clip.digest)
        self._reference: Reference | None = None
        self._lock = threading.Lock()
        self.missing = self._metrics.missing

    def of_file(self, path: Path, digest: str, frames: int, label: str, progress: Progress) -> dict[str, float | None]:
        """Metric -> value, of the first `frames` of the file at `path`.

        Args:
            digest: names the file's pictures in the cache; label: names them in `progress`.
        """
        pairs = islice(self._pairs(path, label, progress), frames)
        make = partial(self._compare, pairs, frames)
        with self._lock:
            values = self._cache.get(("metrics", digest, str(frames), *self._name), _load_json, make, _save_json)
        return {name: values[name] for name in self._metrics.names if name in values}

    def _compare(self, pairs: Iterator[tuple[np.ndarray, np.ndarray]], frames: int) -> dict[str, float | None]:
        if self._reference is None:
            make = partial(self._metrics.reference, self._clip.pictures())
            self._reference = self._cache.get(("reference", *self._name), Reference.load, make, Reference.save)
        return self._metrics.compare(pairs, self._reference.first(frames))

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
