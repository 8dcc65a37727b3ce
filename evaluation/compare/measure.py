"""`fvc measure`: the bits that fvc and other codecs need on given videos, and the quality of their pictures.

Clips are measured one by one (`measure_clip`), in processes of their own with more than one job; a clip that fails is
a row with its reason. The results' folder appears when everything in it is complete.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av

from fvc.codec.base.constants import MAX_DATAGRAM
from fvc.codec.base.errors import FvcError, InputError, OutputError, UsageError
from fvc.codec.base.reporting import Note, Progress, silent
from fvc.codec.base.version import __version__
from fvc.codec.base.workers import over_ray
from fvc.codec.layouts import SUFFIXES
from fvc.codec.media.output import check_folder
from fvc.codec.media.video import label, name_fault, reason
from fvc.evaluation import ffmpeg
from fvc.evaluation.compare.anchors import anchors
from fvc.evaluation.compare.clip import measure_clip
from fvc.evaluation.compare.options import MeasureOptions
from fvc.evaluation.compare.rates import HEADER_BYTES
from fvc.evaluation.compare.spans import distinct
from fvc.evaluation.compare.summary import all_bits, headline, means
from fvc.evaluation.machine import machine
from fvc.evaluation.metrics.metrics import Metrics
from fvc.evaluation.report.report import write_report
from fvc.evaluation.report.wording import file_stems

NOTES = (
    "No sound on any side. All bits: ours are the whole .fvc and the whole .fvs, with their headers and checksums;"
    " anchors' are parameter sets and coded pictures (containers, start codes and SEI messages do not count)."
    f" wire: {HEADER_BYTES} bytes of RTP, UDP and IPv4 headers on each datagram of at most {MAX_DATAGRAM} bytes."
    " All anchors code the same 256x256 crops in 4:2:0, BT.601, limited range; all metrics are of the decoded RGB."
    " Intervals: 95 %, bootstrap over people."
)
_FOLDER_MODE = 0o755  # of the results' folder; the temporary one is private


def measure(
    inputs: Sequence[Path],
    out: Path,
    options: MeasureOptions,
    *,
    command: str = "fvc.evaluation.compare.measure.measure",
    note: Note = silent,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measures videos (files, or folders of them) and writes results.json and the report into the folder `out`.

    Args:
        command: the command line that the report states.
        note: called for each clip that fails (the run goes on); progress: called with (stage, done, total).

    Returns:
        the contents of results.json.

    Raises:
        FvcError: see `fvc.codec.base.errors`; `out` is as it was before then.
    """
    videos = find_videos(inputs)
    missing = Metrics(options.metric_weights, options.every).missing
    with _replacing(out) as stage:
        entries = _measure_all(videos, stage, options, note, progress)
        results = _results(entries, options, missing, command)
        progress("report", 0, None)
        write_report(results, stage, note)
        if not options.keep:
            shutil.rmtree(stage / "frames")
            results = _without_frames(results)
        (stage / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return results


def _results(
    entries: list[dict[str, Any]], options: MeasureOptions, missing: dict[str, str], command: str
) -> dict[str, Any]:
    """The contents of results.json, with the names of the frames' files."""
    known = anchors(options.effort)
    chosen = [known[name] for name in options.codecs]
    good = [entry for entry in entries if not entry["error"]]
    rows, people = all_bits(entries), {entry["person"] for entry in good}
    spans = distinct(entry["seconds"] for entry in good)
    return {
        "fvc": __version__,
        "command": command,
        "machine": machine(),
        "fps": float(options.rate),
        "side": options.size,
        "frames_per_packet": options.frames_per_packet,
        "source_frames": options.source_frames,
        "source_bytes": options.source_bytes,
        "header_bytes_per_packet": HEADER_BYTES,
        "every": options.every,
        "effort": options.effort,
        "libraries": f"{ffmpeg.version()} (encoders, VMAF, XPSNR), PyAV {av.__version__} (decoders)",
        "notes": NOTES,
        "missing": missing,
        "anchors": [anchor.described() for anchor in chosen],
        "spans": spans,
        "people": len(people),
        "all_bits": rows,
        "clips": entries,
        "means": means(entries),
        "headline": headline(rows, len(good), len(people), {anchor.system: anchor.codec for anchor in chosen}),
    }


def _without_frames(results: dict[str, Any]) -> dict[str, Any]:
    """The results without the names of files that are not kept, and without the paths of the videos."""

    def cleaned(clip: dict[str, Any]) -> dict[str, Any]:
        clip = {**clip, "path": None, "reference": None}
        return clip | {"points": [{**p, "frames": None} for p in clip["points"]]} if "points" in clip else clip

    return {**results, "clips": [cleaned(clip) for clip in results["clips"]]}


def find_videos(inputs: Iterable[Path]) -> list[Path]:
    """The given files, and the videos directly in the given folders. Raises InputError."""
    found: list[Path] = []
    for path in inputs:
        if path.is_dir():
            videos = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
            if not videos:
                raise InputError(f"{label(path)}: no video in this folder")
            found += videos
        elif path.exists():
            found.append(path)
        else:
            raise InputError(name_fault(path) or f"{label(path)}: no such file")
    if not found:
        raise UsageError("no video was given")
    return list(dict.fromkeys(found))


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """A temporary folder that becomes `out` when the block ends, and is removed if the block raises.

    Earlier results at `out` are replaced; anything else there is refused. Raises UsageError, OutputError.
    """
    name = label(out)
    check_folder(out, "results.json", overwrite=True)
    target = Path(os.path.realpath(out))
    try:
        stage = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise OutputError(f"{name}: cannot be written ({error.strerror})") from None
    try:
        yield stage
        stage.chmod(_FOLDER_MODE)
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
            target.rename(old / "old")
            stage.rename(target)
            shutil.rmtree(old)
        else:
            stage.rename(target)
    except OSError as error:
        raise OutputError(f"{name}: cannot be written ({reason(error)})") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


_Work = tuple[Path, Path, MeasureOptions, int]  # arguments of `_entry`


def _measure_all(
    videos: Sequence[Path], stage: Path, options: MeasureOptions, note: Note, progress: Progress
) -> list[dict[str, Any]]:
    """An entry for each clip, failed ones too. Raises InputError where all failed."""
    stems = file_stems([path.name for path in videos])
    jobs = min(options.jobs, len(videos))
    threads = max((os.cpu_count() or 1) // jobs, 1)
    work = [(video, stage / "frames" / stem, options, threads) for video, stem in zip(videos, stems, strict=True)]
    if options.backend == "ray":
        entries = _over_ray(work, jobs, note, progress)
    else:
        entries = _one_by_one(work, note, progress) if jobs == 1 else _in_processes(work, jobs, note, progress)
    if all(entry["error"] for entry in entries):
        more = f" (and {len(entries) - 1} more clips failed)" if len(entries) > 1 else ""
        raise InputError(entries[0]["error"] + more)
    return entries


def _one_by_one(work: Sequence[_Work], note: Note, progress: Progress) -> list[dict[str, Any]]:
    entries = []
    for number, arguments in enumerate(work):
        if len(work) > 1:
            progress("clips", number, len(work))
        entries.append(_entry(*arguments, note, progress))
        _note_failure(entries[-1], note)
    return entries


def _over_ray(work: Sequence[_Work], jobs: int, note: Note, progress: Progress) -> list[dict[str, Any]]:
    """The same on a cluster, whose machines share the folders of videos, results and cache."""
    found: dict[Path, dict[str, Any]] = {}
    for done, (arguments, entry) in enumerate(over_ray(work, _entry_of, jobs), 1):
        found[arguments[0]] = entry
        _note_failure(entry, note)
        progress("clips", done, len(work))
    return [found[video] for video, *_ in work]


def _entry_of(arguments: _Work) -> dict[str, Any]:
    return _entry(*arguments)


def _in_processes(work: Sequence[_Work], jobs: int, note: Note, progress: Progress) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = [{"clip": video.name, "error": "not measured"} for video, *_ in work]
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        futures = {pool.submit(_entry, *arguments): number for number, arguments in enumerate(work)}
        for done, future in enumerate(as_completed(futures)):
            progress("clips", done, len(work))
            number = futures[future]
            try:
                entries[number] = future.result()
            except BrokenProcessPool:
                entries[number]["error"] = f"{work[number][0].name}: the process that measured it died"
            _note_failure(entries[number], note)
        progress("clips", len(work), len(work))
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return entries


def _entry(
    path: Path, frames: Path, options: MeasureOptions, threads: int, note: Note = silent, progress: Progress = silent
) -> dict[str, Any]:
    """The clip's entry in results.json; "error" is one line where it could not be measured."""
    head = {"clip": path.name, "path": str(path.absolute())}
    try:
        return {**head, **measure_clip(path, frames, options, threads, note, progress)}
    except FvcError as error:
        fault = str(error)
    except (av.FFmpegError, OSError) as error:
        fault = f"{path.name}: {reason(error)}"
    except Exception as error:  # no fault of one clip may end the measurement of the others
        fault = f"{path.name}: {type(error).__name__}: {reason(error)}"
    shutil.rmtree(frames, ignore_errors=True)
    return {**head, "error": fault}


def _note_failure(entry: dict[str, Any], note: Note) -> None:
    if entry["error"]:
        note(f"not measured: {entry['error']}")
