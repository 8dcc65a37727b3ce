"""Microphone and loudspeaker on the line of time, with a sound card that tests control."""

from __future__ import annotations

import sys
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from conftest import Result, Run
from sound_support import FakeSound, observed
from test_opus import beeps, make, onsets

from fvc.calls.soundcard import Loudspeaker, Microphone, SoundLine
from fvc.codec.base.errors import UsageError
from fvc.codec.media.opus import RATE, OpusDecoder, OpusParams, encode_opus
from fvc.codec.wire.bitstream import Audio, Packet


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch) -> FakeSound:
    fake = FakeSound()
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    return fake


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [50.0]
    monkeypatch.setattr("fvc.calls.soundcard.time.monotonic", lambda: now[0])
    return now


class TestSoundLine:
    def test_gaps_are_silent_and_overlaps_cut(self) -> None:
        line, ones = SoundLine(np.int16), np.ones(480, np.int16)
        line.write(5.0, ones)
        line.write(5.01 + 0.004, 2 * ones)  # a little late: goes on
        line.write(5.02 - 0.004, 3 * ones)
        line.write(5.05, 4 * ones)  # 20 ms are missing
        line.write(5.04, 5 * np.ones(1440, np.int16))  # 20 ms were there before
        at = 5 * RATE
        assert line.end == at + 7 * 480
        assert line.read(at - 480, 9 * 480).tolist() == np.repeat([0, 1, 2, 3, 0, 0, 4, 5, 0], 480).tolist()

    def test_what_is_too_old_is_silent(self) -> None:
        line = SoundLine(np.int16)
        for second in range(5):
            line.write(second, np.full(RATE, second + 1, np.int16))
        assert set(line.read(0, 5 * RATE)) == {0, 4, 5}
        line.write(3600.0, np.full(480, 7, np.int16))
        assert line.read(line.start, line.end - line.start).tolist() == [0] * (-line.start + line.end - 480) + [7] * 480


class TestMicrophone:
    def test_packets_are_those_of_a_file(self, sound: FakeSound, clock: list[float], tmp_path: Path) -> None:
        expected = encode_opus(make(tmp_path / "a.mkv", [(0, beeps(4))]), 16_000)
        assert expected is not None
        params, packets = expected
        pcm = (beeps(4) * 32767).astype(np.int16)
        with Microphone("3", 16_000, Fraction(10)) as microphone:
            (stream,) = sound.streams
            assert stream.is_open
            got = list[Packet]()
            for frame in microphone.beside(observed(clock, stream, pcm, range(40))):
                due = Fraction(frame.index + 1, 10)
                got += microphone.due(due)
                assert got[-1].number == int(due * 1000) // 60  # all that begins before the next frame is there
        assert microphone.audio == Audio(params.frame_ms, params.pre_skip)
        assert [packet.number for packet in got] == list(range(len(got)))
        assert len(got) >= 60
        assert [packet.payload for packet in got] == list(islice(packets, len(got)))
        assert (stream.options["samplerate"], stream.options["channels"], stream.options["device"]) == (RATE, 1, 3)
        assert not stream.is_open

    def test_numbers_keep_time_when_all_stalls(self, sound: FakeSound, clock: list[float]) -> None:
        """For 5 s nobody takes frames or packets, and 0.3 s of the sound are lost in the sound card."""
        pcm = (beeps(10, (0.5, 2.0, 7.0, 8.5)) * 32767).astype(np.int16)
        with Microphone("default", 24_000, Fraction(10)) as microphone:
            (stream,) = sound.streams
            assert stream.options["device"] is None
            frames = observed(clock, stream, pcm, [*range(20), *range(70, 98)])
            packets = []
            for frame in microphone.beside(frames):
                for packet in microphone.due(Fraction(frame.index + 1, 10)):
                    assert 0 <= (frame.index + 1) / 10 - packet.number * 0.06 < 31 * 0.06
                    packets.append(packet)
                if frame.index == 75:  # the sound card skips: its next block is that of 0.3 s later
                    clock[0] += 0.3
                    stream.hear(pcm[:0])
            decoder, by_number = OpusDecoder(OpusParams(frame_ms=60)), {p.number: p.payload for p in packets}
            heard = np.concatenate([decoder.decode(by_number.get(n)) for n in range(packets[-1].number)])
        assert len(by_number) == len(packets)
        assert onsets(heard) == pytest.approx([0.5, 7.0, 8.5], abs=0.02)
        assert len(heard) > 9 * RATE

    def test_slow_frames_are_refused(self, sound: FakeSound) -> None:
        with pytest.raises(UsageError, match="2 frames per second or more"):
            Microphone("default", 6000, Fraction(1))


def test_a_loudspeaker_keeps_time(sound: FakeSound, clock: list[float]) -> None:
    with Loudspeaker("default") as speaker:
        (stream,) = sound.streams
        assert not stream.want(480).any()
        clock[0] += 1
        tone = np.ones(4800, np.float32)
        speaker.play(tone, clock[0])
        speaker.play(tone, clock[0] + 0.3)
        heard = []
        for n in range(60):
            clock[0] = 51 + n / 100 + (n % 3) / 500  # PortAudio calls a little early or late
            heard.append(stream.want(480))
    edges = np.flatnonzero(np.diff(np.concatenate(heard))) / RATE
    assert edges == pytest.approx(np.array([0, 0.1, 0.3, 0.4]) + speaker.lag, abs=1e-3)
    assert speaker.lag < 0.1
    assert not stream.is_open


def test_a_slow_machine_gets_late_sound(sound: FakeSound, clock: list[float]) -> None:
    """Sound that is always late by 0.3 s is heard late and whole; later the lag goes away."""
    with Loudspeaker("default") as speaker:
        (stream,), least, heard, ramp = sound.streams, speaker.lag, list[np.ndarray](), np.arange(1.0, 10 * RATE + 1)
        stream.want(480)
        for n in range(3600):
            clock[0] = 50 + n / 100
            if n % 10 == 0 and n < 1000:
                speaker.play(ramp[480 * n : 480 * (n + 10)], clock[0] - 0.3)
            elif n % 10 == 0:
                speaker.play(np.zeros(4800), clock[0])
            heard.append(stream.want(480))
            if n == 999:
                assert speaker.lag == pytest.approx(0.31, abs=0.015)
        assert speaker.lag == least
        speaker.play(ramp[:480], clock[0] - 9)  # more than it makes up for
        assert speaker.lag == 1
    assert len(np.setdiff1d(ramp, np.concatenate(heard))) <= 480


def test_no_sound_card(sound: FakeSound, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speak = ("send", "127.0.0.1:9", "--clear", "--camera", 0, "--microphone", "usb")
    listen = ("receive", "127.0.0.1:0", "--clear", "--loudspeaker", 7, "-o", tmp_path / "x.mp4")
    sound.fault = sound.PortAudioError("Error querying device 7\nand more")
    assert run(*listen) == Result(6, "", "fvc: loudspeaker 7: cannot be opened (Error querying device 7)\n")
    sound.fault = ValueError("No input device matching 'usb'")
    assert run(*speak) == Result(3, "", "fvc: microphone usb: cannot be opened (No input device matching 'usb')\n")
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert run(*speak) == Result(1, "", "fvc: sounddevice is not installed; pip install 'fvc[sound]'\n")
    monkeypatch.delitem(sys.modules, "sounddevice")
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.syspath_prepend(tmp_path)
    assert run(*speak) == Result(1, "", "fvc: PortAudio is not installed (its package in Debian: libportaudio2)\n")
