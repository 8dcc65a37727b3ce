"""A tracked clip -> its source set and the header of its stream, for files and calls."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Protocol

import numpy as np

from fvc.codec.base.constants import MAX_HEADER_LENGTH, MAX_SOURCES, SIDE
from fvc.codec.base.errors import InputError
from fvc.codec.base.reporting import Note, Progress, silent
from fvc.codec.encoder import MotionNetwork, make_sample
from fvc.codec.face.crop import cut, is_in_crop, to_crop
from fvc.codec.face.face_choice import FaceChoice
from fvc.codec.face.patching import with_patched
from fvc.codec.face.source_choice import share_out
from fvc.codec.face.survey import Survey, survey
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.pipeline import ahead
from fvc.codec.media.video import Frame, VideoReader
from fvc.codec.motion.quantizer import QUANTIZERS, Quantizer, for_parts
from fvc.codec.motion.sample import Profile
from fvc.codec.wire.bitstream import Audio, Crop, Header
from fvc.codec.wire.scenes import Scenes
from fvc.codec.wire.source_set import Coded, SourceSet, code_canvas, code_pictures, code_pictures_within

MOST_MOVING = FaceChoice()
_OTHER_ELEMENTS = 128  # bytes of a header's other elements, at most
SOURCE_CRF, CANVAS_CRF = 21, 36  # AV1's constant rate factor: of source pictures, and of the canvas
LARGE_SOURCE_CRF = 28  # of source pictures of 512x512: about 1.6 times the bytes of those of 256x256


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
        self, frames: Mapping[int, np.ndarray], chosen: Sequence[int], donors: Mapping[str, int], side: int = SIDE
    ) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        """Crops uint8 [side, side, 3] and landmarks [33, 2] of the chosen frames, the patched picture last.

        Args:
            frames: index -> pixels, of all chosen frames and donors.
            chosen: frame indices, the most useful first.
            donors: part -> frame whose eyes or mouth the patched picture shows (`Survey.donors`); none: no patch.
        """
        sup_of = self.seen.sup_of()
        shown = {
            i: (cut(frames[i], self.crop, side), to_crop(sup_of[i], self.crop)) for i in {*chosen, *donors.values()}
        }
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
        seen = survey(frames, follower, tick, choice, rate)
    if not len(seen.index):
        raise InputError(f"{video.name}: no face found in any of its {seen.frames} frames")
    if seen.n_faces > 1:
        note(f"{video.name}: more than one face; following {choice.label}")
    if missing := seen.frames - len(seen.index):
        note(f"{video.name}: no face in {missing} of {seen.frames} frames; the receiver holds its last picture there")
    clip = TrackedClip(seen, rate, seen.crop(video.width, video.height))
    if away := sum(not is_in_crop(to_crop(sup, clip.crop)) for sup in seen.sup):
        note(f"{video.name}: the face is far from its usual place in {away} frames; the last picture is held there")
    return clip


@dataclass(frozen=True)
class PickedSources:
    """The source pictures of a clip before they are coded.

    Attributes:
        crops: uint8 [S, S, 3] each; landmarks: [33, 2] of each.
        whole, scenes: see `ChosenSources`.
    """

    crops: tuple[np.ndarray, ...]
    landmarks: tuple[np.ndarray, ...]
    whole: np.ndarray
    scenes: Scenes | None


@dataclass(frozen=True)
class ChosenSources:
    """What the source pictures of a clip are.

    Attributes:
        source_set: the pictures, coded.
        whole: the frame that the first of them was cut from, uint8 [H, W, 3].
        scenes: which of them draw which frames; None: all draw all.
    """

    source_set: SourceSet
    whole: np.ndarray
    scenes: Scenes | None

    @cached_property
    def bytes(self) -> int:
        """Size of the source set's file."""
        return len(bytes(self.source_set))


def source_frames(groups: Sequence[Survey], count: int | None) -> list[list[int]]:
    """The frames that become the source pictures of each group; `count`: of each, as far as all fit in a set."""
    if len(groups) == 1:
        return [groups[0].sources(count)]
    wanted = [len(group.sources()) if count is None else min(count, len(group.index)) for group in groups]
    shares = share_out([len(group.index) for group in groups], wanted, MAX_SOURCES)
    return [group.sources(share) for group, share in zip(groups, shares, strict=True)]


def scenes_of(
    seen: Survey, groups: Sequence[Survey], of_group: Sequence[Sequence[int]], pictures: int
) -> Scenes | None:
    """Which pictures draw which frames; None: all draw all.

    Args:
        of_group: the source frames of each group; pictures: in all, with the patched one, which is the last and belongs
            to the first group.
    """
    if len(groups) == 1:
        return None
    ends = np.cumsum([len(frames) for frames in of_group]).tolist()
    sets = [(1 << end) - (1 << start) for start, end in zip([0, *ends], ends, strict=False)]
    sets[0] |= (1 << pictures) - (1 << ends[-1])
    set_of = {int(group.groups[0]): n for n, group in enumerate(groups)}
    pairs = [(int(n), set_of[int(group)]) for n, group in zip(seen.index, seen.groups, strict=True)]
    return Scenes.of(pairs, sets, MAX_HEADER_LENGTH - _OTHER_ELEMENTS)


@dataclass(frozen=True)
class SourceBuilder:
    """Makes source sets for one set of weights (`InstalledModel.source_builder`).

    Attributes:
        profile: which parts the samples have.
        network: finds the learned ones; None where the profile has none.
        model_hash: names the weights in streams and source sets.
        blends_parts: whether the receiver's networks can use a patched picture.
        side: of the pictures, 256 or 512 pixels.
    """

    profile: Profile
    network: MotionNetwork | None
    model_hash: bytes
    blends_parts: bool
    side: int = SIDE

    @property
    def crf(self) -> int:
        """AV1's constant rate factor of the pictures, where nothing else is wanted."""
        return SOURCE_CRF if self.side == SIDE else LARGE_SOURCE_CRF

    def fitting(self, crop: Crop, name: str, note: Note) -> SourceBuilder:
        """The builder for this crop of the input called `name`: nothing is enlarged beyond 256 pixels."""
        if self.side <= max(crop.side, SIDE):
            return self
        fault = f"the face's square has {crop.side} pixels, fewer than `size` {self.side}"
        note(f"{name}: {fault}; it is coded with {SIDE}")
        return replace(self, side=SIDE)

    def choose(
        self,
        video: FrameSource,
        clip: TrackedClip,
        canvas: bool = False,
        count: int | None = None,
        most_bytes: int | None = None,
    ) -> ChosenSources:
        """Chooses and codes the source pictures of a clip.

        Where networks blend parts, the set has one picture more than `count`: the first one with eyes or a mouth that
        no other picture shows (`codec.face.patching`). A clip of several people or places has pictures of each, eight
        in all at most.

        Args:
            canvas: whether the set carries the whole frame that the first picture is cut from.
            count: how many pictures, of each person and place; None: 3 to 6, depending on the clip
                (`codec.face.source_choice`).
            most_bytes: the most bytes of all pictures together; None: no limit.

        Raises:
            InputError: a frame cannot be read a second time.
            UsageError: the pictures do not fit in `most_bytes`.
        """
        picked = self.pick(video, clip, count)
        if most_bytes is None:
            coded = code_pictures(picked.crops, self.crf)
        else:
            coded = code_pictures_within(picked.crops, self.crf, most_bytes)
        return self.chosen(picked, coded, canvas)

    def pick(
        self, video: FrameSource, clip: TrackedClip, count: int | None = None, patched: bool = True
    ) -> PickedSources:
        """The pictures of `choose` before they are coded; `patched`: with the one more. Raises InputError."""
        groups = clip.seen.by_group()
        of_group = source_frames(groups, count)
        chosen = [index for frames in of_group for index in frames]
        donors = self.donors(groups[0], of_group[0]) if patched and len(chosen) < MAX_SOURCES else {}
        wanted = {*chosen, *donors.values()}
        frames = {frame.index: frame.rgb for frame in video.frames(clip.rate, only=wanted)}
        if missing := wanted - set(frames):
            raise InputError(f"{video.name}: frame {min(missing)} could not be read a second time")
        crops, landmarks = clip.cut_sources(frames, chosen, donors, self.side)
        return PickedSources(crops, landmarks, frames[chosen[0]], scenes_of(clip.seen, groups, of_group, len(crops)))

    def chosen(self, picked: PickedSources, coded: Coded, canvas: bool) -> ChosenSources:
        """The source set of picked pictures that were coded (see `code_pictures`)."""
        source_set = self.source_set(coded, picked.landmarks, picked.whole if canvas else None)
        return ChosenSources(source_set, picked.whole, picked.scenes)

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
    scenes: Scenes | None = None,
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
        scenes,
        source_set.side,
    )
