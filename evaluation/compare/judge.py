"""Metrics of decoded files against a clip's originals, kept under a hash of both."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from fvc.codec.face import tracker
from fvc.evaluation.clips import Cache, code_digest
from fvc.evaluation.compare.pictures import Originals, read_pictures
from fvc.evaluation.metrics import instruments as instruments_module
from fvc.evaluation.metrics import metrics as metrics_module
from fvc.evaluation.metrics import reference as reference_module
from fvc.evaluation.metrics.metrics import METRICS, Metrics
from fvc.evaluation.metrics.reference import Reference
from fvc.jobs.paths import Progress

_METRICS_CODE = code_digest(metrics_module, reference_module, instruments_module, tracker)


class Judge:
    """Metrics of decoded pictures against the clip's, kept in the cache."""

    def __init__(self, clip: Originals, weights: Path | None, every: int, cache: Cache) -> None:
        self._clip, self._cache = clip, cache
        self.metrics = Metrics(weights, every)
        self._name = (_METRICS_CODE, str(every), _folder_digest(weights), clip.digest)
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
