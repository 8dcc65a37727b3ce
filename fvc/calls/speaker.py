"""The person whom a call shows: followed through the frames, and enrolled anew where somebody else sits down."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction

from fvc.calls.enrolment import Enrolment, enrol_newcomer, is_enough
from fvc.codec.base.errors import InputError
from fvc.codec.base.reporting import Note
from fvc.codec.encoder import Found
from fvc.codec.face.crop import is_in_crop, to_crop
from fvc.codec.face.detection import Face
from fvc.codec.face.identity import FaceWatch, Person
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.video import Frame

_NOTHING = Found(None)
_MOST_SECONDS = 1.5  # of a newcomer that are looked at: the receiver sees a held picture until then


class Speaker:
    """Finds the face in each frame of a call, and shows nobody while it is not the enrolled person's.

    The pictures of a newcomer are taken from less time than those of the first one (`SourceRefresher` adds others); the
    crop stays, since it is the same call. They are made in a thread: `see` never waits. Use as a context manager.

    Args:
        first: whom the call began with.
        rate: frames per second; seconds: how much of a newcomer is looked at, if it is less than 1.5.
        note: told when somebody else has come.

    Attributes:
        is_newcomer: whether somebody else is there whom the receiver cannot draw yet; `welcome` ends that.
        is_enrolled: whether this person's enrolment was taken.
    """

    def __init__(self, first: Enrolment, rate: Fraction, seconds: float, note: Note) -> None:
        self._now, self._rate, self._note = first, rate, note
        self._seconds = min(seconds, _MOST_SECONDS)
        self._tracker = FaceTracker(place=first.place)
        self._watch = FaceWatch(first.shown, rate)
        self._pool = ThreadPoolExecutor(1, "fvc-newcomer")
        self._frames: list[Frame] | None = None  # of a newcomer; None: nobody has come
        self._making: Future[Enrolment] | None = None
        self._begins = False  # the next frame is the first that shows a newcomer
        self._is_outside = False  # the face was last seen outside the crop
        self.is_newcomer = self.is_enrolled = False

    def __enter__(self) -> Speaker:
        return self

    def __exit__(self, *exc: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._tracker.close()

    def see(self, frame: Frame) -> tuple[Found, Face | None]:
        """What is to be coded of a frame, and the enrolled person's face in it."""
        face = self._tracker.track(frame.rgb)
        is_cut = self._tracker.is_cut
        if self.is_newcomer:
            self._collect(frame, face)
            return _NOTHING, None
        person = self._watch.see(frame.index, frame.rgb, None if face is None else face.sup, self._tracker.is_sudden)
        if person == Person.OTHER:
            self._note("another person; new source pictures are under way")
            self.is_newcomer = True
            self._collect(frame, face)
        if person != Person.KNOWN:
            return _NOTHING, None
        if face is not None and not is_in_crop(to_crop(face.sup, self._now.setup.header.crop)):
            self._tell_outside()
            return _NOTHING, None
        self._is_outside = self._is_outside and face is None
        found = Found(None if face is None else face.sup, is_cut or self._begins)
        self._begins = self._begins and face is None
        return found, face

    @property
    def is_enrolling(self) -> bool:
        """Whether a newcomer's pictures are being made."""
        return self._making is not None and not self._making.done()

    def enrolled(self) -> Enrolment | None:
        """The newcomer's enrolment, once: when it is there. `welcome` ends the pause."""
        if self._making is None or self.is_enrolling:
            return None
        making, self._making = self._making, None
        try:
            self._now, self.is_enrolled = making.result(), True
        except InputError:  # the face has left meanwhile: the next one is waited for
            self._frames = None
            return None
        return self._now

    def welcome(self) -> None:
        """The receiver can draw the newcomer, who is shown from now on."""
        self._watch, self._frames, self.is_newcomer = FaceWatch(self._now.shown, self._rate), None, False
        self._begins, self.is_enrolled = True, False

    def _tell_outside(self) -> None:
        if not self._is_outside:
            self._note("the face is outside the square that was chosen at the start; the last picture is held")
        self._is_outside = True

    def _collect(self, frame: Frame, face: Face | None) -> None:
        """Keeps the newcomer's frames, from the first with a face on, until there are enough."""
        if self._frames is None and face is not None:
            self._frames = []
        if self._frames is None or is_enough(self._frames, self._seconds, self._rate):
            return
        self._frames.append(frame)
        if is_enough(self._frames, self._seconds, self._rate):
            self._making = self._pool.submit(enrol_newcomer, self._now, self._frames, self._rate)
