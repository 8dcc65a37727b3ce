"""Third part of the decoder written from bitstream_spec.md alone: source sets (section 7), landmarks (section 8.2).

Imports nothing of fvc; see `spec_decoder`.
"""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import Any

from spec_syntax import COMPONENTS, PARTS, Bytes, forbid

# 8.2 From integers to a picture
SHAPE_BYTES = (Path(__file__).parents[2] / "codec" / "motion" / "shape.bin").read_bytes()


def parse_shape(data: bytes) -> tuple[list[int], list[list[int]]]:  # A.3 shape.bin
    """mean and basis, in 1/16384."""
    file, n = Bytes(data, "E04"), COMPONENTS["shape"]
    mean = [file.i(16) for _ in range(n)]
    basis = [[file.i(16) for _ in range(n)] for _ in range(n)]
    assert file.at == len(data)
    return mean, basis


MEAN, BASIS = parse_shape(SHAPE_BYTES)


def landmarks(values: list[float]) -> list[float]:
    """The values of `shape`, which are coefficients -> those of `sup`; both in row-major order."""
    return [(m + sum(v * row[j] for v, row in zip(values, BASIS, strict=True))) / 16384 for j, m in enumerate(MEAN)]


def count_frame_headers(coded: bytes) -> int:  # 7.1, and section 5.3 of the AV1 specification
    """Of the OBUs of a picture."""
    obus, count = Bytes(coded, "E22"), 0
    while obus.at < len(coded):
        head = obus.u(8)
        obus.take(head >> 2 & 1)
        forbid(not head & 2, "E22", "an OBU without its size")
        size = more = 0
        for n in range(8):
            byte = obus.u(8)
            size, more = size + (byte % 128 << 7 * n), byte >> 7
            if not more:
                break
        forbid(more == 1, "E22", "size of an OBU")
        obus.take(size)
        count += head >> 3 & 15 in (3, 6)
    return count


def parse_sources(data: bytes) -> dict[str, Any]:  # 7. Source sets
    """A whole .fvs file: its fields, integers and coded pictures (of which only the frames are counted)."""
    found = parse_sources_so_far(data, is_all=True)
    del found["missing"]
    return found


def parse_sources_so_far(data: bytes, is_all: bool = False) -> dict[str, Any]:
    """The same of a file that has not arrived as a whole; "missing": how many sections are not there."""
    forbid(data[:4] != b"\xabFVS", "E20", "magic")
    forbid(len(data) > 4 and data[4] not in (2, 3), "E02", "version")
    body = Bytes(data, "E21")
    body.take(5)
    previews = int(data[4] == 3)
    side = body.u(16) if previews else 256
    model_hash, profile, source_count = body.take(8), body.u(8), body.u(8)
    width, height = body.u(16), body.u(16)
    table = [(body.u(32), body.take(16)) for _ in range(source_count + previews + 1)]
    head_size = body.at
    forbid(body.u(32) != zlib.crc32(data[:head_size]), "E21", "head_crc")
    has_parts = profile in PARTS and "shape" not in PARTS[profile]
    is_valid = has_parts and 1 <= source_count <= 8 and width * height <= 1 << 22 and side == (512 if previews else 256)
    forbid(not is_valid, "E21", "an element of the head")
    least = 2 * sum(COMPONENTS[part] for part in PARTS[profile])
    for number, (size, _) in enumerate(table):
        low = least if number < source_count + previews else 0
        forbid(not low <= size <= low + (1 << 20), "E21", "section_bytes")
    sections = []
    for size, digest in table:
        if size > len(data) - body.at:
            break
        sections.append(body.take(size))
        forbid(hashlib.sha256(sections[-1]).digest()[:16] != digest, "E21", "section_digest")
    forbid(not sections, "E21", "no picture is there")
    missing = len(table) - len(sections)
    forbid(is_all and missing > 0, "E21", "sections are missing")
    forbid(not missing and body.at != len(data), "E21", "bytes are left over")
    sources = []
    for section in sections[: source_count + previews]:
        values = Bytes(section, "E21")
        integers = {part: [values.u(16) for _ in range(COMPONENTS[part])] for part in PARTS[profile]}
        sources.append({"integers": integers, "coded": section[values.at :]})
    wrong = previews and len(sources) > 1 and sources[0]["integers"] != sources[1]["integers"]
    forbid(bool(wrong), "E21", "integers of the preview")
    for source in sources:
        forbid(count_frame_headers(source["coded"]) != 1, "E22", "not one picture")
    canvas = None if missing else sections[-1] or None
    fields = {"model_hash": model_hash, "profile": profile, "canvas_size": [width, height]}
    if previews:
        fields |= {"side": side, "preview": sources.pop(0)}
    return fields | {"sources": sources, "canvas": canvas, "missing": missing}
