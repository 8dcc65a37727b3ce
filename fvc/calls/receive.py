"""`fvc receive`: takes a call on a UDP port and writes or shows it. No torch, no MediaPipe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fvc.calls.hangup import Hangup
from fvc.calls.link import Clock, Link
from fvc.calls.sealing import extra_bytes, parse_key, sealed
from fvc.calls.sinks import Sinks
from fvc.calls.transport import Transport, UdpTransport, label
from fvc.codec.base.errors import FvcError, LinkError, SourcesError, UsageError
from fvc.codec.base.reporting import Note, PathLike, Progress, silent
from fvc.codec.call.joining import Offer
from fvc.codec.call.playing import Shot
from fvc.codec.call.receive_session import (
    CallEnded,
    CameToNothing,
    Declined,
    Joined,
    Moved,
    ReceiveSession,
    SourcesReplaced,
)
from fvc.codec.renderer import Renderer
from fvc.codec.wire.bitstream import Header
from fvc.jobs.paths import file_path
from fvc.models.inference.installed import InstalledModel

MakeRenderer = Callable[[Offer, Note], tuple[Renderer, bytes]]
_TICK = 0.02  # seconds between looks at the clock when no frame is due
_MAX_LATENESS = 1000  # milliseconds; frames that are later count as this late


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
    key: str | None = None,
    note: Note = silent,
    progress: Progress = silent,
    listening: Callable[[int], None] = silent,
) -> dict[str, Any]:
    """Takes one call on a UDP port: writes it to `out` (a video), shows it in a window or as a camera, or all of these.

    Whatever ends the call, what was received is kept: the user (Ctrl-C), the system (TERM, HUP), a full disk. Where
    the process is killed, the unfinished file (`.NAME.XXXXXXXX.part`) plays except for its last two seconds.

    Args:
        out: .mp4, .mov, .mkv or .webm; overwrite: whether a video that is there already is replaced.
        camera: other programs see the call as a virtual camera (needs pyvirtualcam and its driver).
        loudspeaker: plays the sound: a device as in `fvc.calls.soundcard` (needs sounddevice).
        host: the local address or name to listen on; empty: all, IPv6 and IPv4.
        delay: seconds that packets may be late: the jitter buffer.
        timeout: seconds of silence, at least 3, after which the call is over.
        wait: seconds to wait for somebody to call.
        key: what the sender has, too: other packets are dropped (`fvc.calls.sealing`); None: all is in the clear.
        listening: called with the port's number when it is open.

    Returns:
        the report that `fvc receive --json` prints.

    Raises:
        FvcError: see `fvc.codec.base.errors`; LinkError where no call comes. Nothing is left at `out` then.
    """
    if out is None and not show and not camera and loudspeaker is None:
        raise UsageError("receive: say --out FILE, --show, --virtual-camera, --loudspeaker, or several of them")
    if not 0 <= delay <= 10 or not timeout > 0 or not wait > 0:
        raise UsageError("receive: the delay must be 0 to 10 s, the timeouts above 0")
    secret = None if key is None else parse_key(key)
    target = None if out is None else file_path(out)
    with Hangup() as hangup, Sinks(target, overwrite, show, camera, loudspeaker, note) as sinks:
        with UdpTransport(port, host) as transport:
            listening(transport.port)
            call = ReceivedCall(sealed(transport, secret), ReceiveSession(delay, timeout), note)
            call.run(hangup, wait, sinks, progress)
        if not call.frames:
            hangup.raise_if_wanted()
    return {**call.report(), "out": None if target is None else str(target)}


@dataclass
class _Lateness:
    """Statistics of how late frames are shown."""

    counts: np.ndarray = field(default_factory=lambda: np.zeros(_MAX_LATENESS + 1, np.int64))  # frames by milliseconds

    def add(self, seconds: float) -> None:
        self.counts[min(max(int(1000 * seconds), 0), _MAX_LATENESS)] += 1

    def quantile(self, share: float) -> int:
        """The milliseconds that at least this share of the frames do not exceed."""
        return int(np.searchsorted(np.cumsum(self.counts), share * self.counts.sum()))


class ReceivedCall:
    """One call, from the first packet to the last picture.

    Args:
        make: returns a renderer for an offer and the hash of its weights; raises SourcesError if it has none.
        clock: as for `Link`.

    Attributes:
        frames: how many were shown.
    """

    def __init__(
        self,
        transport: Transport,
        session: ReceiveSession,
        note: Note,
        make: MakeRenderer | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._transport, self._session, self._note, self._clock = transport, session, note, clock
        self._make = make_renderer if make is None else make
        self._link = Link(session, transport, clock)
        self._making: tuple[Offer, Future[tuple[Renderer, bytes]]] | None = None
        self._weights = b""  # that draw the call
        self._is_over = False
        self._lateness, self.frames = _Lateness(), 0

    def run(self, hangup: Hangup, wait: float, sinks: Sinks, progress: Progress) -> None:
        """Waits for a call and shows it until it is over. Whatever ends it, the sender is told. Raises FvcError."""
        reason = "it hung up"
        try:
            with ThreadPoolExecutor(1) as workers:
                for shot in hangup.until(self.shots(wait, workers, sinks)):
                    if shot is not None:
                        sinks.take(shot)
                        progress("receiving", shot.index + 1, None)
        except KeyboardInterrupt:  # the window was closed
            hangup.is_wanted = True
        except FvcError as error:
            reason = str(error)
            raise
        finally:
            self._link.close(reason)

    def shots(self, wait: float, workers: Executor, sinks: Sinks) -> Iterator[Shot | None]:
        """Yields what to show and play as it falls due, and None from time to time.

        Raises LinkError if nobody calls, and what `sinks.begin` raises.
        """
        session, give_up = self._session, self._clock() + wait
        while not self._is_over:
            self._link.serve(self._next_look())
            now = self._clock()
            self._transport.listen_to(None if session.is_silent(now) else session.peer)
            self._make_renderers(workers, now)
            self._hear_events()
            if session.is_idle and now > give_up:
                raise LinkError("no call came")
            for shot in session.play(now):
                if not self.frames and session.header is not None:
                    sinks.begin(session.header, self._weights)
                self.frames += 1
                self._lateness.add(now - shot.due)
                yield shot
            yield None

    def _next_look(self) -> float:
        """When to look at the clock again: the next frame is due, or a tick has passed."""
        now = self._clock()
        due = None if self._session.playing is None else self._session.playing.next_due()
        return now + _TICK if due is None or due <= now else min(due, now + _TICK)

    def _make_renderers(self, workers: Executor, now: float) -> None:
        """Makes a renderer for the current offer in a thread; once it is ready, accepts that offer with it."""
        if self._making is None and (offer := self._session.offer(now)) is not None:
            self._making = offer, workers.submit(self._make, offer, self._note)
        if self._making is None or not self._making[1].done():
            return
        (offer, made), self._making = self._making, None
        try:
            renderer, weights = made.result()
            if self._session.accept(offer, renderer, now):
                self._weights = weights
        except SourcesError as error:
            self._session.refuse(offer, str(error))

    def _hear_events(self) -> None:
        while (event := self._session.next_event()) is not None:
            match event:
                case Joined(_, address, is_new=True):
                    self._note(f"a call from {label(address)}")
                case Joined(_, address):
                    self._note(f"the caller has restarted, from {label(address)}")
                case SourcesReplaced():
                    self._note("new source pictures have arrived")
                case Declined(address, reason):
                    self._note(f"the set-up from {label(address)} was refused: {reason}")
                case Moved(address):
                    self._note(f"the caller is at {label(address)} now")
                case CameToNothing(address):
                    self._note(f"the call from {label(address)} ended before its first frame; waiting for another")
                case CallEnded(is_timeout):
                    self._is_over = True
                    if is_timeout:
                        self._note("nothing arrives any more: the call is over")

    def report(self) -> dict[str, Any]:
        """The report of `fvc receive --json`, without the output's name. There must have been a call."""
        session = self._session
        header, tally, count = session.header, session.tally(), session.count
        damaged, late = session.datagrams()
        heard, sent = extra_bytes(self._transport)
        wire_bytes = count.media.size + heard[0]
        return {
            "frames": self.frames,
            **_figures(header, self.frames, count.playback.longest_outage),
            "wire_kbps": round(wire_bytes * 8 / max(session.media_seconds, 1e-3) / 1000, 3),
            "packets": count.media.packets,
            "wire_bytes": wire_bytes,
            "feedback_bytes": count.answers.size + sum(sent),
            "packets_lost": count.rtp.lost,
            "jitter_ms": round(1000 * count.rtp.jitter, 1),
            "refused": count.refused,
            "datagrams_damaged": damaged,
            "datagrams_late": late,
            "frames_decoded": tally.decoded,
            "frames_concealed": tally.concealed,
            "frames_held": tally.held,
            "frames_skipped": count.playback.skipped,
            "pictures_left_out": count.playback.undrawn,
            "sound_packets_lost": count.playback.sound_lost,
            "keyframe_requests": count.playback.keyframe_requests,
            "late_ms_median": self._lateness.quantile(0.5),
            "late_ms_p95": self._lateness.quantile(0.95),
        }


def _figures(header: Header | None, frames: int, outage: int) -> dict[str, Any]:
    """The figures that need the header; none without one."""
    if header is None:
        return {}
    return {
        "fps": round(float(header.fps), 3),
        "duration_s": round(float(frames / header.fps), 3),
        "profile": header.profile.label,
        "longest_outage_s": round(float(outage / header.fps), 3),
    }


def make_renderer(offer: Offer, note: Note) -> tuple[Renderer, bytes]:
    """The renderer of a call, and the hash of its weights. Raises SourcesError if they are not installed."""
    header = offer.setup.header
    model = InstalledModel.of(header, "the call", note)
    return model.renderer(offer.setup.source_set, header.profile, header.fps), model.hash
