"""`fvc evaluate`: runs systems over the clips of a split and measures the quality of their pictures.

Per clip and system: sources as `fvc encode` chooses them, every frame through sender, packets and receiver, metrics
of the drawn crops against the originals. Tables give the mean over clips with its standard error, separately for
clips that turn ("rotations"), those that do not ("frontal") and all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

from fvc.codec.base.cache import Cache, code_digest
from fvc.codec.base.errors import FvcError, InputError, OptionError, OutputError
from fvc.codec.base.reporting import Note, Progress, silent
from fvc.codec.base.version import __version__
from fvc.codec.dataset import Clip, ClipFile, find_clips, open_clip, yaw_range
from fvc.codec.media.output import check_folder
from fvc.codec.options import EncoderOptions
from fvc.evaluation.metrics import instruments as instruments_module
from fvc.evaluation.metrics import reference as reference_module
from fvc.evaluation.metrics.metrics import Metrics
from fvc.evaluation.metrics.reference import Reference
from fvc.evaluation.presets.result import Result
from fvc.evaluation.presets.strips import Strip
from fvc.evaluation.presets.systems import RATES, ClipRun, System, default_of, parse_systems

_T = TypeVar("_T")


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
        presets: `preset`, `preset:profile` or a folder with exported weights; empty: all that are installed.
        metric_weights: folder of the metrics' networks (see `instruments`); None: their metrics are missing.
        out: folder for report.md, results.json, plots and strips of pictures; None: nothing is written.
        cache: folder where tracking and everything else about the originals is kept; None: the user's cache folder.
        profiles: for presets that name none.
        every: LPIPS, SSIM and the networks look at every n-th frame.
        source_frames: how many source pictures each system gets, 1 to 8; None: as `fvc encode`.
        quantizer: "default", or "paper" (see `systems.ClipRun`).
        limit: at most this many clips, the first by name.
        note: called for each clip that fails (the run goes on); progress: called with (stage, done, total).

    Raises:
        FvcError: see `fvc.codec.base.errors`; also when every clip fails.
    """
    for option, value in (("every", every), ("limit", limit)):
        if value is not None and value < 1:
            raise OptionError(option, value, "must be 1 or more")
    options = EncoderOptions(fps=fps, quantizer=quantizer, source_frames=source_frames)  # raises before long work
    systems, files = parse_systems(presets, profiles), find_clips(data, split, limit)
    metrics = Metrics(metric_weights, every)
    metrics.networks.load()
    settings = {
        "split": split,
        "clips": len(files),
        "fps": round(float(options.rate), 3),
        "every": every,
        "source_frames": source_frames,
        "quantizer": quantizer,
        "version": __version__,
    }
    names = [system.name for system in systems]
    result = Result(names, (*metrics.names, *RATES), default_of(systems), metrics.missing, settings)
    strips = _strips_folder(out)
    evaluation = _Evaluation(systems, options, metrics, Cache(cache, note), result, strips, note)
    evaluation.run(files, _FrameCount(len(files), len(systems), progress))
    if not result.rows:
        _remove_empty(strips, out)
        raise InputError(f"{data / split}: none of its {len(files)} clips could be evaluated")
    if out is not None:
        from fvc.evaluation.presets.figures import write_report

        write_report(result, out)
    return result


def _strips_folder(out: Path | None) -> Path | None:
    """The folder for strips of pictures, made within `out`. Raises UsageError, OutputError."""
    if out is None:
        return None
    check_folder(out, "results.json", overwrite=True)
    try:
        (out / "strips").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot be made ({error.strerror})") from None
    return out / "strips"


def _remove_empty(*folders: Path | None) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):  # not empty: there was something before
            if folder is not None:
                folder.rmdir()


class _FrameCount:
    """Counts frames for the progress bar: each is tracked, looked at, and once evaluated for each system.

    Attributes:
        clip_frames: of the current clip; 0 until its tracking is done.
    """

    def __init__(self, clips: int, systems: int, progress: Progress) -> None:
        self._clips = clips
        self._passes = systems + 2
        self._progress = progress
        self._clips_done = 0
        self._frames = 0
        self.clip_frames = 0

    def tracked(self, frames: int) -> None:
        """The clip has this many frames, and their tracking is done."""
        self.clip_frames = self._frames = frames

    def frame(self) -> None:
        """Counts one pass of one frame."""
        self._frames += 1
        share = self._frames / (self._passes * self.clip_frames) if self.clip_frames else 0.0
        self._progress("clips", self._clips_done + min(share, 1.0), self._clips)

    def of(self, items: Iterable[_T]) -> Iterator[_T]:
        """The items, each counted as a frame."""
        for item in items:
            yield item
            self.frame()

    def clip_done(self) -> None:
        """Ends a clip."""
        self._clips_done, self._frames, self.clip_frames = self._clips_done + 1, 0, 0
        self._progress("clips", self._clips_done, self._clips)


class _Evaluation:
    """All systems on one clip after the other; rows and failures go into `result`."""

    def __init__(
        self,
        systems: Sequence[System],
        options: EncoderOptions,
        metrics: Metrics,
        cache: Cache,
        result: Result,
        strips: Path | None,
        note: Note,
    ) -> None:
        self._systems = systems
        self._options = options
        self._metrics = metrics
        self._cache = cache
        self._result = result
        self._strips = strips
        self._note = note

    def run(self, files: Sequence[ClipFile], count: _FrameCount) -> None:
        """Evaluates all clips. Raises OutputError; other errors only fail their clip, with a note."""
        for file in files:
            try:
                with open_clip(file, self._options.rate, self._cache, count.frame) as clip:
                    count.tracked(clip.seen.frames)
                    self._clip(clip, count)
            except OutputError:
                raise
            except FvcError as error:
                self._note(f"{error}; left out")
                for system in self._systems:
                    self._failed(system.name, file.path.name, error)
            count.clip_done()

    def _failed(self, system: str, clip: str, error: FvcError) -> None:
        self._result.failed.setdefault(system, {})[clip] = str(error)

    def _clip(self, clip: Clip, count: _FrameCount) -> None:
        """Adds the clip's rows; a system that fails on it is noted."""
        reference = self._reference(clip, count)
        strip = Strip(reference)
        for system in self._systems:
            try:
                run = ClipRun(clip, system, self._options.source_frames, self._options.quantizer)
                pairs = strip.watched(run.pairs(), system.name, run.sources.pictures) if self._strips else run.pairs()
                row = self._metrics.compare(count.of(pairs), reference)
            except FvcError as error:
                self._note(f"{clip.name}, {system.name}: {error}; left out")
                self._failed(system.name, clip.name, error)
                continue
            about: dict[str, Any] = {"clip": clip.name, "system": system.name, "rotation": clip.rotation}
            about["yaw_range"] = round(yaw_range(clip.seen.yaw), 4)
            self._result.rows.append({**about, **row, **run.rates()})
        if self._strips is not None:
            strip.write(self._strips / f"{Path(clip.name).stem}.png")

    def _reference(self, clip: Clip, count: _FrameCount) -> Reference:
        """The results of trackers and networks on the clip's originals, from now or from an earlier run."""

        def look() -> Reference:
            return self._metrics.reference(count.of(original for _, original in clip.frames()))

        code, networks = code_digest(reference_module, instruments_module), self._metrics.networks.digest
        crop, every = repr(clip.crop), str(self._metrics.every)
        name = ("reference", code, clip.key, str(clip.rate), crop, every, networks)
        return self._cache.get(name, Reference.load, look, Reference.save)
