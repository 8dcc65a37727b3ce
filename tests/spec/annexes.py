"""Annexes A to C of bitstream_spec.md as text, made from priors.bin, the golden streams and the invalid files."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path

import spec_decoder
from invalid_vectors import invalid

from fvc.codec.wire.bitstream import Kind


def annex_a() -> str:
    """Digests of priors, frequencies and 24-bit cumulative probabilities, and some tables, for the specification."""
    every, steps = hashlib.sha256(), hashlib.sha256()
    for part in spec_decoder.PRIORS:
        for c, a in itertools.product(range(48), range(8)):
            every.update(b"".join(f.to_bytes(2, "big") for f in spec_decoder.frequencies(part, c, a)))
            steps.update(b"".join(v.to_bytes(4, "big") for v in spec_decoder.cdf_of(part, c, a)))
    columns = " | ".join(str(q) for q in range(-5, 6))
    lines = [f"| c | a | {columns} | escape |", "|---" * 14 + "|"]
    for c, a in itertools.product((0, 16, 32, 47), (0, 7)):
        counts = spec_decoder.frequencies("sup", c, a)
        lines.append(f"| {c} | {a} | {' | '.join(map(str, counts[11:22]))} | {counts[33]} |")
    return "\n".join(
        [
            f"priors.bin has {len(spec_decoder.PRIORS_BYTES)} bytes; their SHA-256:",
            "",
            f"`{hashlib.sha256(spec_decoder.PRIORS_BYTES).hexdigest()}`",
            "",
            "SHA-256 of the 34 frequencies as u(16) of all tables, for each part in order, c = 0 .. 47, a = 0 .. 7:",
            "",
            f"`{every.hexdigest()}`",
            "",
            "SHA-256 of their values cdf[0] .. cdf[34] as u(32):",
            "",
            f"`{steps.hexdigest()}`",
            "",
            "Some frequencies of sup, by the number that the symbol stands for:",
            "",
            *lines,
        ]
    )


_HEADER_FIELDS = (
    *(("magic", 4), ("version", 1), ("header_length", 2), ("has_audio", 1), ("profile", 1)),
    *(("fps.numerator", 2), ("fps.denominator", 2), ("keyframe_interval", 2), ("crop.width", 2), ("crop.height", 2)),
    *(("crop.x", 2), ("crop.y", 2), ("crop.side", 2), ("model_hash", 8), ("sources_hash", 16), ("pixels_hash", 16)),
    *(("quantizers.bits", 1), ("quantizers.low", 2), ("quantizers.high", 2), ("header_crc", 4)),
)
_SIGNED = ("crop.x", "crop.y", "quantizers.low", "quantizers.high")


def dissect(data: bytes) -> list[tuple[int, bytes, str]]:
    """Offset, bytes and meaning of each element of a stream of profile sup without sound."""
    rows: list[tuple[int, bytes, str]] = []

    def row(size: int, meaning: str) -> bytes:
        at = sum(len(r[1]) for r in rows)
        rows.append((at, data[at : at + size], meaning))
        return data[at : at + size]

    for name, size in _HEADER_FIELDS:
        number = int.from_bytes(data[sum(len(r[1]) for r in rows) :][:size], "big", signed=name in _SIGNED)
        row(size, name if size > 2 else f"{name} = {number}")
    kind = -1
    while kind != spec_decoder.END:
        at = sum(len(r[1]) for r in rows)
        kind, number, payload, _ = spec_decoder.parse_packet(data, at)
        if kind == spec_decoder.KEY:
            row(4, "sync")
        row(1, f"head: {Kind(kind).name}, number {number}")
        row(1, f"payload_size = {len(payload)}")
        if kind == spec_decoder.KEY:
            row(1, f"frame = {payload[0]}")
            row(1, f"audio_packets = {payload[1]}")
            row(len(payload) - 2, "coded: 66 integers")
        elif kind == spec_decoder.END:
            names = ("frames", "audio_packets", "keyframe_count", "keyframes.frame", "keyframes.offset")
            for name, value in zip(names, payload, strict=True):
                row(1, f"{name} = {value}")
        elif payload:
            row(len(payload), "payload: 66 integers")
        row(2, "packet_crc")
    row(4, f"end_size = {int.from_bytes(data[-8:-4], 'big')}")
    row(4, "magic of the trailer")
    return rows


def annex_b(data: bytes) -> str:
    """The golden stream `annex_b`, dissected, for the specification."""
    rows = [f"| {at:02x} | `{part.hex(' ')}` | {meaning} |" for at, part, meaning in dissect(data)]
    found = spec_decoder.decode_stream(data)
    integers = [
        f"| {number} | {' '.join(map(str, frame['sup'])) if frame else 'hold'} |" for number, frame in found["frames"]
    ]
    names = ("i", "component", "origin", "prediction", "s", "q")
    steps = [
        f"| {' | '.join(str(step[name]) for name in names)} | `{step['lower']:016x}` | `{step['range']:016x}` |"
        for step in (*found["trace"][:8], found["trace"][-1])
    ]
    return "\n".join(
        [
            "### B.1 Bytes",
            "",
            "| Offset | Bytes | Element |",
            "|---|---|---|",
            *rows,
            "",
            "### B.2 Integers of sup",
            "",
            "| Frame | q of components 0 .. 65 |",
            "|---|---|",
            *integers,
            "",
            "### B.3 Steps of frame 2",
            "",
            "The first eight and the last component; `lower` and `range` after the component.",
            "",
            "| i | component | origin | prediction | s | q | lower | range |",
            "|---|---|---|---|---|---|---|---|",
            *steps,
        ]
    )


def compact(value: object) -> str:
    """JSON as it stands in the vectors."""
    return json.dumps(value, separators=(",", ":")) + "\n"


def write_spec(path: Path, stream: bytes) -> None:
    """Renews Annexes A, B (of the golden stream `annex_b`) and the list in C between their markers."""
    text = path.read_text()
    for name, content in (("annex A", annex_a()), ("annex B", annex_b(stream)), ("annex C", annex_c())):
        start = text.index("\n", text.index(f"<!-- {name}:")) + 1
        end = text.index("<!-- end -->", start)
        text = f"{text[:start]}\n{content}\n\n{text[end:]}"
    path.write_text(text)


def annex_c() -> str:
    """The list of invalid files, for the specification."""
    rows = [f"| {name} | {what} |" for name, (what, _) in invalid().items()]
    return "\n".join(["| File | What is wrong |", "|---|---|", *rows])
