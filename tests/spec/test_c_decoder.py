"""export/c/fvc_decode.c, the decoder for phones, finds what spec_decoder.py finds, and nothing makes it crash."""

from __future__ import annotations

import binascii
import contextlib
import hashlib
import json
import random
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import make_vectors
import pytest
import spec_decoder
from make_vectors import VECTORS

ROOT = Path(__file__).parents[2]
PRIORS = ROOT / "codec" / "motion" / "priors.bin"
SOURCE = ROOT / "export" / "c" / "fvc_decode.c"
STRICT = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2"]
PARTS = ("sup", "unsup", "jac", "expr", "shape")

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program with AddressSanitizer and UBSan, any finding of which ends it with exit code 99."""
    out = tmp_path_factory.mktemp("c") / "fvc_decode"
    checks = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    made = subprocess.run(["gcc", *STRICT, *checks, "-o", out, SOURCE], capture_output=True, text=True)
    if "cannot find" in made.stderr:
        pytest.skip("gcc has no sanitizers here")
    assert made.returncode == 0, made.stderr
    return out


class Run:
    """One run of the program: exit code, rule ("" for none) and what it printed, by the names of the vectors."""

    def __init__(self, program: Path, path: Path, *more: str, priors: Path = PRIORS) -> None:
        environment = {"ASAN_OPTIONS": "exitcode=99", "UBSAN_OPTIONS": "exitcode=99"}
        command = [program, priors, path, *more]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
        assert done.returncode in (0, 1, 2), done.stderr
        self.code = done.returncode
        self.rule = done.stderr.strip()[-3:] if done.returncode == 1 else ""
        self.header: dict[str, Any] = {"quantizers": {}, "audio": None}
        self.frames: list[Any] = []
        self.audio: list[Any] = []
        self.end: Any = None
        self.dropped: list[str] = []
        self.pictures: list[str] = []
        self.sources: list[Any] = []
        for name, *words in map(str.split, done.stdout.splitlines()):
            self._line(name, words)

    def _line(self, name: str, words: list[str]) -> None:
        if name == "frame":
            self.frames.append([int(words[0]), None if words[1:] else {}])
        elif name in PARTS:
            values = [int(word) for word in words]
            if self.frames:
                self.frames[-1][1][name] = values
            else:
                if not self.sources or name in self.sources[-1]:
                    self.sources.append({})
                self.sources[-1][name] = values
        elif name == "audio":
            self.audio.append([int(words[0]), words[2] if words[2:] else ""])
        elif name == "end":
            self.end = {"frames": int(words[0]), "audio_packets": int(words[1]), "keyframes": []}
        elif name == "keyframe":
            self.end["keyframes"].append([int(word) for word in words])
        elif name == "quantizer":
            self.header["quantizers"][words[0]] = dict(zip(("bits", "low", "high"), map(int, words[1:]), strict=True))
        elif name == "crop":
            self.header["crop"] = dict(zip(("width", "height", "x", "y", "side"), map(int, words), strict=True))
        elif name == "has_audio":
            self.header["audio"] = {"frame_ms": int(words[0]), "pre_skip": int(words[1])}
        elif name in ("set", "change"):
            values = [int(word) for word in words]
            scenes = self.header.setdefault("scenes", {"sets": [], "changes": []})
            scenes[f"{name}s"].append(values[0] if name == "set" else values)
        elif name == "dropped":
            self.dropped.append(words[0])
        elif name in ("coded", "canvas"):
            self.pictures.append(words[0])
        elif name in ("fps", "canvas_size"):
            self.header[name] = [int(word) for word in words]
        else:
            self.header[name] = words[0] if name.endswith("hash") else int(words[0])


def rule_of(data: bytes, ending: str = ".fvc") -> str:
    """The rule that spec_decoder.py finds broken, with that for players; "" for none."""
    try:
        if ending == ".fvs":
            spec_decoder.parse_sources(data)
        else:
            spec_decoder.check_missing(data)
    except spec_decoder.SpecError as error:
        return error.rule
    return ""


def test_it_compiles_without_warnings_as_a_program_and_as_a_library(tmp_path: Path) -> None:
    for more in (["-o", tmp_path / "program"], ["-c", "-DFVC_LIBRARY", "-Wconversion", "-o", tmp_path / "library.o"]):
        done = subprocess.run(["gcc", *STRICT, *more, SOURCE], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.fvc")), ids=lambda path: path.stem)
def test_golden_streams(program: Path, path: Path) -> None:
    found, expected = Run(program, path), json.loads(path.with_suffix(".json").read_text())
    assert (found.code, found.rule) == (0, "")
    assert found.header == expected["header"]
    assert (found.frames, found.audio, found.end) == (expected["frames"], expected["audio"], expected["end"])


@pytest.mark.parametrize("profile", range(15))
def test_headers_of_all_profiles(program: Path, profile: int, tmp_path: Path) -> None:
    fixed = bytearray((VECTORS / "annex_b.fvc").read_bytes()[: 7 + 58])
    parts, path = spec_decoder.PARTS.get(profile, ("unknown",)), tmp_path / "header.fvc"
    for count in (len(parts), len(parts) - 1):
        quantizers = b"".join(struct.pack(">Bhh", 8 + n, -256 - n, 256 + n) for n in range(count))
        fixed[4:9] = struct.pack(">BHBB", 2, 58 + len(quantizers), 0, profile)
        data = bytes(fixed) + quantizers
        path.write_bytes(data + struct.pack(">I", binascii.crc32(data)))
        found, rule = (
            Run(program, path),
            "E06" if profile not in spec_decoder.PARTS else "E03" if count < len(parts) else "",
        )
        assert (found.rule, rule_of(path.read_bytes())) == (rule, rule)
        if not rule:
            assert list(found.header["quantizers"]) == list(parts)
            header = spec_decoder.parse_header(path.read_bytes())[0]
            assert found.header == json.loads(json.dumps(header, default=bytes.hex))


@pytest.mark.parametrize(("name", "head"), [("sources", 83), ("sources_512", 105)])
def test_golden_source_set(program: Path, name: str, head: int) -> None:
    found, expected = Run(program, VECTORS / f"{name}.fvs"), json.loads((VECTORS / f"{name}.json").read_text())
    data = (VECTORS / f"{name}.fvs").read_bytes()
    parsed = spec_decoder.parse_sources(data)
    listed = [parsed["preview"], *parsed["sources"]] if "preview" in parsed else parsed["sources"]
    assert found.sources == [source["integers"] for source in listed]
    assert found.pictures == [*(source["coded"].hex() for source in listed), parsed["canvas"].hex()]
    assert found.header.get("side") == expected.get("side")
    assert found.header["canvas_size"] == expected["canvas_size"]
    assert found.header["model_hash"] == expected["model_hash"]
    assert (
        found.header["sources_hash"] == hashlib.sha256((VECTORS / f"{name}.fvs").read_bytes()[:head]).hexdigest()[:32]
    )
    assert found.header["missing"] == 0


def source_set(sections: list[bytes], profile: int = 0) -> bytes:
    """A source set with these sections, and right checksums, whatever is in them."""
    head = b"\xabFVS\2" + bytes(8) + struct.pack(">BBHH", profile, len(sections) - 1, 0, 0)
    for section in sections:
        head += struct.pack(">I", len(section)) + hashlib.sha256(section).digest()[:16]
    return b"".join([head, struct.pack(">I", binascii.crc32(head)), *sections])


def same_sources(program: Path, path: Path, data: bytes, *more: str) -> str:
    """Reads a source set, or with "--so-far" its beginning, in both ways; returns the rule of both."""
    path.write_bytes(data)
    found = Run(program, path, *more)
    rule, expected = "", dict[str, Any]()
    try:
        expected = spec_decoder.parse_sources_so_far(data, is_all=not more)
    except spec_decoder.SpecError as error:
        rule = error.rule
    assert found.rule == rule
    if rule:
        assert found.sources == []
        return rule
    listed = [expected["preview"], *expected["sources"]] if "preview" in expected else expected["sources"]
    pictures = [source["coded"] for source in listed] + [expected["canvas"] or b""]
    assert found.header["missing"] == expected["missing"]
    assert found.sources == [source["integers"] for source in listed]
    assert found.pictures == [picture.hex() for picture in pictures if picture]
    return ""


def test_beginnings_of_source_sets(program: Path, tmp_path: Path) -> None:
    data, path = (VECTORS / "sources.fvs").read_bytes(), tmp_path / "talk.fvs"
    parsed = spec_decoder.parse_sources(data)
    fixed = 2 * sum(len(values) for values in parsed["sources"][0]["integers"].values())
    ends = [19 + 20 * (len(parsed["sources"]) + 1) + 4]
    for picture in [*(bytes(fixed) + source["coded"] for source in parsed["sources"]), parsed["canvas"]]:
        ends.append(ends[-1] + len(picture))
    assert ends[-1] == len(data)
    near = {end + step for end in ends for step in (-1, 0, 1)} & set(range(len(data) + 1))
    for size in sorted({*range(0, 24), *range(0, len(data), 499), *near}):
        whole = [end for end in ends[1:] if end <= size]
        rule = same_sources(program, path, data[:size], "--so-far")
        assert rule == ("" if whole else "E21" if size >= 4 else "E20")
        assert Run(program, path).rule == ("" if size == len(data) else rule or "E21")


def test_sections_of_all_lengths_and_their_digests(program: Path, tmp_path: Path) -> None:
    """SHA-256 pads in two ways, which depend on the length modulo 64."""
    rng, path = random.Random(10), tmp_path / "lengths.fvs"
    picture = spec_decoder.parse_sources((VECTORS / "sources.fvs").read_bytes())["sources"][0]["coded"]
    for length in (0, 1, 54, 55, 56, 57, 63, 64, 65, 119, 120, 128, 5000):
        data = source_set([rng.randbytes(132) + picture, rng.randbytes(length)])
        assert same_sources(program, path, data) == ""
        at = rng.randrange(len(data) - length - len(picture), len(data))
        assert same_sources(program, path, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], "--so-far") == "E21"


def test_the_order_of_errors_in_source_sets(program: Path, tmp_path: Path) -> None:
    path, picture = tmp_path / "order.fvs", bytes(132)
    data = source_set([picture, picture, b"canvas"])
    assert same_sources(program, path, data) == "E22"
    assert same_sources(program, path, data[:-1]) == "E21"  # not all is there: found before the pictures are looked at
    assert same_sources(program, path, data[:-1], "--so-far") == "E22"
    assert same_sources(program, path, data[:-1] + b"?", "--so-far") == "E21"
    assert same_sources(program, path, data + b"?", "--so-far") == "E21"
    assert same_sources(program, path, source_set([b""])) == "E21"
    assert same_sources(program, path, source_set([picture, picture], profile=4)) == "E21"
    assert same_sources(program, path, source_set([picture] * 10), "--so-far") == "E21"
    assert same_sources(program, path, source_set([picture, bytes(2**20 + 1)]), "--so-far") == "E21"
    assert same_sources(program, path, source_set([picture + bytes(2**20 + 1), b""]), "--so-far") == "E21"
    assert same_sources(program, path, source_set([bytes(131), b""]), "--so-far") == "E21"


@pytest.mark.parametrize(("name", "start"), [("sources", 19), ("sources_512", 21)])
def test_damaged_source_sets(program: Path, tmp_path: Path, name: str, start: int) -> None:
    """Half of them with a right head_crc all the same."""
    rng, path, rules = random.Random(11), tmp_path / "damaged.fvs", set()
    data = (VECTORS / f"{name}.fvs").read_bytes()
    for n in range(60):
        out = bytearray(data[: rng.choice((len(data), rng.randrange(83, len(data))))])
        for _ in range(rng.choice((1, 1, 3))):
            out[rng.randrange(5, 79 if n % 3 else len(out))] = rng.choice((0, 1, 255, rng.randrange(256)))
        if n % 2:
            end = start + 20 * (out[start - 5] + 1 + (start == 21))
            out[end : end + 4] = struct.pack(">I", binascii.crc32(out[:end]))
        rules.add(same_sources(program, path, bytes(out), *rng.choice(((), ("--so-far",)))))
    assert {"", "E21"} <= rules


def call(header: bytes, datagrams: list[bytes], path: Path) -> Path:
    path.write_bytes(b"FVCD" + header + b"".join(struct.pack(">H", len(d)) + d for d in datagrams))
    return path


def test_golden_datagrams(program: Path, tmp_path: Path) -> None:
    wire = json.loads((VECTORS / "wire.json").read_text())
    datagrams = [bytes.fromhex(text) for text in wire["datagrams"]]
    found = Run(program, call(bytes.fromhex(wire["header"]), datagrams, tmp_path / "call"))
    assert (found.frames, found.audio) == (wire["frames"], wire["audio"])
    assert found.dropped == wire["dropped"]


@pytest.mark.parametrize("path", sorted(VECTORS.glob("invalid/*")), ids=lambda path: path.name)
def test_invalid_files_break_their_rule(program: Path, path: Path, tmp_path: Path) -> None:
    if path.suffix == ".datagram":
        wire = json.loads((VECTORS / "wire.json").read_text())
        found = Run(program, call(bytes.fromhex(wire["header"]), [path.read_bytes()], tmp_path / "call"))
        assert (found.dropped, found.frames) == ([path.name[:3]], [])
    else:
        found = Run(program, path)
        assert (found.code, found.rule) == (1, path.name[:3])


def test_random_streams(program: Path, tmp_path: Path) -> None:
    make_vectors.main(["--random", "10", "--out", str(tmp_path), "--seed", "8"])
    for path in tmp_path.glob("*.fvc"):
        expected = json.loads(path.with_suffix(".json").read_text())
        found = Run(program, path)
        assert (found.rule, found.frames, found.audio) == ("", expected["frames"], expected["audio"])


@pytest.mark.parametrize("name", ["annex_b.fvc", "sources.fvs"])
def test_cut_files(program: Path, name: str, tmp_path: Path) -> None:
    data, path = (VECTORS / name).read_bytes(), tmp_path / name
    for size in range(0, len(data), 1 if name.endswith("fvc") else 97):
        path.write_bytes(data[:size])
        assert Run(program, path).rule == rule_of(data[:size], path.suffix), size


def damaged(data: bytes, rng: random.Random) -> bytes:
    """A stream with some bytes changed, half of the time with checksums that are right all the same."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        out[rng.randrange(len(out))] = rng.choice((0, 255, rng.randrange(256)))
    if rng.random() < 0.5:
        length = 7 + min(int.from_bytes(out[5:7], "big"), len(out) - 11)
        out[length : length + 4] = struct.pack(">I", binascii.crc32(out[:length]))
        at = length + 4
        while at + 3 < len(out):  # of all packets, as far as their sizes are one or two bytes and make sense
            body = at + 4 if out[at] == 0xFF else at
            size, start = (out[body + 1], body + 2) if out[body + 1] < 128 else (out[body + 1] % 128, body + 3)
            if start > body + 2:
                size += out[body + 2] << 7
            if start + size + 2 > len(out):
                break
            at = start + size + 2
            out[at - 2 : at] = struct.pack(">H", binascii.crc_hqx(bytes(out[body : at - 2]), 0xFFFF))
    return bytes(out)


def test_damaged_streams(program: Path, tmp_path: Path) -> None:
    rng, path, rules = random.Random(8), tmp_path / "damaged.fvc", set()
    for name in ("annex_b", "refresh", "profile_sup_unsup_expr", "extremes", "audio"):
        data = (VECTORS / f"{name}.fvc").read_bytes()
        for _ in range(25):
            path.write_bytes(damaged(data, rng))
            found = Run(program, path)
            partial: dict[str, Any] = {}
            assert found.rule == rule_of(path.read_bytes()), path.read_bytes().hex()
            with contextlib.suppress(spec_decoder.SpecError):
                spec_decoder.decode_stream(path.read_bytes(), partial)
            assert found.frames == [list(frame) for frame in partial.get("frames", [])]
            rules.add(found.rule)
    assert {"", "E03", "E10", "E12", "E13"} <= rules


def test_damaged_datagrams_and_priors(program: Path, tmp_path: Path) -> None:
    rng, wire = random.Random(9), json.loads((VECTORS / "wire.json").read_text())
    datagrams = [bytes.fromhex(text) for text in wire["datagrams"]]
    for _ in range(20):
        some = [bytearray(d) for d in rng.sample(datagrams, 12)]
        for datagram in some[:8]:
            datagram[rng.randrange(max(len(datagram) - 2, 1))] = rng.randrange(256)
            datagram[-2:] = struct.pack(">H", binascii.crc_hqx(bytes(datagram[:-2]), 0xFFFF))
        assert Run(program, call(bytes.fromhex(wire["header"]), [bytes(d) for d in some], tmp_path / "call")).code == 0
    priors = bytearray(PRIORS.read_bytes())
    for _ in range(10):
        for _ in range(20):
            priors[rng.randrange(5, len(priors))] = rng.randrange(256)
        (tmp_path / "priors.bin").write_bytes(priors)
        Run(program, VECTORS / "profile_sup_unsup_expr.fvc", priors=tmp_path / "priors.bin")
    (tmp_path / "priors.bin").write_bytes(priors[:-1])
    assert Run(program, VECTORS / "annex_b.fvc", priors=tmp_path / "priors.bin").code == 2
