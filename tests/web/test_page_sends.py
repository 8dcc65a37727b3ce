"""What the page sends is what Python sends: its modules, run by node, against the codec's own."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fvc.codec.call.datagram import Datagram, Depacketizer, Packetizer
from fvc.codec.call.setup import Setup
from fvc.codec.channel.congestion import LinkEstimate, best_way, ways
from fvc.codec.channel.messages import (
    CONTROL,
    MEDIA,
    Accepted,
    Feedback,
    Media,
    PieceGot,
    Refused,
    SetupPiece,
    parse_control,
)
from fvc.codec.encoder import Encoder, Found, make_sample
from fvc.codec.face.crop import choose_crop
from fvc.codec.face.source_choice import distances
from fvc.codec.motion import landmark_basis
from fvc.codec.motion.quantizer import QUANTIZERS, for_parts
from fvc.codec.motion.ratecontrol import ConstantQuality
from fvc.codec.motion.sample import Profile
from fvc.codec.reassembly import MotionDecoder
from fvc.codec.wire.av1_pictures import decode_series
from fvc.codec.wire.bitstream import Audio, Crop, Header, Kind, Packet
from fvc.codec.wire.source_set import SourceSet, code_pictures

MODULES = Path(__file__).with_name("page_modules.mjs")
KINDS = {Kind.MOTION: 0, Kind.KEY: 1, Kind.AUDIO: 2}  # as fvc.wasm counts them
CROP = Crop(640, 480, 150, -12, 321)
FRAMES = 90


def run(job: str, **given: Any) -> Any:
    if not shutil.which("node"):
        pytest.skip("node is not installed")
    text = json.dumps({"job": job, **given})
    done = subprocess.run(["node", MODULES], input=text, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def crop_of(crop: Crop) -> dict[str, int]:
    return {name: getattr(crop, name) for name in ("width", "height", "x", "y", "side")}


def header_of(sources: bytes = bytes(16), pixels: bytes = bytes(16), audio: Audio | None = None) -> Header:
    quantizers = for_parts(QUANTIZERS["default"], Profile.SUP.parts)
    return Header(Profile.SUP, quantizers, Fraction(15), 75, CROP, b"modelabc", sources, pixels, audio)


def faces(count: int, seed: int = 1) -> list[np.ndarray | None]:
    """Landmarks of a face that moves, float32 [33, 2] in pixels; it is away now and then."""
    draw, values, out = np.random.default_rng(seed), np.zeros(66), list[np.ndarray | None]()
    for n in range(count):
        values = 0.97 * values + draw.normal(0, 0.02 + 0.2 * (n % 30 == 7), 66)
        sup = landmark_basis.landmarks(values)
        out.append(None if n in (20, 21) else ((sup + 1) * (CROP.side / 2) + [CROP.x, CROP.y]).astype(np.float32))
    return out


def packets_of(points: list[np.ndarray | None], key: int) -> list[Packet]:
    encoder = Encoder(header_of(), None, None, 0, ConstantQuality())
    blank = np.zeros((480, 640, 3), np.uint8)
    return [
        encoder.encode(blank, Found(one), audio_packets=2 * n, force_keyframe=n == key) for n, one in enumerate(points)
    ]


def plain(packet: Packet) -> dict[str, Any]:
    return {"kind": KINDS[packet.kind], "number": packet.number, "payload": packet.payload.hex()}


def test_frames_have_the_integers_and_bytes_that_python_gives_them() -> None:
    points = faces(FRAMES)
    given = [None if one is None else one.ravel().tolist() for one in points]
    found = run("frames", header=bytes(header_of()).hex(), crop=crop_of(CROP), points=given, key=40)
    assert found["packets"] == [plain(packet) for packet in packets_of(points, 40)]
    decoder = MotionDecoder(header_of())
    for packet, integers in zip(packets_of(points, 40), found["integers"], strict=True):
        decoder.put(packet)
        decoded = dict(decoder.advance(packet.number))[packet.number]
        assert (decoded is None) == (integers is None)
        assert decoded is None or [value for part in decoded.values() for value in part] == integers


def test_datagrams_are_those_of_python() -> None:
    draw, packets = random.Random(3), list[Packet]()
    for n in range(400):
        packets.append(
            Packet(draw.choice([Kind.MOTION, Kind.MOTION, Kind.KEY]), n, draw.randbytes(draw.randint(0, 40)))
        )
        if n % 9 == 0:
            packets.append(Packet(Kind.AUDIO, n // 9, draw.randbytes(draw.choice([0, 45, 900]))))
    changes = {0: (1, 3), 50: (3, 8), 120: (0, 1), 200: (2, 2), 300: (3, 1)}
    packetizer, wanted = Packetizer(), list[bytes]()
    for n, packet in enumerate(packets):
        if n in changes:
            packetizer.change(*changes[n])
        wanted += packetizer.add(packet)
    wanted += packetizer.flush()
    assert run("datagrams", packets=[plain(p) for p in packets], changes=changes) == [data.hex() for data in wanted]


def test_the_crop_is_that_of_python() -> None:
    draw, boxes = np.random.default_rng(5), list[np.ndarray]()
    for n in range(40):
        middle, size = draw.uniform(100, 500, 2), draw.uniform(20, 400)
        some = np.concatenate([middle - size / 2, middle + size / 2]) + draw.normal(0, 5 + n, (draw.integers(1, 60), 4))
        some[:1] += 300 * (n % 2)  # an excursion
        boxes.append(some)
    found = run("crops", boxes=[some.tolist() for some in boxes], width=640, height=480)
    assert found == [crop_of(choose_crop(some, 640, 480)) for some in boxes]


def test_source_pictures_are_apart() -> None:
    """The chosen four leave the other faces about as near to one of them as any choice of four can."""
    some = np.stack([face for face in faces(24, seed=9) if face is not None])
    chosen = run("choice", faces=[face.ravel().tolist() for face in some])
    far = distances(some, some)
    draw = np.random.default_rng(0)
    others = [far[:, draw.choice(len(some), 4, replace=False)].min(1).mean() for _ in range(2000)]
    assert len(set(chosen)) == 4
    assert far[:, chosen].min(1).mean() < np.quantile(others, 0.01)
    still = np.repeat(some[:1], 9, axis=0)
    assert run("choice", faces=[face.ravel().tolist() for face in still]) == [0]


def pictures() -> list[np.ndarray]:
    draw = np.random.default_rng(2)
    base = np.kron(draw.uniform(0, 255, (8, 8, 3)), np.ones((32, 32, 1)))
    return [np.clip(base + 8 * n, 0, 255).astype(np.uint8) for n in range(3)]


@pytest.mark.parametrize("audio", [None, Audio(60, 312)])
def test_the_set_up_is_that_of_python(audio: Audio | None) -> None:
    coded, decoded = code_pictures(pictures(), 40)
    sups = [landmark_basis.landmarks(np.full(66, 0.1 * n)) for n in range(3)]
    samples = tuple(make_sample(decoded[n], sups[n], None) for n in range(3))
    units = tuple(bytes.fromhex(one) for one in run("units", data=[data.hex() for data in coded]))
    source_set = SourceSet(Profile.SUP, b"modelabc", units, decoded, samples)
    header = header_of(source_set.sources_hash, source_set.pixels_hash, audio)
    found = run(
        "sources",
        modelHash=b"modelabc".hex(),
        coded=[data.hex() for data in coded],
        samples=[sup.ravel().tolist() for sup in sups],
        crop=crop_of(CROP),
        pixels=b"".join(picture.tobytes() for picture in decoded).hex(),
        audio=None if audio is None else {"frameMs": audio.frame_ms, "preSkip": audio.pre_skip},
    )
    assert found["set"] == bytes(source_set).hex()
    assert found["header"] == bytes(header).hex()
    assert found["parsed"]["size"] == len(bytes(header))
    setup = Setup.parse(bytes.fromhex(found["header"] + found["set"]))
    assert all(np.array_equal(*pair) for pair in zip(setup.source_set.pictures, decoded, strict=True))


def obu(kind: int, data: bytes = b"", sized: bool = True) -> bytes:
    return bytes([kind << 3 | 2 * sized]) + (bytes([len(data)]) if sized else b"") + data


def test_pictures_are_stripped_to_what_the_format_wants() -> None:
    first, second = code_pictures(pictures()[:2], 40)[0]
    dressed = [obu(2) + first + obu(5, b"\1meta") + obu(15, bytes(40)), obu(2) + second]
    stripped = [bytes.fromhex(one) for one in run("units", data=[data.hex() for data in dressed])]
    assert len(stripped[0]) <= len(first)
    wanted = decode_series([first, second], 256, 256)
    assert all(np.array_equal(*pair) for pair in zip(decode_series(stripped, 256, 256), wanted, strict=True))
    assert run("units", data=[obu(6, b"abc", sized=False).hex()]) == [obu(6, b"abc").hex()]
    bad = [first + first, obu(2), obu(6, b"abc")[:-1]]
    for fault in run("units", data=[data.hex() for data in bad]):
        assert "the encoder" in fault


def events() -> list[tuple[Any, ...]]:
    """What an end learns of a link that is full at times: losses, silence, and when messages came."""
    draw, now, out = random.Random(8), 0.0, list[tuple[Any, ...]]()
    for n in range(3000):
        now += draw.uniform(0.01, 0.12)
        queue = 0.6 if 600 < n < 900 or 1800 < n < 1830 else 0.0
        arrived = 50 + now + 0.05 + draw.uniform(0, 0.02) + draw.uniform(0, queue)
        if 1500 < n < 1540:
            now += 0.2
            out.append((now, now - 1.5))
        elif draw.random() < 0.1:
            out.append((0.0,))
        elif n % 4 == 0:
            out.append((now, None))
        else:
            out.append((now, arrived, draw.randint(100, 500), now + 0.1))
    return out


def test_the_link_is_estimated_as_python_does() -> None:
    estimate, choices, used, wanted = LinkEstimate(), ways(15, 1100, 6000), None, list[list[float]]()
    for event in events():
        if len(event) == 1:
            estimate.lost()
        elif len(event) == 2:
            estimate.handle_timer(*event)
        else:
            estimate.came(*event)
        used = best_way(choices, estimate.rate, estimate.loss, used)
        wanted.append([estimate.rate, estimate.queue, estimate.loss, used.frames, used.copies])
    assert len({row[3] for row in wanted}) > 2
    assert np.allclose(run("link", events=events()), wanted, rtol=1e-9, atol=1e-9)


def test_a_session_sends_its_set_up_and_then_frames() -> None:
    coded, decoded = code_pictures(pictures(), 40)
    samples = tuple(make_sample(picture, landmark_basis.landmarks(np.zeros(66)), None) for picture in decoded)
    source_set = SourceSet(Profile.SUP, b"modelabc", coded, decoded, samples)
    setup = bytes(Setup(header_of(source_set.sources_hash, source_set.pixels_hash), source_set))
    packets = packets_of(faces(FRAMES), 40)
    found = run("session", setup=setup.hex(), packets=[plain(p) for p in packets], seconds=40)
    messages = [(label, bytes.fromhex(data)) for label, data in found["messages"]]
    pieces = [parse_control(data) for label, data in messages if label == CONTROL]
    assert b"".join(piece.data for piece in pieces if isinstance(piece, SetupPiece)) == setup
    media = [Media.parse(data) for label, data in messages if label != CONTROL]
    assert [one.sequence for one in media] == list(range(len(media)))
    kept = Depacketizer(header_of())
    arrived = {packet.number: packet for one in media for packet in kept.add(one.datagram)}
    assert list(arrived.values()) == packets
    assert (found["early"], found["ready"]) == (None, "first")
    assert found["rate"] > 7000  # everything came at once: more may be sent


def test_a_page_goes_on_after_an_outage_but_believes_no_single_number() -> None:
    numbers = [0, 1, 5000, 2, 900, 903, 904]
    datagrams = [Datagram(n, (Packet(Kind.MOTION, n, b"x"),)) for n in numbers]
    messages = [bytes(Media(None, n, bytes(data))).hex() for n, data in enumerate(datagrams)]
    assert run("outage", header=bytes(header_of()).hex(), messages=messages) == [0, 1, 1, 2, 2, 903, 904]


def test_messages_of_nonsense_harm_no_page() -> None:
    draw, frames = random.Random(4), packets_of(faces(40), 20)
    packetizer = Packetizer(1, 2)
    datagrams = [data for packet in frames for data in packetizer.add(packet)]
    honest = [(MEDIA, bytes(Media(Feedback(n, (n, None)), n, data))) for n, data in enumerate(datagrams)]
    pieces = [SetupPiece(n % 256, n % 3, 3, draw.randbytes(400)) for n in range(300)]
    control = [*pieces, *(PieceGot(n, n, n) for n in range(9)), *(Accepted(n) for n in range(9)), Refused(0, "x")]
    honest += [(CONTROL, bytes(one)) for one in control]
    messages = list[tuple[str, str]]()
    for _ in range(3000):
        label, data = draw.choice(honest)
        if draw.random() < 0.8:
            broken = bytearray(data)
            broken[draw.randrange(len(broken))] ^= 1 << draw.randrange(8)
            data = bytes(broken[: draw.randint(0, len(broken))]) if draw.random() < 0.5 else bytes(broken)
        messages.append((label, data.hex()))
    found = run("nonsense", header=bytes(header_of()).hex(), messages=messages)
    assert found["count"]["messages"] == 3000
    assert found["count"]["refused"] > 500
    assert not found["ready"]
    assert max(found["kept"]) <= 300
