"""Clips of a data set: finds them, tracks each once for all runs, and tells whether the head turns.

A data folder holds a folder for each split (a tree of `codec.layouts`) and, where somebody made one, `catalog.csv`
with the columns `split`, `clip` and `rotation` (1: the head turns). Clips that it does not list are classified by their
tracked yaw.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import numpy as np

import fvc.codec.face.appearance
import fvc.codec.face.cuts
import fvc.codec.face.detection
import fvc.codec.face.identity
import fvc.codec.face.landmarks
import fvc.codec.face.mediapipe_faces
import fvc.codec.face.own_faces
import fvc.codec.face.scene_groups
import fvc.codec.face.survey
import fvc.codec.face.tracker
from fvc.codec.base.cache import Cache, code_digest
from fvc.codec.base.errors import InputError, OptionError
from fvc.codec.base.hashing import file_hash
from fvc.codec.face.crop import cut
from fvc.codec.face.finders import OWN, tracker_named
from fvc.codec.face.survey import Survey, survey
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.layouts import clip_name, find_videos
from fvc.codec.media.video import Frame, VideoReader
from fvc.codec.source_builder import TrackedClip
from fvc.codec.wire.bitstream import Crop

_T = TypeVar("_T")
ROTATION = 0.5  # radians: a clip with at least this range of yaw is a rotation, as in the catalog
_PERCENTILES = 1, 99  # of the yaw: the ends of its range


@dataclass(frozen=True)
class ClipFile:
    """A clip of a split.

    Attributes:
        rotation: as in the catalog; None if the clip is not listed there.
        split: the folder below which it was found; None: that of the file.
    """

    path: Path
    rotation: bool | None
    split: Path | None = None

    @property
    def name(self) -> str:
        """That of no other clip of the split."""
        return clip_name(self.path, self.split or self.path.parent)


def half_of(items: Sequence[_T], half: str) -> list[_T]:
    """The first or second half, as the paper splits DFDC into clips for priors and clips for bits (section 4.3).

    `half`: "first", "second", or "" for all. Raises OptionError.
    """
    middle = (len(items) + 1) // 2
    halves = {"": items, "first": items[:middle], "second": items[middle:]}
    if half not in halves:
        raise OptionError("half", half, "must be first or second")
    return list(halves[half])


def find_clips(data: Path, split: str, limit: int | None = None, half: str = "") -> list[ClipFile]:
    """The clips of `data/split` by name, those of a half of them, at most `limit`. Raises InputError, OptionError."""
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
    paths = half_of(find_videos(folder), half)
    if not paths:
        raise InputError(f"{folder}: no video in it")
    return [ClipFile(path, marks.get(clip_name(path, folder)), folder) for path in paths[:limit]]


def spaced(files: list[ClipFile], limit: int | None) -> list[ClipFile]:
    """At most `limit` of them, evenly spaced; None: all."""
    return files[:: max(len(files) // limit, 1)][:limit] if limit else files


@dataclass(frozen=True)
class Clip:
    """A clip whose frames were tracked.

    Attributes:
        name: as that of its `ClipFile`.
        key: SHA-256 of the file's bytes.
        video: the open file.
        rate: frames per second that are coded.
        seen: the result of tracking.
        crop: the square that `fvc encode` chooses.
        rotation: whether the head turns.
    """

    name: str
    key: str
    video: VideoReader
    rate: Fraction
    seen: Survey
    crop: Crop
    rotation: bool

    @property
    def tracked(self) -> TrackedClip:
        """The clip as `codec.source_builder` takes it."""
        return TrackedClip(self.seen, self.rate, self.crop)

    def frames(self) -> Iterator[tuple[Frame, np.ndarray]]:
        """Whole frames and their crops (uint8 [256, 256, 3])."""
        for frame in self.video.frames(self.rate):
            yield frame, cut(frame.rgb, self.crop)


@contextlib.contextmanager
def open_clip(file: ClipFile, rate: Fraction, cache: Cache, each: Callable[[], None] = lambda: None) -> Iterator[Clip]:
    """The clip, tracked now or in an earlier run. Raises InputError.

    Args:
        rate: frames per second; each: called after each frame that is tracked.
    """
    with VideoReader(file.path) as video:
        key = file_hash(file.path)

        def track() -> Survey:
            with FaceTracker() as tracker:
                return survey(video.frames(rate), tracker, each, rate=rate)

        seen = cache.get(("survey", _TRACKING_CODE, _tracker(), key, str(rate)), _load_survey, track, _save_survey)
        if not len(seen.index):
            raise InputError(f"{video.name}: no face found in any of its {seen.frames} frames")
        turns = yaw_range(seen.yaw) >= ROTATION if file.rotation is None else file.rotation
        yield Clip(file.name, key, video, rate, seen, seen.crop(video.width, video.height), turns)


def _tracker() -> str:
    """The tracker, and which networks it has, for the key of what it found."""
    name = tracker_named()
    networks = fvc.codec.face.own_faces.NETWORKS
    return name + "".join(file_hash(path) for path in sorted(networks.glob("*.bin")) if name == OWN)


def yaw_range(yaw: np.ndarray) -> float:
    """Radians between the 1st and the 99th percentile."""
    low, high = np.percentile(yaw, _PERCENTILES)
    return float(high - low)


_TRACKING_CODE = code_digest(
    fvc.codec.face.appearance,
    fvc.codec.face.cuts,
    fvc.codec.face.detection,
    fvc.codec.face.identity,
    fvc.codec.face.landmarks,
    fvc.codec.face.mediapipe_faces,
    fvc.codec.face.own_faces,
    fvc.codec.face.scene_groups,
    fvc.codec.face.survey,
    fvc.codec.face.tracker,
)


def _save_survey(seen: Survey, path: Path) -> None:
    with open(path, "wb") as file:
        np.savez(file, **{field.name: np.asarray(getattr(seen, field.name)) for field in fields(Survey)})


def _load_survey(path: Path) -> Survey:
    with np.load(path, allow_pickle=False) as stored:
        values = {name: stored[name] for name in stored.files}
    return Survey(**{name: value if value.ndim else value.item() for name, value in values.items()})
