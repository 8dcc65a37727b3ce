"""The outputs of a received call: a video, a window, a camera for other programs, a loudspeaker, or several."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from fvc.calls.display import VirtualCamera, Window
from fvc.calls.soundcard import Loudspeaker
from fvc.codec.base.reporting import Note
from fvc.codec.base.version import __version__
from fvc.codec.call.playing import Shot
from fvc.codec.media.opus import RATE, OpusDecoder, OpusParams
from fvc.codec.media.provenance import Provenance
from fvc.codec.media.recorder import Recorder
from fvc.codec.media.video_writer import VideoWriter
from fvc.codec.wire.bitstream import Audio, Header


class Sinks:
    """See the module. Enter it before there is a call, so that faults show early; `begin` it once there is one.

    Args:
        out: the video to record, None: none; overwrite: whether one that is there already is replaced.
        show: whether a window is opened; camera: whether a virtual camera is.
        loudspeaker: a device as in `fvc.calls.soundcard`; None: no sound is played.

    Raises:
        UsageError, OutputError, FvcError: see `Recorder`, `Window`, `VirtualCamera`, `Loudspeaker`.
        KeyboardInterrupt: from `take`, when the user closes the window.
    """

    def __init__(
        self, out: Path | None, overwrite: bool, show: bool, camera: bool, loudspeaker: str | None, note: Note
    ) -> None:
        self._out, self._overwrite, self._show, self._camera, self._device = out, overwrite, show, camera, loudspeaker
        self._note, self._stack = note, ExitStack()
        self._recorder: Recorder | None = None
        self._speaker: Loudspeaker | None = None
        self._takers: list[Callable[[Shot], None]] = []

    def __enter__(self) -> Sinks:
        with ExitStack() as stack:
            if self._out is not None:
                self._recorder = stack.enter_context(Recorder(self._out, self._overwrite))
            if self._show:
                self._takers.append(stack.enter_context(Window("fvc receive")).show)
            if self._device is not None:
                self._speaker = stack.enter_context(Loudspeaker(self._device))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def begin(self, header: Header, weights: bytes) -> None:
        """Begins a call with this header, drawn with the weights of this hash."""
        if self._recorder is not None:
            self._takers.append(FileSink(begin_recording(self._recorder, header, weights), header).take)
        if self._camera:
            device = self._stack.enter_context(VirtualCamera(header.fps, header.side))
            self._note(f"the call is seen on {device.device}")
            self._takers.append(device.show)
        if self._speaker is not None and header.audio is None:
            self._note("the call has no sound")
        elif self._speaker is not None and header.audio is not None:
            self._takers.append(SpeakerSink(self._speaker, header, header.audio).take)

    def take(self, shot: Shot) -> None:
        """Writes, shows and plays a frame with its sound."""
        for take in self._takers:
            take(shot)


def begin_recording(recorder: Recorder, header: Header, weights: bytes) -> VideoWriter:
    """Opens the video of a live recording; its provenance tag says that it is drawn."""
    digest = hashlib.sha256(bytes(header)).hexdigest()
    origin = Provenance(__version__, None, header.sources_hash.hex(), False, weights.hex(), digest)
    return recorder.begin(
        header.side, header.side, header.fps, RATE if header.audio else None, {"comment": str(origin)}
    )


class FileSink:
    """Writes pictures and sounds."""

    def __init__(self, video: VideoWriter, header: Header) -> None:
        self._video = video
        self._opus = OpusDecoder(_params(header.audio)) if header.audio else None

    def take(self, shot: Shot) -> None:
        """Writes a frame with its sound."""
        self._video.write(shot.rgb)
        if self._opus is not None:
            for packet in shot.sound:
                self._video.write_audio(self._opus.decode(packet))


class SpeakerSink:
    """Plays sounds on the timeline of the pictures, even where packets were lost or skipped."""

    def __init__(self, speaker: Loudspeaker, header: Header, audio: Audio) -> None:
        self._speaker, self._fps, self._params = speaker, header.fps, _params(audio)
        self._opus = OpusDecoder(self._params)

    def take(self, shot: Shot) -> None:
        """Plays the sound of a frame."""
        start = shot.due - float(shot.index / self._fps)  # of the call
        for number, packet in enumerate(shot.sound, shot.first_sound):
            pcm = self._opus.decode(packet)
            end = (number + 1) * self._params.frame_size - self._params.pre_skip
            self._speaker.play(pcm, start + (end - len(pcm)) / RATE)


def _params(audio: Audio) -> OpusParams:
    return OpusParams(frame_ms=audio.frame_ms, pre_skip=audio.pre_skip)
