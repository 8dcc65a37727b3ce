"""Readers of foreign bytes, one function each. Any bytes may come; only `FvcError` may come out of fvc.

A checksum stops nearly every random change, so most targets also try the input "sealed": with right checksums. Where
the format is normative, fvc and `spec_decoder` must find the same, and break the same rule first.
"""

from __future__ import annotations

import binascii
import hashlib
import io
import json
import os
import re
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import spec_decoder

from fuzz import call_targets, layer_targets
from fvc.codec.base.constants import REORDERING_WINDOW, SIDE
from fvc.codec.base.errors import FvcError, InputError, StreamError
from fvc.codec.base.reporting import silent
from fvc.codec.call.datagram import Datagram, Depacketizer
from fvc.codec.decoder import Decoder
from fvc.codec.media.opus import OpusDecoder, OpusParams
from fvc.codec.media.video import read_image
from fvc.codec.motion.quantizer import to_sample
from fvc.codec.motion.sample import PART_SHAPES
from fvc.codec.reassembly import MotionDecoder
from fvc.codec.renderer import Renderer
from fvc.codec.wire.av1_pictures import decode_still
from fvc.codec.wire.bitstream import SYNC, EndPayload, Header, Kind, Packet
from fvc.codec.wire.container import Damage, StreamReader, StreamWriter, read_index
from fvc.codec.wire.source_set import QUANTIZERS, SourceSet
from fvc.jobs.decode import Painter, write_items
from fvc.jobs.paths import open_file
from fvc.jobs.player import Player
from fvc.jobs.repair import copy_packets

VECTORS = Path(__file__).parent.parent / "vectors"
_STREAMS = (
    "annex_b",
    "profile_sup_unsup_expr",
    "profile_unsup_jac",
    "extremes",
    "coarse",
    "still",
    "gap",
    "audio",
    "refresh",
    "profile_shape_unsup_expr",
    "extremes_shape",
)


def outcome(function: Callable[..., Any], *arguments: Any) -> tuple[Any, str | None]:
    """(result, None) or (None, broken rule)."""
    try:
        return function(*arguments), None
    except (StreamError, spec_decoder.SpecError) as error:
        return None, error.rule


def header(data: bytes) -> None:
    """The header alone, as it is and sealed."""
    sealed = data + struct.pack(">I", zlib.crc32(data))
    for variant in (data, sealed):
        ours, rule = outcome(lambda d: StreamReader(io.BytesIO(d)).header, variant)
        theirs, their_rule = outcome(spec_decoder.parse_header, variant)
        assert rule == their_rule, (rule, their_rule)
        if ours:
            assert ours.fps.numerator * theirs[0]["fps"][1] == ours.fps.denominator * theirs[0]["fps"][0]
            assert vars(ours.crop) == theirs[0]["crop"]
            assert [q.bits for q in ours.quantizers.values()] == [q["bits"] for q in theirs[0]["quantizers"].values()]
            assert Header.parse(bytes(ours)) == ours


def packet(data: bytes) -> None:
    """One packet, as it is and sealed, and its payload as that of END."""
    body = data[len(SYNC) :] if data.startswith(SYNC) else data
    for variant in (data, data + struct.pack(">H", binascii.crc_hqx(body, 0xFFFF))):
        if variant:
            ours, rule = outcome(Packet.parse, variant)
            theirs, their_rule = outcome(spec_decoder.parse_packet, variant, 0)
            assert rule == their_rule, (rule, their_rule)
            if ours:
                assert (ours[0].kind, ours[0].number, ours[0].payload, ours[1]) == theirs
    ours, rule = outcome(EndPayload.parse, data)
    theirs, their_rule = outcome(spec_decoder.parse_end, data)
    assert rule == their_rule, (rule, their_rule)
    if ours:
        assert [list(pair) for pair in ours.keyframes] == theirs["keyframes"]


def container(data: bytes) -> None:
    """A whole file as it is: every byte is in a packet or in a damaged place, and numbers rise."""
    with suppress(StreamError):
        reader = StreamReader(io.BytesIO(data))
        at, frame = len(bytes(reader.header)), -1
        for item in reader.packets():
            if isinstance(item, Damage):
                assert at <= item.start < item.stop <= len(data)
                at = item.stop
            elif item.kind in (Kind.MOTION, Kind.KEY):
                assert item.number > frame
                frame = item.number
    read_index(io.BytesIO(data))
    compare(data)


def stream(data: bytes) -> None:
    """Packets with right checksums behind a golden header: kind and number, size, payload; and again."""
    compare(golden_header(data[:1]) + sealed_packets(data[1:]))


def motion(data: bytes) -> None:
    """MOTION payloads behind the first keyframe of a golden stream."""
    start, number, at = golden_keyframe(data[:1]), 0, 1
    out = bytearray(start[0])
    while at < len(data):
        size = data[at] + 1
        number += 1
        out += bytes(Packet(Kind.MOTION, start[1] + number, data[at + 1 : at + 1 + size]))
        at += 1 + size
    compare(bytes(out))


def player(data: bytes) -> None:
    """The receiver without networks and video encoder: what it would show and sound stays in bounds."""
    if data[:1] != b"\xab":
        data = golden_header(data[:1]) + sealed_packets(data[1:])
    video = CountingWriter()
    with suppress(FvcError):
        play(data, video)
    most = 901 + 2 * len(data)
    assert video.frames <= most
    assert video.samples <= most * 2880


def repair(data: bytes) -> None:
    """A repaired stream has no damage, only packets of the damaged one, and means the same frames."""
    if data[:1] != b"\xab":
        data = golden_header(data[:1]) + sealed_packets(data[1:])
    with suppress(StreamError):
        reader, file = StreamReader(io.BytesIO(data)), io.BytesIO()
        writer = StreamWriter(file, reader.header)
        copy_packets(reader, writer)
        writer.end()
        copy = StreamReader(io.BytesIO(file.getvalue()))
        packets = list(copy.packets())
        assert copy.end is not None
        assert copy.end.frames == writer.frames
        whole = iter(StreamReader(io.BytesIO(data)).packets())
        assert all(packet in whole for packet in packets)  # each, in order: `in` moves the iterator on
        damaged, repaired = integers_of(data), integers_of(file.getvalue())
        assert all(damaged[number] == integers for number, integers in repaired.items())


def datagram(data: bytes) -> None:
    """What a network delivers, u(16) for the size of each datagram: one with an odd size field gets a right checksum.

    A receiver shows frames as they fall due; where no keyframe is in slices, which may contradict what they replace,
    its integers are those of the specification's decoder, whatever comes late, twice or not at all.
    """
    header_bytes, arrived, at = golden_header(data[:1]), [], 1
    header = Header.parse(header_bytes)
    spec_header = spec_decoder.parse_header(header_bytes)[0]
    depacketizer, blank = Depacketizer(header), {part: np.zeros(np.prod(shape)) for part, shape in PART_SHAPES.items()}
    motion, due = MotionDecoder(header), 0
    decoder = Decoder(
        header, Renderer(lambda _: _BLANK, to_sample(blank, QUANTIZERS).only(header.profile.parts), header.fps)
    )
    found: dict[int, Any] = {}
    packets: list[Packet] = []
    while at < len(data) and len(arrived) < 40:
        size = int.from_bytes(data[at : at + 2], "big")
        one, at = data[at + 2 : at + 2 + size // 2 % 1300], at + 2 + size // 2 % 1300
        arrived.append(one + struct.pack(">H", binascii.crc_hqx(one, 0xFFFF)) if size & 1 else one)
        ours, rule = outcome(Datagram.parse, arrived[-1], header)
        theirs, their_rule = outcome(spec_decoder.parse_datagram, arrived[-1], spec_header)
        assert rule == their_rule, (rule, their_rule)
        if ours:
            assert [(packet.kind, packet.number, packet.payload) for packet in ours.entries] == theirs
            assert len(Datagram.parse(bytes(ours), header).entries) == len(theirs)
        for item in depacketizer.add(arrived[-1]):
            if item.kind != Kind.AUDIO:
                decoder.put(item)
                packets.append(item)
                with suppress(StreamError):
                    motion.put(item)
        assert motion.waiting <= REORDERING_WINDOW
        assert len(depacketizer.missing()) < REORDERING_WINDOW
        due = max(due + 1, depacketizer.newest - 1)
        found.update(motion.advance(due))
        assert decoder.show(due).index == due
    if any(packet.kind == Kind.REFRESH for packet in packets):
        return
    frames, right = spec_decoder.Frames(spec_header), dict[int, Any]()
    for item in sorted(packets, key=lambda packet: packet.number):
        try:
            frames.take(item.kind, item.number, item.payload)
            right[item.number] = frames.found[-1][1]
        except spec_decoder.SpecError:
            frames.follows = None
    assert all(right[number] == integers for number, integers in found.items() if integers is not None)


def sources(data: bytes) -> None:
    """A source set, whole or a beginning, as it is and sealed; its pictures and canvas are decoded."""
    for variant in (data, sealed_sources(data)):
        for is_whole in (True, False):
            ours, rule = outcome(SourceSet.parse, variant, not is_whole)
            by_spec = spec_decoder.parse_sources if is_whole else spec_decoder.parse_sources_so_far
            theirs, their_rule = outcome(by_spec, variant)
            assert rule in (their_rule, "E22"), (rule, their_rule)
            if ours:
                listed = [theirs["preview"], *theirs["sources"]] if ours.side != SIDE else theirs["sources"]
                assert ours.coded == tuple(source["coded"] for source in listed)
                assert (ours.canvas, ours.missing) == (theirs["canvas"], theirs.get("missing", 0))
                with suppress(StreamError):
                    ours.canvas_picture()


def sealed_sources(data: bytes) -> bytes:
    """A source set with the digests that its sections have, as far as its sizes fit, and the right checksum."""
    if len(data) < 22:
        return data
    is_large = data[4] == 3  # then it has its side, and a preview
    start = 21 if is_large else 19
    count = data[start - 5] % 10 + 1 + is_large
    end = at = start + 20 * count + 4
    head = bytearray(data[: end - 4].ljust(end - 4, b"\0"))
    for entry in range(start, end - 4, 20):
        size = int.from_bytes(head[entry : entry + 4], "big")
        head[entry + 4 : entry + 20] = hashlib.sha256(data[at : at + size]).digest()[:16]
        at += size
    head[start - 5] = count - 1 - is_large
    return bytes(head) + struct.pack(">I", zlib.crc32(head)) + data[end:]


def still(data: bytes) -> None:
    """AV1 data as a source picture and as a canvas."""
    for width, height in ((SIDE, SIDE), (96, 64)):
        with suppress(StreamError):
            assert decode_still(data, width, height).shape == (height, width, 3)


def audio(data: bytes) -> None:
    """Opus packets: each fills its slot of time."""
    if len(data) < 3:
        return
    params = OpusParams(frame_ms=(10, 20, 40, 60)[data[0] % 4], pre_skip=int.from_bytes(data[1:3], "big") % 48001)
    decoder, samples, slots, at = OpusDecoder(params), 0, 0, 3
    while at < len(data):
        pcm = decoder.decode(data[at + 1 : at + 1 + data[at]])
        assert np.isfinite(pcm).all()
        assert np.abs(pcm).max(initial=0) <= 1
        samples, slots, at = samples + len(pcm), slots + 1, at + 1 + data[at]
    assert samples == max(slots * params.frame_size - params.pre_skip, 0)


def image(data: bytes) -> None:
    """A source picture in a file of its own: PNG, JPEG or anything that claims to be one."""
    with suppress(InputError), tempfile.NamedTemporaryFile(dir=_memory(), suffix=".png") as file:
        file.write(data)
        file.flush()
        rgb = read_image(file.name)
        assert rgb.dtype == np.uint8
        assert rgb.ndim == 3


TARGETS: dict[str, Callable[[bytes], None]] = {
    function.__name__: function
    for function in (header, packet, container, stream, motion, player, repair, datagram, sources, still, audio, image)
} | {**call_targets.TARGETS, **layer_targets.TARGETS}


Found = tuple[list[Any], list[Any], Any]  # frames (number, integers), audio (number, payload), totals or broken rule


def compare(data: bytes) -> None:
    """fvc and the specification's decoder find the same integers and sound, up to the first rule that is broken."""
    ours, theirs = read_by_fvc(data), read_by_spec(data)
    assert ours == theirs, f"{ours[2]} != {theirs[2]}; {len(ours[0])} and {len(theirs[0])} frames"


def read_by_fvc(data: bytes) -> Found:
    """Up to the first damaged place or invalid frame."""
    frames: list[Any] = []
    audio: list[Any] = []
    try:
        reader = StreamReader(io.BytesIO(data))
        decoder = MotionDecoder(reader.header)
        for item in reader.packets():
            if isinstance(item, Damage):
                return frames, audio, re.findall(r"\[(E\d\d)\]$", item.reason)[0]
            if item.kind == Kind.AUDIO:
                audio.append((item.number, item.payload))
            elif item.kind != Kind.LAYER:
                frames.append((item.number, decoder.decode(item)))
    except StreamError as error:
        return frames, audio, error.rule
    return frames, audio, reader.end and (reader.end.frames, reader.end.audio_packets)


def read_by_spec(data: bytes) -> Found:
    """The same, by the other decoder."""
    found: dict[str, Any] = {"frames": [], "audio": []}
    try:
        end = spec_decoder.decode_stream(data, found)["end"]
    except spec_decoder.SpecError as error:
        return found["frames"], found["audio"], error.rule
    return found["frames"], found["audio"], end and (end["frames"], end["audio_packets"])


def integers_of(data: bytes) -> dict[int, Any]:
    """What a receiver makes of a file, damage passed over: the integers of each frame that has some."""
    reader, found = StreamReader(io.BytesIO(data)), {}
    decoder = MotionDecoder(reader.header)
    for item in reader.packets():
        if isinstance(item, Damage):
            if item.uncounted:
                decoder.lose()
        elif item.kind not in (Kind.AUDIO, Kind.LAYER):
            with suppress(StreamError):
                found[item.number] = decoder.decode(item)
    return {number: integers for number, integers in found.items() if integers is not None}


def sealed_packets(data: bytes) -> bytes:
    """Any bytes as packets with right sync and checksum: head, u(16) mod 300 for the size, payload; and again.

    Kind 3 is END for an even number in the head, REFRESH for an odd one.
    """
    out, at = bytearray(), 0
    while at < len(data):
        size = int.from_bytes(data[at + 1 : at + 3], "big") % 300
        kind, payload = Kind(data[at] >> 6), data[at + 3 : at + 3 + size]
        kind = Kind.REFRESH if kind == Kind.END and data[at] & 1 else kind
        out += bytes(Packet(kind, data[at] & 63, payload))
        at += 3 + size
    return bytes(out)


def unsealed(data: bytes) -> bytes:
    """The inverse of `sealed_packets` for the packets of a golden stream: seeds."""
    out = bytearray()
    for item in whole_packets(data):
        if len(item.payload) < 300:
            head = 0xC1 if item.kind == Kind.REFRESH else item.kind << 6 | item.number & 63
            out += bytes([head]) + struct.pack(">H", len(item.payload)) + item.payload
    return bytes(out)


def whole_packets(data: bytes) -> Iterator[Packet]:
    """The packets of a golden stream."""
    return (item for item in StreamReader(io.BytesIO(data)).packets() if isinstance(item, Packet))


@cache
def _golden(index: int) -> bytes:
    return (VECTORS / f"{_STREAMS[index % len(_STREAMS)]}.fvc").read_bytes()


def golden_header(choice: bytes) -> bytes:
    """The header of one of the golden streams."""
    data = _golden(choice[0] if choice else 0)
    return data[: Header.size(data[:7])]


@cache
def _keyframe(index: int) -> tuple[bytes, int]:
    data = _golden(index)
    key = next(item for item in whole_packets(data) if item.kind == Kind.KEY)
    return data[: Header.size(data[:7])] + bytes(key), key.number


def golden_keyframe(choice: bytes) -> tuple[bytes, int]:
    """Header and first keyframe of one of the golden streams, and that frame's number."""
    return _keyframe(choice[0] % len(_STREAMS) if choice else 0)


def play(data: bytes, video: CountingWriter) -> None:
    """Decodes a stream as `fvc.decode` does, with black pictures. Raises FvcError."""
    with tempfile.NamedTemporaryFile(dir=_memory(), suffix=".fvc") as file:
        file.write(data)
        file.flush()
        with open_file(file.name) as opened:
            rest = to_sample({part: np.zeros(np.prod(shape)) for part, shape in PART_SHAPES.items()}, QUANTIZERS)
            header = opened.reader.header
            parts = header.profile.parts
            renderer = Renderer(lambda _: _BLANK, rest.only(parts), header.fps, fuse=lambda layer, _: layer)
            player = Player(opened, Decoder(header, renderer), file.name, silent)
            painter = Painter(renderer, None, header)
            write_items(video, map(painter, player.items()), painter, player.total, silent)  # type: ignore[arg-type]


class CountingWriter:
    """Stands for a `VideoWriter`: counts what it gets."""

    def __init__(self) -> None:
        self.frames = self.samples = 0

    def write(self, rgb: np.ndarray) -> None:
        self.frames += 1

    def write_audio(self, pcm: np.ndarray) -> None:
        self.samples += len(pcm)


_BLANK = np.zeros((SIDE, SIDE, 3), np.uint8)


@cache
def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def seeds(name: str) -> list[bytes]:
    """First inputs of a target, from the golden streams and the clip of the repository."""
    streams = {path.stem: path.read_bytes() for path in sorted(VECTORS.glob("*.fvc"))}
    source_set = (VECTORS / "sources.fvs").read_bytes()
    golden = [streams[stem] for stem in _STREAMS]
    if name == "header":
        return [data[: Header.size(data[:7])] for data in streams.values()]
    if name == "packet":
        return [bytes(item) for data in golden for item in [*whole_packets(data)][:2]]
    if name == "stream":
        return [bytes([n]) + unsealed(data) for n, data in enumerate(golden)]
    if name == "motion":
        return [bytes([n]) + _chopped(data, Kind.MOTION) for n, data in enumerate(golden)]
    if name in ("player", "repair"):
        return [*streams.values(), *(bytes([n]) + unsealed(data) for n, data in enumerate(golden))]
    if name == "datagram":
        return _arrivals()
    if name == "sources":
        large = (VECTORS / "sources_512.fvs").read_bytes()
        return [source_set, source_set[:-4], large, large[: len(large) // 2]]
    if name == "still":
        parsed = spec_decoder.parse_sources(source_set)
        return [*(source["coded"] for source in parsed["sources"]), parsed["canvas"]]
    if name == "audio":
        return [b"\3\1\x38" + _opus(), b"\1\0\0" + _opus(), b"\0" + _chopped(streams["audio"], Kind.AUDIO)]
    if name == "image":
        return _pictures()
    if name in layer_targets.TARGETS:
        return layer_targets.seeds()
    if name in call_targets.TARGETS:
        return call_targets.seeds(name)
    return list(streams.values())


def _arrivals() -> list[bytes]:
    """The datagrams of the golden link, a few at a time, as they are and without their checksums."""
    wire = json.loads((VECTORS / "wire.json").read_text())["datagrams"]
    sent = [bytes.fromhex(data) for data in wire]
    out = []
    for first in range(0, len(sent), 6):
        some = sent[first : first + 6]
        out.append(b"\x08" + b"".join(struct.pack(">H", 2 * len(data)) + data for data in some))
        out.append(b"\x08" + b"".join(struct.pack(">H", 2 * len(data) - 3) + data[:-2] for data in some))
    return out


def _chopped(data: bytes, kind: Kind) -> bytes:
    less = int(kind == Kind.MOTION)
    payloads = [item.payload for item in whole_packets(data) if item.kind == kind]
    return b"".join(bytes([len(p) - less]) + p for p in payloads if less <= len(p) < 256 + less)


def _opus() -> bytes:
    from fvc.codec.media.opus import encode_opus

    coded = encode_opus(VECTORS.parent.parent / "samples" / "astronaut.mp4", 6000)
    assert coded is not None
    return b"".join(bytes([len(p)]) + p for p, _ in zip(coded[1], range(12), strict=False) if len(p) < 256)


def _pictures() -> list[bytes]:
    import cv2

    rgb = np.mgrid[:16, :20, :3].sum(0).astype(np.uint8)
    return [cv2.imencode(end, rgb)[1].tobytes() for end in (".png", ".jpg", ".bmp", ".webp", ".tiff")]
