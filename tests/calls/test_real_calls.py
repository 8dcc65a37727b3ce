"""Real calls over loopback, in real time, and what goes wrong before there is one."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from call_support import CLEAN, Rehearsal, packets_of, setup_of
from conftest import Encoded, Run
from sound_support import PICTURE, FakeSound
from test_opus import beeps, onsets
from test_transport import has_ipv6

from fvc.calls.inputs import FileInput, paced
from fvc.calls.link import Link
from fvc.calls.receive import receive
from fvc.calls.send import send
from fvc.calls.sinks import SpeakerSink
from fvc.calls.soundcard import Loudspeaker, Microphone
from fvc.calls.transport import UdpTransport
from fvc.codec.base.errors import LinkError, OutputError, SourcesError, UsageError
from fvc.codec.call.datagram import Packetizer
from fvc.codec.call.send_session import SendSession
from fvc.codec.media.opus import RATE
from fvc.codec.media.provenance import Provenance
from fvc.codec.media.video import Frame
from fvc.codec.wire.bitstream import Kind, Packet
from fvc.evaluation.calls import channel, long_call
from fvc.evaluation.calls.call import read_talk
from fvc.models.inference.installed import InstalledModel


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch) -> FakeSound:
    fake = FakeSound()
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    return fake


def test_late_frames_are_left_out(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [5.0]
    monkeypatch.setattr("fvc.calls.capture.time.monotonic", lambda: now[0])
    monkeypatch.setattr("fvc.calls.inputs.time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    shown = []
    with FileInput(clip, Fraction(10), None) as source:
        for frame in paced([Frame(PICTURE, n) for n in range(10)], source):
            shown.append(frame.index)
            now[0] += 0.35 if frame.index == 3 else 0.01
    assert shown == [0, 1, 2, 3, 6, 7, 8, 9]


def start_receiver(**options: Any) -> tuple[threading.Thread, int, dict[str, Any]]:
    """`receive` in a thread: the thread, its port, and a dict that gets "report" or "error"."""
    opened, result, port = threading.Event(), dict[str, Any](), list[int]()

    def listening(number: int) -> None:
        port.append(number)
        opened.set()

    def run() -> None:
        try:
            result["report"] = receive(0, **{"host": "127.0.0.1", "listening": listening, **options})
        except Exception as error:
            result["error"] = error
            opened.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert opened.wait(20)
    return thread, (port or [0])[0], result


def test_a_call_over_loopback(clip: Path, tmp_path: Path) -> None:
    thread, port, result = start_receiver(out=tmp_path / "call.mp4", wait=60, timeout=20)
    sent = send(f"127.0.0.1:{port}", clip, profile="sup", fps="10", seconds=1.5, enrol_seconds=1, timeout=60)
    thread.join(60)
    assert not [t.name for t in threading.enumerate() if t.name.startswith("fvc-")]
    report = result["report"]
    assert report["wire_bytes"] <= sent["wire_bytes"]
    assert report["packets"] >= sent["packets"] - 2  # of the three goodbyes the first one suffices
    assert report["packets_lost"] == 0
    assert (report["frames_skipped"], report["datagrams_damaged"], report["datagrams_late"]) == (0, 0, 0)
    assert sent["packets_lost"] in (0, None)  # the receiver's report, one a second
    assert report["frames"] >= 1  # a busy machine leaves frames out, but keeps time
    with av.open(str(tmp_path / "call.mp4")) as file:
        origin = Provenance.parse(file.metadata["comment"])
        assert origin is not None
        assert (origin.stream, len(origin.header or ""), origin.foreign) == (None, 64, False)
        seconds = sum(frame.samples for frame in file.decode(audio=0)) / 48000
        assert seconds == pytest.approx(report["frames"] / 10, abs=0.1)


@pytest.mark.parametrize("link", [CLEAN, channel.Link(jitter_ms=30)])
def test_sound_and_picture_stay_together(
    encoded: Encoded, link: channel.Link, sound: FakeSound, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Microphone and camera -> a call -> loudspeaker and window, in simulated time."""
    setup, packets = setup_of(encoded), packets_of(encoded)
    call, fps, audio = Rehearsal(setup, link, delay=0.2), setup.header.fps, setup.header.audio
    assert audio is not None
    monkeypatch.setattr("fvc.calls.soundcard.time.monotonic", lambda: call.now)
    moments = (1.0, 2.02, 2.93)
    pcm = (beeps(30, moments) * 32767).astype(np.int16)
    microphone, speaker = Microphone("default", 24_000, fps), Loudspeaker("default")
    sink, taken, shown, heard = SpeakerSink(speaker, setup.header, audio), 0, dict[int, float](), list[np.ndarray]()
    start: float | None = None

    def step(packets: list[Packet]) -> None:  # 5 ms
        nonlocal taken
        at = 0 if start is None else max(round((call.now - start) * RATE), 0)
        call.step(packets)
        sound.streams[0].hear(pcm[at : at + 240] if start is not None else np.zeros(240, np.int16))
        for shot in call.shots[taken:]:
            sink.take(shot)
            shown[shot.index] = call.now
        taken = len(call.shots)
        heard.append(sound.streams[1].want(240))

    while not call.sending.is_ready:
        step([])
    start, first = call.now, len(heard)

    def camera() -> Iterator[Frame]:
        for index in range(40):
            while call.now < start + index / float(fps) - 1e-9:
                step([])
            yield Frame(PICTURE, index)

    frames = [packet for packet in packets if packet.kind != Kind.AUDIO]
    for frame in microphone.beside(camera()):
        packet = frames[frame.index] if frame.index < len(frames) else Packet(Kind.MOTION, frame.index, b"")
        step([*microphone.due((frame.index + 1) / fps), packet])
    for _ in range(100):
        step([])
    delay = float(np.median([shown[n] - start - n / float(fps) for n in range(10, 36)]))
    beeped = onsets(np.concatenate(heard[first:]))
    assert delay < 0.5 + link.jitter_ms / 1000
    assert np.array(beeped) - moments == pytest.approx([delay + speaker.lag] * 3, abs=0.015)
    assert None not in [packet for shot in call.shots if shot.index < 36 for packet in shot.sound]


def test_a_call_with_microphone_and_loudspeaker(
    clip: Path, tmp_path: Path, sound: FakeSound, monkeypatch: pytest.MonkeyPatch
) -> None:
    def camera(index: int, fps: Fraction) -> Iterator[Frame]:
        with FileInput(clip, fps, None, loop=True) as source:
            yield from paced(source.frames(), source)

    monkeypatch.setattr("fvc.calls.inputs.camera_frames", camera)
    over, heard = threading.Event(), list[np.ndarray]()
    tone = (9000 * np.sin(2 * np.pi * np.arange(480) / 48)).astype(np.int16)

    def sound_card() -> None:
        while not over.wait(0.01):
            for stream in [stream for stream in sound.streams if stream.is_open]:
                if stream.options["dtype"] == "int16":
                    stream.hear(tone)
                else:
                    heard.append(stream.want(480))

    card = threading.Thread(target=sound_card)
    card.start()
    thread, port, result = start_receiver(out=tmp_path / "call.mp4", loudspeaker="default", wait=60, timeout=20)
    try:
        send(f"127.0.0.1:{port}", camera=0, microphone="default", fps="10", seconds=2, enrol_seconds=1, timeout=60)
        thread.join(60)
    finally:
        over.set()
        card.join()
    assert result["report"]["frames"] >= 1
    assert not any(stream.is_open for stream in sound.streams)
    spectrum = np.abs(np.fft.rfft(np.concatenate(heard)))
    assert np.argmax(spectrum) * RATE / len(heard) / 480 == pytest.approx(1000, abs=30)
    with av.open(str(tmp_path / "call.mp4")) as file:
        assert sum(np.abs(frame.to_ndarray()).sum() for frame in file.decode(audio=0)) > 0


def test_nobody_answers(clip: Path) -> None:
    with pytest.raises(LinkError, match=r"127\.0\.0\.1:9: no answer within 0\.3 s"):
        send("127.0.0.1:9", clip, profile="sup", enrol_seconds=0.3, timeout=0.3)


def test_a_call_over_ipv6(clip: Path, tmp_path: Path, run: Run) -> None:
    """Both ends by the command line's addresses; `localhost` may have both families."""
    if not has_ipv6():
        pytest.skip("this machine has no IPv6")
    thread, port, result = start_receiver(out=tmp_path / "call.mp4", wait=60, timeout=20, host="")
    done = run(
        "send",
        f"[::1]:{port}",
        clip,
        "--fps",
        5,
        "--seconds",
        0.6,
        "--enrol",
        0.5,
        "--timeout",
        60,
        "--json",
        "--clear",
    )
    thread.join(60)
    assert done.code == 0
    assert "the receiver is ready" in done.err
    assert result["report"]["frames"] >= 1


def test_slow_calls_are_refused(clip: Path, run: Run) -> None:
    refused = run("send", "127.0.0.1:9", clip, "--fps", "0.5", "--clear")
    assert (refused.code, refused.err) == (2, "fvc: --fps 0.5: a call needs 1 frame per second or more\n")


def test_a_refusal_does_not_end_the_receiver(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """M2: one caller's weights are not installed here, the next one's are."""
    made, model = list[int](), InstalledModel.of

    def of(*arguments: Any) -> InstalledModel:
        made.append(1)
        if len(made) == 1:
            raise SourcesError("the call: made for weights that are not installed")
        return model(*arguments)

    monkeypatch.setattr("fvc.calls.receive.InstalledModel.of", of)
    notes = list[str]()
    thread, port, result = start_receiver(out=tmp_path / "call.mp4", wait=60, timeout=20, note=notes.append)
    with pytest.raises(LinkError, match="the receiver left: the call: made for weights that are not installed"):
        send(f"127.0.0.1:{port}", clip, fps="5", seconds=0.6, enrol_seconds=0.5, timeout=60)
    send(f"127.0.0.1:{port}", clip, fps="5", seconds=0.6, enrol_seconds=0.5, timeout=60)
    thread.join(60)
    assert result["report"]["frames"] >= 1
    assert "was refused: the call: made for weights" in notes[0]


def test_a_call_without_a_frame_does_not_end_the_receiver(encoded: Encoded, clip: Path, tmp_path: Path) -> None:
    """A set-up and BYE ended it with "the call ended before its first frame"."""
    notes = list[str]()
    thread, port, result = start_receiver(out=tmp_path / "call.mp4", wait=60, timeout=20, note=notes.append)
    with UdpTransport() as transport:
        session = SendSession(setup_of(encoded), Packetizer(0), 1e6, [("127.0.0.1", port)], 60, time.monotonic())
        link = Link(session, transport)
        while not session.is_ready:
            link.serve(time.monotonic() + 0.05)
        link.close()
    send(f"127.0.0.1:{port}", clip, fps="5", seconds=0.6, enrol_seconds=0.5, timeout=60)
    thread.join(60)
    assert result["report"]["frames"] >= 1
    assert result["report"]["fps"] == 5  # the recording is of the call that had frames
    assert len([note for note in notes if "ended before its first frame; waiting for another" in note]) == 1
    with av.open(str(tmp_path / "call.mp4")) as file:
        assert file.streams.video[0].average_rate == 5


def test_a_place_that_cannot_be_written_is_noticed_at_once(tmp_path: Path) -> None:
    """L6: not when the call comes."""
    with pytest.raises(OutputError, match=r"x\.mp4: cannot be written"):
        receive(0, tmp_path / "none" / "x.mp4", host="127.0.0.1", wait=600)


def test_no_call_comes(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="no call came"):
        receive(0, tmp_path / "x.mp4", host="127.0.0.1", wait=0.1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "call",
    [
        lambda: receive(0),
        lambda: receive(0, "x.mp4", delay=11),
        lambda: receive(0, "x.mp4", timeout=0),
        lambda: send("127.0.0.1:9"),
        lambda: send("127.0.0.1:9", "x.mp4", camera=1),
        lambda: send("127.0.0.1:9", "x.mp4", microphone="default"),
        lambda: send("127.0.0.1:9", camera=0, microphone="default", audio_bitrate=None),
        lambda: send("127.0.0.1:9", "x.mp4", redundancy=9),
        lambda: send("127.0.0.1:9", "x.mp4", enrol_seconds=0),
        lambda: send("127.0.0.1:9", "x.mp4", most_sources=9),
        lambda: send("127.0.0.1:9", "x.mp4", setup_kbps=0),
        lambda: send("127.0.0.1:9", "x.mp4", fps="0.5"),
    ],
)
def test_arguments_that_are_refused(call: Callable[[], object]) -> None:
    with pytest.raises(UsageError):
        call()


def test_a_long_call_through_both_sessions(
    encoded: Encoded, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("resident memory is read from /proc")
    monkeypatch.setattr(long_call, "load_talk", lambda clip, *_, **__: read_talk(clip, encoded.stream, False))
    arguments = ["--rtp", "--hours", "0.005", "--loss", "20", "--draw-every", "50", "--json", str(tmp_path / "r.json")]
    assert long_call.main([str(encoded.video), *arguments]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["wrong"] == 0
    assert report["compared"] > 150
    assert report["lost"] > 10
    assert capsys.readouterr().out
