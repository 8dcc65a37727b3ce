"""Runs systems over the clips of a split and says how good their pictures are: `fvc evaluate`.

Per clip and system: sources as `fvc encode` chooses them, every frame through sender, packets and receiver, metrics
of the drawn crops against the originals. Tables give the mean over clips with its standard error, separately for
clips that turn ("rotations"), those that do not ("frontal") and all.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from fvc.codec.version import __version__
from fvc.codec.errors import FvcError, InputError, OutputError, UsageError
from fvc.codec.media.output import check_folder
from fvc.codec.options import EncoderOptions
from fvc.codec.reporting import Note, Progress, silent
from fvc.evaluation.clips import Cache, Clip, code_digest, find_clips, opened, yaw_range
from fvc.evaluation.metrics import instruments as instruments_module
from fvc.evaluation.metrics import reference as reference_module
from fvc.evaluation.metrics.metrics import Metrics
from fvc.evaluation.metrics.reference import Reference
from fvc.evaluation.presets.strips import Strip
from fvc.evaluation.presets.systems import RATES, Call, System, default_of, parse_systems
from fvc.jobs.paths import file_path

GROUPS = ("rotations", "frontal", "all")
NO_CLIP = "no clip of this kind was evaluated"
NO_FACE = "no frame with a face in it on both sides"


@dataclass
class Result:
    """What a run gave.

    Attributes:
        systems: their names, in order; values: the names of metrics and rates.
        rows: one per clip and system: "clip", "system", "rotation", "yaw_range", "frames" and the values.
        failed: system -> clip -> why; missing: metric -> why; settings: what the run was told.
    """

    systems: list[str]
    values: tuple[str, ...]
    default: str | None
    missing: dict[str, str]
    settings: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    failed: dict[str, dict[str, str]] = field(default_factory=dict)

    def group(self, system: str, name: str) -> dict[str, Any]:
        """Means over the clips of a group, "standard_error" of each, "clips" counted, "missing" with reasons."""
        rows = [row for row in self.rows if row["system"] == system and _belongs(row, name)]
        means: dict[str, Any] = {}
        errors: dict[str, float | None] = {}
        missing: dict[str, str] = {}
        for value in self.values:
            known = [row[value] for row in rows if row[value] is not None]
            means[value] = _round(float(np.mean(known))) if known else None
            errors[value] = _round(float(np.std(known, ddof=1)) / math.sqrt(len(known))) if len(known) > 1 else None
            if not known:
                missing[value] = self.missing.get(value) or (NO_FACE if rows else NO_CLIP)
        return {**means, "clips": len(rows), "standard_error": errors, "missing": missing}

    def report(self) -> dict[str, Any]:
        """The object that `fvc evaluate --json` prints."""
        systems: dict[str, Any] = {}
        for system in self.systems:
            systems[system] = {name: self.group(system, name) for name in GROUPS}
            systems[system]["all"]["failed"] = self.failed.get(system, {})
        return {"systems": systems, "default": self.default}


def _belongs(row: dict[str, Any], group: str) -> bool:
    return group == "all" or row["rotation"] == (group == "rotations")


def _round(value: float) -> float:
    return float(f"{value:.6g}")


def evaluate(
    presets: Sequence[str],
    data: Path,
    *,
    split: str = "val",
    metric_weights: Path | None = None,
    out: Path | None = None,
    cache: Path | None = None,
    fps: str | float | Fraction = 15,
    profiles: Sequence[str] = (),
    every: int = 5,
    source_frames: int | None = None,
    quantizer: str = "default",
    limit: int | None = None,
    note: Note = silent,
    progress: Progress = silent,
) -> Result:
    """Evaluates systems on the clips of `data/split`.

    Args:
        presets: `preset`, `preset:profile` or a folder with exported weights; none: all that are installed.
        metric_weights: folder of the metrics' networks (see `instruments`); None: their metrics are missing.
        out: folder for report.md, results.json, plots and strips of pictures; None: nothing is written.
        cache: folder where tracking and everything else about the originals is kept; None: the platform's.
        profiles: for presets that name none.
        every: LPIPS, SSIM and the networks look at every n-th frame.
        source_frames: how many source pictures each system gets, 1 to 8; None: as `fvc encode`.
        quantizer: "default", or "paper" (see `systems.Call`).
        limit: only so many clips, by name.
        note: told of clips that fail (the run goes on); progress: called with (stage, done, total).

    Raises:
        FvcError: see `fvc.codec.errors`; also when every clip fails.
    """
    if every < 1 or (limit is not None and limit < 1):
        raise UsageError("--every and --limit must be 1 or more")
    options = EncoderOptions(fps=fps, quantizer=quantizer, source_frames=source_frames)  # refuses before minutes of tracking
    rate, systems, files = options.rate, parse_systems(presets, profiles), find_clips(data, split, limit)
    metrics = Metrics(metric_weights, every)
    metrics.networks.load()
    strips = _strips_folder(out)
    values = (*metrics.names, *RATES)
    settings = {
        "split": split,
        "clips": len(files),
        "fps": round(float(rate), 3),
        "every": every,
        "source_frames": source_frames,
        "quantizer": quantizer,
        "version": __version__,
    }
    result = Result([s.name for s in systems], values, default_of(systems), metrics.missing, settings)
    known = Cache(cache, note)
    work = _Work(len(files), len(systems), progress)
    for file in files:
        work.file = file.path.name
        try:
            with opened(file, rate, known, work.frame) as clip:
                work.expect(clip.seen.frames)
                reference = _reference(clip, metrics, known, work)
                _evaluate_clip(clip, systems, source_frames, quantizer, reference, metrics, result, strips, note, work)
        except OutputError:
            raise
        except FvcError as error:
            note(f"{error}; left out")
            for system in systems:
                result.failed.setdefault(system.name, {})[file.path.name] = str(error)
        work.clip_done()
    if not result.rows:
        for folder in (strips, out) if strips else ():
            with contextlib.suppress(OSError):  # not empty: there was something before
                folder.rmdir()  # type: ignore[union-attr]
        raise InputError(f"{data / split}: none of its {len(files)} clips could be evaluated")
    if out is not None:
        from fvc.evaluation.presets.figures import write_report

        write_report(result, out)
    return result


def _strips_folder(out: Path | None) -> Path | None:
    if out is None:
        return None
    check_folder(file_path(out), "results.json", overwrite=True)
    try:
        (out / "strips").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot be made ({error.strerror})") from None
    return out / "strips"


class _Work:
    """Counts frames for the progress bar: each is tracked, looked at, and once evaluated for each system."""

    def __init__(self, clips: int, systems: int, progress: Progress) -> None:
        self._clips, self._passes, self._progress = clips, systems + 2, progress
        self._done = self._frames = self._expected = 0
        self.file = ""

    def expect(self, frames: int) -> None:
        """The clip has so many frames; its tracking is done."""
        self._expected, self._frames = frames, frames

    def frame(self) -> None:
        """One more frame went through one more pass."""
        self._frames += 1
        share = self._frames / (self._passes * self._expected) if self._expected else 0.0
        self._progress("clips", self._done + min(share, 1.0), self._clips)

    def clip_done(self) -> None:
        """The next clip comes."""
        self._done, self._frames, self._expected = self._done + 1, 0, 0
        self._progress("clips", self._done, self._clips)


def _reference(clip: Clip, metrics: Metrics, cache: Cache, work: _Work) -> Reference:
    """What trackers and networks say of the clip's originals, now or before."""

    def look() -> Reference:
        return metrics.reference(_counted((original for _, original in clip.frames()), work))

    code = code_digest(reference_module, instruments_module)
    what = ("reference", code, clip.key, str(clip.rate), repr(clip.crop), str(metrics.every), metrics.networks.digest)
    return cache.get(what, Reference.load, look, Reference.save)


def _counted(items: Iterable[Any], work: _Work) -> Iterator[Any]:
    for item in items:
        yield item
        work.frame()


def _evaluate_clip(
    clip: Clip,
    systems: Sequence[System],
    source_frames: int | None,
    quantizer: str,
    reference: Reference,
    metrics: Metrics,
    result: Result,
    strips: Path | None,
    note: Note,
    work: _Work,
) -> None:
    """Adds the clip's rows to `result`; a system that fails on it is noted there."""
    strip = Strip(reference) if strips else None
    for system in systems:
        try:
            call = Call(clip, system, source_frames, quantizer)
            pairs = call.pairs() if strip is None else strip.watched(call.pairs(), system.name, call.sources.pictures)
            row = metrics.compare(_counted(pairs, work), reference)
        except FvcError as error:
            note(f"{clip.name}, {system.name}: {error}; left out")
            result.failed.setdefault(system.name, {})[clip.name] = str(error)
            continue
        about = {"clip": clip.name, "system": system.name, "rotation": clip.rotation}
        result.rows.append({**about, "yaw_range": round(yaw_range(clip.seen.yaw), 4), **row, **call.rates()})
    if strip is not None and strips is not None:
        strip.write(strips / f"{Path(clip.name).stem}.png")
