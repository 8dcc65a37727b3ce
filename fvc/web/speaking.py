"""What a caller shows and says, coded in a thread: frames and sound of an input -> packets, and better pictures."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from functools import cached_property
from queue import Empty, SimpleQueue

from fvc.calls.enrolment import Enrolment, SourceRefresher
from fvc.calls.inputs import CallInput
from fvc.calls.speaker import Speaker
from fvc.codec.base.errors import FvcError
from fvc.codec.base.reporting import Note
from fvc.codec.call.setup import Setup
from fvc.codec.encoder import Encoder
from fvc.codec.face.detection import Face
from fvc.codec.media.video import Frame
from fvc.codec.options import EncoderOptions
from fvc.codec.source_builder import SOURCE_CRF
from fvc.codec.wire.bitstream import Kind, Packet
from fvc.codec.wire.source_set import code_pictures

FIRST_BYTES = 900  # of the first picture: a first face within two seconds at 8 kbit/s


@dataclass(frozen=True)
class Done:
    """The input has ended; `error`: what was wrong with it."""

    error: FvcError | None = None


Item = Packet | Setup | Done


class Speaking:
    """See the module. Use as a context manager; `start` it when somebody listens.

    Attributes:
        wants_keyframe: set it, and the next frame is one.
        may_extend: whether the other side has all pictures that were sent, so that others may be made.
        frames, motion_bytes: sent so far.
    """

    def __init__(self, source: CallInput, enrolled: Enrolment, options: EncoderOptions, seconds: float, note: Note):
        self._source, self._enrolled, self._options, self._seconds, self._note = (
            source,
            enrolled,
            options,
            seconds,
            note,
        )
        self._items: SimpleQueue[Item] = SimpleQueue()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fvc-speaking", daemon=True)
        self.wants_keyframe = self.may_extend = False
        self.frames = self.motion_bytes = self._sounds = 0

    def __enter__(self) -> Speaking:
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join(10)

    @property
    def is_started(self) -> bool:
        """Whether the input is being played."""
        return self._thread.ident is not None

    def start(self) -> None:
        """Begins with the input's first frame."""
        self._thread.start()

    def items(self) -> list[Item]:
        """What there is to send now."""
        out = list[Item]()
        while True:
            try:
                out.append(self._items.get_nowait())
            except Empty:
                return out

    def _run(self) -> None:
        try:
            self._speak()
            self._items.put(Done())
        except FvcError as error:
            self._items.put(Done(error))

    def _speak(self) -> None:
        options, enrolled = self._options, self._enrolled
        encoder = Encoder(enrolled.setup.header, enrolled.builder.network, None, options.refresh, options.plan())
        with (
            Speaker(enrolled, options.rate, self._seconds, self._note) as speaker,
            SourceRefresher(enrolled, options.rate) as refresher,
        ):
            for frame in self._source.frames():
                if self._is_over.wait(max(self._source.due(frame.index) - time.monotonic(), 0)):
                    return
                if self._source.is_late(frame.index):
                    continue
                self._code(encoder, speaker, refresher, frame)

    def _code(self, encoder: Encoder, speaker: Speaker, refresher: SourceRefresher, frame: Frame) -> None:
        for missed in range(self.frames, frame.index):
            self._items.put(Packet(Kind.MOTION, missed, b""))
        for packet in self._source.sound.due(frame.index / self._options.rate):
            self._items.put(packet)
            self._sounds = packet.number + 1
        found, face = speaker.see(frame)
        wanted, self.wants_keyframe = self.wants_keyframe, False
        coded = encoder.encode(frame, found, audio_packets=self._sounds, force_keyframe=wanted)
        self.frames, self.motion_bytes = frame.index + 1, self.motion_bytes + len(coded.payload)
        self._items.put(coded)
        self._extend(speaker, refresher, frame, face)

    def _extend(self, speaker: Speaker, refresher: SourceRefresher, frame: Frame, face: Face | None) -> None:
        """Other pictures, where the face shows something new or is somebody else's."""
        if not speaker.is_newcomer:
            refresher.see(frame, face)
        if not self.may_extend:
            return
        setup: Setup | None = None
        if speaker.is_newcomer and speaker.is_enrolled:
            speaker.welcome()
        elif speaker.is_newcomer and (enrolled := speaker.enrolled()) is not None:
            refresher.begin_anew(enrolled, float(frame.index / self._options.rate))
            setup = enrolled.setup
        elif not speaker.is_newcomer:
            setup = refresher.found()
        if setup is not None:
            self.may_extend = False
            self._enrolled = replace(self._enrolled, setup=setup)
            self._items.put(setup)

    @property
    def has_sound(self) -> bool:
        """Whether sound is sent along."""
        return self._enrolled.setup.header.audio is not None

    @cached_property
    def first_setup(self) -> Setup:
        """A set-up of one small picture, for the first face; the newest one follows while frames go on."""
        first = self._enrolled
        coded = code_pictures(first.crops[:1], SOURCE_CRF, FIRST_BYTES)
        return first.setup.with_sources(first.builder.source_set(coded, first.landmarks[:1]))

    @property
    def newest_setup(self) -> Setup:
        """The set-up with the newest pictures."""
        return self._enrolled.setup
