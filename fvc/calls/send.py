"""`fvc send`: a video at its speed, or a camera, to a receiver over UDP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from fvc.calls.capture import camera_frames, file_frames, paced, renumbered
from fvc.calls.enrolment import MOST_SOURCES, Lookout, enrol
from fvc.calls.soundcard import Microphone
from fvc.calls.udp import Address, UdpPort, parse_address
from fvc.codec.call.datagram import Packetizer
from fvc.codec.call.send_session import SendingSession
from fvc.codec.call.setup import Setup
from fvc.codec.constants import MAX_SOURCES
from fvc.codec.encoder import Encoder
from fvc.codec.errors import LinkError, UsageError
from fvc.codec.face.tracker import Face, FaceTracker
from fvc.codec.media.video import Frame, label
from fvc.codec.motion.sample import Profile
from fvc.codec.options import EncoderOptions
from fvc.codec.reporting import Note, PathLike, Progress, silent
from fvc.codec.sound_track import SoundTrack
from fvc.codec.wire.bitstream import Kind, Packet
from fvc.models.installed import InstalledModel
from fvc.models.presets import DEFAULT

_TICK = 0.02  # seconds between looks at what came, while the set-up is under way
_GOODBYES = 3


@dataclass(frozen=True)
class Terms:
    """How a call is sent.

    Attributes:
        enrol: seconds at the start from which the source pictures are taken.
        redundancy, frames_per_packet: see `codec.call.datagram.Packetizer`.
        setup_bitrate: bits per second for the source pictures.
        most_sources: how many source pictures the receiver may have in the end; see `fvc.calls.enrolment.Lookout`.
        timeout: seconds without a word from the receiver before it is given up.
        seconds: length of the call; None: until the input ends.
    """

    fps: Fraction
    profile: Profile
    keyframe_interval: int
    refresh: int = 0
    audio_bitrate: int | None = 6000
    enrol: float = 3.0
    redundancy: int = 2
    frames_per_packet: int = 1
    setup_bitrate: float = 128_000
    most_sources: int = MOST_SOURCES
    timeout: float = 10.0
    seconds: float | None = None
    preset: str = DEFAULT


def send(
    address: str,
    video: PathLike | None = None,
    *,
    camera: int | None = None,
    microphone: str | None = None,
    fps: str = "15",
    profile: str = "sup",
    keyframe_interval: float = 5.0,
    refresh: int = 0,
    kbps: float | None = None,
    audio_bitrate: int | None = 6000,
    enrol_seconds: float = 3.0,
    redundancy: int = 2,
    frames_per_packet: int = 1,
    setup_kbps: float = 128,
    most_sources: int = MOST_SOURCES,
    timeout: float = 10,
    seconds: float | None = None,
    preset: str = DEFAULT,
    note: Note = silent,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Sends a video of a talking face at its speed, or what a camera sees, to `fvc receive` at "host:port".

    Args:
        microphone: the sound for a camera: a device as in `fvc.calls.soundcard` (needs sounddevice); None: no sound.

    Returns:
        the report that `fvc send --json` prints.

    Raises:
        FvcError: see `fvc.codec.errors`; LinkError where nobody answers or the receiver refuses.
    """
    if (video is None) == (camera is None):
        raise UsageError("send: name a video or a camera")
    if microphone is not None and (camera is None or audio_bitrate is None):
        raise UsageError("send: --microphone goes with --camera, and not with --no-audio")
    if not 0 < enrol_seconds <= 60 or not setup_kbps > 0 or not timeout > 0 or (seconds is not None and seconds <= 0):
        raise UsageError("send: times and rates must be above 0, and the enrolment at most a minute")
    if not 1 <= most_sources <= MAX_SOURCES:
        raise UsageError(f"send: --most-sources must be 1 to {MAX_SOURCES}")
    told = EncoderOptions(
        fps=fps,
        profile=profile,
        kbps=kbps,
        keyframe_interval=keyframe_interval,
        refresh=refresh,
        audio_bitrate=audio_bitrate,
    )
    rate, kind, interval = told.rate, told.kind, told.interval
    packetizer = Packetizer(redundancy, frames_per_packet)
    model = InstalledModel.named(preset)
    terms = Terms(
        rate,
        kind,
        interval,
        refresh,
        audio_bitrate,
        enrol_seconds,
        redundancy,
        frames_per_packet,
        1000 * setup_kbps,
        most_sources,
        timeout,
        seconds,
        preset,
    )
    peer = parse_address(address)
    with UdpPort() as port, ExitStack() as stack:
        call = _Call(port, peer, terms, note)
        builder = model.source_builder(kind)
        if video is not None:
            sound: SoundTrack | Microphone = SoundTrack(video, audio_bitrate)
            with closing(file_frames(video, rate)) as first:
                enrolled = enrol(label(video), first, rate, terms.enrol, builder, interval, sound.audio, note)
            call.begin(enrolled.setup, packetizer)
            frames = paced(stack.enter_context(closing(file_frames(video, rate))), rate, call.serve)
        else:
            assert camera is not None
            sound = SoundTrack()
            if microphone is not None:
                assert audio_bitrate is not None
                sound = stack.enter_context(Microphone(microphone, audio_bitrate, rate))
            note(f"camera {camera}: enrolment for {enrol_seconds:g} s; look into it, then left and right")
            live, name = stack.enter_context(closing(camera_frames(camera, rate, call.serve))), f"camera {camera}"
            enrolled = enrol(name, live, rate, terms.enrol, builder, interval, sound.audio, note)
            call.begin(enrolled.setup, packetizer)
            frames = renumbered(live)
            if isinstance(sound, Microphone):
                frames = sound.beside(frames)
        encoder = Encoder(enrolled.setup.header, builder.network, None, refresh, told.plan())
        with FaceTracker() as tracker, Lookout(enrolled, rate, most_sources) as lookout:
            return call.talk(frames, tracker, encoder, lookout, sound, progress)


def _until_interrupted(frames: Iterator[Frame]) -> Iterator[Frame]:
    """All frames; an interrupt between two is the end of the call."""
    with suppress(KeyboardInterrupt):
        yield from frames


class _Call:
    """The socket's side of one call."""

    def __init__(self, port: UdpPort, peer: Address, terms: Terms, note: Note) -> None:
        self._port, self._peer, self._terms, self._note = port, peer, terms, note
        self._session: SendingSession | None = None

    def begin(self, setup: Setup, packetizer: Packetizer) -> None:
        """Sends the set-up and waits until the receiver can draw. Raises LinkError."""
        self._session = session = SendingSession(setup, packetizer, self._terms.setup_bitrate)
        self._note(f"sending {len(bytes(setup))} bytes of set-up to {self._peer[0]}:{self._peer[1]}")
        start = time.monotonic()
        while not session.ready:
            self.serve(time.monotonic() + _TICK)
            if time.monotonic() > (session.heard or start) + self._terms.timeout:
                raise LinkError(f"{self._peer[0]}:{self._peer[1]}: no answer within {self._terms.timeout:g} s")
        self._note(f"the receiver is ready after {time.monotonic() - start:.1f} s")

    def serve(self, until: float) -> None:
        """Hears the receiver and sends what is due of the set-up, until that moment. Raises LinkError."""
        session = self._session
        while session is not None:
            self._port.send(session.due(time.monotonic()), self._peer)
            for data, address in self._port.receive(min(until, time.monotonic() + _TICK)):
                if address == self._peer:
                    session.handle(data, time.monotonic())
            if session.ended is not None:
                raise LinkError(f"the receiver left: {_harmless(session.ended)}")
            if time.monotonic() >= until:
                return
        time.sleep(max(until - time.monotonic(), 0))

    def talk(
        self,
        frames: Iterator[Frame],
        tracker: FaceTracker,
        encoder: Encoder,
        lookout: Lookout,
        sound: SoundTrack | Microphone,
        progress: Progress,
    ) -> dict[str, Any]:
        """Sends all frames with their sound; returns the report."""
        assert self._session is not None
        terms, session = self._terms, self._session
        limit = None if terms.seconds is None else max(round(terms.seconds * terms.fps), 1)
        start, next_index, left_out, coded, sounds = time.monotonic(), 0, 0, 0, 0
        for frame in _until_interrupted(frames):
            for missed in range(next_index, frame.index):  # the receiver holds its picture there
                self._send(Packet(Kind.MOTION, missed, b""))
            left_out += frame.index - next_index
            next_index = frame.index + 1
            for packet in sound.due((frame.index + 1) / terms.fps):
                self._send(packet)
                sounds = packet.number + 1
            face = tracker.track(frame.rgb)
            sup = None if face is None else face.sup
            is_asked = session.take_keyframe_request()
            packet = encoder.encode_tracked(frame, sup, audio_packets=sounds, force_keyframe=is_asked)
            coded += len(packet.payload)
            self._send(packet)
            self._extend(lookout, frame, face)
            progress("sending", next_index, None)
            if limit is not None and next_index >= limit:
                break
        for _ in range(_GOODBYES):
            self._port.send(session.bye(), self._peer)
            time.sleep(_TICK)
        elapsed = max(time.monotonic() - start, 1e-3)
        return {
            "frames": next_index,
            "frames_left_out": left_out,
            "duration_s": round(elapsed, 3),
            "profile": terms.profile.label,
            "sources": lookout.sources,
            "motion_kbps": round(coded * 8 * float(terms.fps) / max(next_index, 1) / 1000, 3),
            "wire_kbps": round(session.media.size * 8 / elapsed / 1000, 3),
            "packets": session.media.packets,
            "wire_bytes": session.media.size,
            "setup_packets": session.setups.packets,
            "setup_bytes": session.setups.size,
        }

    def _extend(self, lookout: Lookout, frame: Frame, face: Face | None) -> None:
        """Better source pictures, when they have been found and the receiver has those before."""
        assert self._session is not None
        lookout.see(frame, face)
        if self._session.ready and (setup := lookout.found()) is not None:
            self._note(f"sending {lookout.sources} source pictures, {len(bytes(setup))} bytes")
            self._session.extend(setup)

    def _send(self, packet: Packet) -> None:
        assert self._session is not None
        self._port.send(self._session.send(packet), self._peer)


def _harmless(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:200]
