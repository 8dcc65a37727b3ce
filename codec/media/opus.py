"""Opus in and out: the sound of a video as mono speech packets, aligned to its first frame, and back to samples.

The packets are plain Opus (RFC 6716). This module knows nothing about how they are stored or sent.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np

from fvc.codec.base.constants import MAX_PRE_SKIP
from fvc.codec.base.errors import UsageError
from fvc.codec.media.video import Clock, VideoReader, decode

RATE = 48_000  # samples per second, of all that Opus sees and returns
BITRATES = (6_000, 256_000)  # bits per second; libopus takes 500 for mono, but under about 5 000 it sends silence
FRAME_MS = (5, 10, 20, 40, 60, 80, 100, 120)
DRIFT = RATE * 10 // 1000  # samples that a time stamp may be off before the sound is padded or cut
LONGEST = 24 * 3600 * RATE  # most samples of a file that does not state the end of its video
SHORT = Fraction(1, 10)  # seconds: a stated duration that falls short of the pictures by more than this is wrong


@dataclass(frozen=True)
class OpusParams:
    """Parameters of mono Opus packets at 48 kHz, which a decoder needs.

    Attributes:
        frame_ms: duration of each packet in milliseconds, one of FRAME_MS.
        pre_skip: samples to drop at the start of the decoded sound (the encoder's delay), 0 to 48000.

    Raises:
        UsageError: a value is out of range.
    """

    frame_ms: int = 60
    pre_skip: int = 312

    def __post_init__(self) -> None:
        if not 0 <= self.pre_skip <= MAX_PRE_SKIP:
            raise UsageError(f"a pre_skip of {self.pre_skip} samples is out of range 0..{MAX_PRE_SKIP}")
        if self.frame_ms not in FRAME_MS:
            raise UsageError(f"Opus packets of {self.frame_ms} ms; it must be one of {', '.join(map(str, FRAME_MS))}")

    @property
    def frame_size(self) -> int:
        """Samples per packet."""
        return self.frame_ms * RATE // 1000


def encode_opus(
    path: str | os.PathLike[str], bitrate: int, frame_ms: int = 60, *, audio_stream: int | None = None
) -> tuple[OpusParams, Iterator[bytes]] | None:
    """Encodes the sound of a video, lazily and in bounded memory.

    Sample 0 is heard with the first video frame: earlier sound is cut, and silence fills a late start and gaps. Sound
    after the video's end is cut, if the file states the end. Packet k holds samples
    `[k * frame_size, (k + 1) * frame_size)` minus `pre_skip`.

    Args:
        bitrate: bits per second, 6000 to 256000; an average, since the rate is variable.
        frame_ms: duration of a packet; longer packets cost fewer bits and add delay.
        audio_stream: which of the audio streams, from 0; None: as `VideoReader` chooses.

    Returns:
        the parameters and the packets in order, or None if the file has no sound that can be decoded.

    Raises:
        UsageError: an argument is out of range.
        InputError: the file is not a video.
    """
    encoder = OpusEncoder(bitrate, frame_ms)
    reader = VideoReader(path, audio_stream=audio_stream)
    if not reader.has_audio:
        return None
    return encoder.params, _packets(encoder, _sound(reader))


class OpusEncoder:
    """Encodes samples, one packet at a time; arguments as in `encode_opus`.

    Attributes:
        params: what a decoder must know.

    Raises:
        UsageError: an argument is out of range.
    """

    def __init__(self, bitrate: int, frame_ms: int = 60) -> None:
        if not BITRATES[0] <= bitrate <= BITRATES[1]:
            raise UsageError(f"an audio rate of {bitrate} bit/s; it must be {BITRATES[0]} to {BITRATES[1]}")
        OpusParams(frame_ms=frame_ms)  # raises
        encoder: Any = av.CodecContext.create("libopus", "w")
        encoder.sample_rate, encoder.layout, encoder.format = RATE, "mono", "s16"
        encoder.time_base, encoder.bit_rate = Fraction(1, RATE), bitrate
        encoder.options = {"application": "voip", "vbr": "on", "frame_duration": str(frame_ms)}
        encoder.open()
        (pre_skip,) = struct.unpack_from("<H", encoder.extradata, 10)  # RFC 7845, 5.1
        self.params, self._encoder, self._sent = OpusParams(frame_ms=frame_ms, pre_skip=pre_skip), encoder, 0

    def encode(self, pcm: np.ndarray) -> bytes:
        """One frame, int16 `[params.frame_size]`, to one packet."""
        frame = av.AudioFrame.from_ndarray(pcm[None], "s16", "mono")
        frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), self._sent
        self._sent += len(pcm)
        (packet,) = self._encoder.encode(frame)
        return bytes(packet)


def _packets(encoder: OpusEncoder, sound: Iterator[np.ndarray]) -> Iterator[bytes]:
    """Cuts the sound into frames and codes each; the last ones carry silence until the decoder has all samples."""
    size, rest, total = encoder.params.frame_size, np.zeros(0, np.int16), 0
    silence = np.zeros(encoder.params.pre_skip, np.int16)
    for piece in sound:
        rest, total = np.concatenate((rest, piece)), total + len(piece)
        while len(rest) >= size:
            yield encoder.encode(rest[:size])
            rest = rest[size:]
    if total:
        rest = np.concatenate((rest, silence))
        for start in range(0, len(rest), size):
            block = rest[start : start + size]
            yield encoder.encode(np.pad(block, (0, size - len(block))))


def _sound(reader: VideoReader) -> Iterator[np.ndarray]:
    """The file's sound without gaps, int16 `[n]` at 48 kHz, from the first picture to the end of the last."""
    end = _end_of(reader)
    sent = 0
    for start, pcm in _placed(reader):
        if sent >= end:
            return
        while sent < min(start, end):
            gap = min(start, end) - sent
            yield np.zeros(min(gap, RATE), np.int16)
            sent += min(gap, RATE)
        pcm = pcm[max(sent - start, 0) : max(end - start, 0)]
        yield pcm
        sent += len(pcm)


def _end_of(reader: VideoReader) -> int:
    """The sample at which the video ends: as the file states or, where its pictures last longer, as they do."""
    if reader.duration is None:
        return LONGEST
    found, stated = reader.picture_end(), Fraction(reader.duration)
    is_longer = found is not None and found > stated + SHORT
    return round((found if found is not None and is_longer else stated) * RATE)


def _placed(reader: VideoReader) -> Iterator[tuple[int, np.ndarray]]:
    """Decoded mono sound in pieces, each with the position of its first sample; they may leave gaps or overlap."""
    clock = Clock()
    resampler: Any = None
    form: Any = None
    due, placed = Fraction(0), 0  # positions where the resampler's input and its output end

    def resample(frame: Any) -> Iterator[tuple[int, np.ndarray]]:
        nonlocal placed
        with suppress(av.FFmpegError, ValueError):  # a channel layout that ffmpeg cannot mix
            for out in resampler.resample(frame) if resampler else ():
                yield placed, out.to_ndarray()[0]
                placed += out.samples

    with reader.open() as container:
        for frame in decode(container, reader.audio_of(container)):
            if not frame.sample_rate:
                continue
            expected = None if resampler is None else reader.start + due / RATE
            start = (clock.place(frame, expected) - reader.start) * RATE
            if form != (frame.format.name, frame.layout.name, frame.sample_rate) or abs(start - due) > DRIFT:
                yield from resample(None)
                form = (frame.format.name, frame.layout.name, frame.sample_rate)
                resampler = av.AudioResampler("s16", "mono", RATE)
                due, placed = start, round(start)
            due += Fraction(frame.samples * RATE, frame.sample_rate)
            frame.pts = None  # the position is kept here; the resampler must not correct it too
            yield from resample(frame)
        yield from resample(None)


class OpusDecoder:
    """Packets to samples. Each packet fills its slot of time, whatever is in it, so that nothing can shift the sound.

    The slots of all packets, laid end to end, lack only the first `pre_skip` samples.
    """

    def __init__(self, params: OpusParams) -> None:
        self._size, self._skip = params.frame_size, params.pre_skip
        self._decoder: Any = av.CodecContext.create("libopus", "r")
        self._decoder.extradata = struct.pack("<8sBBHIhB", b"OpusHead", 1, 1, 0, RATE, 0, 0)  # RFC 7845, 5.1
        self._decoder.sample_rate, self._decoder.layout = RATE, "mono"

    def decode(self, packet: bytes | None) -> np.ndarray:
        """The samples of one slot, float32 `[n]` in [-1, 1] at 48 kHz.

        A lost packet (None or empty) and a corrupt one give silence; one of another length is cut or padded.
        """
        slot = np.zeros(self._size, np.float32)
        filled = 0
        with suppress(av.FFmpegError):
            for frame in self._decoder.decode(av.Packet(packet)) if packet else ():
                pcm = frame.to_ndarray()[0][: self._size - filled]  # int16
                slot[filled : filled + len(pcm)] = pcm / np.float32(32768)
                filled += len(pcm)
        skip = min(self._skip, len(slot))
        self._skip -= skip
        return slot[skip:]
