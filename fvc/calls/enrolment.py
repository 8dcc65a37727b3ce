"""Source pictures of a call: from its first seconds, and better ones later, when the face shows something new."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import chain, islice

import numpy as np

from fvc.codec.base.errors import InputError
from fvc.codec.base.reporting import Note
from fvc.codec.call.setup import Setup
from fvc.codec.face.crop import cut, from_crop, to_crop, to_picture
from fvc.codec.face.detection import Face
from fvc.codec.face.face_choice import FaceChoice
from fvc.codec.face.landmarks import openness
from fvc.codec.face.patching import with_patched
from fvc.codec.face.source_choice import SHARP, SHUT, SOURCES, distances
from fvc.codec.face.survey import Survey, contrast_of, survey
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.video import Frame
from fvc.codec.source_builder import MOST_MOVING, SourceBuilder, TrackedClip, stream_header
from fvc.codec.wire.bitstream import Audio
from fvc.codec.wire.source_set import Coded, SourceSet, code_pictures

MAX_CALL_SOURCES = 6  # pictures to which a call's source set grows
_MAX_FRAME_BYTES = 1 << 28  # of the frames that are kept for enrolment
_LOOK_INTERVAL = 0.5  # seconds between two faces that are examined
_RECENT_SECONDS = 30.0  # for how long faces count in the choice of a further source
_SET_INTERVAL = 10.0  # seconds between two source sets, at least
_MIN_GAIN = 0.15  # a further source must lower the mean distance to the nearest source by at least this share,
_MIN_SAVED = 0.003  # and by at least this much, in half sides of the crop: 0.4 pixels
_MAX_CANDIDATES = 24  # crops that are kept, 5 MB


@dataclass(frozen=True)
class Enrolment:
    """The set-up of a call, and the data from which its source pictures were made.

    Attributes:
        crops: uint8 [S, S, 3] each, before coding; landmarks: [33, 2] each, of the crop.
        builder: made the samples.
    """

    setup: Setup
    crops: tuple[np.ndarray, ...]
    landmarks: tuple[np.ndarray, ...]
    builder: SourceBuilder

    @cached_property
    def least_open(self) -> float:
        """The smallest openness of the sources' eyes."""
        return min(openness(sup) for sup in self.landmarks)

    @cached_property
    def place(self) -> np.ndarray:
        """Where the face was: x and y in pixels of the frame."""
        return from_crop(self.landmarks[0], self.setup.header.crop).mean(0)

    @property
    def shown(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The source pictures, uint8 [S, S, 3], with their landmarks in pixels [33, 2]."""
        return [(crop, to_picture(sup, len(crop))) for crop, sup in zip(self.crops, self.landmarks, strict=True)]


def enrol(
    name: str,
    frames: Iterable[Frame],
    rate: Fraction,
    seconds: float,
    builder: SourceBuilder,
    interval: int,
    audio: Audio | None,
    note: Note,
    choice: FaceChoice = MOST_MOVING,
) -> Enrolment:
    """Makes the set-up of a call from the first seconds of `frames` that show a face.

    Waits for a face as long as there are frames. Raises InputError if none shows one.

    Args:
        seconds: how much of the input is examined; infinite: all frames.
        choice: which of several faces is followed.
    """
    kept, seen = _first_look(name, iter(frames), _count(seconds, rate), choice, note)
    if seen.n_faces > 1:
        note(f"{name}: more than one face; following {choice.label}")
    height, width = kept[0].rgb.shape[:2]
    clip = TrackedClip(seen, rate, seen.crop(width, height))
    builder = builder.fitting(clip.crop, name, note)
    source_set, crops, landmarks = _sources(kept, clip, builder)
    setup = Setup(stream_header(source_set, clip, interval, audio=audio), source_set)
    return Enrolment(setup, crops, landmarks, builder)


def enrol_newcomer(before: Enrolment, frames: Sequence[Frame], rate: Fraction) -> Enrolment:
    """Source pictures of somebody else for a call that goes on: all but the pictures stays as it was.

    Raises InputError where no frame shows a face.
    """
    crop = before.setup.header.crop
    with FaceTracker(place=before.place) as tracker:
        seen = survey(frames, tracker)
    if not len(seen.index):
        raise InputError("no face")
    source_set, crops, landmarks = _sources(frames, TrackedClip(seen, rate, crop), before.builder)
    return Enrolment(before.setup.with_sources(source_set), crops, landmarks, before.builder)


def is_enough(frames: Sequence[Frame], seconds: float, rate: Fraction) -> bool:
    """Whether frames suffice for an enrolment that looks at some seconds, or no more of them can be kept."""
    if not frames:
        return False
    is_long = frames[-1].index - frames[0].index + 1 >= seconds * rate  # numbers: some frames may have been left out
    return is_long or len(frames) * frames[-1].rgb.nbytes > _MAX_FRAME_BYTES


def _sources(
    frames: Iterable[Frame], clip: TrackedClip, builder: SourceBuilder
) -> tuple[SourceSet, tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """The first source set of a person in a call, and the crops and landmarks that it was made of."""
    seen = clip.seen.by_group()[0]  # whoever is seen most, if somebody else passes
    chosen = seen.sources(SOURCES)
    donors = builder.donors(seen, chosen)
    crops, landmarks = clip.cut_sources({frame.index: frame.rgb for frame in frames}, chosen, donors, builder.side)
    return builder.source_set(code_pictures(crops, builder.crf), landmarks), crops, landmarks


def _first_look(
    name: str, frames: Iterator[Frame], count: int | None, choice: FaceChoice, note: Note
) -> tuple[list[Frame], Survey]:
    """The first `count` frames (None: all) and their faces; if they show none, as many from the first face on."""
    with FaceTracker() as tracker:
        kept = _some(frames, count)
        seen, looked = survey(kept, tracker, choice=choice), len(kept)
        if kept and not len(seen.index):
            note(f"{name}: no face yet; waiting for one")
            for frame in frames:
                looked += 1
                if tracker.track(frame.rgb) is not None:
                    kept = _some(chain([frame], frames), count)
                    seen = survey(kept, tracker, choice=choice)
                    break
    if not kept:
        raise InputError(f"{name}: no frames")
    if not len(seen.index):
        raise InputError(f"{name}: no face found in any of its {looked} frames")
    return kept, seen


def _count(seconds: float, rate: Fraction) -> int | None:
    return None if math.isinf(seconds) else max(round(seconds * rate), 1)


def _some(frames: Iterator[Frame], count: int | None) -> list[Frame]:
    """The next `count` frames (None: all), fewer where they are large."""
    kept: list[Frame] = []
    for frame in islice(frames, count):
        kept.append(frame)
        if len(kept) * frame.rgb.nbytes > _MAX_FRAME_BYTES:
            break
    return kept


class SourceRefresher:
    """Adds source pictures during a call if the face often looks unlike all those that the receiver has.

    Every half second the landmarks are compared with those of the sources (`codec.face.source_choice`). The
    crop that would most lower the mean distance of the last half minute's faces to their nearest source joins the set,
    if it lowers it enough. If no source has shut eyes, the first source is sent again with the eyes of a frame that has
    (`codec.face.patching`), provided that the networks can use it. Pictures are coded in a thread: `found` never waits.

    Args:
        first: the set-up that the call began with.
        rate: frames per second.
        most: the most pictures that the set may have.
    """

    def __init__(self, first: Enrolment, rate: Fraction, most: int = MAX_CALL_SOURCES) -> None:
        self._now, self._rate, self._most = first, rate, most
        self._recent: deque[np.ndarray] = deque(maxlen=round(_RECENT_SECONDS / _LOOK_INTERVAL))
        self._seen: list[tuple[np.ndarray, np.ndarray, float]] = []  # landmarks, crop, contrast
        self._shut_eyes: tuple[np.ndarray, np.ndarray] | None = None  # crop and landmarks with the eyes most shut
        self._next_look, self._next_set = 0.0, _SET_INTERVAL
        self._pool = ThreadPoolExecutor(1, "fvc-sources")
        self._coding: tuple[Future[Coded], Enrolment] | None = None

    @property
    def sources(self) -> int:
        """How many pictures the newest set has."""
        return len(self._now.crops)

    @property
    def candidates(self) -> int:
        """How many crops are kept to choose from, at most 24."""
        return len(self._seen)

    @property
    def is_coding(self) -> bool:
        """Whether a further picture is being coded, so that `found` still returns None."""
        return self._coding is not None and not self._coding[0].done()

    def __enter__(self) -> SourceRefresher:
        return self

    def __exit__(self, *exc: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def see(self, frame: Frame, face: Face | None) -> None:
        """Takes a frame of the call with the face that the tracker found in it."""
        seconds = float(frame.index / self._rate)
        if face is None or self.sources >= self._most:
            return
        self._note_eyes(frame, face)
        if seconds < self._next_look:
            return
        self._next_look = seconds + _LOOK_INTERVAL
        crop = self._now.setup.header.crop
        landmarks = to_crop(face.sup, crop)
        self._recent.append(landmarks)
        self._keep(landmarks, cut(frame.rgb, crop, self._now.builder.side), contrast_of(frame.rgb, face))
        if seconds >= self._next_set and self._coding is None:
            self._look_for_better(seconds)

    def found(self) -> Setup | None:
        """The set-up with a further source picture, once that has been coded; None otherwise."""
        if self._coding is None or self.is_coding:
            return None
        (coded, wanted), self._coding = self._coding, None
        source_set = wanted.builder.source_set(coded.result(), wanted.landmarks)
        self._now, self._shut_eyes = replace(wanted, setup=wanted.setup.with_sources(source_set)), None
        return self._now.setup

    def begin_anew(self, enrolled: Enrolment, seconds: float) -> None:
        """Somebody else was enrolled, so many seconds after the start: nothing is kept of the one before."""
        self._now, self._shut_eyes, self._coding = enrolled, None, None
        self._recent.clear()
        self._seen.clear()
        self._next_set = seconds + _SET_INTERVAL

    def _keep(self, landmarks: np.ndarray, crop: np.ndarray, contrast: float) -> None:
        """Keeps a candidate; if there are too many, the one most like another is dropped."""
        self._seen.append((landmarks, crop, contrast))
        if len(self._seen) > _MAX_CANDIDATES:
            points = np.array([seen[0] for seen in self._seen])
            between = distances(points, points)
            np.fill_diagonal(between, np.inf)
            self._seen.pop(int(between.min(1).argmin()))

    def _note_eyes(self, frame: Frame, face: Face) -> None:
        least = SHUT * self._now.least_open if self._shut_eyes is None else openness(self._shut_eyes[1])
        if self._now.builder.blends_parts and face.eye_openness < least:
            crop = self._now.setup.header.crop
            self._shut_eyes = cut(frame.rgb, crop, self._now.builder.side), to_crop(face.sup, crop)

    def _look_for_better(self, seconds: float) -> None:
        if self._shut_eyes is not None:
            sources = with_patched([*zip(self._now.crops, self._now.landmarks, strict=True)], {"eyes": self._shut_eyes})
            return self._code(seconds, *sources[-1])
        recent, contrast = np.array(self._recent), np.array([seen[2] for seen in self._seen])
        near = distances(recent, np.array(self._now.landmarks)).min(1)
        far = distances(recent, np.array([seen[0] for seen in self._seen]))
        saved = np.maximum(near[:, None] - far, 0).mean(0) * (contrast >= SHARP * np.median(contrast))
        best = int(saved.argmax())
        if saved[best] < max(_MIN_GAIN * near.mean(), _MIN_SAVED):
            return
        landmarks, crop, _ = self._seen.pop(best)
        self._code(seconds, crop, landmarks)

    def _code(self, seconds: float, crop: np.ndarray, landmarks: np.ndarray) -> None:
        """Begins to code a set with a further picture."""
        wanted = replace(self._now, crops=(*self._now.crops, crop), landmarks=(*self._now.landmarks, landmarks))
        self._coding = self._pool.submit(code_pictures, wanted.crops, wanted.builder.crf), wanted
        self._next_set = seconds + _SET_INTERVAL
