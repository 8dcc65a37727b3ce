"""`fvc call`: joins a room, sends a video or a camera, and records or shows the other end."""

from __future__ import annotations

import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from fvc.calls.hangup import Hangup
from fvc.calls.inputs import CallInput, CameraInput, FileInput, enrol_input
from fvc.calls.sinks import Sinks
from fvc.codec.base.constants import MIN_CALL_FPS
from fvc.codec.base.errors import LinkError, OptionError, SourcesError, UsageError
from fvc.codec.base.reporting import Note, PathLike, Progress, silent
from fvc.codec.call.setup import Setup
from fvc.codec.channel.peer import PeerLeft, PeerReady, PeerSession, PeerWantsKeyframe, SetupRefused
from fvc.codec.face.face_choice import MOVING
from fvc.codec.options import AUDIO_BITRATE, KEYFRAME_INTERVAL, EncoderOptions
from fvc.codec.renderer import Renderer
from fvc.jobs.paths import file_path
from fvc.models.inference.installed import InstalledModel
from fvc.models.presets import DEFAULT
from fvc.web.invitation import Invitation
from fvc.web.rtc import Arrived, Closed, Event, Failed, Opened, RtcPeer
from fvc.web.speaking import Done, Speaking

DELAY = 0.4  # seconds that packets may be late: three frames share a datagram where the link is narrow
_TICK = 0.02  # seconds between two looks at everything, at most
_MOTION = 1100.0  # bits per second that motion is expected to need
_LAST_WORDS = 0.5  # seconds that the connection stays open after the farewell


class Peer(Protocol):
    """What carries messages: `fvc.web.rtc.RtcPeer`."""

    def event(self, seconds: float) -> Event | None: ...
    def send(self, channel: str, data: bytes) -> None: ...


@dataclass(frozen=True)
class CallerOptions:
    """The options of `call`. Raises UsageError, OptionError."""

    encoder: EncoderOptions
    enrol_seconds: float = 3.0
    delay: float = DELAY
    timeout: float = 10.0
    wait: float = 600.0
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.encoder.rate < MIN_CALL_FPS:
            raise OptionError("fps", self.encoder.fps, f"a call needs {MIN_CALL_FPS} frame per second or more")
        if not 0 < self.enrol_seconds <= 60:
            raise UsageError("call: the enrolment must be above 0 s, and at most a minute")
        if not 0 <= self.delay <= 10 or not self.timeout > 0 or not self.wait > 0:
            raise UsageError("call: the delay must be 0 to 10 s, the timeouts above 0")
        if self.seconds is not None and self.seconds <= 0:
            raise UsageError("call: the seconds must be above 0")


def call(
    link: str,
    video: PathLike | None = None,
    *,
    camera: int | None = None,
    microphone: str | None = None,
    out: PathLike | None = None,
    overwrite: bool = False,
    show: bool = False,
    loudspeaker: str | None = None,
    fps: str = "15",
    motion_kbps: float | None = None,
    face: str | int = MOVING,
    audio_bitrate: int | None = AUDIO_BITRATE,
    enrol_seconds: float = 3.0,
    delay: float = DELAY,
    timeout: float = 10,
    wait: float = 600,
    seconds: float | None = None,
    preset: str = DEFAULT,
    note: Note = silent,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Joins the room of a link (`fvc serve` and the page show it) and talks to whoever else is there.

    Sends a video or a camera; writes, shows and plays the other end. Without either input it only listens.
    The call ends with the input, after `seconds`, by Ctrl-C, or when the other end leaves. Where the connection is
    lost, it waits for the other end to come back.

    Args:
        loudspeaker, microphone: devices as in `fvc.calls.soundcard` (need sounddevice).
        delay: seconds that packets may be late: the jitter buffer.
        timeout: seconds of silence after which the other end counts as gone; wait: seconds to wait for it.

        The others: see `CallerOptions` and `codec.options.EncoderOptions`.

    Returns:
        the report that `fvc call --json` prints.

    Raises:
        FvcError: see `fvc.codec.base.errors`; LinkError where nobody comes.
    """
    if video is not None and camera is not None:
        raise UsageError("call: name a video or a camera, not both")
    if microphone is not None and (camera is None or audio_bitrate is None):
        raise UsageError("call: a microphone goes with a camera and with sound")
    if video is None and camera is None and out is None and not show and loudspeaker is None:
        raise UsageError("call: name a video or a camera to send, or an output for what comes")
    encoder = EncoderOptions(
        fps, motion_kbps=motion_kbps, keyframe_interval=KEYFRAME_INTERVAL, audio_bitrate=audio_bitrate, face=face
    )
    options = CallerOptions(encoder, enrol_seconds, delay, timeout, wait, seconds)
    invitation = Invitation.parse(link)
    target = None if out is None else file_path(out)
    with ExitStack() as stack:
        hangup = stack.enter_context(Hangup())
        sinks = stack.enter_context(Sinks(target, overwrite, show, False, loudspeaker, note))
        speaking = _speaking(stack, hangup, _input(video, camera, microphone, encoder, note), options, preset, note)
        peer = stack.enter_context(RtcPeer(invitation))
        workers = stack.enter_context(ThreadPoolExecutor(1))
        talk = Conversation(peer, speaking, sinks, options, workers, note)
        talk.run(hangup, progress)
    return {**talk.report(), "out": None if target is None or not talk.shown else str(target)}


def _input(
    video: PathLike | None, camera: int | None, microphone: str | None, options: EncoderOptions, note: Note
) -> CallInput | None:
    if video is not None:
        return FileInput(video, options.rate, options.audio_bitrate)
    if camera is not None:
        return CameraInput(camera, options.rate, microphone, options.audio_bitrate or AUDIO_BITRATE, note)
    return None


def _speaking(
    stack: ExitStack, hangup: Hangup, source: CallInput | None, options: CallerOptions, preset: str, note: Note
) -> Speaking | None:
    """What is sent, after its pictures were taken; None: nothing."""
    if source is None:
        return None
    stack.enter_context(source)
    builder = InstalledModel.named(preset).source_builder(options.encoder.kind)
    enrolled = enrol_input(source, hangup, options.encoder, options.enrol_seconds, builder, note)
    return stack.enter_context(Speaking(source, enrolled, options.encoder, options.enrol_seconds, note))


class Conversation:
    """A call in a room, through as many connections as it takes.

    Attributes:
        shown: frames of the other end.
    """

    def __init__(
        self,
        peer: Peer,
        speaking: Speaking | None,
        sinks: Sinks,
        options: CallerOptions,
        workers: Executor,
        note: Note,
    ) -> None:
        self._peer, self._speaking, self._sinks, self._options = peer, speaking, sinks, options
        self._workers, self._note = workers, note
        self._session: PeerSession | None = None
        self._making: tuple[Setup, Future[tuple[Renderer, bytes]]] | None = None
        self._ended: list[PeerSession] = []
        self._is_over = self._has_begun = False
        self._ends = float("inf")
        self.shown = 0
        self._began: float | None = None
        self._first_face: float | None = None

    def run(self, hangup: Hangup, progress: Progress) -> None:
        """Until the call is over. Raises FvcError."""
        give_up = time.monotonic() + self._options.wait
        try:
            while not self._is_over and not hangup.is_wanted:
                self._hear(hangup)
                now = time.monotonic()
                if self._session is not None:
                    give_up = now + self._options.wait
                    self._work(self._session, now)
                    progress("talking", self.shown, None)
                elif now > give_up:
                    raise LinkError("nobody came to the room")
                limit = float("inf") if self._began is None else self._began + (self._options.seconds or float("inf"))
                self._is_over |= now > min(limit, self._ends)
        except KeyboardInterrupt:  # the window was closed
            hangup.is_wanted = True
        finally:
            self._say_farewell()
        if not self._ended:
            hangup.raise_if_wanted()

    def _hear(self, hangup: Hangup) -> None:
        """Takes what has come, waiting for it at most a tick."""
        wait = _TICK
        while (event := self._peer.event(wait)) is not None and not hangup.is_wanted:
            wait, now = 0.0, time.monotonic()
            match event:
                case Opened():
                    self._begin(now)
                case Arrived(channel, data) if self._session is not None:
                    self._session.receive(channel, data, now)
                case Closed():
                    if self._session is not None:
                        self._take_events(self._session)  # its farewell may have come just before
                    self._lose("the connection is lost; waiting for the other end")
                case Failed(reason):
                    raise LinkError(reason)

    def _begin(self, now: float) -> None:
        """A new connection, and so a new session: set-ups and pictures begin anew."""
        self._note("somebody is there" if self._began is None else "the other end is back")
        self._began = now if self._began is None else self._began
        self._session = PeerSession(self._options.delay, self._options.timeout, now)
        self._ended.append(self._session)
        self._making = None
        if self._speaking is not None:
            self._session.offer_setup(self._speaking.first_setup, _MOTION, self._sound)

    @property
    def _sound(self) -> float:
        """Bits per second that our sound needs."""
        return float(self._options.encoder.audio_bitrate or 0) if self._speaking and self._speaking.has_sound else 0.0

    def _lose(self, why: str) -> None:
        if self._session is not None:
            self._session = None
            self._note(why)

    def _work(self, session: PeerSession, now: float) -> None:
        session.handle_timer(now)
        self._make_renderers(session, now)
        self._take_events(session)
        if self._speaking is not None and self._speaking.is_started:
            self._speak(session, self._speaking, now)
        for shot in session.play(now):
            self.shown += 1
            self._first_face = now if self._first_face is None else self._first_face
            self._sinks.take(shot)
        for channel, data in session.messages_to_send(now):
            self._peer.send(channel, data)

    def _speak(self, session: PeerSession, speaking: Speaking, now: float) -> None:
        """Sends what was coded meanwhile."""
        for item in speaking.items():
            if isinstance(item, Done):
                self._ends = now + self._options.delay + _LAST_WORDS  # until the other end has shown our last frame
                if item.error is not None:
                    raise item.error
            elif isinstance(item, Setup):
                session.offer_setup(item, _MOTION, self._sound)
            else:
                session.send(item, now)
        speaking.may_extend = session.is_ready and session.has_room_for_setup

    def _take_events(self, session: PeerSession) -> None:
        while (event := session.next_event()) is not None:
            match event:
                case PeerReady(is_first=True) if self._speaking is not None:
                    self._speaking.wants_keyframe = True
                    if not self._speaking.is_started:
                        self._speaking.start()
                    session.offer_setup(self._speaking.newest_setup, _MOTION, self._sound)
                case PeerWantsKeyframe() if self._speaking is not None:
                    self._speaking.wants_keyframe = True
                case SetupRefused(reason):
                    self._note(f"the other end does not accept our pictures: {_printable(reason)}")
                case PeerLeft(None):
                    self._lose("nothing comes any more; waiting for the other end")
                case PeerLeft(str(reason)):
                    self._note(f"the other end left{': ' if reason else ''}{_printable(reason)}")
                    self._is_over = True

    def _make_renderers(self, session: PeerSession, now: float) -> None:
        """Makes a renderer for the newest offer in a thread; once it is ready, accepts that offer with it."""
        if self._making is None and (setup := session.offer) is not None:
            self._making = setup, self._workers.submit(_renderer, setup, self._note)
        if self._making is None or not self._making[1].done():
            return
        (setup, made), self._making = self._making, None
        try:
            renderer, weights = made.result()
        except SourcesError as error:
            session.refuse(setup, str(error), now)
            return
        if not self._has_begun:
            self._has_begun = True
            self._sinks.begin(setup.header, weights)
        session.accept(setup, renderer, now)

    def _say_farewell(self) -> None:
        now = time.monotonic()
        if self._session is None:
            return
        self._session.close("it hung up", now)
        for channel, data in self._session.messages_to_send(now):
            self._peer.send(channel, data)
        time.sleep(_LAST_WORDS)

    def report(self) -> dict[str, Any]:
        """The report of `fvc call --json`, without the output's name."""
        sessions, began = self._ended, time.monotonic() if self._began is None else self._began
        last = sessions[-1] if sessions else None
        playbacks = [session.playback for session in sessions]
        tallies = [s.playing.decoder.tally for s in sessions if s.playing is not None]
        speaking = self._speaking
        return {
            "connections": len(sessions),
            "duration_s": round(time.monotonic() - began, 3),
            "first_face_s": None if self._first_face is None else round(self._first_face - began, 3),
            "frames": self.shown,
            "frames_decoded": sum(tally.decoded for tally in tallies),
            "frames_concealed": sum(tally.concealed for tally in tallies),
            "frames_held": sum(tally.held for tally in tallies),
            "longest_outage_frames": max((p.longest_outage for p in playbacks), default=0),
            "sound_packets_lost": sum(p.sound_lost for p in playbacks),
            "frames_sent": 0 if speaking is None else speaking.frames,
            "sent_bytes": sum(s.sent.size for s in sessions),
            "received_bytes": sum(s.heard.size for s in sessions),
            "messages_refused": sum(s.refused for s in sessions),
            "link_kbps": None if last is None else round(last.estimate.rate / 1000, 2),
            "link_loss": None if last is None else round(last.estimate.loss, 3),
            "frames_per_datagram": None if last is None or last.way is None else last.way.frames,
            "copies": None if last is None or last.way is None else last.way.copies,
        }


def _renderer(setup: Setup, note: Note) -> tuple[Renderer, bytes]:
    """The renderer of a set-up, and the hash of its weights. Raises SourcesError if they are not installed."""
    model = InstalledModel.of(setup.header, "the call", note)
    return model.renderer(setup.source_set, setup.header.profile, setup.header.fps), model.hash


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:200]
