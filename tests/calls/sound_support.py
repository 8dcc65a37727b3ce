"""A sound card that tests control."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from fvc.codec.media.opus import RATE
from fvc.codec.media.video import Frame

PICTURE = np.zeros((1, 1, 3), np.uint8)


class FakeStream:
    """A stream of sounddevice whose clock began elsewhere; `hear` and `want` are the sound card's side."""

    latency = 0.02

    def __init__(self, options: dict[str, Any]) -> None:
        self.options, self.is_open = options, False

    @property
    def time(self) -> float:
        return 1000 + time.monotonic()

    def start(self) -> None:
        self.is_open = True

    def close(self) -> None:
        self.is_open = False

    def hear(self, pcm: np.ndarray) -> None:
        """int16 [n], until now."""
        when = SimpleNamespace(inputBufferAdcTime=self.time - len(pcm) / RATE)
        self.options["callback"](pcm[:, None], len(pcm), when, None)

    def want(self, count: int) -> np.ndarray:
        """float32 [count], heard from now on."""
        out, when = np.full((count, 1), np.nan, np.float32), SimpleNamespace(outputBufferDacTime=self.time)
        self.options["callback"](out, count, when, None)
        return out[:, 0]


class FakeSound(ModuleType):
    """As sounddevice; keeps the streams that were opened."""

    def __init__(self) -> None:
        super().__init__("sounddevice")
        self.PortAudioError, self.streams = type("PortAudioError", (Exception,), {}), list[FakeStream]()
        self.fault: Exception | None = None

    def InputStream(self, **options: Any) -> FakeStream:  # noqa: N802 (its name there)
        if self.fault is not None:
            raise self.fault
        self.streams.append(FakeStream(options))
        return self.streams[-1]

    OutputStream = InputStream


def observed(clock: list[float], stream: FakeStream, pcm: np.ndarray, indices: Iterable[int]) -> Iterator[Frame]:
    """Frames of a camera of 10 fps at their times, while the microphone hears `pcm` in blocks of 10 ms."""
    start, done = clock[0], 0
    for index in indices:
        while done < index * RATE // 10:
            clock[0] = start + (done + 480) / RATE
            stream.hear(pcm[done : done + 480])
            done += 480
        yield Frame(PICTURE, index)
