"""For the tests of the format: the document's text, and what fvc and `spec_decoder` find in the same bytes."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from pathlib import Path
from typing import Any

import spec_decoder
from make_vectors import VECTORS

from fvc.codec.base.errors import StreamError
from fvc.codec.motion import entropy
from fvc.codec.motion.sample import PART_SHAPES, Profile
from fvc.codec.reassembly import MotionDecoder
from fvc.codec.video_layer import LayerDecoder
from fvc.codec.wire.bitstream import Header, Kind
from fvc.codec.wire.container import Damage, StreamReader, read_index

ROOT = Path(__file__).parents[2]
TABLES = entropy.format_tables()
SPEC = (ROOT / "bitstream_spec.md").read_text()
PROFILES = list(Profile)
CODED_SHAPES = PART_SHAPES | {"shape": (66,)}
ANNEX_B = (VECTORS / "annex_b.fvc").read_bytes()
WITH_AUDIO = (VECTORS / "audio.fvc").read_bytes()
HEADER_SIZE = 74


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
    names = ("header", "frames", "audio", *(["layer"] if found["layer"] else []), "end")
    return json_of({name: found[name] for name in names} | {"coder": coder})


class Found:
    """What fvc's own reader and decoder find."""

    def __init__(self, data: bytes) -> None:
        reader = StreamReader(io.BytesIO(data))
        motion, self.header = MotionDecoder(reader.header), reader.header
        self.frames: list[Any] = []
        self.audio: list[Any] = []
        self.layer: list[Any] = []  # numbers of pictures
        self.damage: list[Damage] = []
        self.rules: list[str] = []
        layer = LayerDecoder()
        for item in reader.packets():
            if isinstance(item, Damage):
                self.damage.append(item)
            elif item.kind == Kind.AUDIO:
                self.audio.append([item.number, item.payload.hex()])
            elif item.kind == Kind.LAYER:
                layer.put(item.number, item.payload)
                if layer.take(item.number) is not None:
                    self.layer.append(item.number)
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
    scenes = {}
    if header.scenes:
        scenes = {"scenes": {"sets": list(header.scenes.sets), "changes": list(map(list, header.scenes.changes))}}
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
        **scenes,
        **({"side": header.side} if header.side != 256 else {}),
    } == expected


def agree(data: bytes, expected: Any) -> None:
    assert by_spec(data) == expected
    found = Found(data)
    assert same_header(found.header, expected["header"])
    assert found.frames == expected["frames"]
    assert found.audio == expected["audio"]
    assert found.layer == [number for number, _ in expected.get("layer", [])]
    assert not found.damage
    assert json_of(found.end and dataclasses.asdict(found.end)) == expected["end"]
    assert json_of(spec_index(data)) == expected["end"]


def spec_index(data: bytes) -> Any:
    index = read_index(io.BytesIO(data))
    return index and dataclasses.asdict(index)
