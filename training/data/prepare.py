"""Videos of people -> one packed training file.

    folder of videos --a job each (`reading`)--> parts (small packs) --`merge`--> OUT.pack, OUT.report.json

Each finished video is a file in `OUT.parts/`, written in one move, so a run that was stopped resumes there. Shards
(`shard=(i, n)`) are packs too, and are merged like parts. Merging caps the frames per person, so that nobody dominates,
and lowers the cap until the pack fits its size limit.

Trees of DFDC and VoxCeleb are known (`codec.layouts`). Identities: `catalog.csv` (columns `clip`, `identity`) in the
folder or above it; else VoxCeleb's, or the top folder of a video; else each tube is its own person. Faces that share
the screen are different people.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fvc.codec.base.errors import InputError, OptionError, OutputError, UsageError
from fvc.codec.base.workers import BACKENDS
from fvc.codec.layouts import find_videos, person_of
from fvc.codec.media.output import FileKind, atomic_write, check_output
from fvc.training.data.merge import merge
from fvc.training.data.pack_writer import PACK, PackWriter
from fvc.training.data.reading import Clips, Job, PrepareOptions, read_video

IDENTITY = ("auto", "folder", "tube")


def find_jobs(folder: Path, options: PrepareOptions, identity: str = "auto") -> list[Job]:
    """One job per video below `folder`, sorted by name. `identity`: see the module; "tube" ignores folders."""
    if identity not in IDENTITY:
        raise OptionError("identity", identity, f"choose from {', '.join(IDENTITY)}")
    catalog = next((f for f in (folder / "catalog.csv", folder.parent / "catalog.csv") if f.exists()), None)
    who: dict[str, str] = {}
    if catalog is not None and identity == "auto":
        with catalog.open(newline="") as file:
            rows = csv.DictReader(file)
            if {"clip", "identity"} <= set(rows.fieldnames or ()):
                who = {row["clip"]: row["identity"] for row in rows}
    jobs = []
    for path in find_videos(folder):
        name = path.relative_to(folder)
        top = name.parts[0] if len(name.parts) > 1 and identity != "tube" else ""
        if identity == "auto" and (person := person_of(name, folder)) is not None:
            top = person
        jobs.append((path, name.as_posix(), who.get(name.as_posix(), who.get(path.name, top)), options))
    return jobs


def _part(folder: Path, job: Job) -> Path:
    path, *rest = job
    state = path.stat()
    key = json.dumps([*rest[:2], asdict(job[3]), state.st_size, state.st_mtime_ns])
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:20]}.pack"


_REPORT = FileKind("a report in JSON", (".json",), ((0, b"{"),))


def prepare(
    folder: Path,
    out: Path,
    options: PrepareOptions | None = None,
    *,
    max_bytes: int | None = None,
    identity: str = "auto",
    shard: tuple[int, int] = (0, 1),
    workers: int = 2,
    backend: str = "process",
    keep_parts: bool = False,
    overwrite: bool = False,
    work: Callable[[Job], Clips] = read_video,
) -> dict[str, Any]:
    """Packs the videos below `folder` (or the i-th of n shards of them) into `out`; returns the report.

    Finished videos are kept in OUT.parts until all are done, so that a run that is started again resumes.
    `overwrite`: whether an existing pack and report are replaced.

    Raises:
        InputError: there is no video. OutputError: `out` cannot be written. UsageError: an argument is invalid.
    """
    options = options or PrepareOptions()
    if backend not in BACKENDS:
        raise OptionError("backend", backend, f"choose from {', '.join(BACKENDS)}")
    _check_outputs(out, overwrite)
    jobs = find_jobs(folder, options, identity)[shard[0] :: shard[1]]
    if not jobs:
        raise InputError(f"{folder}: no video in it")
    parts = out.with_name(out.name + ".parts")
    try:
        parts.mkdir(parents=True, exist_ok=True)
        files = {job[1]: _part(parts, job) for job in jobs}
        missing = [job for job in jobs if not files[job[1]].exists()]
        with tqdm(total=len(jobs), initial=len(jobs) - len(missing), desc="prepare", unit="video", disable=None) as bar:
            for job, (clips, counts) in BACKENDS[backend](missing, work, workers, _name_of):
                with PackWriter(files[job[1]], {**counts, "name": job[1]}, overwrite=True) as part:
                    for clip in clips:
                        part.add(clip)
                bar.update()
        report = _finish([files[job[1]] for job in jobs], out, options.frames, max_bytes, overwrite)
        if not keep_parts:
            shutil.rmtree(parts)
    except OSError as error:
        raise OutputError(f"{out}: {error.strerror or error}") from None
    return report


def merge_packs(
    packs: Sequence[Path], out: Path, per_person: int, max_bytes: int | None = None, overwrite: bool = False
) -> dict[str, Any]:
    """Joins packs, such as the shards of several machines, under one cap per person. Raises InputError, OutputError."""
    if out in packs:
        raise UsageError(f"{out}: is one of the packs to merge")
    for pack in packs:
        if not pack.is_file():
            raise InputError(f"{pack}: no such file")
    _check_outputs(out, overwrite)
    try:
        return _finish(packs, out, per_person, max_bytes, overwrite)
    except OSError as error:
        raise OutputError(f"{out}: {error.strerror or error}") from None


def _name_of(job: Job) -> str:
    return job[1]


def _report_of(out: Path) -> Path:
    return out.with_name(out.name + ".report.json")


def _check_outputs(out: Path, overwrite: bool) -> None:
    """Raises UsageError, OutputError: before hours of work rather than after."""
    check_output(out, PACK, overwrite)
    check_output(_report_of(out), _REPORT, overwrite)


def _finish(
    packs: Sequence[Path], out: Path, per_person: int, max_bytes: int | None, overwrite: bool
) -> dict[str, Any]:
    try:
        report = merge(packs, out, per_person, max_bytes, overwrite)
    except ValueError as error:
        raise InputError(str(error)) from None
    with atomic_write(_report_of(out), _REPORT, overwrite) as file:
        file.write(json.dumps(report, indent=1).encode() + b"\n")
    return report
