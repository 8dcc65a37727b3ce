"""bitstream_spec.md states the numbers, names, rules and annexes of the code."""

from __future__ import annotations

import binascii
import dataclasses
import hashlib
import re
import sys
import zlib
from pathlib import Path

import annexes
import numpy as np
import spec_decoder
import spec_sources
import spec_syntax
from make_vectors import VECTORS
from spec_support import (
    CODED_SHAPES,
    ROOT,
    SPEC,
    TABLES,
    rows,
    section,
)

from fvc.codec.base import constants
from fvc.codec.call import datagram
from fvc.codec.motion import entropy, landmark_basis, priors
from fvc.codec.motion.quantizer import USUAL_BITS, Quantizer, to_sample
from fvc.codec.motion.sample import PART_SHAPES, Profile
from fvc.codec.wire import bitstream
from fvc.codec.wire import source_set as sources
from fvc.codec.wire.bitstream import Audio, Header, Kind


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
    assert annexes.annex_a() in SPEC


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
    assert annexes.annex_b(data) in SPEC


def test_constants_of_the_document_are_those_of_the_code() -> None:
    parts = {row[0]: row for row in rows(section("### 5.1 Parts")) if row[0] in CODED_SHAPES}
    assert list(parts) == list(spec_decoder.COMPONENTS) == list(USUAL_BITS) == list(CODED_SHAPES)
    for part, (_, sizes, count, bits, _) in parts.items():
        assert tuple(map(int, sizes.split(" x "))) == CODED_SHAPES[part]
        assert (int(count), int(bits)) == (spec_decoder.COMPONENTS[part], USUAL_BITS[part])
    profiles = {int(row[0]): tuple(row[1].split(", ")) for row in rows(section("### 5.1 Parts")) if row[0].isdigit()}
    assert profiles == spec_decoder.PARTS
    assert [profiles[profile] for profile in Profile] == [profile.parts for profile in Profile]
    for profile in (profile for profile in Profile if "sup" in profile.parts):
        assert profiles[profile + 4] == ("shape", *profile.parts[1:])
    assert f"NARROW = {' '.join(map(str, entropy.NARROW))}\n" in SPEC

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
    assert limits["side of a source picture"] == constants.LARGE_SIDE
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
    names = names - {"fps", "scenes"} | {  # `side` is the element of size
        "fps.numerator",
        "fps.denominator",
        "set_count",
        "sets, set_count times",
        "change",
    }
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
    modules = (spec_decoder, spec_sources, spec_syntax)
    independent = "".join(Path(module.__file__ or "").read_text() for module in modules)
    assert set(re.findall(r'"(E\d\d)"', independent)) == raised
    imported = set(re.findall(r"^\s*(?:import|from) (\w+)", independent, re.M))
    assert imported <= sys.stdlib_module_names | {"spec_syntax", "spec_sources"}


def test_checksums_are_those_of_the_document() -> None:
    assert "the\nfirst is 0xCBF43926, the second 0x29B1" in SPEC or "first is 0xCBF43926, the second 0x29B1" in SPEC
    assert (zlib.crc32(b"123456789"), binascii.crc_hqx(b"123456789", 0xFFFF)) == (0xCBF43926, 0x29B1)
