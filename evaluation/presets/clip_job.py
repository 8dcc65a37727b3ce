"""One clip through all systems of an evaluation: a job, which may run in any process on any machine.

What it found is kept in the cache, so a run that was stopped goes on with the clips that are left.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fvc.codec.base.cache import Cache, code_digest
from fvc.codec.base.errors import FvcError, OutputError
from fvc.codec.base.hashing import file_hash
from fvc.codec.base.reporting import Note, silent
from fvc.codec.dataset import Clip, ClipFile, open_clip, yaw_range
from fvc.codec.options import EncoderOptions
from fvc.evaluation.metrics import instruments as instruments_module
from fvc.evaluation.metrics import reference as reference_module
from fvc.evaluation.metrics.metrics import Metrics
from fvc.evaluation.metrics.reference import Reference
from fvc.evaluation.people.study_videos import StudyVideos
from fvc.evaluation.presets.strips import Strip
from fvc.evaluation.presets.systems import ClipRun, System
from fvc.models.weights import model_hash

_T = TypeVar("_T")
_CODE = Path(__file__).parents[2]
_ROOMS = ("codec", "models", "evaluation")  # whose code decides what a clip's rows are


@dataclass(frozen=True)
class ClipJob:
    """A clip, and what is to be done with it; see `evaluate.evaluate`.

    Attributes:
        cache: folder of the cache; None: the user's.
        resumes: whether rows of an earlier run are taken from there; else only what is known of the originals.
        draws_strips: whether a strip of pictures is wanted.
        study: folder of a study of people, which gets the videos (`people.study_page`); None: none.
        min_turn: the clip is left out unless its yaw ranges over more radians.
    """

    file: ClipFile
    systems: tuple[System, ...]
    options: EncoderOptions
    metric_weights: Path | None
    every: int
    cache: Path | None = None
    resumes: bool = False
    draws_strips: bool = False
    min_turn: float = 0.0
    study: Path | None = None

    @property
    def name(self) -> str:
        """Of the clip, see `codec.dataset.ClipFile`."""
        return self.file.name


@dataclass
class ClipResult:
    """What a clip gave: a row for each system, failures (system -> why), notes, and the strip as a PNG (or nothing)."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    strip: bytes = b""

    def save(self, path: Path) -> None:
        """As a .npz."""
        text = json.dumps([self.rows, self.failed, self.notes])
        with open(path, "wb") as file:
            np.savez(file, text=np.array(text), strip=np.frombuffer(self.strip, np.uint8))

    @classmethod
    def load(cls, path: Path) -> ClipResult:
        """What `save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            rows, failed, notes = json.loads(str(stored["text"]))
            return cls(rows, failed, notes, stored["strip"].tobytes())


class FrameCount:
    """Counts the passes over a clip's frames, of which each system makes one, the tracker and the metrics another.

    Args:
        each: called with the share of the clip that is done.
    """

    def __init__(self, systems: int, each: Callable[[float], None] = lambda _: None) -> None:
        self._passes, self._each = systems + 2, each
        self._frames, self._of_clip = 0, 0

    def tracked(self, frames: int) -> None:
        """The clip has this many frames, and their tracking is done."""
        self._of_clip = self._frames = frames

    def frame(self) -> None:
        """Counts one pass of one frame."""
        self._frames += 1
        self._each(min(self._frames / (self._passes * self._of_clip), 1.0) if self._of_clip else 0.0)

    def of(self, items: Iterable[_T]) -> Iterator[_T]:
        """The items, each counted as a frame."""
        for item in items:
            yield item
            self.frame()


@cache
def _code() -> str:
    """Digest of all code that decides what a clip's rows are."""
    paths = sorted(path for room in _ROOMS for path in (_CODE / room).rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


@cache
def _metrics(weights: Path | None, every: int) -> Metrics:
    """Loaded once for each process."""
    metrics = Metrics(weights, every)
    metrics.networks.load()
    return metrics


def evaluate_clip(job: ClipJob, count: FrameCount | None = None, note: Note = silent) -> ClipResult:
    """The clip's rows, computed now or in an earlier run.

    Errors of the clip or of a system become failures with a note. Raises OutputError.
    """
    keeper = Cache(job.cache, note)
    if not job.resumes:
        return _evaluate(job, keeper, count or FrameCount(len(job.systems)))
    weights = [(system.name, model_hash(system.weights).hex(), system.profile.label) for system in job.systems]
    networks = _metrics(job.metric_weights, job.every).networks.digest
    settings = repr((job.options, job.every, job.draws_strips, job.min_turn, networks, weights))
    name = ("clip", _code(), file_hash(job.file.path), str(job.file.rotation), job.name, settings)
    return keeper.get(
        name, ClipResult.load, lambda: _evaluate(job, keeper, count or FrameCount(len(weights))), ClipResult.save
    )


def _evaluate(job: ClipJob, keeper: Cache, count: FrameCount) -> ClipResult:
    result = ClipResult()
    try:
        with open_clip(job.file, job.options.rate, keeper, count.frame) as clip:
            count.tracked(clip.seen.frames)
            if (turn := _turn(clip)) <= job.min_turn > 0:
                result.notes.append(f"{clip.name}: turns by {turn:.2f} rad only; left out")
                return result
            _run_systems(job, clip, keeper, count, result)
    except OutputError:
        raise
    except FvcError as error:
        result.notes.append(f"{error}; left out")
        result.failed = {system.name: str(error) for system in job.systems}
    return result


def _turn(clip: Clip) -> float:
    """From the least to the greatest yaw, radians: the rule of the paper's DFDC-rotations."""
    return float(np.ptp(clip.seen.yaw))


def _run_systems(job: ClipJob, clip: Clip, keeper: Cache, count: FrameCount, result: ClipResult) -> None:
    """Adds the clip's rows; a system that fails on it is noted."""
    metrics = _metrics(job.metric_weights, job.every)
    reference = _reference(clip, metrics, keeper, count)
    strip = Strip(reference)
    for system in job.systems:
        try:
            run = ClipRun(clip, system, job.options.source_frames, job.options.quantizer)
            pairs = strip.watched(run.pairs(), system.name, run.sources.pictures) if job.draws_strips else run.pairs()
            if job.study is not None:
                videos = StudyVideos(job.study, tuple(each.name for each in job.systems))
                pairs = videos.recorded(pairs, clip.name, system.name, clip.rate)
            row = metrics.compare(count.of(pairs), reference)
        except FvcError as error:
            result.notes.append(f"{clip.name}, {system.name}: {error}; left out")
            result.failed[system.name] = str(error)
            continue
        about: dict[str, Any] = {"clip": clip.name, "system": system.name, "rotation": bool(clip.rotation)}
        about |= {"yaw_range": round(yaw_range(clip.seen.yaw), 4), "turn": _turn(clip), "length": clip.seen.frames}
        result.rows.append({**about, **row, **run.rates()})
    if job.draws_strips:
        result.strip = strip.png()


def _reference(clip: Clip, metrics: Metrics, keeper: Cache, count: FrameCount) -> Reference:
    """The results of trackers and networks on the clip's originals, from now or from an earlier run."""

    def look() -> Reference:
        return metrics.reference(count.of(original for _, original in clip.frames()))

    code, networks = code_digest(reference_module, instruments_module), metrics.networks.digest
    name = ("reference", code, clip.key, str(clip.rate), repr(clip.crop), str(metrics.every), networks)
    return keeper.get(name, Reference.load, look, Reference.save)
