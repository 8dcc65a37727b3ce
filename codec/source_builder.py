"""A tracked clip -> its source set and the header of its stream, for files and calls."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np

from fvc.codec.base.errors import InputError
from fvc.codec.base.reporting import Note, Progress, silent
from fvc.codec.encoder import MotionNetwork, make_sample
from fvc.codec.face.crop import cut, to_crop
from fvc.codec.face.face_choice import FaceChoice
from fvc.codec.face.patching import with_patched
from fvc.codec.face.survey import Survey, survey
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.pipeline import ahead
from fvc.codec.media.video import Frame, VideoReader
from fvc.codec.motion.quantizer import QUANTIZERS, Quantizer, for_parts
from fvc.codec.motion.sample import Profile
from fvc.codec.wire.bitstream import Audio, Crop, Header
from fvc.codec.wire.source_set import MAX_SOURCES, Coded, SourceSet, code_canvas, code_pictures, code_pictures_within

MOST_MOVING = FaceChoice()
SOURCE_CRF, CANVAS_CRF = 21, 36  # AV1's constant rate factor: of source pictures, and of the canvas


class FrameSource(Protocol):
    """A VideoReader, or frames that were kept."""

    @property
    def name(self) -> str: ...
    def frames(self, fps: Fraction, only: Container[int] | None = None) -> Iterable[Frame]: ...


@dataclass(frozen=True)
class TrackedClip:
    """Result of the first pass: the frames that show the face, and the crop for all of them."""

    seen: Survey
    rate: Fraction
    crop: Crop

    def cut_sources(
        self, frames: Mapping[int, np.ndarray], chosen: Sequence[int], donors: Mapping[str, int]
    ) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        """Crops uint8 [256, 256, 3] and landmarks [33, 2] of the chosen frames, the patched picture last.

        Args:
            frames: index -> pixels, of all chosen frames and donors.
            chosen: frame indices, the most useful first.
            donors: part -> frame whose eyes or mouth the patched picture shows (`Survey.donors`); none: no patch.
        """
        sup_of = self.seen.sup_of()
        shown = {i: (cut(frames[i], self.crop), to_crop(sup_of[i], self.crop)) for i in {*chosen, *donors.values()}}
        sources = with_patched([shown[i] for i in chosen], {part: shown[i] for part, i in donors.items()})
        crops, landmarks = zip(*sources, strict=True)
        return crops, landmarks


def track_video(
    video: VideoReader,
    rate: Fraction,
    note: Note = silent,
    progress: Progress = silent,
    choice: FaceChoice = MOST_MOVING,
    tracker: str | None = None,
) -> TrackedClip:
    """Tracks all frames of a video. Raises InputError where no frame shows a face.

    Args:
        choice: which of several faces is followed.
        tracker: see `EncoderOptions`.
        note: called if a frame shows more than one face, and if frames show none.
        progress: called with ("tracking", frames done, frames in all or None) after each frame.
    """
    total = None if video.duration is None else video.duration * float(rate)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress("tracking", done, total)

    with FaceTracker(tracker=tracker) as follower, closing(ahead(video.frames(rate))) as frames:
        seen = survey(frames, follower, tick, choice)
    if not len(seen.index):
        raise InputError(f"{video.name}: no face found in any of its {seen.frames} frames")
    if seen.n_faces > 1:
        note(f"{video.name}: more than one face; following {choice.label}")
    if missing := seen.frames - len(seen.index):
        note(f"{video.name}: no face in {missing} of {seen.frames} frames; the receiver holds its last picture there")
    return TrackedClip(seen, rate, seen.crop(video.width, video.height))


@dataclass(frozen=True)
class SourceBuilder:
    """Makes source sets for one set of weights (`InstalledModel.source_builder`).

    Attributes:
        profile: which parts the samples have.
        network: finds the learned ones; None where the profile has none.
        model_hash: names the weights in streams and source sets.
        blends_parts: whether the receiver's networks can use a patched picture.
    """

    profile: Profile
    network: MotionNetwork | None
    model_hash: bytes
    blends_parts: bool

    def choose(
        self,
        video: FrameSource,
        clip: TrackedClip,
        canvas: bool = False,
        count: int | None = None,
        most_bytes: int | None = None,
    ) -> tuple[SourceSet, np.ndarray]:
        """The source set, and the whole frame that its first picture was cut from.

        Where networks blend parts, the set has one picture more than `count`: the first one with eyes or a mouth that
        no other picture shows (`codec.face.patching`).

        Args:
            canvas: whether the set carries that whole frame.
            count: how many pictures; None: 3 to 6, depending on the clip (`codec.face.source_choice`).
            most_bytes: the most bytes of all pictures together; None: no limit.

        Raises:
            InputError: a frame cannot be read a second time.
            UsageError: the pictures do not fit in `most_bytes`.
        """
        chosen = clip.seen.sources(count)
        donors = self.donors(clip.seen, chosen)
        wanted = {*chosen, *donors.values()}
        frames = {frame.index: frame.rgb for frame in video.frames(clip.rate, only=wanted)}
        if missing := wanted - set(frames):
            raise InputError(f"{video.name}: frame {min(missing)} could not be read a second time")
        whole = frames[chosen[0]]
        crops, landmarks = clip.cut_sources(frames, chosen, donors)
        if most_bytes is None:
            coded = code_pictures(crops, SOURCE_CRF)
        else:
            coded = code_pictures_within(crops, SOURCE_CRF, most_bytes)
        return self.source_set(coded, landmarks, whole if canvas else None), whole

    def donors(self, seen: Survey, chosen: Sequence[int]) -> dict[str, int]:
        """The frames whose eyes and mouth the patched picture shows; empty if the set is full or cannot use a patch."""
        return seen.donors(chosen) if len(chosen) < MAX_SOURCES and self.blends_parts else {}

    def source_set(self, coded: Coded, landmarks: Sequence[np.ndarray], whole: np.ndarray | None = None) -> SourceSet:
        """The set of coded pictures (see `code_pictures`) and landmarks [33, 2] of the crop; `whole`: its canvas."""
        data, pictures = coded
        pairs = zip(pictures, landmarks, strict=True)
        samples = tuple(make_sample(*pair, self.network).only(self.profile.parts) for pair in pairs)
        canvas, size = code_canvas(whole, CANVAS_CRF) if whole is not None else (None, (0, 0))
        return SourceSet(self.profile, self.model_hash, data, pictures, samples, canvas, size)


def stream_header(
    source_set: SourceSet,
    clip: TrackedClip,
    interval: int,
    quantizers: Mapping[str, Quantizer] = QUANTIZERS["default"],
    audio: Audio | None = None,
) -> Header:
    """The header of a stream of the clip; `interval` is in frames, 0: only the first is a keyframe."""
    profile = source_set.profile
    return Header(
        profile,
        for_parts(quantizers, profile.parts),
        clip.rate,
        interval,
        clip.crop,
        source_set.model_hash,
        source_set.sources_hash,
        source_set.pixels_hash,
        audio,
    )
