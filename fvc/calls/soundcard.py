"""The sound of a call: a microphone and a loudspeaker (sounddevice, over PortAudio), on the clock of time.monotonic().

A device is given by its number, its name or a part of that, or "default". PortAudio calls back when it has or wants
samples. Its thread and that of the call share a ring of the newest samples, so neither waits for the other.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from fvc.codec.base.errors import FvcError, InputError, OutputError, UsageError
from fvc.codec.media.opus import DRIFT, RATE, OpusEncoder
from fvc.codec.media.video import Frame
from fvc.codec.wire.bitstream import Audio, Kind, Packet

_RING_SAMPLES = RATE * 9 // 5  # samples that are kept: fewer than the 31 packets by which sound may be late on the wire
_MIN_FPS = 2  # a microphone's frames per second: at fewer, the ring would be too short
_MARGIN = 0.05  # seconds from a picture to its sound, for drawing and for PortAudio's blocks
_MAX_LAG = 1.0  # seconds
_SLEW = 0.02  # seconds per second by which a lag that was too long gets shorter
# By role: sounddevice's names of the stream, the sample type and the time of the first sample; the error without one.
_STREAMS: dict[str, tuple[str, str, str, type[FvcError]]] = {
    "microphone": ("InputStream", "int16", "inputBufferAdcTime", InputError),
    "loudspeaker": ("OutputStream", "float32", "outputBufferDacTime", OutputError),
}


class SoundLine:
    """The newest samples. Positions count samples since time.monotonic() was 0. For one writer and one reader.

    Attributes:
        end: the position after the newest sample.
    """

    def __init__(self, kind: type[np.generic]) -> None:
        self._ring, self.end = np.zeros(_RING_SAMPLES, kind), 0

    @property
    def start(self) -> int:
        """The position of the oldest sample."""
        return self.end - _RING_SAMPLES

    def write(self, moment: float, pcm: np.ndarray) -> None:
        """Writes samples [n] whose first one was heard at `moment`. Gaps become silence, overlaps are cut; a difference
        of less than `DRIFT` samples counts as none."""
        at = round(moment * RATE)
        at = self.end if abs(at - self.end) <= DRIFT else at
        pcm, at = pcm[max(self.end - at, 0) :], max(at, self.end)
        self._ring[np.arange(max(self.end, at - _RING_SAMPLES), at) % _RING_SAMPLES] = 0
        self._ring[np.arange(at, at + len(pcm)) % _RING_SAMPLES] = pcm
        self.end = at + len(pcm)

    def read(self, at: int, count: int) -> np.ndarray:
        """`count` samples from position `at`; silence for those that are too old or not there yet."""
        pcm = np.zeros(count, self._ring.dtype)
        first, last = max(at, self.start), min(at + count, self.end)
        if first < last:
            pcm[first - at : last - at] = self._ring[np.arange(first, last) % _RING_SAMPLES]
        return pcm


class Microphone:
    """Opus packets of a live sound, a `fvc.codec.sound_track.SoundSource`; leaving it closes the device.

    Attributes:
        audio: its parameters in the stream's header.

    Raises:
        FvcError: sounddevice or PortAudio is not installed. InputError: there is no such microphone.
        UsageError: bit rate or frame rate are out of range.
    """

    def __init__(self, device: str, bitrate: int, fps: Fraction) -> None:
        if fps < _MIN_FPS:
            raise UsageError(f"a microphone needs {_MIN_FPS} frames per second or more")
        self._opus, self._fps, self._line = OpusEncoder(bitrate), fps, SoundLine(np.int16)
        self.audio = Audio(self._opus.params.frame_ms, self._opus.params.pre_skip)
        self._start, self._number = 0, 0  # position of packet 0, number of the next packet
        self._stream = _open("microphone", device, self._heard)

    def __enter__(self) -> Microphone:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the device."""
        self._stream.close()

    def _heard(self, pcm: np.ndarray, age: float) -> None:
        """Takes int16 [n] whose first sample was heard `age` seconds ago."""
        self._line.write(time.monotonic() - age, pcm)

    def beside(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """The frames, each delayed until the sound up to the next one is complete. Packet 0 starts with frame 0."""
        wait = self.audio.frame_ms / 1000 + float(self._stream.latency)
        count = 1 + math.ceil(wait * self._fps)
        held, starts = deque[Frame](), list[float]()
        for frame in frames:
            held.append(frame)
            if frame.index <= count:
                starts.append(time.monotonic() - float(frame.index / self._fps))
            while held and frame.index >= held[0].index + count:
                if not held[0].index:  # the first picture after a pause may be old: take the median
                    self._start = round(float(np.median(starts)) * RATE)
                yield held.popleft()

    def due(self, seconds: Fraction | None) -> Iterator[Packet]:
        """The packets whose sound starts at `seconds` of the call or before. Too old ones are left out: silence."""
        size = self._opus.params.frame_size
        self._number = max(self._number, (self._line.start - self._start) // size)
        while seconds is None or self._number * self.audio.frame_ms <= 1000 * seconds:
            at = self._start + self._number * size
            if at + size > self._line.end:
                return
            yield Packet(Kind.AUDIO, self._number, self._opus.encode(self._line.read(at, size)))
            self._number += 1


class Loudspeaker:
    """Plays samples when they are due; what is not there in time is silence. Leaving it closes the device.

    Attributes:
        lag: seconds by which all sound is delayed, so that PortAudio gets it in time; more on a slow machine.

    Raises:
        FvcError: sounddevice or PortAudio is not installed. OutputError: there is no such loudspeaker.
    """

    def __init__(self, device: str) -> None:
        self._line, self._at = SoundLine(np.float32), 0
        self._stream = _open("loudspeaker", device, self._fill)
        self.lag = self._least = _MARGIN + float(self._stream.latency)

    def __enter__(self) -> Loudspeaker:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stream.close()

    def play(self, pcm: np.ndarray, due: float) -> None:
        """Takes float32 [n] in [-1, 1] whose first sample is due at that moment (time.monotonic)."""
        needed = min(self._at / RATE - due, _MAX_LAG)  # samples before _at have been played
        self.lag = max(self._least, needed, self.lag - _SLEW * len(pcm) / RATE)
        self._line.write(due + self.lag, pcm)

    def _fill(self, out: np.ndarray, ahead: float) -> None:
        """Writes float32 [n] whose first sample is heard in `ahead` seconds."""
        at = round((time.monotonic() + ahead) * RATE)
        self._at = at if abs(at - self._at) > DRIFT else self._at
        out[:] = self._line.read(self._at, len(out))
        self._at += len(out)


def _open(role: str, device: str, callback: Callable[[np.ndarray, float], None]) -> Any:
    """A running stream of one channel at 48 kHz; `callback` gets samples [n] and how far from now the first one is."""
    try:
        import sounddevice
    except ModuleNotFoundError:
        raise FvcError("sounddevice is not installed; pip install 'fvc[sound]'") from None
    except OSError:
        raise FvcError("PortAudio is not installed (its package in Debian: libportaudio2)") from None
    stream, kind, moment, fault = _STREAMS[role]
    name = None if device == "default" else int(device) if device.isdecimal() else device

    def called(block: np.ndarray, count: int, when: Any, status: Any) -> None:
        distance = abs(opened.time - getattr(when, moment))
        callback(block[:, 0], distance if distance < 1 else float(opened.latency))  # some drivers do not state the time

    try:
        opened = getattr(sounddevice, stream)(
            samplerate=RATE, channels=1, dtype=kind, device=name, latency="low", callback=called
        )
        opened.start()
    except (sounddevice.PortAudioError, ValueError) as error:
        reason = str(error).strip().splitlines() or ["unknown reason"]
        raise fault(f"{role} {device}: cannot be opened ({reason[0]})") from None
    return opened
