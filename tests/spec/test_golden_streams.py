"""Golden and random streams: `fvc.codec`, the decoder made from the document and the recorded integers agree."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import make_vectors
import pytest
import source_vectors
import spec_decoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_vectors import STREAMS, VECTORS, Stream, header_of
from spec_support import (
    PROFILES,
    agree,
    json_of,
    rows,
    section,
)

from fvc.codec.motion import entropy
from fvc.codec.motion.quantizer import Quantizer, to_integers
from fvc.codec.wire import source_set as sources
from fvc.codec.wire.source_set import SourceSet


def test_no_golden_stream_is_missing_or_left_over() -> None:
    names = {f"{name}.{end}" for name in STREAMS for end in ("fvc", "json")}
    names |= {"wire.json", *(f"{name}.{end}" for name in source_vectors.SETS for end in ("fvs", "json"))}
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


@pytest.mark.parametrize(("name", "side"), source_vectors.SETS.items())
def test_golden_source_set(name: str, side: int) -> None:
    """The AV1 data are taken from the file: another version of the encoder writes others."""
    data, text = (VECTORS / f"{name}.fvs").read_bytes(), (VECTORS / f"{name}.json").read_text()
    assert json_of(spec_decoder.parse_sources(data)) == json.loads(text)
    source_set = SourceSet.parse(data)
    assert source_set.canvas is not None
    made, made_text = source_vectors.source_set(source_set.coded, source_set.pictures, source_set.canvas)
    assert (bytes(made), made_text) == (data, text)
    for sample, expected in zip(source_set.samples, json.loads(text)["sources"], strict=True):
        integers = to_integers(sample, {part: sources.QUANTIZERS[part] for part in source_set.profile.parts})
        assert {part: values.tolist() for part, values in integers.items()} == expected["integers"]
    assert (source_set.side, source_set.version) == (side, 2 if side == 256 else 3)
    head = 19 + 20 * 3 + 4 if side == 256 else 21 + 20 * 4 + 4
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
    parts = spec_decoder.PARTS[draw(st.sampled_from([n for n in (profile, profile + 4) if n in spec_decoder.PARTS]))]
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
