"""`fvc evaluate`: runs systems over the clips of a split and measures the quality of their pictures.

Per clip and system: sources as `fvc encode` chooses them, every frame through sender, packets and receiver, metrics
of the drawn crops against the originals. Tables give the mean over clips with its standard error, separately for
clips that turn ("rotations"), those of the paper's DFDC-rotations ("large rotations"), those that do not turn
("frontal") and all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from fvc.codec.base.errors import InputError, OptionError, OutputError
from fvc.codec.base.reporting import Note, Progress, silent
from fvc.codec.base.version import __version__
from fvc.codec.base.workers import BACKENDS
from fvc.codec.dataset import find_clips
from fvc.codec.media.output import atomic_write, check_folder
from fvc.codec.options import EncoderOptions
from fvc.evaluation.metrics.metrics import Metrics
from fvc.evaluation.presets.clip_job import ClipJob, ClipResult, FrameCount, evaluate_clip
from fvc.evaluation.presets.result import Result
from fvc.evaluation.presets.systems import RATES, default_of, parse_systems

PAGE = "index.html"  # of a study
DEFAULT_BACKEND = "process"


def evaluate(
    presets: Sequence[str],
    data: Path,
    *,
    split: str = "val",
    metric_weights: Path | None = None,
    out: Path | None = None,
    study: Path | None = None,
    cache: Path | None = None,
    fps: str | float | Fraction = 15,
    profiles: Sequence[str] = (),
    every: int = 5,
    source_frames: int | None = None,
    quantizer: str = "default",
    limit: int | None = None,
    half: str = "",
    min_turn: float = 0.0,
    jobs: int = 1,
    backend: str = DEFAULT_BACKEND,
    note: Note = silent,
    progress: Progress = silent,
) -> Result:
    """Evaluates systems on the clips of `data/split`.

    Args:
        presets: `preset`, `preset:profile` or a folder with exported weights; empty: all that are installed.
        metric_weights: folder of the metrics' networks (see `instruments`); None: their metrics are missing.
        out: folder for report.md, results.json, plots and strips of pictures; None: nothing is written.
        study: folder for a page that asks people which of two drawings is better (`people.study_page`): new or empty.
        cache: folder where tracking and everything else about the originals is kept; None: the user's cache folder.
        profiles: for presets that name none; empty: the first profile of each (`models.presets`).
        every: LPIPS, SSIM and the networks look at every n-th frame.
        source_frames: how many source pictures each system gets, 1 to 8; None: as `fvc encode`.
        quantizer: "default", or "paper" (see `systems.ClipRun`).
        limit: at most this many clips, the first by name.
        half: "first" or "second": only this half of the clips by name; empty: all.
        min_turn: clips whose yaw does not range over more radians are left out; the paper's DFDC-rotations: 1.5.
        jobs: clips at a time. Finished clips are kept in the cache, and a run that was stopped goes on with the
            others; with `study` all are run again, for their videos.
        backend: "process", or "ray": over the cluster that `RAY_ADDRESS` names; see `codec.base.workers`.
        note: called for each clip that fails (the run goes on); progress: called with (stage, done, total).

    Raises:
        FvcError: see `fvc.codec.base.errors`; also when every clip fails.
    """
    _check(backend, study, every=every, limit=limit, jobs=jobs)
    options = EncoderOptions(fps=fps, quantizer=quantizer, source_frames=source_frames)  # raises before long work
    systems, files = parse_systems(presets, profiles), find_clips(data, split, limit, half)
    metrics = Metrics(metric_weights, every)
    metrics.networks.load()
    settings = {
        "split": split,
        "clips": len(files),
        "fps": round(float(options.rate), 3),
        "every": every,
        "source_frames": source_frames,
        "quantizer": quantizer,
        "half": half,
        "min_turn": min_turn,
        "version": __version__,
    }
    names = [system.name for system in systems]
    result = Result(names, (*metrics.names, *RATES), default_of(systems), metrics.missing, settings)
    strips = _strips_folder(out)
    common = (tuple(systems), options, metric_weights, every)
    resumes = study is None  # known rows would leave the study without videos
    work = [ClipJob(file, *common, cache, resumes, strips is not None, min_turn, study) for file in files]
    _Evaluation(result, strips, note, progress).run(work, jobs, backend)
    if not result.rows:
        _remove_empty(strips, out)
        raise InputError(f"{data / split}: none of its {len(files)} clips could be evaluated")
    if study is not None:
        _write_study(study, result)
    if out is not None:
        from fvc.evaluation.presets.figures import write_report

        write_report(result, out)
    return result


def _check(backend: str, study: Path | None, **counts: int | None) -> None:
    """Raises OptionError, UsageError, OutputError: before long work."""
    for option, value in counts.items():
        if value is not None and value < 1:
            raise OptionError(option, value, "must be 1 or more")
    if backend not in BACKENDS:
        raise OptionError("backend", backend, f"choose from {', '.join(BACKENDS)}")
    if study is not None:
        check_folder(study, PAGE, overwrite=False)


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


def _write_study(study: Path, result: Result) -> None:
    from fvc.evaluation.people.study_page import write_page

    drawn: dict[str, list[str]] = {}
    for row in result.rows:
        drawn.setdefault(row["clip"], []).append(row["system"])
    write_page(study, drawn, tuple(result.systems))


def _remove_empty(*folders: Path | None) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):  # not empty: there was something before
            if folder is not None:
                folder.rmdir()


class _Evaluation:
    """Runs the jobs of all clips; rows and failures go into `result`, strips into a folder.

    Args:
        strips: the folder; None: no strips.
    """

    def __init__(self, result: Result, strips: Path | None, note: Note, progress: Progress) -> None:
        self._result, self._strips = result, strips
        self._note, self._progress = note, progress

    def run(self, jobs: Sequence[ClipJob], workers: int, backend: str) -> None:
        """Raises OutputError; other errors only fail their clip, with a note."""
        found: dict[str, ClipResult] = {}
        for done, (job, clip) in enumerate(self._results(jobs, workers, backend), 1):
            found[job.name] = clip
            for text in clip.notes:
                self._note(text)
            if self._strips is not None and clip.strip:
                _write(self._strips / f"{Path(job.name).stem}.png", clip.strip)
            self._progress("clips", done, len(jobs))
        for job in jobs:  # in their order, whichever was finished first
            self._result.rows += found[job.name].rows
            for system, why in found[job.name].failed.items():
                self._result.failed.setdefault(system, {})[job.name] = why

    def _results(self, jobs: Sequence[ClipJob], workers: int, backend: str) -> Iterator[tuple[ClipJob, ClipResult]]:
        if workers > 1 or backend != DEFAULT_BACKEND:
            yield from BACKENDS[backend](jobs, evaluate_clip, workers, lambda job: job.name)
            return
        for number, job in enumerate(jobs):

            def each(share: float, number: int = number) -> None:
                self._progress("clips", number + share, len(jobs))

            yield job, evaluate_clip(job, FrameCount(len(job.systems), each), self._note)


def _write(path: Path, data: bytes) -> None:
    with atomic_write(path, overwrite=True) as file:
        file.write(data)
