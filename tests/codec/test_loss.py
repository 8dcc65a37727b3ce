"""Loss: the decoder under gaps, duplicates, disorder and damage; sliced keyframes; concealment; the simulated call."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Encoded, Run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_vectors import code, header_of, walk

import fvc
from fvc.codec.base.constants import REORDERING_WINDOW
from fvc.codec.base.errors import StreamError, UsageError
from fvc.codec.call.datagram import Depacketizer, Packetizer
from fvc.codec.decoder import Decoder
from fvc.codec.keyframes import check_refresh
from fvc.codec.motion.concealment import Concealment, Shown
from fvc.codec.motion.pose_history import MOMENTS, DrawInputs, PoseHistory
from fvc.codec.motion.quantizer import Quantizer, to_sample
from fvc.codec.motion.sample import DrivingSample, Profile
from fvc.codec.reassembly import MotionDecoder
from fvc.codec.renderer import Draw, Renderer
from fvc.codec.sample_encoder import SampleEncoder
from fvc.codec.wire.bitstream import KeyPayload, Kind, Packet, RefreshPayload
from fvc.codec.wire.container import has_face
from fvc.evaluation.calls import long_call, loss
from fvc.evaluation.calls.call import Talk, call, coded, read_talk
from fvc.evaluation.calls.channel import Channel, Link

INTERVAL, FRAMES, SLICES = 10, 60, 4
HEADER = header_of(Profile.SUP, INTERVAL, quantizers={"sup": Quantizer(6, -1.0, 1.0)})
REST = DrivingSample({"sup": np.zeros((33, 2), np.float32)})


class Sent:
    """A stream and its integers; the face is away in frames 23 and 24."""

    def __init__(self, refresh: int) -> None:
        encoder, faces = SampleEncoder(HEADER, refresh), walk(HEADER, random.Random("sent"), 1.0)
        pairs = [code(encoder, HEADER, n, next(faces) if n not in (23, 24) else None) for n in range(FRAMES)]
        self.packets, self.integers = [p for p, _ in pairs], [i for _, i in pairs]


@pytest.fixture(scope="module")
def streams() -> dict[int, Sent]:
    return {refresh: Sent(refresh) for refresh in (0, SLICES)}


def draw_points(inputs: DrawInputs) -> np.ndarray:
    return np.array(inputs.parts["sup"])


def renderer(draw: Draw = draw_points) -> Renderer:
    return Renderer(draw, REST, HEADER.fps)


def new_decoder() -> Decoder:
    return Decoder(HEADER, renderer())


class TestDecoder:
    @given(st.data())
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_never_wrong_and_back_within_one_keyframe_interval(
        self, streams: dict[int, Sent], data: st.DataObject
    ) -> None:
        """Any losses, duplicates, delays and flipped bits up to frame `calm`; from there on all is well."""
        sent = streams[data.draw(st.sampled_from((0, SLICES)))]
        rng, calm = random.Random(data.draw(st.integers(0, 1 << 32))), data.draw(st.integers(0, 40))
        share, copies = data.draw(st.sampled_from((0.05, 0.3, 0.9))), data.draw(st.integers(0, 3))
        packetizer, arrivals = Packetizer(copies), list[tuple[float, int, bytes]]()
        for packet in sent.packets:
            for datagram in packetizer.add(packet):
                if packet.number >= calm:
                    arrivals.append((packet.number, 0, datagram))
                while packet.number < calm and rng.random() > share:
                    late = packet.number + rng.choice((0, 0, 0, 1.5, 4, 9))
                    arrivals.append((late, rng.getrandbits(30), self.maybe_flipped(datagram, rng)))
        arrivals.sort()
        depacketizer, decoder = Depacketizer(HEADER), new_decoder()
        for number in range(FRAMES):
            while arrivals and arrivals[0][0] <= number:
                for packet in depacketizer.add(arrivals.pop(0)[2]):
                    decoder.put(packet)
            frame = decoder.show(number)
            if decoder.last is not None:
                assert decoder.last[1] == sent.integers[decoder.last[0]]
            if decoder.shown == Shown.DECODED and sent.integers[number] is not None:
                assert decoder.last == (number, sent.integers[number])
            if number >= calm + INTERVAL + SLICES - 1:
                assert decoder.shown == Shown.DECODED
            assert frame.index == number
        tally = decoder.tally
        assert tally.decoded + tally.concealed + tally.held == FRAMES
        assert tally.damaged == 0  # damaged datagrams do not get so far

    @staticmethod
    def maybe_flipped(datagram: bytes, rng: random.Random) -> bytes:
        out = bytearray(datagram)
        if rng.random() < 0.1:
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
        return bytes(out)

    @given(st.permutations(range(20)))
    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_order_does_not_matter(self, streams: dict[int, Sent], order: list[int]) -> None:
        decoder, sent = MotionDecoder(HEADER), streams[0]
        for number in order:
            assert decoder.put(sent.packets[number])
            assert not decoder.put(sent.packets[number])
        assert decoder.waiting == 20
        assert decoder.advance(19)[-1] == (19, sent.integers[19])
        assert not decoder.put(sent.packets[5])

    def test_a_late_packet_repairs_the_state(self, streams: dict[int, Sent]) -> None:
        sent, decoder = streams[0], new_decoder()
        for number in (0, 1, 2, 4, 5):
            decoder.put(sent.packets[number])
        for number in range(6):
            decoder.show(number)
        assert decoder.shown == Shown.CONCEALED
        assert decoder.last == (2, sent.integers[2])
        decoder.put(sent.packets[3])
        decoder.put(sent.packets[6])
        decoder.show(6)
        assert (decoder.shown, decoder.last) == (Shown.DECODED, (6, sent.integers[6]))
        assert decoder.tally.recovered == 0

    def test_a_keyframe_ends_a_loss(self, streams: dict[int, Sent]) -> None:
        sent, decoder = streams[0], new_decoder()
        for number in range(13):
            if number != 4:
                decoder.put(sent.packets[number])
            decoder.show(number)
            assert (decoder.shown == Shown.DECODED) == (number < 4 or number >= INTERVAL)
        assert decoder.tally.recovered == 1

    def test_a_keyframe_that_is_there_already_helps_before_its_time(self, streams: dict[int, Sent]) -> None:
        sent, decoder = streams[0], new_decoder()
        for number in (*range(8), 10, 11):
            decoder.put(sent.packets[number])
        pictures = [decoder.show(number).rgb for number in range(12)]
        assert decoder.tally.concealed == 2
        assert pictures[8] == pytest.approx(pictures[7] + (pictures[10] - pictures[7]) / 3, abs=1e-6)
        assert decoder.last == (11, sent.integers[11])

    def test_payloads_of_any_bytes_do_no_harm(self, streams: dict[int, Sent]) -> None:
        sent, rng, decoder = streams[SLICES], random.Random(7), new_decoder()
        for packet in sent.packets:
            payload = bytearray(packet.payload)
            if payload and rng.random() < 0.3:
                payload[rng.randrange(len(payload))] = rng.randrange(256)
            decoder.decode(replace(packet, payload=bytes(payload)))
        assert decoder.tally.damaged > 0

    def test_memory_is_bounded(self, streams: dict[int, Sent]) -> None:
        decoder, payload = MotionDecoder(HEADER), streams[0].packets[1].payload
        for number in range(1, 1000):
            decoder.put(Packet(Kind.MOTION, number, payload))
        assert decoder.waiting == REORDERING_WINDOW
        assert decoder.advance(1000) == []
        assert decoder.put(replace(streams[0].packets[0], number=990, payload=bytes(KeyPayload(990, 0, b"")))) is False
        decoder.lose()
        assert decoder.waiting == 0


class TestRefresh:
    def test_packets_stay_small(self, streams: dict[int, Sent]) -> None:
        whole, cut = ([len(p.payload) for p in streams[n].packets[1:]] for n in (0, SLICES))
        assert max(cut) < 0.8 * max(whole)
        kinds = [p.kind for p in streams[SLICES].packets]
        assert kinds[:15] == [Kind.KEY, *[Kind.MOTION] * 9, *[Kind.REFRESH] * SLICES, Kind.MOTION]
        assert kinds[20:24] == [Kind.REFRESH] * 4  # goes on while the face is away
        assert not has_face(streams[SLICES].packets[23])

    @pytest.mark.parametrize("lost", range(10, 10 + SLICES))
    def test_every_slice_is_needed(self, streams: dict[int, Sent], lost: int) -> None:
        sent, decoder = streams[SLICES], MotionDecoder(HEADER)
        found = {}
        for packet in sent.packets[1:26]:
            if packet.number not in (1, lost):
                found[packet.number] = decoder.decode(packet)
        synced = [number for number, integers in found.items() if integers is not None]
        assert synced == [25]
        assert found[25] == sent.integers[25]

    def test_in_sync_and_caught_up_agree(self, streams: dict[int, Sent]) -> None:
        sent, whole, late = streams[SLICES], MotionDecoder(HEADER), MotionDecoder(HEADER)
        for packet in sent.packets:
            integers = whole.decode(packet)
            assert integers == sent.integers[packet.number]
            if packet.number >= 10:
                caught_up = late.decode(packet)
                assert caught_up == (integers if packet.number >= 10 + SLICES - 1 else None)

    def test_skipped_frames_abandon_the_slices(self) -> None:
        encoder, face = SampleEncoder(HEADER, 3), next(walk(HEADER, random.Random(1), 1))
        packets = [code(encoder, HEADER, n, face)[0] for n in (0, 10, 13, 14)]
        assert [p.kind for p in packets] == [Kind.KEY, Kind.REFRESH, Kind.MOTION, Kind.MOTION]

    def test_slices_out_of_range(self) -> None:
        for slices, interval in ((1, 0), (17, 0), (-2, 5), (6, 5)):
            with pytest.raises(UsageError):
                check_refresh(slices, interval)
        assert check_refresh(5, 5) == check_refresh(5, 0) == 5
        with pytest.raises(StreamError, match="E23"):
            RefreshPayload.parse(bytes(RefreshPayload(9, 0, 3, 3, b"m", b"")))

    def test_command_line(self, encoded: Encoded, run: Run, tmp_path: Path) -> None:
        out = tmp_path / "r.fvc"
        wanted = ("--fps", 5, "--keyframe-interval", 1, "--refresh", 3, "--no-audio", "--no-canvas", "--profile", "sup")
        made = run("encode", encoded.video, out, *wanted, "--json")
        assert made.code == 0, made.err
        assert fvc.info(out)["keyframes"] == json.loads(made.out)["keyframes"] >= 3
        assert fvc.decode(out, out.with_suffix(".fvs"))["frames_held"] == 0
        result = run("encode", encoded.video, out, "--refresh", 77)
        assert (result.code, result.err) == (2, "fvc: --refresh 77: must be 0 or 2 to 16 slices\n")


class TestConcealment:
    @staticmethod
    def moved(x: float) -> DrivingSample:
        return DrivingSample({"sup": np.full((33, 2), x, np.float32), "expr": np.full(16, x, np.float32)})

    def test_goes_on_ever_slower_and_stops(self) -> None:
        concealment = Concealment(Fraction(15))
        for number in range(3):
            concealment.know(number, self.moved(number / 10))
            concealment.at(number)
        shown = [concealment.at(n) for n in range(3, 8)]
        assert [how for _, how in shown] == [Shown.CONCEALED] * 3 + [Shown.HELD] * 2
        path = [0.2, *(float(s.parts["sup"][0, 0]) for s, _ in shown if s is not None)]
        steps = [b - a for a, b in pairwise(path)]
        assert steps == pytest.approx([0.07, 0.049, 0.0343], abs=1e-5)
        assert all(np.all(s.parts["expr"] == np.float32(0.2)) for s, _ in shown if s is not None)

    def test_fades_back_to_the_truth(self) -> None:
        concealment = Concealment(Fraction(15))
        concealment.know(0, self.moved(0.5))
        concealment.at(0)
        concealment.at(1)
        path = []
        for number in range(2, 8):
            concealment.know(number, self.moved(0.9))
            sample, how = concealment.at(number)
            assert sample is not None
            assert how == Shown.DECODED
            path.append(float(sample.parts["sup"][0, 0]))
        assert path == pytest.approx([0.7, 0.8, 0.85, 0.9, 0.9, 0.9], abs=1e-5)

    def test_between_two_known_frames(self) -> None:
        concealment = Concealment(Fraction(15))
        for number, x in ((0, 0.0), (4, 0.8)):
            concealment.know(number, self.moved(x))
        shown = [concealment.at(number) for number in range(6)]
        assert [how.value for _, how in shown] == ["decoded", *["concealed"] * 3, "decoded", "concealed"]
        path = [float(sample.parts["sup"][0, 0]) for sample, _ in shown[:5] if sample is not None]
        assert path == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])

    def test_no_face_is_no_loss(self) -> None:
        concealment = Concealment(Fraction(15))
        assert concealment.at(0) == (None, Shown.HELD)
        concealment.know(1, self.moved(0.1))
        concealment.at(1)
        concealment.know(2, None)
        assert concealment.at(2) == (None, Shown.DECODED)
        assert concealment.at(3) == (None, Shown.HELD)

    @pytest.mark.parametrize("fps", [Fraction(1), Fraction(30), Fraction(240)])
    def test_time_not_frames(self, fps: Fraction) -> None:
        concealment = Concealment(fps)
        concealment.know(0, self.moved(0.1))
        concealment.at(0)
        shown = [concealment.at(n)[1] for n in range(1, 400)]
        assert shown.count(Shown.CONCEALED) == max(round(fps / 5), 1)


class TestChannel:
    @pytest.mark.parametrize(("share", "burst"), [(0.1, None), (0.3, None), (0.2, 4.0), (0.05, 8.0)])
    def test_loss_and_burst_are_what_they_say(self, share: float, burst: float | None) -> None:
        channel, lost = Channel(Link(share, burst, jitter_ms=0, doubled=0), 3), []
        for number in range(40_000):
            channel.send(number, b"")
            lost.append(not channel.arrived(number))
        assert np.mean(lost) == pytest.approx(share, rel=0.1)
        runs = [len(run) for run in "".join("x" if x else " " for x in lost).split()]
        assert np.mean(runs) == pytest.approx(burst or 1 / (1 - share), rel=0.1)

    def test_elliott_loses_a_share_when_bad(self) -> None:
        channel = Channel(Link(0.1, 10, loss_when_bad=0.5, jitter_ms=0, doubled=0), 1)
        for number in range(40_000):
            channel.send(number, b"")
        assert channel.lost / channel.sent == pytest.approx(0.1, rel=0.12)

    def test_jitter_reorders_and_doubles_but_forgets_nothing(self) -> None:
        def arrivals(seed: int) -> list[bytes]:
            channel = Channel(Link(0, jitter_ms=100, doubled=0.2, flipped=0.1), seed)
            for number in range(300):
                channel.send(number / 15, number.to_bytes(2, "big"))
            return channel.arrived(1e9)

        first = arrivals(1)
        assert first == arrivals(1) != arrivals(2)
        assert first != sorted(first)
        assert 330 < len(first) < 390
        wrong = [data for data in first if int.from_bytes(data, "big") >= 300]
        assert wrong

    def test_links_out_of_range(self) -> None:
        for link in ({"loss": 0.95}, {"loss": -0.1}, {"burst": 0.5}, {"jitter_ms": -1.0}, {"doubled": 2.0}):
            with pytest.raises(UsageError):
                Link(**link)


@pytest.fixture(scope="module")
def talk() -> Talk:
    header, faces = header_of(Profile.SUP, quantizers=HEADER.quantizers), walk(HEADER, random.Random("talk"), 1.0)
    samples = [to_sample({"sup": np.array(next(faces)["sup"])}, header.quantizers) for _ in range(12)]
    return Talk(header, None, [*samples, None], [])  # type: ignore[arg-type, list-item]


class TestCall:
    def play(self, talk: Talk, link: Link, copies: int, delay: int = 1, frames: int = 400) -> list[tuple[Any, ...]]:
        header = replace(talk.header, keyframe_interval=15)
        stages = (Packetizer(copies), Channel(link, 5), renderer(), delay)
        played = call(header, islice(coded(talk, header), frames), *stages)
        return [(p.frame.index, p.decoder.shown, p.decoder.last, p.frame.rgb.tobytes()) for p in played]

    def test_to_and_fro(self, talk: Talk) -> None:
        assert [talk.clip_frame(n) for n in (0, 1, 12, 13, 23, 24, 25)] == [0, 1, 12, 11, 1, 0, 1]

    def test_without_loss_every_frame_is_its_own(self, talk: Talk) -> None:
        shown = self.play(talk, Link(jitter_ms=5), 0)
        assert [index for index, *_ in shown] == list(range(399))
        assert {how for _, how, *_ in shown} == {Shown.DECODED}

    def test_same_seed_same_call(self, talk: Talk) -> None:
        link = Link(0.3, 3.0, jitter_ms=40, flipped=0.05)
        assert self.play(talk, link, 2) == self.play(talk, link, 2)

    def test_copies_help(self, talk: Talk) -> None:
        decoded = [
            sum(how == Shown.DECODED for _, how, *_ in self.play(talk, Link(0.3), copies)) for copies in (0, 1, 3)
        ]
        assert decoded[0] < 0.4 * 400 < 0.5 * 400 < decoded[1] < 0.7 * 400 < decoded[2]

    def test_delay_gives_copies_time(self, talk: Talk) -> None:
        early, late = (
            sum(how == Shown.DECODED for _, how, *_ in self.play(talk, Link(0.3), 5, delay)) / (400 - delay)
            for delay in (0, 3)
        )
        assert early < 0.75 < 0.95 < late


class TestCallFigures:
    def test_runs(self) -> None:
        figures = loss.CallFigures()
        decoded, concealed, held = Shown.DECODED, Shown.CONCEALED, Shown.HELD
        for how in (held, decoded, concealed, concealed, held, held, held, decoded, held):
            figures.add(how, True)
        figures.add(held, False)  # no face: nothing is frozen
        figures.end()
        assert figures.freezes == [1, 3, 1]
        assert figures.outages == [1, 5, 1]

    def test_slope(self) -> None:
        minutes = [float(m) for m in range(0, 121, 5)]
        assert long_call.slope(minutes, [5000, *(1000 + 2 * round(m) for m in minutes[1:])]) == pytest.approx(120)


def test_simulator_command_line(
    encoded: Encoded, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="plots need fvc[measure]")
    monkeypatch.setattr(loss, "load_talk", lambda clip, *_: read_talk(clip, encoded.stream))  # encoding takes long
    arguments = ["--minutes", "0.1", "--loss", "0", "30", "--redundancy", "0", "2"]
    out = ["--out", str(tmp_path / "plots"), "--json", str(tmp_path / "r.json")]
    assert loss.main([str(encoded.video), *arguments, *out]) == 0
    rows = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert [(r["loss"], r["redundancy"]) for r in rows] == [(0, 0), (30, 0), (0, 2), (30, 2)]
    assert [r["not_decoded"] for r in rows[::2]] == [0, 0]
    assert rows[1]["not_decoded"] > rows[3]["not_decoded"]
    assert rows[2]["kbps"] > rows[0]["kbps"]
    assert 0 < rows[0]["nme"] == rows[2]["nme"] < rows[1]["nme"]
    assert (tmp_path / "plots" / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.count("\n") == 2 + len(rows)
    assert loss.main([str(encoded.video), "--loss", "99"]) == 2
    monkeypatch.undo()
    assert loss.main(["missing.mp4"]) == 3
    assert "missing.mp4" in capsys.readouterr().err


def test_long_call_command_line(
    encoded: Encoded, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("resident memory is read from /proc")
    monkeypatch.setattr(long_call, "load_talk", lambda clip, *_, **__: read_talk(clip, encoded.stream, False))
    arguments = ["--hours", "0.005", "--report-minutes", "0.05", "--loss", "20"]
    assert long_call.main([str(encoded.video), *arguments, "--json", str(tmp_path / "r.json")]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["frames"] == report["sent"] == 180
    assert report["wrong"] == 0
    assert report["compared"] > 170
    assert report["decoded"] + report["concealed"] + report["held"] == 179
    assert report["drawn"] >= 170 / 10
    assert capsys.readouterr().out.count("RSS") == 6
    monkeypatch.undo()
    assert long_call.main(["missing.mp4"]) == 3


def sample_of(number: float) -> DrivingSample:
    return DrivingSample({"unsup": np.full((10, 2), number, np.float32), "jac": np.zeros((10, 2, 2), np.float32)})


@given(
    fps=st.sampled_from([Fraction(1), Fraction(10), Fraction(15), Fraction(30000, 1001), Fraction(240)]),
    gaps=st.lists(st.integers(1, 40), min_size=1, max_size=30),
)
def test_recent_positions_are_those_of_the_specification(fps: Fraction, gaps: list[int]) -> None:
    """Section 8.2, by its formula and with all that was drawn kept."""
    history, drawn = PoseHistory(fps), list[int]()
    for index in np.cumsum(gaps).tolist():
        drawn.append(index)
        found = history.add(index, sample_of(index))
        back = [(2 * k * fps.numerator + 15 * fps.denominator) // (30 * fps.denominator) for k in range(1, MOMENTS + 1)]
        wanted = [max((n for n in drawn if n <= index - d), default=drawn[0]) for d in back]
        assert found.recent_positions[:, 0, 0].tolist() == wanted
        assert found.recent_positions.shape == (MOMENTS, 10, 2)
        assert found.parts["unsup"][0, 0] == index


def test_every_way_to_play_knows_the_same_moments(streams: dict[int, Sent]) -> None:
    """Frame by frame, and by callers that draw themselves; frames 23 and 24 hold the picture."""
    asked, others = list[DrawInputs](), list[DrawInputs]()

    def note(inputs: DrawInputs) -> np.ndarray:
        asked.append(inputs)
        return draw_points(inputs)

    shown, undrawn = Decoder(HEADER, renderer(note)), new_decoder()
    for packet in streams[0].packets:
        shown.decode(packet)
        undrawn.put(packet)
        inputs = undrawn.next(packet.number)
        if inputs is not None:
            others.append(inputs)
    assert len(asked) == len(others) == FRAMES - 2
    for mine, theirs in zip(asked, others, strict=True):
        assert np.array_equal(mine.recent_positions, theirs.recent_positions)
    sup = [inputs.parts["sup"] for inputs in asked]
    assert np.array_equal(asked[0].recent_positions, [sup[0]] * MOMENTS)
    assert np.array_equal(asked[20].recent_positions, [sup[20 - k] for k in range(1, MOMENTS + 1)])
    assert np.array_equal(asked[23].recent_positions, [sup[22]] * 3 + [sup[21]])
