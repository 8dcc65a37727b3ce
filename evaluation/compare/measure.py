"""`fvc measure`: the bits that fvc and its rivals need for somebody's videos, and what they look like.

Clips are measured one by one (`measure_clip`), in processes of their own with `jobs` > 1; a clip that fails is a row
with its reason. The result's folder appears when everything in it is complete.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import platform
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import av

from fvc.codec.version import __version__
from fvc.codec.constants import MAX_DATAGRAM, SIDE
from fvc.codec.errors import FvcError, InputError, OutputError, UsageError
from fvc.codec.media.output import check_folder
from fvc.codec.media.video import label, name_fault, reason
from fvc.codec.motion.sample import Profile
from fvc.codec.options import EncoderOptions
from fvc.codec.reporting import Note, Progress, silent
from fvc.evaluation.clips import SUFFIXES
from fvc.evaluation.compare.anchors import LIBRARIES, anchors
from fvc.evaluation.compare.clip import Settings, measure_clip
from fvc.evaluation.compare.rates import HEADER_BYTES
from fvc.evaluation.compare.report import write_report
from fvc.evaluation.compare.summary import headline, means
from fvc.evaluation.metrics.metrics import Metrics
from fvc.evaluation.metrics.wording import file_stems
from fvc.jobs.paths import file_path

CODECS = ("x265", "x265-ra", "svtav1", "x264", "vp9")
EFFORTS = ("veryslow", "slower", "slow")
NOTES = (
    "No sound on any side: all rates are those of pictures."
    " Anchors: parameter sets and coded pictures count; containers, start codes and SEI messages do not."
    f" wire: {HEADER_BYTES} bytes of RTP, UDP and IPv4 headers on each datagram of at most {MAX_DATAGRAM} bytes."
    " All anchors code the same 256x256 crops in 4:2:0, BT.601, limited range; all metrics are of the decoded RGB."
)


def measure(
    inputs: Sequence[Path],
    out: Path,
    *,
    codecs: Sequence[str] = CODECS,
    fps: str = "15",
    kbps: Sequence[float] = (4, 8, 16, 32, 64),
    profiles: Sequence[str] = ("sup", "sup+unsup+expr"),
    metric_weights: Path | None = None,
    every: int = 10,
    effort: str = "veryslow",
    seconds: float | None = None,
    frames_per_packet: int = 1,
    source_frames: int | None = None,
    source_bytes: int | None = None,
    jobs: int = 1,
    keep: bool = False,
    cache: Path | None = None,
    command: str = "fvc.evaluation.compare.measure.measure",
    note: Note = silent,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measures videos (files, or folders of them) and writes results.json and the report into the folder `out`.

    Args:
        codecs: anchors, of `CODECS`; kbps: the rates that they are asked for.
        profiles: of fvc; the first one is compared with the anchors.
        metric_weights: a folder of networks; every: networks look at every n-th frame.
        effort: preset of x265 and x264, of `EFFORTS`; seconds: measure only the start of each clip.
        frames_per_packet: frames in a datagram, for the wire's rate; jobs: clips at a time, in processes.
        source_frames, source_bytes: of fvc, as `fvc encode` is told.
        keep: keep the decoded frames of all points in `out/frames`; cache: folder of encodes and metrics.

    Returns:
        what results.json holds.

    Raises:
        FvcError: see `fvc.codec.errors`; `out` is as it was before then.
    """
    settings = _settings(
        fps=fps,
        codecs=codecs,
        kbps=kbps,
        profiles=profiles,
        metric_weights=metric_weights,
        every=every,
        effort=effort,
        seconds=seconds,
        frames_per_packet=frames_per_packet,
        source_frames=source_frames,
        source_bytes=source_bytes,
        cache=cache,
    )
    if jobs < 1:
        raise UsageError(f"--jobs {jobs}: must be 1 or more")
    videos = find_videos(inputs)
    settings = replace(settings, threads=max((os.cpu_count() or 1) // min(jobs, len(videos)), 1))
    missing = Metrics(metric_weights, every).missing
    with _replacing(out) as stage:
        entries = _measure_all(videos, stage, settings, jobs, note, progress)
        results = {
            "fvc": __version__,
            "command": command,
            "machine": machine(),
            "fps": float(settings.fps),
            "side": SIDE,
            "frames_per_packet": frames_per_packet,
            "source_frames": source_frames,
            "source_bytes": source_bytes,
            "header_bytes_per_packet": HEADER_BYTES,
            "every": every,
            "effort": effort,
            "libraries": LIBRARIES,
            "notes": NOTES,
            "missing": missing,
            "anchors": [anchors(effort)[name].described() for name in settings.codecs],
            "clips": entries,
            "means": means(entries, settings.kbps),
            "headline": headline(entries),
        }
        _write_json(stage, results)
        progress("report", 0, None)
        write_report(stage, note)
        if not keep:
            shutil.rmtree(stage / "frames")
            _forget_frames(results)
            _write_json(stage, results)
    return results


def _settings(**given: Any) -> Settings:
    """Raises UsageError where a run cannot make sense, before it takes minutes."""
    unknown = [name for name in given["codecs"] if name not in CODECS]
    if unknown or len(set(given["codecs"])) != len(given["codecs"]):
        raise UsageError(f"--codecs {','.join(given['codecs'])[:80]}: choose from {','.join(CODECS)}, each once")
    if not given["profiles"]:
        raise UsageError("--profiles: at least one is needed")
    profiles = tuple(dict.fromkeys(Profile.named(name).label for name in given["profiles"]))
    if not given["kbps"] or not all(math.isfinite(rate) and 0.1 <= rate <= 10_000 for rate in given["kbps"]):
        raise UsageError("--kbps: rates from 0.1 to 10000 kbit/s, with commas, e.g. 4,8,16")
    if given["effort"] not in EFFORTS:
        raise UsageError(f"--effort {given['effort']}: choose from {', '.join(EFFORTS)}")
    told = EncoderOptions(fps=given["fps"], source_frames=given["source_frames"])
    if given["seconds"] is not None and not 0.5 <= given["seconds"] < math.inf:
        raise UsageError(f"--seconds {given['seconds']}: must be 0.5 or more")
    for name, least in (("every", 1), ("frames_per_packet", 1)):
        if given[name] < least:
            raise UsageError(f"--{name.replace('_', '-')} {given[name]}: must be {least} or more")
    for name in given["codecs"]:
        encoder = anchors()[name].encoder
        try:
            av.codec.Codec(encoder, "w")
        except av.codec.codec.UnknownCodecError:
            raise UsageError(f"--codecs {name}: this PyAV has no {encoder}; leave it out") from None
    rates = tuple(sorted(set(given["kbps"])))
    return Settings(
        **{
            **given,
            "fps": told.rate,
            "codecs": tuple(given["codecs"]),
            "kbps": rates,
            "profiles": profiles,
        }
    )


def find_videos(inputs: Iterable[Path]) -> list[Path]:
    """Files as given, and of folders the videos directly in them. Raises InputError."""
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
    """A folder beside `out` that takes its place when the block ends, and vanishes if the block raises.

    An older result at `out` is replaced; anything else there is refused. Raises UsageError, OutputError.
    """
    name = label(out)
    check_folder(file_path(out), "results.json", overwrite=True)
    target = Path(os.path.realpath(out))
    try:
        stage = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise OutputError(f"{name}: cannot be written ({error.strerror})") from None
    try:
        yield stage
        stage.chmod(0o755)
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


def _measure_all(
    videos: Sequence[Path], stage: Path, settings: Settings, jobs: int, note: Note, progress: Progress
) -> list[dict[str, Any]]:
    """An entry for each clip, failed ones too. Raises InputError where all failed."""
    names = [path.name for path in videos]
    work = [(v, stage / "frames" / stem, settings) for v, stem in zip(videos, file_stems(names), strict=True)]
    if jobs == 1 or len(work) == 1:
        entries = []
        for number, arguments in enumerate(work):
            if len(work) > 1:
                progress("clips", number, len(work))
            entries.append(_entry(*arguments, note, progress))
            _tell(entries[-1], note)
    else:
        entries = _in_processes(work, jobs, note, progress)
    if all(entry["error"] for entry in entries):
        more = f" (and {len(entries) - 1} more clips failed)" if len(entries) > 1 else ""
        raise InputError(entries[0]["error"] + more)
    return entries


def _in_processes(work: Sequence[tuple[Any, ...]], jobs: int, note: Note, progress: Progress) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = [{"clip": video.name, "error": "not measured"} for video, *_ in work]
    pool = ProcessPoolExecutor(min(jobs, len(work)), mp_context=multiprocessing.get_context("spawn"))
    try:
        futures = {pool.submit(_entry, *arguments): number for number, arguments in enumerate(work)}
        for done, future in enumerate(as_completed(futures)):
            progress("clips", done, len(work))
            number = futures[future]
            try:
                entries[number] = future.result()
            except BrokenProcessPool:
                entries[number]["error"] = f"{work[number][0].name}: the process that measured it died"
            _tell(entries[number], note)
        progress("clips", len(work), len(work))
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return entries


def _entry(
    path: Path, frames: Path, settings: Settings, note: Note = silent, progress: Progress = silent
) -> dict[str, Any]:
    """The clip's entry in results.json; "error" is one line where it could not be measured."""
    head = {"clip": path.name, "path": str(path.absolute())}
    try:
        return {**head, **measure_clip(path, frames, settings, note, progress)}
    except FvcError as error:
        fault = str(error)
    except (av.FFmpegError, OSError) as error:
        fault = f"{path.name}: {reason(error)}"
    except Exception as error:  # one odd clip of many shall not cost the others' hours
        fault = f"{path.name}: {type(error).__name__}: {reason(error)}"
    shutil.rmtree(frames, ignore_errors=True)
    return {**head, "error": fault}


def _tell(entry: dict[str, Any], note: Note) -> None:
    if entry["error"]:
        note(f"not measured: {entry['error']}")


def _write_json(folder: Path, results: dict[str, Any]) -> None:
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _forget_frames(results: dict[str, Any]) -> None:
    """Names of files that are not kept, and where the videos were."""
    for clip in results["clips"]:
        clip["path"] = clip["reference"] = None
        for point in clip.get("points", []):
            point["frames"] = None


def machine() -> str:
    """Processor and cores, e.g. "2 cores, AMD EPYC, Linux"."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            name = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), name)
    except OSError:
        pass
    return f"{os.cpu_count()} cores, {name}, {platform.system()}, Python {platform.python_version()}"
