"""Who is in a clip, and how sure a mean over clips is: clips of one person are alike, so the bootstrap draws people."""

from __future__ import annotations

import csv
import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fvc.codec.base.errors import InputError

_DRAWS = 2000  # of the bootstrap
_MIN_PEOPLE = 3  # below which no interval is given
_LEVELS = 2.5, 97.5  # percentiles: an interval of 95 %


def person_of(video: Path) -> str:
    """Who is in a video: column "identity" of the `catalog.csv` in its folder or the one above, else the file's name.

    Raises InputError: the catalog cannot be read.
    """
    for catalog in (video.absolute().parent / "catalog.csv", video.absolute().parent.parent / "catalog.csv"):
        if catalog.is_file():
            try:
                with catalog.open(newline="", encoding="utf-8") as file:
                    known = {row["clip"]: row["identity"] for row in csv.DictReader(file)}
            except (KeyError, csv.Error, UnicodeDecodeError) as error:
                raise InputError(f"{catalog}: not a catalog with clip and identity ({error!r})") from None
            return known.get(video.name, video.name)
    return video.name


@dataclass(frozen=True)
class Interval:
    """A mean over clips. `low`, `high`: ends of its 95 % interval, None below three people; `clips`: how many count."""

    mean: float
    low: float | None
    high: float | None
    clips: int
    people: int


def mean_over_people(values: Sequence[float], people: Sequence[str], geometric: bool = False) -> Interval | None:
    """Mean over clips, its interval from a bootstrap over people (percentiles); None: there are no values.

    Args:
        values: one for each clip, positive if `geometric`; people: who is in it.
    """
    if not values:
        return None
    by_person: dict[str, list[float]] = defaultdict(list)
    for value, person in zip(values, people, strict=True):
        by_person[person].append(math.log(value) if geometric else value)
    mean = statistics.fmean(value for each in by_person.values() for value in each)
    ends: list[float | None] = [None, None]
    if len(by_person) >= _MIN_PEOPLE:
        sums, counts = (np.array([f(each) for each in by_person.values()]) for f in (sum, len))
        drawn = np.random.default_rng(0).integers(0, len(counts), (_DRAWS, len(counts)))
        ends = np.percentile(sums[drawn].sum(1) / counts[drawn].sum(1), _LEVELS).tolist()
    if geometric:
        mean, ends = math.exp(mean), [None if end is None else math.exp(end) for end in ends]
    return Interval(mean, ends[0], ends[1], len(values), len(by_person))
