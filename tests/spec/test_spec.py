"""bitstream_spec.md, the decoder made from it (`spec_decoder`), the golden streams and `fvc.codec` agree."""

from __future__ import annotations

import binascii
import dataclasses
import hashlib
import io
import json
import os
import random
import re
import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import make_vectors
import numpy as np
import pytest
import spec_decoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_vectors import CUT_OFF, STREAMS, VECTORS, Stream, header_of
from spec_decoder import SpecError

from fvc.codec import constants
from fvc.codec.call import datagram
from fvc.codec.errors import StreamError
from fvc.codec.motion import coding, entropy, landmark_basis, predictor, priors
from fvc.codec.motion.entropy import RangeWriter
from fvc.codec.motion.quantizer import USUAL_BITS, Quantizer, to_integers, to_sample
from fvc.codec.motion.sample import PART_SHAPES, Profile
from fvc.codec.reassembly import MotionDecoder
from fvc.codec.wire import bitstream
from fvc.codec.wire import source_set as sources
from fvc.codec.wire.bitstream import Audio, Header, Kind, Packet, RefreshPayload
from fvc.codec.wire.container import Damage, StreamReader, read_index
from fvc.codec.wire.source_set import SourceSet

ROOT = Path(__file__).parents[2]
TABLES = entropy.format_tables()
SPEC = (ROOT / "bitstream_spec.md").read_text()
PROFILES = list(Profile)
CODED_SHAPES = PART_SHAPES | {"shape": (66,)}


def section(title: str) -> str:
    """The text under a heading, without subsections of the same level."""
    level = title.split(" ")[0]
    found = re.search(rf"^{re.escape(title)}[^\n]*\n(.*?)(?=^{level} |\Z)", SPEC, re.M | re.S)
    assert found, title
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of all table rows in a text."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def json_of(value: object) -> Any:
    return json.loads(json.dumps(value, default=bytes.hex))


def by_spec(data: bytes) -> Any:
    found = spec_decoder.decode_stream(data)
    coder = [f"{number:016x}" for number in found["coder"]]
    return json_of({name: found[name] for name in ("header", "frames", "audio", "end")} | {"coder": coder})


class Found:
    """What fvc's own reader and decoder find."""

    def __init__(self, data: bytes) -> None:
        reader = StreamReader(io.BytesIO(data))
        motion, self.header = MotionDecoder(reader.header), reader.header
        self.frames: list[Any] = []
        self.audio: list[Any] = []
        self.damage: list[Damage] = []
        self.rules: list[str] = []
        for item in reader.packets():
            if isinstance(item, Damage):
                self.damage.append(item)
            elif item.kind == Kind.AUDIO:
                self.audio.append([item.number, item.payload.hex()])
            else:
                try:
                    self.frames.append([item.number, motion.decode(item)])
                except StreamError as error:
                    self.frames.append([item.number, None])
                    self.rules.append(error.rule)
        self.end = reader.end


def same_header(header: Header, expected: Any) -> bool:
    quantizers = {
        part: {"bits": q.bits, "low": q.low * 256, "high": q.high * 256} for part, q in header.quantizers.items()
    }
    return {
        "profile": header.profile + 4 * ("shape" in header.quantizers),
        "fps": [header.fps.numerator, header.fps.denominator],
        "keyframe_interval": header.keyframe_interval,
        "crop": dataclasses.asdict(header.crop),
        "model_hash": header.model_hash.hex(),
        "sources_hash": header.sources_hash.hex(),
        "pixels_hash": header.pixels_hash.hex(),
        "quantizers": quantizers,
        "audio": header.audio and dataclasses.asdict(header.audio),
    } == expected


# --- golden and random streams ---


def agree(data: bytes, expected: Any) -> None:
    assert by_spec(data) == expected
    found = Found(data)
    assert same_header(found.header, expected["header"])
    assert found.frames == expected["frames"]
    assert found.audio == expected["audio"]
    assert not found.damage
    assert json_of(found.end and dataclasses.asdict(found.end)) == expected["end"]
    assert json_of(spec_index(data)) == expected["end"]


def spec_index(data: bytes) -> Any:
    index = read_index(io.BytesIO(data))
    return index and dataclasses.asdict(index)


def test_no_golden_stream_is_missing_or_left_over() -> None:
    names = {f"{name}.{end}" for name in STREAMS for end in ("fvc", "json")}
    names |= {"sources.fvs", "sources.json", "wire.json"}
    assert {path.name for path in VECTORS.iterdir() if path.is_file()} == names
    described = "\n".join(row[0] for row in rows(section("## Annex C. Test streams")))
    for name in names:
        assert name.startswith("profile_") or name.endswith("json") or name in described


@pytest.mark.parametrize("name", STREAMS)
def test_golden_streams_decode(name: str) -> None:
    agree((VECTORS / f"{name}.fvc").read_bytes(), json.loads((VECTORS / f"{name}.json").read_text()))


@pytest.mark.parametrize("name", STREAMS)
def test_golden_streams_are_still_what_the_encoder_writes(name: str, tmp_path: Path) -> None:
    """If this fails, the format has changed: a new version, a line in Annex D, new vectors beside the old ones."""
    for path in make_vectors.write_golden(tmp_path, (name,)):
        assert path.read_bytes() == (VECTORS / path.name).read_bytes()


@pytest.mark.parametrize("name", sorted(set(STREAMS) - {"gap", "refresh"}))  # which lack packets
def test_final_coder_state_is_that_of_constriction(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    writers: list[entropy.RangeWriter] = []

    class Kept(entropy.RangeWriter):
        def __init__(self, tables: entropy.SymbolTables) -> None:
            super().__init__(tables)
            writers.append(self)

    monkeypatch.setattr("fvc.codec.motion.motion_encoder.RangeWriter", Kept)
    stream = STREAMS[name]()
    stream.bytes()
    lower, size = writers[-1].state
    assert json.loads(stream.json())["coder"] == [f"{lower:016x}", f"{size:016x}"]


def test_golden_source_set() -> None:
    """The AV1 data are taken from the file: another version of the encoder writes others."""
    data, text = (VECTORS / "sources.fvs").read_bytes(), (VECTORS / "sources.json").read_text()
    assert json_of(spec_decoder.parse_sources(data)) == json.loads(text)
    source_set = SourceSet.parse(data)
    assert source_set.canvas is not None
    made, made_text = make_vectors.source_set(source_set.coded, source_set.pictures, source_set.canvas)
    assert (bytes(made), made_text) == (data, text)
    for sample, expected in zip(source_set.samples, json.loads(text)["sources"], strict=True):
        integers = to_integers(sample, {part: sources.QUANTIZERS[part] for part in source_set.profile.parts})
        assert {part: values.tolist() for part, values in integers.items()} == expected["integers"]
    head = 19 + 20 * 3 + 4
    assert source_set.sources_hash == hashlib.sha256(data[:head]).digest()[:16]
    digests = sorted(hashlib.sha256(picture.tobytes()).digest() for picture in source_set.pictures)
    assert source_set.pixels_hash == hashlib.sha256(b"".join(digests)).digest()[:16]


def test_random_streams(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_vectors.main(["--random", "12", "--out", str(tmp_path), "--seed", "4"])
    assert "random0011.fvc" in capsys.readouterr().out
    for path in tmp_path.glob("*.fvc"):
        agree(path.read_bytes(), json.loads(path.with_suffix(".json").read_text()))
    with pytest.raises(SystemExit):
        make_vectors.main(["--random", "1"])


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    profile = draw(st.sampled_from(PROFILES))
    parts = spec_decoder.PARTS[draw(st.sampled_from([n for n in spec_decoder.PARTS if n % 4 == profile]))]
    bits = {part: draw(st.integers(1, 16)) for part in parts}
    quantizers = {part: Quantizer(count, -2.0, 2.0) for part, count in bits.items()}
    stream = Stream(header_of(profile, draw(st.sampled_from((0, 1, 2))), quantizers=quantizers))
    rng = random.Random(draw(st.integers(0, 1 << 32)))
    integers = {part: [rng.randrange(1 << bits[part]) for _ in range(spec_decoder.COMPONENTS[part])] for part in bits}
    for number in range(draw(st.integers(1, 4))):
        reach = draw(st.sampled_from((0, 1, 5, 1000, 1 << 16)))
        for part, values in integers.items():
            top = (1 << bits[part]) - 1
            integers[part] = [min(max(v + rng.randint(-reach, reach), 0), top) for v in values]
        stream.frame(number, integers if draw(st.booleans()) or not number else None)
    return stream


@given(streams())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_samples_come_back_as_the_integers_that_were_coded(stream: Stream) -> None:
    agree(stream.bytes(), json.loads(stream.json()))


# --- the range coder ---


MODELS = st.tuples(st.sampled_from(list(CODED_SHAPES)), st.integers(0, 47), st.integers(0, 7))


@given(st.binary(max_size=60), st.lists(st.integers(1, 16) | MODELS, max_size=80))
@settings(max_examples=60, deadline=None)
def test_the_range_decoder_is_that_of_constriction(data: bytes, models: list[Any]) -> None:
    """Any bytes, sensible or not, give the same symbols and the same error; a model that is a number is raw bits."""
    theirs, ours = entropy.RangeReader(data, TABLES), spec_decoder.RangeDecoder(data)

    def symbol_of(model: Any) -> int:
        return ours.bits(model) if isinstance(model, int) else ours.symbol(spec_decoder.cdf_of(*model))

    for model in models:
        try:
            symbol = theirs.bits(model) if isinstance(model, int) else theirs.symbol(TABLES.model(*model))
        except StreamError:
            with pytest.raises(SpecError, match="E12"):
                symbol_of(model)
            return
        assert symbol == symbol_of(model)


CONTEXTS = st.builds(
    predictor.Context,
    st.sampled_from(list(CODED_SHAPES)),
    st.integers(-(1 << 30), 1 << 30),
    st.integers(-300, 900),
)


@given(st.lists(st.tuples(st.integers(0, 1 << 16), CONTEXTS), max_size=30))
@settings(max_examples=40, deadline=None)
def test_values_come_back(pairs: list[tuple[int, predictor.Context]]) -> None:
    writer = RangeWriter(TABLES)
    for value, context in pairs:
        writer.put(value, context)
    decoder = spec_decoder.RangeDecoder(writer.finish())
    assert [decoder.value(*context) for _, context in pairs] == [value for value, _ in pairs]


def test_all_ones_can_be_coded() -> None:
    """Leaving out the last byte of such a message gives data that no symbol has; the writer must cope with that."""
    writer = RangeWriter(TABLES)
    for _ in range(40):
        writer.bits(0xFFFF, 16)
    decoder = spec_decoder.RangeDecoder(writer.finish())
    assert [decoder.bits(16) for _ in range(40)] == [0xFFFF] * 40


# --- the document ---


def test_annex_a_is_the_file_and_its_tables() -> None:
    packed = (ROOT / "codec" / "motion" / "priors.bin").read_bytes()
    text = section("## Annex A. Priors and tables")
    assert hashlib.sha256(packed).hexdigest() in text
    ours, theirs = spec_decoder.PRIORS, priors.unpack(packed)
    assert list(ours) == list(theirs)
    for part, elements in ours.items():
        for name, values in elements.items():
            if name == "usual_bits":
                assert values == USUAL_BITS[part]
            elif name in ("key_weights", "now_weights"):
                full = getattr(theirs[part], name)
                assert [row[:i].tolist() for i, row in enumerate(full)] == values
                assert not np.triu(full).any()
            elif name == "key_spread_offset":
                assert theirs[part].key_spread_offset + 128 == values
            elif name in spec_decoder.MIX:
                assert getattr(theirs[part], name) == values
            else:
                assert getattr(theirs[part], name).tolist() == values
            assert name.removeprefix("usual_") in text
        for spread, phase in ((0, 0), (0, 7), (21, 3), (47, 0), (47, 7)):
            counts = spec_decoder.frequencies(part, spread, phase)
            assert counts == list(TABLES.frequencies(part, spread, phase))
            assert (sum(counts), min(counts) >= 1, len(counts)) == (1 << 16, True, 34)
    assert make_vectors.annex_a() in SPEC


def test_annex_a_is_the_basis_of_landmarks() -> None:
    """Another basis draws other pictures from the same stream: a new version, a line in Annex D."""
    text = section("### A.3 shape.bin")
    assert hashlib.sha256(spec_decoder.SHAPE_BYTES).hexdigest() in text
    assert f"{len(spec_decoder.SHAPE_BYTES)} bytes" in text
    assert len(spec_decoder.SHAPE_BYTES) == 2 * (66 + 66 * 66)


def test_landmarks_of_coefficients_are_those_of_the_document() -> None:
    rng = np.random.default_rng(5)
    for coefficients in (np.zeros(66), *np.eye(66), *rng.normal(0, 0.2, (20, 66))):
        ours, theirs = spec_decoder.landmarks(coefficients.tolist()), landmark_basis.landmarks(coefficients)
        assert (theirs.shape, theirs.dtype) == ((33, 2), np.float32)
        np.testing.assert_allclose(theirs.ravel(), ours, rtol=0, atol=1e-5)


def test_a_stream_is_drawn_from_the_landmarks_of_its_coefficients() -> None:
    found = spec_decoder.decode_stream((VECTORS / "profile_shape.fvc").read_bytes())
    q = found["header"]["quantizers"]["shape"]
    quantizers = {"shape": Quantizer(q["bits"], q["low"] / 256, q["high"] / 256)}
    for _, integers in found["frames"]:
        step = (q["high"] - q["low"]) / 256 / ((1 << q["bits"]) - 1)
        ours = spec_decoder.landmarks([q["low"] / 256 + n * step for n in integers["shape"]])
        theirs = to_sample({"shape": np.array(integers["shape"])}, quantizers).parts["sup"]
        np.testing.assert_allclose(theirs.ravel(), ours, rtol=0, atol=1e-5)


def test_annex_b_is_the_vector() -> None:
    data = (VECTORS / "annex_b.fvc").read_bytes()
    text = section("## Annex B. A stream, byte by byte")
    listed = [(int(row[0], 16), bytes.fromhex(row[1].strip("`"))) for row in rows(text) if row[1][:1] == "`"]
    assert b"".join(part for _, part in listed) == data
    assert [at for at, _ in listed] == [sum(len(part) for _, part in listed[:n]) for n in range(len(listed))]
    assert make_vectors.annex_b_text() in SPEC


def test_constants_of_the_document_are_those_of_the_code() -> None:
    parts = {row[0]: row for row in rows(section("### 5.1 Parts")) if row[0] in CODED_SHAPES}
    assert list(parts) == list(spec_decoder.COMPONENTS) == list(USUAL_BITS) == list(CODED_SHAPES)
    for part, (_, sizes, count, bits, _) in parts.items():
        assert tuple(map(int, sizes.split(" x "))) == CODED_SHAPES[part]
        assert (int(count), int(bits)) == (spec_decoder.COMPONENTS[part], USUAL_BITS[part])
    profiles = {int(row[0]): tuple(row[1].split(", ")) for row in rows(section("### 5.1 Parts")) if row[0].isdigit()}
    assert profiles == spec_decoder.PARTS
    assert [profiles[profile] for profile in Profile] == [profile.parts for profile in Profile]
    for profile in (Profile.SUP, Profile.SUP_UNSUP, Profile.SUP_UNSUP_EXPR):
        assert profiles[profile + 4] == ("shape", *profile.parts[1:])
    assert f"NARROW = {' '.join(map(str, entropy._NARROW))}\n" in SPEC

    kinds = {row[1]: row for row in rows(section("### 4.2 Packets")) if row[1] in Kind.__members__}
    for kind in Kind:
        assert (int(kinds[kind.name][0]), int(kinds[kind.name][2])) == (min(kind, 3), bitstream.MAX_PAYLOAD[kind])
    coded = [row for row in rows(section("### 7.1 Syntax")) if row[0] in PART_SHAPES]
    for part, *numbers in coded:
        assert Quantizer(*map(int, numbers)) == sources.QUANTIZERS[part]

    limits = {row[0]: int(row[1]) for row in rows(section("### 9.4 Limits")) if row[1].isdigit()}
    assert limits["header_length"] == constants.MAX_HEADER_LENGTH
    assert limits["frames per second"] == constants.MAX_FPS
    assert limits["crop.width, crop.height, crop.side"] == constants.MAX_CROP_SIDE
    assert all(limits[f"payload of {kind.name}"] == bitstream.MAX_PAYLOAD[kind] for kind in Kind)
    assert limits["number of a packet"] == constants.MAX_NUMBER == spec_decoder.MAX_NUMBER
    assert limits["slices of a keyframe"] == constants.MAX_SLICES
    assert limits["bytes of a datagram"] == constants.MAX_DATAGRAM
    assert limits["quantizers.bits"] == constants.MAX_QUANTIZER_BITS
    assert limits["audio.pre_skip"] == constants.MAX_PRE_SKIP
    assert limits["pictures in a source set"] == constants.MAX_SOURCES
    assert limits["bytes of a source picture, and of a canvas"] == constants.MAX_PICTURE_BYTES
    assert limits["pixels of a canvas"] == constants.MAX_CANVAS_PIXELS
    assert limits["seconds missing in all"] == constants.MAX_FILLED_SECONDS
    assert f"| frames, and AUDIO packets, missing in all | {constants.MAX_FILLED_ITEMS} + bytes of the file |" in SPEC
    assert f"pictures of {constants.SIDE} x {constants.SIDE} pixels" in SPEC
    assert f"at least {constants.REORDERING_WINDOW} frames" in SPEC
    assert f"pieces of {constants.MAX_SETUP_PIECE} bytes" in SPEC
    assert f"at most {constants.MAX_SETUP_PIECES} of them" in SPEC
    assert f"payload type {constants.RTP_PAYLOAD_TYPE}," in SPEC
    assert f"counts 1/{constants.RTP_CLOCK} s" in SPEC


def test_elements_have_the_names_of_the_code() -> None:
    listed = {row[0] for row in rows(section("### 4.1 Header"))}
    names = set()
    for field in dataclasses.fields(Header):
        inner = {"crop": bitstream.Crop, "audio": Audio, "quantizers": Quantizer}.get(field.name)
        names |= {f"{field.name}.{f.name}" for f in dataclasses.fields(inner)} if inner else {field.name}
    names = names - {"fps"} | {"fps.numerator", "fps.denominator"}
    assert names <= listed
    packets = {row[0] for title in ("### 4.2 Packets", "### 4.4 Keyframes in slices") for row in rows(section(title))}
    packets |= {row[0].split(",")[0] for row in rows(section("### 10.1 Syntax"))}
    for structure in (bitstream.KeyPayload, bitstream.EndPayload, bitstream.RefreshPayload, datagram.Datagram):
        for field in dataclasses.fields(structure):
            assert field.name in packets or f"{field.name}.frame" in packets


def test_error_rules_are_those_of_the_code() -> None:
    listed = [row[0] for row in rows(section("### 9.3 Error rules")) if re.fullmatch(r"E\d\d", row[0])]
    assert listed == sorted(set(listed))
    code = "\n".join(path.read_text() for name in ("codec", "fvc") for path in (ROOT / name).rglob("*.py"))
    raised = set(re.findall(r"""StreamError\(\s*["'](E\d\d)["']""", code))
    assert raised == set(listed)
    ours = set(re.findall(r'"(E\d\d)"', Path(spec_decoder.__file__).read_text()))
    assert ours == raised
    ours_only = Path(spec_decoder.__file__).read_text()
    assert not re.search(
        r"^\s*(import|from) (?!__future__|binascii|hashlib|zlib|bisect|functools|pathlib|typing)", ours_only, re.M
    )


def test_checksums_are_those_of_the_document() -> None:
    assert "the\nfirst is 0xCBF43926, the second 0x29B1" in SPEC or "first is 0xCBF43926, the second 0x29B1" in SPEC
    assert (zlib.crc32(b"123456789"), binascii.crc_hqx(b"123456789", 0xFFFF)) == (0xCBF43926, 0x29B1)


# --- broken streams: each rule ---

ANNEX_B = (VECTORS / "annex_b.fvc").read_bytes()
WITH_AUDIO = (VECTORS / "audio.fvc").read_bytes()
HEADER_SIZE = 74


def patched(data: bytes, at: int, new: bytes, length: int | None = None) -> bytes:
    """The header with some bytes replaced and a right checksum; `length` cuts its body."""
    size = 7 + int.from_bytes(data[5:7], "big")
    body = bytearray(data[:size])
    body[at : at + len(new)] = new
    if length is not None:
        body[5:7] = struct.pack(">H", length)
        body = body[: 7 + length].ljust(7 + length, b"\0")
    return bytes(body) + struct.pack(">I", zlib.crc32(body)) + data[size + 4 :]


HEADERS = [
    ("E01", b""),
    ("E01", b"\xabF?"),
    ("E01", (VECTORS / "sources.fvs").read_bytes()),
    ("E04", ANNEX_B[:6]),
    ("E04", ANNEX_B[:30]),
    ("E02", patched(ANNEX_B, 4, b"\1")),
    ("E02", patched(ANNEX_B, 4, b"\3")),
    ("E03", patched(ANNEX_B, 0, b"", 257)),
    ("E03", patched(ANNEX_B, 0, b"", 62)),
    ("E03", patched(ANNEX_B, 0, b"", 17)),
    ("E03", ANNEX_B[:20] + b"?" + ANNEX_B[21:]),
    ("E06", patched(ANNEX_B, 7, b"\2")),
    ("E06", patched(ANNEX_B, 8, b"\7")),
    ("E03", patched(ANNEX_B, 8, b"\5")),
    ("E07", patched(ANNEX_B, 9, b"\0\0")),
    ("E07", patched(ANNEX_B, 11, b"\0\0")),
    ("E07", patched(ANNEX_B, 9, b"\0\xf1")),
    *(("E07", patched(ANNEX_B, at, size)) for at in (0xF, 0x11, 0x17) for size in (b"\0\0", b"\x40\1")),
    ("E08", patched(ANNEX_B, 0x41, b"\0")),
    ("E08", patched(ANNEX_B, 0x41, b"\x11")),
    ("E08", patched(ANNEX_B, 0x42, b"\1\0")),
    ("E09", patched(WITH_AUDIO, 0x46, b"\5")),
    ("E09", patched(WITH_AUDIO, 0x47, b"\xbb\x81")),
]


@pytest.mark.parametrize(("rule", "data"), HEADERS)
def test_broken_headers(rule: str, data: bytes) -> None:
    with pytest.raises(SpecError) as ours:
        spec_decoder.decode_stream(data)
    with pytest.raises(StreamError) as theirs:
        StreamReader(io.BytesIO(data))
    assert (ours.value.rule, theirs.value.rule) == (rule, rule)


def test_extra_bytes_in_the_header_are_ignored() -> None:
    data = patched(ANNEX_B, 0, b"", 200)
    assert by_spec(data)["frames"] == by_spec(ANNEX_B)["frames"] == json_of(Found(data).frames)


def first_context() -> predictor.Context:
    """Of the first component in the frame after the keyframe of Annex B."""
    model = predictor.MotionModel({"sup": 8}, priors.load())
    coding.replay(model, by_spec(ANNEX_B)["frames"][0][1], keyframe=True)
    return next(model.frame(False))


def first_value(value: int) -> bytes:
    """A MOTION payload whose first component is this."""
    writer = RangeWriter(TABLES)
    writer.put(value, first_context())
    return writer.finish()


def escape(width: int) -> bytes:
    """A MOTION payload that begins with an escape of this width."""
    context = first_context()
    writer, at = RangeWriter(TABLES), entropy.residual(context.prediction, context.spread)
    writer.symbol(entropy.ESCAPE, TABLES.model("sup", at.spread, at.phase))
    writer.bits(0, 1)
    writer.bits(width, 5)
    return writer.finish()


def slices(count: int, coded: bytes) -> bytes:
    """REFRESH packets from frame 0 on with a keyframe in so many slices."""
    cuts = [len(coded) * n // count for n in range(count + 1)]
    parts = [RefreshPayload(n, 0, n, count, b"x", coded[a:b]) for n, (a, b) in enumerate(pairwise(cuts))]
    return b"".join(bytes(Packet(Kind.REFRESH, part.frame, bytes(part))) for part in parts)


def annex_b_packets() -> list[bytes]:
    at, found = HEADER_SIZE, []
    while at < len(ANNEX_B) - 8:
        _, after = Packet.parse(ANNEX_B, at)
        found.append(ANNEX_B[at:after])
        at = after
    return found


KEY, _, _, HELD, END = annex_b_packets()
PACKETS = [
    ("E10", KEY[:3] + b"?" + KEY[4:]),
    ("E10", KEY[4:]),
    ("E10", b"\xffFVK" + HELD),
    ("E10", b"\xc1" + END[1:]),
    ("E10", b"\xc2" + END[1:]),
    ("E10", b"\xffFVK" + END),
    ("E10", KEY + bytes(Packet(Kind.REFRESH, 0, b"\0\0\0\2\1x"))),
    ("E04", bytes(Packet(Kind.REFRESH, 0, b"\0\0\0\2\1"))),
    ("E04", bytes(Packet(Kind.REFRESH, 0, b"\0\0\0"))),
    ("E23", bytes(Packet(Kind.REFRESH, 0, b"\0\0\0\1\1x"))),
    ("E23", bytes(Packet(Kind.REFRESH, 0, b"\0\0\0\x11\1x"))),
    ("E23", bytes(Packet(Kind.REFRESH, 0, b"\5\0\2\2\0"))),
    ("E23", bytes(Packet(Kind.REFRESH, 0, b"\1\0\2\3\0"))),
    ("E23", bytes(Packet(Kind.REFRESH, 0, b"\0\0\0\2\0"))),
    ("E12", KEY + bytes(Packet(Kind.REFRESH, 1, b"\1\0\0\2\x08" + b"\xff" * 8))),
    ("E12", slices(2, b"\xff" * 8)),
    ("E10", b"\0\x80\0"),
    ("E10", b"\0\x81\x20" + bytes(9000)),
    ("E10", bytes(Packet(Kind.AUDIO, 0, bytes(1501)))),
    ("E10", KEY[:-1] + bytes([KEY[-1] ^ 1])),
    ("E10", bytes(Packet(Kind.KEY, 1, b"\0\0"))),
    ("E10", KEY + bytes(Packet(Kind.KEY, 64, KEY[7:-2])) + bytes(Packet(Kind.KEY, 0, b"\0\0"))),
    ("E04", KEY[:2]),
    ("E04", KEY[:-1]),
    ("E04", bytes(Packet(Kind.KEY, 0, b""))),
    ("E05", bytes(Packet(Kind.KEY, 0, b"\x80\0\0"))),
    ("E05", bytes(Packet(Kind.KEY, 63, b"\xff\xff\xff\xff\x1f\0"))),
    ("E04", bytes(Packet(Kind.END, 0, b"\0\0"))),
    ("E05", bytes(Packet(Kind.END, 0, b"\0\0\x80\0"))),
    ("E11", bytes(Packet(Kind.END, 0, b"\0\0\2\0\0"))),
    ("E12", bytes(Packet(Kind.KEY, 0, b"\0\0" + b"\xff" * 8))),
    ("E12", KEY + bytes(Packet(Kind.MOTION, 1, b"\xff" * 8))),
    ("E12", KEY + bytes(Packet(Kind.MOTION, 1, escape(0)))),
    ("E12", KEY + bytes(Packet(Kind.MOTION, 1, escape(21)))),
    ("E13", KEY + bytes(Packet(Kind.MOTION, 1, first_value(256)))),
    ("E13", KEY + bytes(Packet(Kind.MOTION, 1, first_value(-1)))),
]


@pytest.mark.parametrize(("rule", "packets"), PACKETS)
def test_broken_packets(rule: str, packets: bytes) -> None:
    data = ANNEX_B[:HEADER_SIZE] + packets
    with pytest.raises(SpecError) as ours:
        spec_decoder.decode_stream(data)
    assert ours.value.rule == rule
    found = Found(data)
    assert rule in "".join([*found.rules, *(damage.reason for damage in found.damage)])
    assert all(integers is None for _, integers in found.frames[packets.startswith(KEY) :])


SOURCES = (VECTORS / "sources.fvs").read_bytes()


def checked(data: bytes) -> bytes:
    return data + struct.pack(">I", zlib.crc32(data))


BROKEN_SOURCES = [
    ("E20", ANNEX_B),
    ("E02", SOURCES[:4] + b"\1" + SOURCES[5:]),
    ("E21", SOURCES[:5]),
    ("E21", SOURCES[:-1]),
    ("E21", SOURCES + b"\0"),
    ("E21", SOURCES[:200] + bytes([SOURCES[200] ^ 1]) + SOURCES[201:]),
    ("E21", checked(SOURCES[:13] + b"\4" + SOURCES[14:79])),
    ("E21", checked(SOURCES[:14] + b"\0" + SOURCES[15:39])),
    ("E21", checked(SOURCES[:15] + b"\x40\0\x40\0" + SOURCES[19:79])),
    ("E21", checked(SOURCES[:19] + b"\0\x20\0\0" + SOURCES[23:79])),
]


@pytest.mark.parametrize(("rule", "data"), BROKEN_SOURCES)
def test_broken_source_sets(rule: str, data: bytes) -> None:
    with pytest.raises(SpecError) as ours:
        spec_decoder.parse_sources(data)
    with pytest.raises(StreamError) as theirs:
        SourceSet.parse(data)
    assert (ours.value.rule, theirs.value.rule) == (rule, rule)


def test_a_source_set_is_of_use_from_its_first_picture_on() -> None:
    """Every prefix: either nothing, or what the whole file has of the sources so far, under the same name."""
    whole, theirs = SourceSet.parse(SOURCES), spec_decoder.parse_sources(SOURCES)
    seen = set[object]()
    for cut in range(0, len(SOURCES), 3):
        try:
            found = spec_decoder.parse_sources_so_far(SOURCES[:cut])
        except SpecError as error:
            with pytest.raises(StreamError, match="E20" if cut < 4 else "E21"):
                SourceSet.parse(SOURCES[:cut], partial=True)
            seen.add(error.rule)
            continue
        ours = SourceSet.parse(SOURCES[:cut], partial=True)
        count = len(found["sources"])
        assert found["sources"] == theirs["sources"][:count]
        assert (ours.missing, ours.coded) == (found["missing"], whole.coded[:count])
        assert ours.sources_hash == whole.sources_hash
        assert all((a == b).all() for a, b in zip(ours.pictures, whole.pictures[:count], strict=True))
        assert bytes(ours) == SOURCES[: len(bytes(ours))]
        seen.add((count, ours.missing))
    assert seen == {"E20", "E21", (1, 2), (2, 1)}


# --- cut off and flipped ---


@pytest.mark.parametrize("name", ["annex_b", CUT_OFF])
def test_cut_streams_are_whole_up_to_the_cut(name: str) -> None:
    data = (VECTORS / f"{name}.fvc").read_bytes()
    whole, header_size = by_spec(data), 7 + int.from_bytes(data[5:7], "big") + 4
    for cut in range(0, len(data), 1 if name == "annex_b" else 7):
        try:
            frames, rule = by_spec(data[:cut])["frames"], ""
        except SpecError as error:
            frames, rule = [], error.rule
        assert frames == whole["frames"][: len(frames)]
        assert rule in ("", "E04") if cut else rule == "E01"
        if cut < header_size:
            with pytest.raises(StreamError, match="E04" if cut else "E01"):
                StreamReader(io.BytesIO(data[:cut]))
        else:
            found = Found(data[:cut])
            assert found.frames == whole["frames"][: len(found.frames)]
            assert len(found.damage) <= 1
            assert found.end is None or cut >= len(data) - 8


@pytest.mark.parametrize("name", ["annex_b.fvc", "sources.fvs"])
def test_cut_files_raise_nothing_else(name: str) -> None:
    data = (VECTORS / name).read_bytes()
    parse, read = {
        "annex_b.fvc": (spec_decoder.decode_stream, Found),
        "sources.fvs": (spec_decoder.parse_sources, SourceSet.parse),
    }[name]
    for cut in range(len(data)):
        for function, error in ((parse, SpecError), (read, StreamError)):
            try:
                function(data[:cut])  # type: ignore[operator]
            except error:
                continue
            assert name == "annex_b.fvc"


def small_stream() -> tuple[bytes, list[tuple[int, int, Packet]]]:
    """Two groups of frames with sound between, and the place of each packet."""
    quantizers = {part: Quantizer(2, -2.0, 2.0) for part in Profile.UNSUP_JAC.parts}
    header = header_of(Profile.UNSUP_JAC, 3, Audio(20, 312), quantizers=quantizers, fps=Fraction(10))
    stream, motion = Stream(header), make_vectors.walk(header, random.Random("small"), 0.6)
    for number in range(6):
        stream.frame(number, next(motion) if number != 4 else None)
        stream.sound(number, bytes([number] * number))
    data = stream.bytes()
    places, at = [], len(bytes(header))
    while at < len(data) - 8:
        packet, after = Packet.parse(data, at)
        places.append((at, after, packet))
        at = after
    return data, places


def test_no_flipped_bit_gives_wrong_integers() -> None:
    """packet_crc finds each: what stands before it and from the next keyframe on is right, the rest right or held."""
    data, places = small_stream()
    clean, start = Found(data), places[0][0]
    motion = [place for place in places if place[2].kind in (Kind.MOTION, Kind.KEY)]
    sound = [place for place in places if place[2].kind == Kind.AUDIO]
    keys = [place[0] for place in places if place[2].kind == Kind.KEY]
    for bit in range(8 * len(data)):
        at = bit // 8
        flipped = bytearray(data)
        flipped[at] ^= 1 << bit % 8
        if at < start:
            for read in (StreamReader, lambda file: spec_decoder.decode_stream(file.read())):
                with pytest.raises((StreamError, SpecError)):
                    read(io.BytesIO(bytes(flipped)))
            continue
        found = Found(bytes(flipped))
        if at >= len(data) - 8:
            assert (found.frames, found.audio, found.end, found.damage) == (clean.frames, clean.audio, clean.end, [])
            assert read_index(io.BytesIO(bytes(flipped))) is None
            continue
        first, after, packet = next(place for place in places if place[0] <= at < place[1])
        assert found.damage
        assert found.damage[0].start == first
        next_key = min((key for key in keys if key >= found.damage[0].stop), default=len(data))
        integers = {number: values for number, values in found.frames}
        sounds = {number: payload for number, payload in found.audio}
        for (place, _, own), (number, values) in zip(motion, clean.frames, strict=True):
            if place < first or place >= next_key:
                assert integers[number] == values
            elif packet.kind in (Kind.MOTION, Kind.KEY):
                assert integers.get(number) is None
                assert place != first or number not in integers
            else:
                assert integers.get(number) in (None, values)
            assert own.number == number & 63
        for (place, _, _), (number, payload) in zip(sound, clean.audio, strict=True):
            if place < first or place >= next_key:
                assert sounds[number] == payload
            else:
                assert sounds.get(number) in (None, payload)
                assert place != first or number not in sounds
        assert len(integers) == len(found.frames)
        assert set(integers) <= {number for number, _ in clean.frames}
        if packet.kind == Kind.END:
            assert found.end is None
        elif 4 < at - first - 4 * (packet.kind == Kind.KEY) < after - first:  # neither sync, head nor payload_size
            assert found.end == clean.end
            assert len(found.frames) + len(found.audio) == len(clean.frames) + len(clean.audio) - 1


def test_no_flipped_bit_gives_wrong_integers_with_sliced_keyframes() -> None:
    """Each bit: what has integers has the right ones, and two whole slices end any loss before them."""
    quantizers = {part: Quantizer(1, -2.0, 2.0) for part in Profile.UNSUP_JAC.parts}
    header = header_of(Profile.UNSUP_JAC, 3, quantizers=quantizers)
    stream, motion = Stream(header, refresh=2), make_vectors.walk(header, random.Random("slices"), 0.3)
    for number in range(5):
        stream.frame(number, next(motion))
    data, start = stream.bytes(), len(bytes(header))
    clean = dict(Found(data).frames)
    places, at = dict[int, tuple[int, int]](), start
    for number in range(5):
        places[number] = at, Packet.parse(data, at)[1]
        at = places[number][1]
    assert [n for n in clean if data[places[n][0] + 4] == 0xC1] == [3, 4]
    for bit in range(8 * start, 8 * at):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        found = Found(bytes(flipped))
        hit = next(n for n, (a, b) in places.items() if a <= bit // 8 < b)
        assert len(found.frames) == len(dict(found.frames))
        assert all(values in (None, clean[number]) for number, values in found.frames)
        numbers = {number for number, values in found.frames if values is not None}
        assert hit not in numbers
        assert numbers >= set(range(hit)) | ({4} if hit < 3 else set())


def test_damage_hides_no_keyframe() -> None:
    """A flipped bit in a payload_size may point to the end of another packet; a keyframe before that still counts."""
    data, places = small_stream()
    keys = {packet.number: at for at, _, packet in places if packet.kind == Kind.KEY}
    for first, after, _ in places:
        for bit in range(8 * first, 8 * after):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            items = list(StreamReader(io.BytesIO(bytes(flipped))).packets())
            found = {item.number for item in items if isinstance(item, Packet) and item.kind == Kind.KEY}
            assert found >= {number for number, at in keys.items() if at > first}


@given(st.integers(0, 1 << 32))
@settings(max_examples=30, deadline=None)
def test_damage_raises_nothing_else(seed: int) -> None:
    rng, data = random.Random(seed), bytearray(WITH_AUDIO)
    for _ in range(rng.randint(1, 20)):
        data[rng.randrange(77, len(data))] = rng.randrange(256)
    Found(bytes(data))
    try:
        by_spec(bytes(data))
    except SpecError:
        return


# --- the same integers everywhere ---

DECODE_ALL = """
import hashlib, io, json, sys
from pathlib import Path
from fvc.codec.wire.bitstream import Kind, Packet
from fvc.codec.wire.container import StreamReader
from fvc.codec.reassembly import MotionDecoder

digest = hashlib.sha256()
for path in sorted(Path(sys.argv[1]).glob("*.fvc")):
    reader = StreamReader(io.BytesIO(path.read_bytes()))
    decoder = MotionDecoder(reader.header)
    for item in reader.packets():
        if isinstance(item, Packet) and item.kind != Kind.AUDIO:
            decoder.put(item)
            digest.update(json.dumps(decoder.advance(item.number)).encode())
print(digest.hexdigest())
"""


@pytest.fixture(scope="module")
def digest_here() -> str:
    return _digest({})


def _digest(environment: dict[str, str]) -> str:
    command = [sys.executable, "-c", DECODE_ALL, str(VECTORS)]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    assert len(done.stdout.strip()) == 64
    return done.stdout.strip()


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONHASHSEED": "0"},
        {"PYTHONHASHSEED": "4711", "OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "4"},
        {"OPENBLAS_NUM_THREADS": "1", "OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3"},
    ],
)
def test_integers_do_not_depend_on_the_environment(environment: dict[str, str], digest_here: str) -> None:
    assert _digest(environment) == digest_here
