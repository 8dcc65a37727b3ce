"""`fvc live`: camera or video -> Encoder -> Decoder -> window or file, in one process and in real time.

Both halves run at the same time, the sender's in a thread. There is no network between them: the
figures show what the codec alone does to picture, rate and delay.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from fvc.calls.capture import renumbered, sample_clip
from fvc.calls.display import Window
from fvc.calls.hangup import Hangup
from fvc.calls.inputs import CallInput, CameraInput, FileInput, enrol_input, paced
from fvc.calls.sinks import begin_recording
from fvc.calls.speaker import Speaker
from fvc.codec.base.errors import UsageError
from fvc.codec.base.reporting import Note, PathLike, Progress, silent
from fvc.codec.call.setup import Setup
from fvc.codec.decoder import Decoder
from fvc.codec.encoder import Encoder
from fvc.codec.face.face_choice import MOVING
from fvc.codec.media.pipeline import ahead
from fvc.codec.media.recorder import Recorder
from fvc.codec.media.video import Frame
from fvc.codec.motion.ratecontrol import ConstantQuality
from fvc.codec.options import EncoderOptions
from fvc.codec.wire.bitstream import Kind, Packet
from fvc.jobs.paths import file_path, keep_apart
from fvc.models.inference.installed import InstalledModel
from fvc.models.presets import DEFAULT

_HISTORY = 900  # frames whose delay is remembered
_LOOK_AHEAD = 1  # packets between the two halves


@dataclass(frozen=True)
class _Sent:
    """A packet, and when its frame was captured."""

    packet: Packet
    captured: float
    setup: Setup | None = None  # other source pictures, from this frame on


def live(
    video: PathLike | None = None,
    *,
    camera: int | None = None,
    synthetic: bool = False,
    out: PathLike | None = None,
    overwrite: bool = False,
    show: bool = False,
    fps: str = "15",
    profile: str = "sup",
    face: str | int = MOVING,
    seconds: float | None = None,
    enrol_seconds: float = 3.0,
    preset: str = DEFAULT,
    note: Note = silent,
    progress: Progress = silent,
    status: Callable[[str], None] = silent,
) -> dict[str, Any]:
    """Codes and decodes in real time; writes the picture to `out` (a video), shows it in a window, or both.

    Args:
        video, camera, synthetic: exactly one; synthetic is the project's sample, looped.
        out: .mp4, .mov, .mkv or .webm; overwrite: whether a video that is there already is replaced.
        face: which of several faces is followed; see `codec.options.EncoderOptions`.
        seconds: when to stop; None: when the input ends (or at Ctrl-C).
        status: called about once a second with a line of figures.

    Returns:
        the report that `fvc live --json` prints.

    Raises:
        FvcError: see `fvc.codec.base.errors`.
    """
    if (video is not None) + (camera is not None) + synthetic != 1:
        raise UsageError("live: name one of a video, --camera N and --synthetic")
    if out is None and not show:
        raise UsageError("live: say --out FILE, --show or both")
    if not 0 < enrol_seconds <= 60 or (seconds is not None and seconds <= 0):
        raise UsageError("live: times must be above 0, and the enrolment at most a minute")
    options, model = (
        EncoderOptions(fps=fps, profile=profile, audio_bitrate=None, face=face),
        InstalledModel.named(preset),
    )
    path = sample_clip() if synthetic else video
    target = None if out is None else file_path(out)
    if target is not None:
        keep_apart([target], [] if path is None else [file_path(path)])
    with Hangup() as hangup, ExitStack() as stack:
        window = stack.enter_context(Window("fvc live")) if show else None  # first: there may be no screen
        recorder = None if target is None else stack.enter_context(Recorder(target, overwrite))
        source = stack.enter_context(_open(path, camera, synthetic, options, note))
        builder = model.source_builder(options.kind)
        enrolled = enrol_input(source, hangup, options, enrol_seconds, builder, note)
        setup, header = enrolled.setup, enrolled.setup.header
        decoder = Decoder(header, model.renderer(setup.source_set, header.profile, header.fps))
        video_out = None if recorder is None else begin_recording(recorder, header, model.hash)
        speaker = stack.enter_context(Speaker(enrolled, header.fps, enrol_seconds, note))
        encoder = Encoder(header, builder.network, plan=ConstantQuality())
        meter, limit = _Meter(float(header.fps), status), None if seconds is None else seconds * header.fps
        frames = paced(source.frames(), source)
        with closing(ahead(_packets(hangup.until(frames), encoder, speaker), _LOOK_AHEAD)) as packets:
            for sent in packets:
                picture = _draw(sent, decoder, model)
                if not _show(window, picture) or hangup.is_wanted:
                    break
                meter.add(sent)
                if video_out is not None:
                    video_out.write(picture)
                progress("live", meter.frames, None)
                if limit is not None and meter.frames >= limit:
                    break
    figures = {"profile": options.kind.label, "frames_held": decoder.held, "out": None if out is None else str(target)}
    return {**meter.report(), **figures}


def _open(path: PathLike | None, camera: int | None, loop: bool, options: EncoderOptions, note: Note) -> CallInput:
    """The input that was named. Raises FvcError."""
    if path is not None:
        return FileInput(path, options.rate, None, loop)
    return CameraInput(camera or 0, options.rate, None, 0, note)


def _draw(sent: _Sent, decoder: Decoder, model: InstalledModel) -> np.ndarray:
    """The picture of a packet; drawn with other source pictures from now on, if it brings them."""
    if sent.setup is not None:
        header = decoder.header
        decoder.renderer.draw = model.renderer(sent.setup.source_set, header.profile, header.fps).draw
    return decoder.decode(sent.packet).rgb


def _show(window: Window | None, picture: np.ndarray) -> bool:
    """Shows a picture if there is a window. Returns False once the user has closed it."""
    try:
        if window is not None:
            window.draw(picture)
    except KeyboardInterrupt:
        return False
    return True


def _packets(frames: Iterator[Frame], encoder: Encoder, speaker: Speaker) -> Iterator[_Sent]:
    """One packet for each frame number; frames that were left out become packets that hold the picture."""
    expected = 0
    for frame in renumbered(frames):
        captured = time.monotonic()
        for missed in range(expected, frame.index):
            yield _Sent(Packet(Kind.MOTION, missed, b""), captured)
        expected = frame.index + 1
        enrolled = speaker.enrolled()
        if enrolled is not None:
            speaker.welcome()
        found, _ = speaker.see(frame)
        yield _Sent(encoder.encode(frame, found), captured, None if enrolled is None else enrolled.setup)


class _Meter:
    """Frames per second, kbit/s and delay: of the last second, and of the whole run."""

    def __init__(self, fps: float, status: Callable[[str], None]) -> None:
        self._fps, self._status = fps, status
        self._start = self._said = time.monotonic()
        self._delays: deque[float] = deque(maxlen=_HISTORY)
        self.frames = self._bytes = self._left_out = self._frames_said = self._bytes_said = 0

    def add(self, sent: _Sent) -> None:
        """Counts a frame that has been shown."""
        now = time.monotonic()
        self.frames += 1
        self._bytes += len(sent.packet.payload)
        if sent.packet.payload:
            self._delays.append(now - sent.captured)
        else:
            self._left_out += 1
        if now - self._said >= 1:
            frames, size = self.frames - self._frames_said, self._bytes - self._bytes_said
            delay = 1000 * float(np.median(self._delays)) if self._delays else 0.0
            rate = frames / (now - self._said)
            kbps = size * 8 * self._fps / frames / 1000
            self._status(f"{rate:5.1f} fps  {kbps:6.2f} kbit/s  {delay:5.0f} ms")
            self._said, self._frames_said, self._bytes_said = now, self.frames, self._bytes

    def report(self) -> dict[str, Any]:
        """Figures of the whole run; delays are those of its last frames."""
        seconds = max(time.monotonic() - self._start, 1e-3)
        delays = np.array(self._delays or [0.0]) * 1000
        return {
            "frames": self.frames,
            "frames_without_motion": self._left_out,
            "fps": round(self.frames / seconds, 2),
            "motion_kbps": round(self._bytes * 8 * self._fps / max(self.frames, 1) / 1000, 3),
            "delay_ms_median": round(float(np.median(delays)), 1),
            "delay_ms_p95": round(float(np.quantile(delays, 0.95)), 1),
        }
