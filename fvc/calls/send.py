"""`fvc send`: sends a video at its own speed, or a camera, to a receiver over UDP."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from fvc.calls.enrolment import MAX_CALL_SOURCES, Enrolment, SourceRefresher
from fvc.calls.hangup import Hangup
from fvc.calls.inputs import CallInput, CameraInput, FileInput, enrol_input
from fvc.calls.link import Link
from fvc.calls.sealing import extra_bytes, parse_key, sealed
from fvc.calls.speaker import Speaker
from fvc.calls.transport import Transport, UdpTransport, label, resolve
from fvc.codec.base.constants import MAX_SOURCES, MIN_CALL_FPS, SIDE
from fvc.codec.base.errors import LinkError, OptionError, UsageError
from fvc.codec.base.reporting import Note, PathLike, Progress, silent
from fvc.codec.call.datagram import Packetizer
from fvc.codec.call.send_session import KeyframeWanted, Ready, SendEnded, SendSession, SetupGivenUp
from fvc.codec.call.session import MIN_TIMEOUT, Address
from fvc.codec.encoder import Encoder, Found
from fvc.codec.face.detection import Face
from fvc.codec.face.face_choice import MOVING
from fvc.codec.media.video import Frame
from fvc.codec.options import AUDIO_BITRATE, KEYFRAME_INTERVAL, EncoderOptions
from fvc.codec.wire.bitstream import Kind, Packet
from fvc.models.inference.installed import InstalledModel
from fvc.models.presets import DEFAULT

_TICK = 0.02  # seconds between two checks of the session's events while the set-up is being sent


@dataclass(frozen=True)
class CallOptions:
    """The options of a call. Raises OptionError, UsageError.

    Attributes:
        encoder: how frames are coded.
        enrol_seconds: seconds of video with a face from which the first source pictures are chosen.
        redundancy, frames_per_packet: see `codec.call.datagram.Packetizer`.
        setup_kbps: kbit/s at which source pictures are sent.
        most_sources: the most source pictures that the receiver may get; see `SourceRefresher`.
        timeout: seconds without a word from the receiver before it is given up; at least 3 once it has answered.
        seconds: length of the call; None: until the input ends.
    """

    encoder: EncoderOptions
    enrol_seconds: float = 3.0
    redundancy: int = 2
    frames_per_packet: int = 1
    setup_kbps: float = 128
    most_sources: int = MAX_CALL_SOURCES
    timeout: float = 10.0
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.encoder.rate < MIN_CALL_FPS:
            raise OptionError("fps", self.encoder.fps, f"a call needs {MIN_CALL_FPS} frame per second or more")
        if not 0 < self.enrol_seconds <= 60:
            raise UsageError("send: the enrolment must be above 0 s, and at most a minute")
        if not self.setup_kbps > 0 or not self.timeout > 0 or (self.seconds is not None and self.seconds <= 0):
            raise UsageError("send: times and rates must be above 0")
        if not 1 <= self.most_sources <= MAX_SOURCES:
            raise OptionError("most_sources", self.most_sources, f"must be 1 to {MAX_SOURCES}")
        self.packetizer()

    def packetizer(self) -> Packetizer:
        """How packets become datagrams; a new one for each call."""
        return Packetizer(self.redundancy, self.frames_per_packet)

    @property
    def frames(self) -> int | None:
        """Length of the call in frames; None: until the input ends."""
        return None if self.seconds is None else max(round(self.seconds * self.encoder.rate), 1)


def send(
    address: str,
    video: PathLike | None = None,
    *,
    camera: int | None = None,
    microphone: str | None = None,
    fps: str = "15",
    profile: str = "sup",
    keyframe_interval: float = KEYFRAME_INTERVAL,
    refresh: int = 0,
    motion_kbps: float | None = None,
    face: str | int = MOVING,
    audio_bitrate: int | None = AUDIO_BITRATE,
    enrol_seconds: float = 3.0,
    redundancy: int = 2,
    frames_per_packet: int = 1,
    setup_kbps: float = 128,
    most_sources: int = MAX_CALL_SOURCES,
    size: int = SIDE,
    timeout: float = 10,
    seconds: float | None = None,
    key: str | None = None,
    preset: str = DEFAULT,
    note: Note = silent,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Sends a video of a talking face at its speed, or what a camera sees, to `fvc receive` at "host:port".

    Waits until a face is seen. Ctrl-C, TERM and HUP end the call as the end of the input does.

    Args:
        address: name or address; "[...]:port" for IPv6. Of several addresses of a name, the first that answers is used.
        key: what the receiver has, too: packets are sealed with it (`fvc.calls.sealing`); None: all is in the clear.
        microphone: the sound for a camera: a device as in `fvc.calls.soundcard` (needs sounddevice); None: no sound.

        The others: see `CallOptions` and `codec.options.EncoderOptions`.

    Returns:
        the report that `fvc send --json` prints.

    Raises:
        FvcError: see `fvc.codec.base.errors`; LinkError where nobody answers, the receiver refuses, or it is gone.
    """
    if (video is None) == (camera is None):
        raise UsageError("send: name a video or a camera")
    if microphone is not None and (camera is None or audio_bitrate is None):
        raise UsageError("send: --microphone goes with --camera, and not with --no-audio")
    encoder = EncoderOptions(fps, profile, keyframe_interval=keyframe_interval, refresh=refresh)
    encoder = replace(encoder, motion_kbps=motion_kbps, audio_bitrate=audio_bitrate, face=face, size=size)
    options = CallOptions(
        encoder, enrol_seconds, redundancy, frames_per_packet, setup_kbps, most_sources, timeout, seconds
    )
    secret = None if key is None else parse_key(key)
    model, addresses = InstalledModel.named(preset), resolve(address)
    model.require_size(size)
    builder = model.source_builder(encoder.kind, size)
    with Hangup() as hangup, _open(video, camera, microphone, encoder, note) as source:
        enrolled = enrol_input(source, hangup, encoder, enrol_seconds, builder, note)
        with (
            UdpTransport() as transport,
            closing(_Call(sealed(transport, secret), enrolled, addresses, address, options, note)) as call,
        ):
            call.connect(hangup)
            call.talk(hangup, source, progress)
    return call.report()


def _open(
    video: PathLike | None, camera: int | None, microphone: str | None, options: EncoderOptions, note: Note
) -> CallInput:
    """The input that was named. Raises FvcError."""
    if video is not None:
        return FileInput(video, options.rate, options.audio_bitrate)
    return CameraInput(camera or 0, options.rate, microphone, options.audio_bitrate or AUDIO_BITRATE, note)


class _Call:
    """One call: a session, driven over a transport. `close` ends it, whatever has happened."""

    def __init__(
        self,
        transport: Transport,
        enrolled: Enrolment,
        addresses: Sequence[Address],
        name: str,
        options: CallOptions,
        note: Note,
    ) -> None:
        self._enrolled, self._name, self._options, self._note = enrolled, name, options, note
        packetizer, bit_rate, now = options.packetizer(), 1000 * options.setup_kbps, time.monotonic()
        self._session = SendSession(enrolled.setup, packetizer, bit_rate, addresses, options.timeout, now)
        self._transport, self._link = transport, Link(self._session, transport)
        self._is_ready = self._wants_keyframe = False
        self._began = self._ended = now
        self._frames = self._left_out = self._coded = 0  # _coded: bytes of motion payloads
        self._sources = len(enrolled.crops)

    def connect(self, hangup: Hangup) -> None:
        """Sends the set-up and waits until the receiver can draw. Raises LinkError."""
        self._note(f"sending {len(bytes(self._enrolled.setup))} bytes of set-up to {self._name}")
        while not self._is_ready:
            hangup.raise_if_wanted()
            self._serve(time.monotonic() + _TICK)
        peer = self._session.peer
        where = "" if peer is None or label(peer) == self._name else f" at {label(peer)}"
        self._note(f"the receiver{where} is ready after {time.monotonic() - self._began:.1f} s")
        self._transport.listen_to(peer)

    def talk(self, hangup: Hangup, source: CallInput, progress: Progress) -> None:
        """Sends all frames with their sound, until the input ends. Raises LinkError."""
        options, enrolled, sounds = self._options.encoder, self._enrolled, 0
        encoder = Encoder(enrolled.setup.header, enrolled.builder.network, None, options.refresh, options.plan())
        self._began = time.monotonic()
        with (
            Speaker(enrolled, options.rate, self._options.enrol_seconds, self._note) as speaker,
            SourceRefresher(enrolled, options.rate, self._options.most_sources) as refresher,
        ):
            for frame in hangup.until(source.frames()):
                if source.is_late(frame.index):
                    continue
                self._serve(source.due(frame.index))
                self._hold_until(frame.index)
                for packet in source.sound.due(self._frames / options.rate):
                    self._session.send(packet)
                    sounds = packet.number + 1
                found, face = speaker.see(frame)
                self._send(encoder, frame, found, sounds)
                self._extend(refresher, frame, face, speaker)
                progress("sending", self._frames, None)
                if self._frames == self._options.frames:
                    break

    def close(self) -> None:
        """Tells the receiver that the call is over."""
        self._link.close()
        self._ended = time.monotonic()

    def _serve(self, until: float) -> None:
        """Serves the link until that moment, and handles events. Raises LinkError."""
        self._link.serve(until)
        while (event := self._session.next_event()) is not None:
            match event:
                case Ready():
                    self._is_ready = True
                case KeyframeWanted():
                    self._wants_keyframe = True
                case SetupGivenUp() if self._is_ready:
                    self._note("the receiver does not accept the new source pictures; it keeps those it has")
                case SetupGivenUp():
                    raise LinkError(f"{self._name}: the receiver does not accept the set-up")
                case SendEnded(reason=None, was_there=False):
                    raise LinkError(f"{self._name}: no answer within {self._options.timeout:g} s")
                case SendEnded(reason=None):
                    seconds = max(self._options.timeout, MIN_TIMEOUT)
                    raise LinkError(f"{self._name}: the receiver is gone: not a word from it for {seconds:g} s")
                case SendEnded(reason=str(reason)):
                    raise LinkError(f"the receiver left: {_printable(reason)}")

    def _hold_until(self, index: int) -> None:
        """Sends empty packets for the frames left out before this one: the receiver holds its picture there."""
        for missed in range(self._frames, index):
            self._session.send(Packet(Kind.MOTION, missed, b""))
        self._left_out += index - self._frames
        self._frames = index + 1

    def _send(self, encoder: Encoder, frame: Frame, found: Found, sounds: int) -> None:
        packet = encoder.encode(frame, found, audio_packets=sounds, force_keyframe=self._wants_keyframe)
        self._wants_keyframe = False
        self._coded += len(packet.payload)
        self._session.send(packet)
        self._link.flush()

    def _extend(self, refresher: SourceRefresher, frame: Frame, face: Face | None, speaker: Speaker) -> None:
        """Sends other source pictures, once they are coded and the receiver has the previous ones: better ones, or a
        newcomer's, who is shown once the receiver has them.
        """
        if speaker.is_newcomer:
            return self._welcome(refresher, frame, speaker)
        refresher.see(frame, face)
        if self._session.is_ready and (setup := refresher.found()) is not None:
            self._sources = refresher.sources
            self._note(f"sending {refresher.sources} source pictures, {len(bytes(setup))} bytes")
            self._session.extend(setup)

    def _welcome(self, refresher: SourceRefresher, frame: Frame, speaker: Speaker) -> None:
        if not self._session.is_ready:
            return
        if speaker.is_enrolled:
            speaker.welcome()
        elif (enrolled := speaker.enrolled()) is not None:
            refresher.begin_anew(enrolled, float(frame.index / self._options.encoder.rate))
            self._sources = refresher.sources
            self._note(f"sending {refresher.sources} source pictures, {len(bytes(enrolled.setup))} bytes")
            self._session.extend(enrolled.setup)

    def report(self) -> dict[str, Any]:
        """The report of `fvc send --json`, once the call is over."""
        session, options, seconds = self._session, self._options.encoder, max(self._ended - self._began, 1e-3)
        _, extra = extra_bytes(self._transport)
        wire_bytes = session.media.size + extra[0]
        return {
            "frames": self._frames,
            "frames_left_out": self._left_out,
            "duration_s": round(seconds, 3),
            "profile": options.kind.label,
            "sources": self._sources,
            "motion_kbps": round(self._coded * 8 * float(options.rate) / max(self._frames, 1) / 1000, 3),
            "wire_kbps": round(wire_bytes * 8 / seconds / 1000, 3),
            "packets": session.media.packets,
            "wire_bytes": wire_bytes,
            "packets_lost": None if session.report is None else session.report.lost,
            "setup_packets": session.setups.packets,
            "setup_bytes": session.setups.size + extra[1],
        }


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:200]
