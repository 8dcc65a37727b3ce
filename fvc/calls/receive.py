"""`fvc receive`: takes a call on a UDP port and writes or shows it. No torch, no MediaPipe."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np

from fvc.calls.display import VirtualCamera, Window
from fvc.calls.soundcard import Loudspeaker
from fvc.calls.udp import Address, UdpPort
from fvc.codec.call.receive_session import ReceivingSession, Shot
from fvc.codec.call.setup import Setup
from fvc.codec.constants import SIDE
from fvc.codec.errors import LinkError, SourcesError, UsageError
from fvc.codec.media.opus import RATE, OpusDecoder, OpusParams
from fvc.codec.media.output import VIDEO, check_output
from fvc.codec.media.provenance import Provenance
from fvc.codec.media.video_writer import VideoWriter
from fvc.codec.renderer import Renderer
from fvc.codec.reporting import Note, PathLike, Progress, silent
from fvc.codec.version import __version__
from fvc.codec.wire.bitstream import Audio, Header
from fvc.jobs.paths import file_path
from fvc.models.installed import InstalledModel

_TICK = 0.02  # seconds between looks at the clock when no frame is due
_LATEST = 1000  # milliseconds that are told apart
_NOBODY: Address = ("", 0)


def receive(
    port: int,
    out: PathLike | None = None,
    *,
    overwrite: bool = False,
    host: str = "",
    show: bool = False,
    camera: bool = False,
    loudspeaker: str | None = None,
    delay: float = 0.2,
    timeout: float = 10,
    wait: float = 600,
    note: Note = silent,
    progress: Progress = silent,
    listening: Callable[[int], None] = silent,
) -> dict[str, Any]:
    """Takes one call on a UDP port: writes it to `out` (a video), shows it in a window or as a camera, or all of these.

    Args:
        out: .mp4, .mov, .mkv or .webm; overwrite: whether a video that is there already is replaced.
        camera: other programs see the call as a virtual camera (needs pyvirtualcam and its driver).
        loudspeaker: plays the sound: a device as in `fvc.calls.soundcard` (needs sounddevice).
        host: the local address to listen on; empty: all.
        delay: seconds that packets may be late: the jitter buffer.
        timeout: seconds of silence after which the call is over; wait: seconds to wait for one.
        listening: called with the port's number when it is open.

    Returns:
        the report that `fvc receive --json` prints.

    Raises:
        FvcError: see `fvc.codec.errors`; LinkError where no call comes. Nothing is left at `out` then.
    """
    if out is None and not show and not camera and loudspeaker is None:
        raise UsageError("receive: say --out FILE, --show, --virtual-camera, --loudspeaker, or several of them")
    if not 0 <= delay <= 10 or not timeout > 0 or not wait > 0:
        raise UsageError("receive: the delay must be 0 to 10 s, the timeouts above 0")
    target = file_path(out) if out is not None else None
    if target is not None:
        check_output(target, VIDEO, overwrite)  # before the call comes
    with UdpPort(host, port) as udp, ExitStack() as stack:
        sinks: list[Callable[[Shot], None]] = []
        if show:
            sinks.append(stack.enter_context(Window("fvc receive")).show)
        speaker = None if loudspeaker is None else stack.enter_context(Loudspeaker(loudspeaker))
        listening(udp.port)
        loop = _Loop(udp, delay, timeout, wait, note)

        def begin(header: Header) -> None:
            if target is not None:
                rate = RATE if header.audio else None
                tags = {"comment": str(_origin(header))}
                writer = VideoWriter(target, SIDE, SIDE, header.fps, rate, metadata=tags, overwrite=overwrite)
                sinks.append(_FileSink(stack.enter_context(writer), header).take)
            if camera:
                device = stack.enter_context(VirtualCamera(header.fps))
                note(f"the call is seen on {device.device}")
                sinks.append(device.show)
            if speaker is not None and header.audio is None:
                note("the call has no sound")
            elif speaker is not None:
                sinks.append(_SpeakerSink(speaker, header).take)

        try:
            for shot in loop.shots(begin):
                for sink in sinks:
                    sink(shot)
                progress("receiving", shot.index + 1, None)
        except KeyboardInterrupt:  # the user hangs up: what was received is kept
            loop.hang_up()
        report = loop.report()
    return {**report, "out": None if target is None else str(target)}


def _origin(header: Header) -> Provenance:
    stream = hashlib.sha256(bytes(header)).hexdigest()
    return Provenance(__version__, stream, header.sources_hash.hex(), False, header.model_hash.hex())


class _FileSink:
    """Writes pictures and sounds."""

    def __init__(self, video: VideoWriter, header: Header) -> None:
        self._video = video
        self._opus = OpusDecoder(_opus(header.audio)) if header.audio else None

    def take(self, shot: Shot) -> None:
        self._video.write(shot.rgb)
        for packet in shot.sound if self._opus is not None else ():
            assert self._opus is not None
            self._video.write_audio(self._opus.decode(packet))


class _SpeakerSink:
    """Plays sounds on the pictures' line of time, wherever packets were lost or skipped."""

    def __init__(self, speaker: Loudspeaker, header: Header) -> None:
        assert header.audio is not None
        self._speaker, self._fps, self._params = speaker, header.fps, _opus(header.audio)
        self._opus = OpusDecoder(self._params)

    def take(self, shot: Shot) -> None:
        start = shot.due - float(shot.index / self._fps)  # of the call
        for number, packet in enumerate(shot.sound, shot.first_sound):
            pcm = self._opus.decode(packet)
            end = (number + 1) * self._params.frame_size - self._params.pre_skip
            self._speaker.play(pcm, start + (end - len(pcm)) / RATE)


def _opus(audio: Audio) -> OpusParams:
    return OpusParams(frame_ms=audio.frame_ms, pre_skip=audio.pre_skip)


class _Loop:
    """The socket's side of one call, from the first packet to the last picture."""

    def __init__(self, udp: UdpPort, delay: float, timeout: float, wait: float, note: Note) -> None:
        self._udp, self._delay, self._timeout, self._note = udp, delay, timeout, note
        self._give_up = time.monotonic() + wait
        self._session, self._peer = ReceivingSession(delay), _NOBODY
        self._frames, self._late = 0, np.zeros(_LATEST + 1, np.int64)  # how many frames were so many ms late
        self._span = [0.0, 0.0]  # when the first and the last RTP packet came

    def shots(self, begin: Callable[[Header], None]) -> Iterator[Shot]:
        """What to show and play, when it is due. Calls `begin` before the first. Raises LinkError, SourcesError."""
        with ThreadPoolExecutor(1) as pool:
            building: Future[Renderer] | None = None
            while not self._is_over():
                self._hear()
                session = self._session
                if session.offer is not None and building is None:
                    building = pool.submit(_renderer, session.offer)
                if building is not None and building.done():
                    self._accept(building, begin)
                    building = None
                now = time.monotonic()
                for shot in session.play(now):
                    self._frames += 1
                    self._late[min(max(int(1000 * (now - shot.due)), 0), _LATEST)] += 1
                    yield shot
                self._udp.send(session.requests(time.monotonic()), self._peer)
        if not self._frames:
            raise LinkError("the call ended before its first frame")

    def hang_up(self) -> None:
        """Tells the sender to stop. Raises KeyboardInterrupt where there is nothing to keep yet."""
        self._udp.send([self._session.bye("it hung up")], self._peer)
        if not self._frames:
            raise KeyboardInterrupt

    def _hear(self) -> None:
        session, now = self._session, time.monotonic()
        due = session.next_due()
        for data, address in self._udp.receive(now + _TICK if due is None else min(due, now + _TICK)):
            if self._peer not in (_NOBODY, address):
                session.count.refused += 1
                continue
            now, before = time.monotonic(), session.count.media.packets
            self._udp.send(session.handle(data, now), address)
            if session.media is not None:
                self._peer = address  # others are not listened to while this one speaks
            if session.count.media.packets > before:
                self._span = [self._span[0] or now, now]

    def _accept(self, building: Future[Renderer], begin: Callable[[Header], None]) -> None:
        is_first = self._session.header is None
        try:
            self._udp.send(self._session.accept(building.result()), self._peer)
        except SourcesError as error:
            self._udp.send([self._session.bye(str(error))], self._peer)
            raise
        assert self._session.header is not None
        self._note(f"a call from {self._peer[0]}:{self._peer[1]}" if is_first else "other source pictures came")
        if is_first:
            begin(self._session.header)

    def _is_over(self) -> bool:
        now = time.monotonic()
        if self._session.is_over(now, self._timeout):
            if self._session.header is not None:
                return True
            self._session, self._peer = ReceivingSession(self._delay), _NOBODY  # it never became a call
        if self._session.header is None and now > self._give_up:
            raise LinkError("no call came")
        return False

    def report(self) -> dict[str, Any]:
        """What `fvc receive --json` prints, but for the name of the output."""
        session = self._session
        assert session.header is not None
        assert session.decoder is not None
        tally, count, seconds = session.decoder.tally, session.count, max(self._span[1] - self._span[0], 1e-3)
        return {
            "frames": self._frames,
            "fps": round(float(session.header.fps), 3),
            "duration_s": round(float(self._frames / session.header.fps), 3),
            "profile": session.header.profile.label,
            "wire_kbps": round(count.media.size * 8 / seconds / 1000, 3),
            "packets": count.media.packets,
            "wire_bytes": count.media.size,
            "packets_lost": session.rtp.lost,
            "jitter_ms": round(1000 * session.rtp.jitter, 1),
            "refused": count.refused,
            "frames_decoded": tally.decoded,
            "frames_concealed": tally.concealed,
            "frames_held": tally.held,
            "longest_outage_s": round(float(count.longest_outage / session.header.fps), 3),
            "pictures_left_out": count.undrawn,
            "sound_packets_lost": count.sound_lost,
            "keyframe_requests": count.keyframe_requests,
            "late_ms_median": _quantile(self._late, 0.5),
            "late_ms_p95": _quantile(self._late, 0.95),
        }


def _renderer(setup: Setup) -> Renderer:
    """What draws the call. Raises SourcesError where its weights are not installed."""
    header = setup.header
    return InstalledModel.of(header.model_hash, "the call").renderer(setup.source_set, header.profile, header.fps)


def _quantile(counts: np.ndarray, share: float) -> int:
    """The smallest value that at least this share of the counted ones do not exceed."""
    return int(np.searchsorted(np.cumsum(counts), share * counts.sum()))
