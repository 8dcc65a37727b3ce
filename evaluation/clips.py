"""Clips to evaluate on: which there are, who turns in them, and what tracking found, kept from run to run.

A data folder holds a folder for each split and, where somebody made one, `catalog.csv` with the columns `split`,
`clip` and `rotation` (1: the head turns). Elsewhere a clip counts as a rotation by the yaw that is tracked.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import numpy as np
import platformdirs

import fvc.codec.face.survey
import fvc.codec.face.tracker
from fvc.codec.errors import InputError
from fvc.codec.face.crop import cut
from fvc.codec.face.survey import Survey, survey
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.video import Frame, VideoReader
from fvc.codec.wire.bitstream import Crop
from fvc.jobs.paths import Note, silent

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi")
ROTATION = 0.5  # rad of yaw between the 1st and the 99th percentile, as in the catalog
_T = TypeVar("_T")


@dataclass(frozen=True)
class ClipFile:
    """A clip of a split. `rotation` is the catalog's word, None where there is none."""

    path: Path
    rotation: bool | None


def find_clips(data: Path, split: str, limit: int | None = None) -> list[ClipFile]:
    """The clips of `data/split` by name, at most `limit`. Raises InputError where there is none."""
    folder = data / split
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    marks: dict[str, bool] = {}
    catalog = data / "catalog.csv"
    if catalog.is_file():
        try:
            with catalog.open(newline="", encoding="utf-8") as file:
                marks = {row["clip"]: row["rotation"] == "1" for row in csv.DictReader(file) if row["split"] == split}
        except (KeyError, csv.Error, UnicodeDecodeError) as error:
            raise InputError(f"{catalog}: not a catalog with split, clip and rotation ({error!r})") from None
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise InputError(f"{folder}: no video in it")
    return [ClipFile(path, marks.get(path.name)) for path in paths[:limit]]


def spaced(files: list[ClipFile], limit: int | None) -> list[ClipFile]:
    """At most `limit` of them, evenly spaced; None: all."""
    return files[:: max(len(files) // limit, 1)][:limit] if limit else files


@dataclass(frozen=True)
class Clip:
    """A clip that was looked at once.

    Attributes:
        key: SHA-256 of the file's bytes; rate: frames per second that are coded; seen: what tracking found; crop: the
            square that `fvc encode` would choose; rotation: whether the head turns.
    """

    name: str
    key: str
    video: VideoReader
    rate: Fraction
    seen: Survey
    crop: Crop
    rotation: bool

    def frames(self) -> Iterator[tuple[Frame, np.ndarray]]:
        """Whole frames and their crops (uint8 [256, 256, 3])."""
        for frame in self.video.frames(self.rate):
            yield frame, cut(frame.rgb, self.crop)


@contextlib.contextmanager
def opened(file: ClipFile, rate: Fraction, cache: Cache, each: Callable[[], None] = lambda: None) -> Iterator[Clip]:
    """The clip, tracked now or before; `each` is called after each frame that is tracked. Raises InputError."""
    with VideoReader(file.path) as video:
        key = _digest(file.path)

        def look() -> Survey:
            with FaceTracker() as tracker:
                return survey(video.frames(rate), tracker, each)

        seen = cache.get(("survey", _TRACKING, key, str(rate)), _load_survey, look, _save_survey)
        if not len(seen.index):
            raise InputError(f"{video.name}: no face found in any of its {seen.frames} frames")
        turns = yaw_range(seen.yaw) >= ROTATION if file.rotation is None else file.rotation
        yield Clip(file.path.name, key, video, rate, seen, seen.crop(video.width, video.height), turns)


def yaw_range(yaw: np.ndarray) -> float:
    """Radians between the 1st and the 99th percentile."""
    low, high = np.percentile(yaw, [1, 99])
    return float(high - low)


class Cache:
    """Results of slow work, in files named after all that they depend on.

    A folder that cannot be written to, or a damaged file in it, costs time only.

    Args:
        folder: None takes the platform's folder for such things.
        note: told once when the folder cannot be used.
    """

    def __init__(self, folder: Path | None = None, note: Note = silent) -> None:
        self.folder = folder or platformdirs.user_cache_path("fvc")
        self._note = note
        self._is_broken = False

    def get(
        self,
        name: tuple[str, ...],
        load: Callable[[Path], _T],
        make: Callable[[], _T],
        save: Callable[[_T, Path], None],
    ) -> _T:
        """What `make` gives, or what it gave for this `name` before."""
        path = self.folder / f"{name[0]}-{hashlib.sha256(repr(name).encode()).hexdigest()[:32]}.npz"
        with contextlib.suppress(Exception):  # absent, damaged, of another version: made anew
            return load(path)
        result = make()
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save(result, part)
            part.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink()
            if not self._is_broken:
                self._note(f"{self.folder}: cannot keep results there ({error.strerror}); the next run starts anew")
            self._is_broken = True
        return result


def code_digest(*modules: object) -> str:
    """Names the sources of modules, for results that depend on them."""
    sources = b"".join(Path(str(module.__file__)).read_bytes() for module in modules)  # type: ignore[attr-defined]
    return hashlib.sha256(sources).hexdigest()[:16]


_TRACKING = code_digest(fvc.codec.face.tracker, fvc.codec.face.survey)


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _save_survey(seen: Survey, path: Path) -> None:
    with open(path, "wb") as file:
        np.savez(file, **{field.name: np.asarray(getattr(seen, field.name)) for field in fields(Survey)})


def _load_survey(path: Path) -> Survey:
    with np.load(path, allow_pickle=False) as stored:
        values = {name: stored[name] for name in stored.files}
    return Survey(**{name: value if value.ndim else value.item() for name, value in values.items()})
