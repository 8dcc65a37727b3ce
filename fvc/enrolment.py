"""The first seconds of a call: where the face is, which frames become its source pictures, what the header says."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import islice

from fvc.capture import Kept
from fvc.codec.bitstream import Audio
from fvc.codec.encoder import MotionNetwork
from fvc.codec.errors import InputError
from fvc.codec.sample import Profile
from fvc.codec.setup import Setup
from fvc.codec.survey import survey
from fvc.codec.tracking import FaceTracker
from fvc.codec.video import Frame
from fvc.encoding import TrackedClip, choose_sources, stream_header
from fvc.files import Note

_MOST = 1 << 28  # bytes of pixels that are kept


def enrol(
    name: str, frames: Iterable[Frame], rate: Fraction, seconds: float, kind: Profile, network: MotionNetwork | None,
    preset: str, interval: int, audio: Audio | None, note: Note,
) -> Setup:  # fmt: skip
    """Looks at the first seconds of `frames` and makes the set-up of a call. Raises InputError."""
    kept: list[Frame] = []
    for frame in islice(frames, max(round(seconds * rate), 1)):
        kept.append(frame)
        if len(kept) * frame.rgb.nbytes > _MOST:
            break
    if not kept:
        raise InputError(f"{name}: no frames")
    first = Kept(name, kept)
    with FaceTracker() as tracker:
        seen = survey(kept, tracker)
    if not len(seen.index):
        raise InputError(f"{name}: no face found in its first {len(kept)} frames")
    if seen.n_faces > 1:
        note(f"{name}: more than one face; following the largest")
    clip = TrackedClip(seen, rate, seen.crop(*first.size))
    source_set, _ = choose_sources(first, clip, kind, network, preset, canvas=False)
    return Setup(stream_header(source_set, clip, interval, audio=audio), source_set)
