"""export/c/fvc_encode.c makes the bytes that the Python encoder makes; so does it as WebAssembly."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from c_library import Library, Native, Wasm
from make_vectors import VECTORS

from fvc.codec.call.datagram import Datagram
from fvc.codec.motion import coding, landmark_basis
from fvc.codec.motion.entropy import RangeWriter, format_tables
from fvc.codec.motion.motion_encoder import MotionEncoder
from fvc.codec.motion.predictor import MotionModel
from fvc.codec.motion.priors import load
from fvc.codec.motion.quantizer import COMPONENTS, QUANTIZERS, Quantizer, for_parts, to_coefficients
from fvc.codec.motion.rdo import lambda_of
from fvc.codec.motion.sample import PART_SHAPES, DrivingSample, Profile
from fvc.codec.wire.bitstream import Crop, Header, Kind, Packet
from fvc.codec.wire.container import StreamReader
from fvc.export.wasm import BLEND, CODEC, Module

FRAMES = int(os.environ.get("FVC_ENCODER_FRAMES", "60"))  # of each profile; 1000 of each were run by hand


@pytest.fixture(scope="module", params=["native", "wasm"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Library:
    if request.param == "wasm":
        pytest.importorskip("wasmtime", reason="wasmtime is not installed")
        return Wasm(CODEC.path.read_bytes())
    if not shutil.which("gcc"):
        pytest.skip("no gcc")
    return Native(tmp_path_factory.mktemp("c"))


def flat(integers: dict[str, list[int]]) -> list[int]:
    return [value for part in integers.values() for value in part]


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.fvc")), ids=lambda path: path.stem)
def test_golden_streams_are_decoded_and_encoded_to_the_same_bytes(library: Library, path: Path) -> None:
    expected = dict(json.loads(path.with_suffix(".json").read_text())["frames"])
    with open(path, "rb") as file:
        reader = StreamReader(file)
        packets = [p for p in reader.packets() if isinstance(p, Packet)]
    assert library.decoder(bytes(reader.header)) == library.encoder(bytes(reader.header)) == 0
    in_step = False  # whether the encoder has coded every frame since a keyframe
    for packet in packets:
        if packet.kind not in (Kind.MOTION, Kind.KEY, Kind.REFRESH):
            continue
        found = library.decode(
            {Kind.MOTION: 0, Kind.KEY: 1, Kind.REFRESH: 4}[packet.kind], packet.number, packet.payload
        )
        wanted = expected[packet.number]
        assert found == (flat(wanted) if wanted else 0)
        in_step = packet.kind == Kind.KEY or (in_step and packet.kind == Kind.MOTION)
        if in_step and wanted:
            coded = library.encode(flat(wanted), packet.kind == Kind.KEY)
            assert isinstance(coded, bytes)
            head = len(packet.payload) - len(coded) if packet.kind == Kind.KEY else 0
            assert packet.payload[head:] == (coded or (b"" if packet.kind == Kind.KEY else b"\0"))


def header_of(profile: Profile, quantizers: dict[str, Quantizer]) -> Header:
    kept = for_parts(quantizers, profile.parts)
    return Header(profile, kept, Fraction(15), 0, Crop(640, 480, 0, 0, 300), bytes(8), bytes(16), bytes(16))


def random_frame(draw: random.Random, header: Header, before: dict[str, list[int]]) -> dict[str, list[int]]:
    """Integers near those before, or anywhere: all ways of coding a value are met."""
    reach = draw.choice([0, 1, 3, 30, 1 << 16])
    out = {}
    for part, quantizer in header.quantizers.items():
        old = before.get(part) or [quantizer.top // 2] * COMPONENTS[part]
        out[part] = [min(max(value + draw.randint(-reach, reach), 0), quantizer.top) for value in old]
    return out


@pytest.mark.parametrize("quantizers", ["default", "paper"])
@pytest.mark.parametrize("profile", list(Profile), ids=lambda profile: profile.label)
def test_random_frames_are_encoded_as_python_does(library: Library, profile: Profile, quantizers: str) -> None:
    header = header_of(profile, dict(QUANTIZERS[quantizers]))
    draw = random.Random(f"{profile.label} {quantizers}")
    model = MotionModel({part: of.bits for part, of in header.quantizers.items()}, load())
    assert library.encoder(bytes(header)) == 0
    integers: dict[str, list[int]] = {}
    for n in range(FRAMES):
        integers, key = random_frame(draw, header, integers), n == 0 or draw.random() < 0.05
        writer = RangeWriter(format_tables())
        coding.encode(model, coding.given(model, integers), writer, key)
        assert library.encode(flat(integers), key) == writer.finish(), n


def random_walk(draw: random.Random, values: np.ndarray) -> np.ndarray:
    """A frame's values near those before, now and then far from them."""
    reach = draw.choice([0.002, 0.01, 0.01, 0.3])
    return values + np.array([draw.gauss(0, reach) for _ in range(len(values))])


@pytest.mark.parametrize("profile", [Profile.SUP, Profile.SUP_UNSUP_JAC_EXPR], ids=lambda profile: profile.label)
def test_integers_are_chosen_as_python_chooses_them(library: Library, profile: Profile) -> None:
    header = header_of(profile, dict(QUANTIZERS["default"]))
    draw = random.Random(profile.label)
    encoder = MotionEncoder(header.quantizers)
    assert library.encoder(bytes(header)) == 0
    parts = {part: np.zeros(int(np.prod(PART_SHAPES[part]))) for part in profile.parts}
    parts["sup"] = landmark_basis.landmarks(np.zeros(66)).ravel()
    for n in range(FRAMES):
        parts = {part: random_walk(draw, values) for part, values in parts.items()}
        sample = DrivingSample({part: values.reshape(PART_SHAPES[part]) for part, values in parts.items()})
        quality, key = draw.choice([20.0, 80.0, 100.0]), n % 25 == 0
        coded = encoder.encode(sample, quality, key)
        encoder.accept(coded)
        steps = [of.steps(to_coefficients(sample, part)).tolist() for part, of in header.quantizers.items()]
        lambdas = [lambda_of(quality + offset) for offset in (-6.0, 0.0, 6.0)]
        found = library.encode_near(lambdas, [step for part in steps for step in part], key)
        assert found == (coded.data, flat(coded.model.integers)), n


def test_integers_beyond_their_range_and_headers_of_nonsense_are_refused(library: Library) -> None:
    header = header_of(Profile.SUP, dict(QUANTIZERS["paper"]))
    assert library.encoder(bytes(header)[:-1]) == -4
    assert library.encoder(bytes(header)) == 0
    assert library.encode([256] * 66, True) == -13
    assert isinstance(library.encode([255] * 66, True), bytes)


def test_datagrams(library: Library) -> None:
    header = header_of(Profile.SUP, dict(QUANTIZERS["default"]))
    assert library.decoder(bytes(header)) == 0
    datagram = Datagram(70, (Packet(Kind.MOTION, 69, b"abc"), Packet(Kind.MOTION, 70, b"")))
    assert library.datagram(bytes(datagram)) == [(0, 69, b"abc"), (0, 70, b"")]
    assert library.datagram(bytes(datagram)[:-1] + b"x") == -24


@pytest.mark.parametrize("module", [CODEC, BLEND], ids=lambda module: module.path.stem)
def test_the_shipped_module_is_that_of_these_sources(module: Module) -> None:
    """Who changes the sources rebuilds the module (`python -m fvc.export.wasm`)."""
    noted = module.path.with_suffix(".sha256").read_text().split()
    assert noted == [module.sources_digest(), hashlib.sha256(module.path.read_bytes()).hexdigest()]


@pytest.mark.parametrize("module", [CODEC, BLEND], ids=lambda module: module.path.stem)
def test_a_rebuilt_module_is_the_shipped_one(module: Module, tmp_path: Path) -> None:
    pytest.importorskip("ziglang", reason="ziglang, the compiler, is not installed: pip install 'fvc[wasm]'")
    assert module.build(tmp_path / "built.wasm").read_bytes() == module.path.read_bytes()
